// The events of running requests, for Python to take: the engine's threads put them here, and never call Python.
#pragma once

#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "llm/llm.h"

namespace ingot::python {

struct TaggedEvent {
  int64_t tag;  // which of the queue's requests
  llm::Event event;
};

// Thread safety: all methods from any thread at once.
class EventQueue {
 public:
  EventQueue();
  ~EventQueue();
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  void Put(TaggedEvent event);
  // All that is there. Where that is nothing, waits for at most `wait` until there is something.
  std::vector<TaggedEvent> Take(std::chrono::milliseconds wait);
  // An eventfd that can be read while there are events: for select, poll and event loops.
  int fd() const { return fd_; }

 private:
  const int fd_;  // -1: the process has no descriptor left
  Mutex mutex_;
  CondVar filled_;
  std::vector<TaggedEvent> events_ INGOT_GUARDED_BY(mutex_);
};

}  // namespace ingot::python
