#include "event_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace ingot::python {

EventQueue::EventQueue() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

EventQueue::~EventQueue() {
  if (fd_ >= 0) close(fd_);
}

void EventQueue::Put(TaggedEvent event) {
  const MutexLock lock(mutex_);
  events_.push_back(std::move(event));
  if (events_.size() > 1) return;
  filled_.NotifyAll();
  if (fd_ >= 0) eventfd_write(fd_, 1);
}

std::vector<TaggedEvent> EventQueue::Take(std::chrono::milliseconds wait) {
  const auto end = std::chrono::steady_clock::now() + wait;
  const MutexLock lock(mutex_);
  while (events_.empty() && filled_.WaitUntil(mutex_, end)) {
  }
  if (events_.empty()) return {};
  eventfd_t count = 0;
  if (fd_ >= 0) eventfd_read(fd_, &count);
  return std::exchange(events_, {});
}

}  // namespace ingot::python
