// Workers for data-parallel loops.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace ingot {

// A borrowed callable, two words, no allocation. Valid while the callable it was made from lives.
template <typename Signature>
class FunctionRef;
template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  template <typename F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
  FunctionRef(F&& f)  // NOLINT: implicit on purpose
      : object_(const_cast<void*>(static_cast<const void*>(&f))), call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(args...);
        }) {}
  R operator()(Args... args) const { return call_(object_, args...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// A pool of num_threads - 1 workers; the caller of Run is the last. Workers spin for some microseconds between calls,
// then sleep. Run allocates nothing.
// Thread safety: one Run at a time (the owner's thread). Nested Run is a bug.
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls body(i) for each i in [0, n); which thread takes which i is dynamic, so body must not care. Returns when all
  // are done.
  void ParallelFor(int64_t n, FunctionRef<void(int64_t index)> body) {
    ParallelForWorker(n, [&](int64_t index, int) { body(index); });
  }
  // The same, with the number of the thread in [0, num_threads()), for scratch memory per thread.
  void ParallelForWorker(int64_t n, FunctionRef<void(int64_t index, int worker)> body);

 private:
  struct State;
  int num_threads_;
  std::unique_ptr<State> state_;
};

}  // namespace ingot
