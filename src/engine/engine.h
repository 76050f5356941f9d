// The persistent batch on a thread of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "engine/core.h"
#include "engine/flight_report.h"

namespace ingot::engine {

struct EngineOptions {
  ExecutorOptions executor;
  int max_queue = 1024;  // requests that wait for a slot
  // The file for the engine's last steps, written when it makes no progress for stall_seconds, and when the process
  // crashes with a fatal signal, whose handlers are then set. "": none.
  std::string flight_recorder;
  double stall_seconds = 60;
};

// Thread safety: all methods from any thread at once, but none from within an event except Cancel.
// Invariants: every accepted request ends in exactly one event with `finish`, in the destructor at the latest
// (kCancelled). A cancel frees its blocks before the next step.
class Engine {
 public:
  // `model` and `backend` outlive it; it alone uses them from now on.
  static Result<std::unique_ptr<Engine>> Create(const models::Model& model, const EngineOptions& options,
                                                ops::Backend& backend);
  static Result<std::unique_ptr<Engine>> Create(std::unique_ptr<Executor> executor, const EngineOptions& options);
  ~Engine();

  // All of them or none. kResourceExhausted when the queue has no room.
  Result<std::vector<RequestId>> Submit(std::vector<Request> requests);
  void Cancel(RequestId id);
  // Runs `task` on the engine's thread once no request runs; new ones wait meanwhile. kUnavailable when the engine
  // stops before.
  Status RunExclusive(const std::function<void(Core&)>& task);

  Stats stats() const;  // waits for no step
  // Seconds since the last progress while there is work; 0 when idle.
  double StalledSeconds() const;

 private:
  struct Exclusive {
    const std::function<void(Core&)>* task;
    bool done = false, ran = false;
  };
  struct Submitted {
    RequestId id;
    Request request;
    Clock::time_point at;
  };
  Engine(std::unique_ptr<Executor> executor, const EngineOptions& options);
  void Loop();
  void WatchForStalls();
  bool TakeCommands();
  void RunTasks();
  void Publish(bool progressed);

  EngineOptions options_;
  Core core_;  // the engine thread's, except Core::Check

  mutable Mutex mutex_;
  CondVar wake_, task_done_, watchdog_wake_;
  std::vector<Submitted> submitted_ INGOT_GUARDED_BY(mutex_);
  std::vector<RequestId> cancelled_ INGOT_GUARDED_BY(mutex_);
  std::vector<Exclusive*> tasks_ INGOT_GUARDED_BY(mutex_);
  RequestId next_id_ INGOT_GUARDED_BY(mutex_) = 1;
  bool stop_ INGOT_GUARDED_BY(mutex_) = false;
  bool busy_ INGOT_GUARDED_BY(mutex_) = false;
  Clock::time_point progress_ INGOT_GUARDED_BY(mutex_);
  std::vector<RequestId> taken_cancels_;         // the engine thread's
  std::unique_ptr<FlightReport> flight_report_;  // null where none is wanted
  std::thread thread_, watchdog_;
};

}  // namespace ingot::engine
