// How long requests hold their slots, and so when one that found the queue full may come back.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <mutex>

#include "base/mutex.h"

namespace ingot::server {

inline constexpr int kMaxRetrySeconds = 60;

// What Retry-After says for so long a wait: whole seconds, 1…kMaxRetrySeconds.
inline int RetrySeconds(double seconds) {
  return static_cast<int>(std::ceil(std::clamp(seconds, 1.0, double{kMaxRetrySeconds})));
}

// Thread safety: all methods from any thread.
class SlotTimes {
 public:
  // Of a request that ended.
  void Add(double seconds) {
    const MutexLock lock(mutex_);
    count_ = std::min(count_ + 1, kRemembered);
    mean_ += (seconds - mean_) / count_;
  }
  // Until all that wait have had a slot: waiting · mean / running. 0 while none has ended.
  double SecondsUntilServed(int64_t waiting, int64_t running) const {
    const MutexLock lock(mutex_);
    return mean_ * static_cast<double>(waiting) / static_cast<double>(std::max<int64_t>(1, running));
  }

 private:
  static constexpr int kRemembered = 32;  // what came before counts less and less
  mutable Mutex mutex_;
  int count_ INGOT_GUARDED_BY(mutex_) = 0;
  double mean_ INGOT_GUARDED_BY(mutex_) = 0;
};

}  // namespace ingot::server
