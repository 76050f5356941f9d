// Loading in the background, so that Python stays interruptible.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string_view>

#include "base/mutex.h"
#include "base/status.h"
#include "engine.h"

namespace ingot::python {

// Options by their names, as a JSON object: {"model": "smollm2", "session_len": 4096, …}. Those that are absent or null
// keep their defaults.
Result<llm::LoadOptions> ReadLoadOptions(std::string_view json);

// Thread safety: all methods from any thread at once. Dropping it does not stop the load.
class Loading {
 public:
  explicit Loading(llm::LoadOptions options);
  // Whether it is over, after at most `wait`.
  bool Wait(std::chrono::milliseconds wait) const;
  // Bytes of weights; 0 of 0 before the first.
  int64_t done() const { return state_->done; }
  int64_t total() const { return state_->total; }
  // REQUIRES: it is over. Once.
  Result<std::shared_ptr<Engine>> Take();
  // Until no load runs, also none that was dropped: threads must end before the process does.
  static void WaitForAll();

 private:
  struct State {
    std::atomic<int64_t> done = 0, total = 0;
    Mutex mutex;
    CondVar ended;
    bool is_over INGOT_GUARDED_BY(mutex) = false;
    Result<std::shared_ptr<Engine>> engine INGOT_GUARDED_BY(mutex) = nullptr;
  };
  static void Run(const std::shared_ptr<State>& state, llm::LoadOptions options);

  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace ingot::python
