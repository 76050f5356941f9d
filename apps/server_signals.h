// Which signals a server answers, ignores, or ends by.
#pragma once

#include <signal.h>

#include <functional>

namespace ingot::cli {

// The signals that WaitForStop waits for: SIGHUP, SIGUSR1, and those that stop (SIGINT, SIGTERM, SIGQUIT). Blocks them,
// and ignores those that would end the process for no reason of ours. To be called before any thread starts, so that
// sigwait is the one place where they arrive.
sigset_t BlockSignals();
// Those of them that stop.
sigset_t StoppingSignals();

// Returns the signal that stops. SIGHUP calls `reload`, SIGUSR1 `reopen_log`.
int WaitForStop(const sigset_t& signals, const std::function<void()>& reload, const std::function<void()>& reopen_log);

}  // namespace ingot::cli
