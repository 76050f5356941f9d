// A few threads that run tasks in the order they came: for text work (templates, tokenizing) that must not hold up an
// I/O thread.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <limits>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace ingot {

// Thread safety: Post and TryPost from any thread. The destructor runs what was posted, then joins.
class TaskPool {
 public:
  // Of tasks that no thread has taken yet.
  struct Limits {
    size_t tasks = std::numeric_limits<size_t>::max();
    size_t bytes = std::numeric_limits<size_t>::max();
  };
  explicit TaskPool(int num_threads) : TaskPool(num_threads, Limits()) {}
  TaskPool(int num_threads, Limits limits);
  ~TaskPool();
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;

  const Limits& limits() const { return limits_; }
  // Whatever waits already.
  void Post(std::function<void()> task);
  // For a task that keeps `bytes` until it has run. False, and the task is dropped, where as much waits as may; what is
  // larger than the limit alone is taken when nothing else waits.
  bool TryPost(std::function<void()> task, size_t bytes);
  // Tasks that no thread has taken yet.
  size_t num_waiting() const;

 private:
  struct Task {
    std::function<void()> run;
    size_t bytes;
  };
  void Work();

  const Limits limits_;
  mutable Mutex mutex_;
  CondVar ready_;
  std::deque<Task> tasks_ INGOT_GUARDED_BY(mutex_);
  size_t waiting_bytes_ INGOT_GUARDED_BY(mutex_) = 0;
  bool stopping_ INGOT_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace ingot
