#include "engine/engine.h"

#include <pthread.h>

#include <utility>

#include "base/log.h"
#include "base/signal_stack.h"

namespace ingot::engine {
namespace {

double SecondsSince(Clock::time_point time) { return std::chrono::duration<double>(Clock::now() - time).count(); }

}  // namespace

Result<std::unique_ptr<Engine>> Engine::Create(const models::Model& model, const EngineOptions& options,
                                               ops::Backend& backend) {
  INGOT_ASSIGN_OR_RETURN(auto executor, Executor::Create(model, options.executor, backend));
  return Create(std::move(executor), options);
}

Result<std::unique_ptr<Engine>> Engine::Create(std::unique_ptr<Executor> executor, const EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine(std::move(executor), options));
  if (options.flight_recorder.empty()) return engine;
  INGOT_ASSIGN_OR_RETURN(engine->flight_report_,
                         FlightReport::Create(options.flight_recorder, engine->core_.flight_recorder()));
  engine->watchdog_ = std::thread([engine = engine.get()] { engine->WatchForStalls(); });
  return engine;
}

Engine::Engine(std::unique_ptr<Executor> executor, const EngineOptions& options)
    : options_(options), core_(std::move(executor)), progress_(Clock::now()) {
  thread_ = std::thread([this] { Loop(); });
  pthread_setname_np(thread_.native_handle(), "ingot-engine");
}

Engine::~Engine() {
  {
    const MutexLock lock(mutex_);
    stop_ = true;
  }
  wake_.NotifyOne();
  watchdog_wake_.NotifyOne();
  thread_.join();
  if (watchdog_.joinable()) watchdog_.join();
}

Result<std::vector<RequestId>> Engine::Submit(std::vector<Request> requests) {
  for (const Request& request : requests) INGOT_RETURN_IF_ERROR(core_.Check(request));
  std::vector<RequestId> ids;
  {
    const MutexLock lock(mutex_);
    if (stop_) return Unavailable("the engine is stopping");
    const size_t waiting = submitted_.size() + static_cast<size_t>(core_.num_waiting());
    if (waiting + requests.size() > static_cast<size_t>(options_.max_queue)) {
      return ResourceExhausted("{} requests are waiting; the queue holds {}", waiting, options_.max_queue);
    }
    if (!busy_) progress_ = Clock::now();
    busy_ = true;
    for (Request& request : requests) {
      ids.push_back(next_id_++);
      submitted_.push_back({ids.back(), std::move(request), Clock::now()});
    }
  }
  wake_.NotifyOne();
  return ids;
}

void Engine::Cancel(RequestId id) {
  {
    const MutexLock lock(mutex_);
    cancelled_.push_back(id);
  }
  wake_.NotifyOne();
}

Status Engine::RunExclusive(const std::function<void(Core&)>& task) {
  Exclusive exclusive{.task = &task};
  const MutexLock lock(mutex_);
  if (stop_) return Unavailable("the engine is stopping");
  if (!busy_) progress_ = Clock::now();
  busy_ = true;
  tasks_.push_back(&exclusive);
  wake_.NotifyOne();
  while (!exclusive.done) task_done_.Wait(mutex_);
  if (!exclusive.ran) return Unavailable("the engine is stopping");
  return {};
}

Stats Engine::stats() const {
  Stats stats = core_.stats();
  stats.stalled_seconds = StalledSeconds();
  const MutexLock lock(mutex_);
  if (stats.waiting == 0 && !submitted_.empty()) {
    stats.oldest_waiting_seconds = SecondsSince(submitted_.front().at);
  }
  stats.waiting += static_cast<int>(submitted_.size());
  return stats;
}

double Engine::StalledSeconds() const {
  const MutexLock lock(mutex_);
  return busy_ ? SecondsSince(progress_) : 0.0;
}

void Engine::WatchForStalls() {
  const SignalStack signal_stack;
  const auto limit = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.stall_seconds));
  Clock::time_point reported;  // the progress before the stall that was reported last
  for (;;) {
    {
      const MutexLock lock(mutex_);
      const Clock::time_point look = Clock::now() + limit / 4;
      while (!stop_ && watchdog_wake_.WaitUntil(mutex_, look)) {
      }
      if (stop_) return;
      if (!busy_ || progress_ == reported || Clock::now() - progress_ < limit) continue;
      reported = progress_;
    }
    const bool written = flight_report_->Write("the engine makes no progress");
    Log(LogLevel::kError, "the engine has made no progress for {} s; what it did last {} {}", options_.stall_seconds,
        written ? "is in" : "could not be written to", flight_report_->path());
  }
}

// Moves what other threads left to the core; false: stop.
bool Engine::TakeCommands() {
  {
    const MutexLock lock(mutex_);
    const bool idle = core_.num_running() == 0 && core_.num_waiting() == 0 && !core_.in_flight();
    while (idle && !stop_ && submitted_.empty() && cancelled_.empty() && tasks_.empty()) wake_.Wait(mutex_);
    if (stop_) return false;
    for (Submitted& s : submitted_) core_.Add(s.id, std::move(s.request), s.at);
    submitted_.clear();
    taken_cancels_.swap(cancelled_);
  }
  for (const RequestId id : taken_cancels_) core_.Cancel(id);
  taken_cancels_.clear();
  return true;
}

void Engine::Publish(bool progressed) {
  const MutexLock lock(mutex_);
  busy_ = core_.num_running() + core_.num_waiting() > 0 || !submitted_.empty() || !tasks_.empty();
  if (progressed || !busy_) progress_ = Clock::now();
}

void Engine::RunTasks() {
  std::vector<Exclusive*> tasks;
  {
    const MutexLock lock(mutex_);
    tasks.swap(tasks_);
  }
  for (Exclusive* exclusive : tasks) {
    const int64_t record = core_.flight_recorder().BeginTask();
    (*exclusive->task)(core_);
    core_.flight_recorder().End(record);
    {
      const MutexLock lock(mutex_);
      exclusive->ran = exclusive->done = true;
    }
    task_done_.NotifyAll();
    Publish(true);
  }
}

void Engine::Loop() {
  const SignalStack signal_stack;
  while (TakeCommands()) {
    bool has_tasks;
    {
      const MutexLock lock(mutex_);
      has_tasks = !tasks_.empty();
    }
    if (has_tasks && core_.num_running() == 0 && !core_.in_flight()) RunTasks();
    Publish(core_.Step(/*admit=*/!has_tasks));
  }
  core_.CancelAll();
  {
    const MutexLock lock(mutex_);
    for (Submitted& s : submitted_) core_.Add(s.id, std::move(s.request), s.at);
    submitted_.clear();
    for (Exclusive* exclusive : tasks_) exclusive->done = true;
    tasks_.clear();
  }
  task_done_.NotifyAll();
  core_.CancelAll();
  Publish(true);
}

}  // namespace ingot::engine
