#include "engine/engine.h"

#include <pthread.h>

#include <utility>

namespace ingot::engine {

Result<std::unique_ptr<Engine>> Engine::Create(const models::Model& model, const EngineOptions& options,
                                               ThreadPool& pool) {
  INGOT_ASSIGN_OR_RETURN(auto executor, Executor::Create(model, options.executor, pool));
  return std::unique_ptr<Engine>(new Engine(std::move(executor), options));
}

Engine::Engine(std::unique_ptr<Executor> executor, const EngineOptions& options)
    : options_(options), core_(std::move(executor)), progress_(Clock::now()) {
  stats_.free_blocks = stats_.total_blocks = options.executor.num_blocks;
  thread_ = std::thread([this] { Loop(); });
  pthread_setname_np(thread_.native_handle(), "ingot-engine");
}

Engine::~Engine() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
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
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.running = core_.num_running();
  stats.waiting = core_.num_waiting() + static_cast<int>(submitted_.size());
  return stats;
}

double Engine::StalledSeconds() const {
  const std::lock_guard lock(mutex_);
  return busy_ ? std::chrono::duration<double>(Clock::now() - progress_).count() : 0.0;
}

// Moves what other threads left to the core; false: stop.
bool Engine::TakeCommands() {
  {
    std::unique_lock lock(mutex_);
    const bool idle = core_.num_running() == 0 && core_.num_waiting() == 0;
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

void Engine::Publish() {
  const std::lock_guard lock(mutex_);
  stats_.free_blocks = core_.blocks().num_free();
  busy_ = core_.num_running() + core_.num_waiting() > 0 || !submitted_.empty() || !tasks_.empty();
  progress_ = Clock::now();
}

void Engine::RunTasks() {
  std::vector<Exclusive*> tasks;
  {
    const std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
  }
  for (Exclusive* exclusive : tasks) {
    (*exclusive->task)(core_);
    {
      const std::lock_guard lock(mutex_);
      exclusive->ran = exclusive->done = true;
    }
    task_done_.notify_all();
    Publish();
  }
}

void Engine::Loop() {
  while (TakeCommands()) {
    bool has_tasks;
    {
      const std::lock_guard lock(mutex_);
      has_tasks = !tasks_.empty();
    }
    if (has_tasks && core_.num_running() == 0) RunTasks();
    const bool stepped = core_.Step(/*admit=*/!has_tasks);
    Publish();
    const std::lock_guard lock(mutex_);
    if (stepped) ++stats_.steps;
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
  Publish();
}

}  // namespace ingot::engine
