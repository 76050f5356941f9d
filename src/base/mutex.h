// Locks that clang can check: with -Wthread-safety, touching what is guarded without its mutex is an error.
//
//   Mutex mutex_;
//   int count_ INGOT_GUARDED_BY(mutex_) = 0;
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#pragma clang diagnostic error "-Wthread-safety"
#define INGOT_THREAD_ATTRIBUTE(attribute) __attribute__((attribute))
#else
#define INGOT_THREAD_ATTRIBUTE(attribute)
#endif
#define INGOT_GUARDED_BY(mutex) INGOT_THREAD_ATTRIBUTE(guarded_by(mutex))
#define INGOT_REQUIRES(mutex) INGOT_THREAD_ATTRIBUTE(requires_capability(mutex))  // of a function: it is held

namespace ingot {

class INGOT_THREAD_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  void Lock() INGOT_THREAD_ATTRIBUTE(acquire_capability()) { mutex_.lock(); }
  void Unlock() INGOT_THREAD_ATTRIBUTE(release_capability()) { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

// Holds the mutex until the end of its scope.
class INGOT_THREAD_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) INGOT_THREAD_ATTRIBUTE(acquire_capability(mutex)) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() INGOT_THREAD_ATTRIBUTE(release_capability()) { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Waits wake without cause, too: call them in a loop that looks at the condition.
class CondVar {
 public:
  void Wait(Mutex& mutex) INGOT_REQUIRES(mutex) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // False: the time is over.
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point time) INGOT_REQUIRES(mutex) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    const bool in_time = condition_.wait_until(lock, time) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace ingot
