#include "engine/engine.h"

#include <pthread.h>

#include <utility>

#include "base/log.h"
#include "base/signal_stack.h"

namespace ingot::engine {

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
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  watchdog_wake_.notify_one();
  thread_.join();
  if (watchdog_.joinable()) watchdog_.join();
}

Result<std::vector<RequestId>> Engine::Submit(std::vector<Request> requests) {
  for (const Request& request : requests) INGOT_RETURN_IF_ERROR(core_.Check(request));
  std::vector<RequestId> ids;
  {
    const std::lock_guard lock(mutex_);
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
  wake_.notify_one();
  return ids;
}

void Engine::Cancel(RequestId id) {
  {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  wake_.notify_one();
}

Status Engine::RunExclusive(const std::function<void(Core&)>& task) {
  Exclusive exclusive{.task = &task};
  std::unique_lock lock(mutex_);
  if (stop_) return Unavailable("the engine is stopping");
  if (!busy_) progress_ = Clock::now();
  busy_ = true;
  tasks_.push_back(&exclusive);
  wake_.notify_one();
  task_done_.wait(lock, [&] { return exclusive.done; });
  if (!exclusive.ran) return Unavailable("the engine is stopping");
  return {};
}

EngineStats Engine::stats() const {
  const CoreStats& core = core_.stats();
  const auto get = [](const auto& counter) { return counter.load(std::memory_order_relaxed); };
  EngineStats stats{.running = get(core.running),
                    .waiting = get(core.waiting),
                    .total_blocks = get(core.total_blocks),
                    .free_blocks = get(core.free_blocks),
                    .idle_blocks = get(core.idle_blocks),
                    .steps = get(core.steps),
                    .preemptions = get(core.preemptions),
                    .cancelled = get(core.cancelled),
                    .most_running = get(core.most_running),
                    .prompt_tokens = get(core.prompt_tokens),
                    .generated_tokens = get(core.generated_tokens),
                    .prefix_queries = get(core.prefix_queries),
                    .prefix_hits = get(core.prefix_hits),
                    .step_tokens = core.step_tokens.Read()};
  int64_t oldest = get(core.oldest_waiting_ns);
  {
    const std::lock_guard lock(mutex_);
    stats.waiting += static_cast<int>(submitted_.size());
    if (oldest == 0 && !submitted_.empty()) oldest = submitted_.front().at.time_since_epoch().count();
  }
  if (oldest != 0) {
    stats.oldest_waiting_seconds =
        std::chrono::duration<double>(Clock::now() - Clock::time_point(Clock::duration(oldest))).count();
  }
  return stats;
}

double Engine::StalledSeconds() const {
  const std::lock_guard lock(mutex_);
  return busy_ ? std::chrono::duration<double>(Clock::now() - progress_).count() : 0.0;
}

void Engine::WatchForStalls() {
  const SignalStack signal_stack;
  const std::chrono::duration<double> limit(options_.stall_seconds);
  Clock::time_point reported;  // the progress before the stall that was told of last
  std::unique_lock lock(mutex_);
  while (!watchdog_wake_.wait_for(lock, limit / 4, [this] { return stop_; })) {
    if (!busy_ || progress_ == reported || Clock::now() - progress_ < limit) continue;
    reported = progress_;
    lock.unlock();
    const bool written = flight_report_->Write("the engine makes no progress");
    Log(LogLevel::kError, "the engine has made no progress for {} s; what it did last {} {}", options_.stall_seconds,
        written ? "is in" : "could not be written to", flight_report_->path());
    lock.lock();
  }
}

// Moves what other threads left to the core; false: stop.
bool Engine::TakeCommands() {
  {
    std::unique_lock lock(mutex_);
    const bool idle = core_.num_running() == 0 && core_.num_waiting() == 0 && !core_.in_flight();
    wake_.wait(lock, [&] { return !idle || stop_ || !submitted_.empty() || !cancelled_.empty() || !tasks_.empty(); });
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
  const std::lock_guard lock(mutex_);
  busy_ = core_.num_running() + core_.num_waiting() > 0 || !submitted_.empty() || !tasks_.empty();
  if (progressed || !busy_) progress_ = Clock::now();
}

void Engine::RunTasks() {
  std::vector<Exclusive*> tasks;
  {
    const std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
  }
  for (Exclusive* exclusive : tasks) {
    const int64_t record = core_.flight_recorder().BeginTask();
    (*exclusive->task)(core_);
    core_.flight_recorder().End(record);
    {
      const std::lock_guard lock(mutex_);
      exclusive->ran = exclusive->done = true;
    }
    task_done_.notify_all();
    Publish(true);
  }
}

void Engine::Loop() {
  const SignalStack signal_stack;
  while (TakeCommands()) {
    bool has_tasks;
    {
      const std::lock_guard lock(mutex_);
      has_tasks = !tasks_.empty();
    }
    if (has_tasks && core_.num_running() == 0 && !core_.in_flight()) RunTasks();
    Publish(core_.Step(/*admit=*/!has_tasks));
  }
  core_.CancelAll();
  {
    const std::lock_guard lock(mutex_);
    for (Submitted& s : submitted_) core_.Add(s.id, std::move(s.request), s.at);
    submitted_.clear();
    for (Exclusive* exclusive : tasks_) exclusive->done = true;
    tasks_.clear();
  }
  task_done_.notify_all();
  core_.CancelAll();
  Publish(true);
}

}  // namespace ingot::engine
