#include "base/task_pool.h"

#include <exception>
#include <utility>

#include "base/log.h"
#include "base/signal_stack.h"

namespace ingot {
namespace {

// A task that throws, which is a bug, costs its own request an answer, not the process.
void RunOne(const std::function<void()>& task) {
  try {
    task();
  } catch (const std::exception& error) {
    Log(LogLevel::kError, "a task ended with an exception: {}", error.what());
  }
}

}  // namespace

TaskPool::TaskPool(int num_threads, Limits limits) : limits_(limits) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Work(); });
}

TaskPool::~TaskPool() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  ready_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void TaskPool::Post(std::function<void()> task) {
  {
    const MutexLock lock(mutex_);
    tasks_.push_back({std::move(task), 0});
  }
  ready_.NotifyOne();
}

bool TaskPool::TryPost(std::function<void()> task, size_t bytes) {
  {
    const MutexLock lock(mutex_);
    const bool has_room = tasks_.size() < limits_.tasks && waiting_bytes_ + bytes <= limits_.bytes;
    if (!tasks_.empty() && !has_room) return false;
    waiting_bytes_ += bytes;
    tasks_.push_back({std::move(task), bytes});
  }
  ready_.NotifyOne();
  return true;
}

size_t TaskPool::num_waiting() const {
  const MutexLock lock(mutex_);
  return tasks_.size();
}

void TaskPool::Work() {
  const SignalStack signal_stack;
  for (;;) {
    Task task;
    {
      const MutexLock lock(mutex_);
      while (!stopping_ && tasks_.empty()) ready_.Wait(mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
      waiting_bytes_ -= task.bytes;
    }
    RunOne(task.run);
  }
}

}  // namespace ingot
