#include "server_signals.h"

#include <pthread.h>

namespace ingot::cli {
namespace {

// Their default is to end the process, or for the last two to stop it when it writes to its terminal in the background.
constexpr int kIgnored[] = {SIGUSR2,   SIGALRM, SIGVTALRM, SIGPROF, SIGIO,   SIGPWR,
                            SIGSTKFLT, SIGXCPU, SIGXFSZ,   SIGPIPE, SIGTTIN, SIGTTOU};

}  // namespace

sigset_t StoppingSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGQUIT}) sigaddset(&signals, number);
  return signals;
}

sigset_t BlockSignals() {
  for (const int number : kIgnored) signal(number, SIG_IGN);
  sigset_t signals = StoppingSignals();
  for (const int number : {SIGHUP, SIGUSR1}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

int WaitForStop(const sigset_t& signals, const std::function<void()>& reload, const std::function<void()>& reopen_log) {
  for (;;) {
    int number = 0;
    sigwait(&signals, &number);
    if (number == SIGHUP) {
      reload();
    } else if (number == SIGUSR1) {
      reopen_log();
    } else {
      return number;
    }
  }
}

}  // namespace ingot::cli
