#include "base/thread_pool.h"

#include <pthread.h>

#include <chrono>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/signal_stack.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ingot {
namespace {

// Layers of a forward pass follow each other within some microseconds; a futex wake costs 5…50 µs.
constexpr std::chrono::microseconds kSpin{50};

// The gate: [generation: 21 bits][open: 1][workers inside: 10].
constexpr uint32_t kInside = (1u << 10) - 1;
constexpr uint32_t kOpen = 1u << 10;
constexpr uint32_t kGeneration = ~(kInside | kOpen);
constexpr uint32_t kOneGeneration = kOpen << 1;
constexpr int kMaxThreads = static_cast<int>(kInside);

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Spins until done() or the time is over; returns whether done.
template <typename F>
bool SpinUntil(std::chrono::microseconds limit, F done) {
  if (done()) return true;
  const auto end = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < end) {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      Pause();
    }
  }
  return done();
}

}  // namespace

// A job is open or closed. Workers join an open one; those that come late find it closed and wait for the next: a
// sleeping or preempted worker never delays the caller. The caller closes the job when no index is left and waits for
// those inside. body and n are written only while the gate is closed and no thread is inside.
struct ThreadPool::State {
  using Body = FunctionRef<void(int64_t, int)>;
  alignas(64) std::atomic<uint32_t> gate{0};
  alignas(64) std::atomic<int64_t> next{0};      // the first index not taken
  alignas(64) std::atomic<uint32_t> emptied{0};  // counts how often the last worker left a closed job
  std::atomic<bool> stop{false};
  const Body* body = nullptr;
  int64_t n = 0;
  bool running = false;
  std::chrono::microseconds spin{0};
  std::vector<std::thread> workers;

  void TakeIndices(int worker) {
    for (;;) {
      const int64_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= n) return;
      (*body)(index, worker);
    }
  }

  bool Join() {
    uint32_t seen = gate.load(std::memory_order_relaxed);
    while ((seen & kOpen) != 0) {
      if (gate.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    }
    return false;
  }

  void Leave() {
    const uint32_t left = gate.fetch_sub(1, std::memory_order_seq_cst) - 1;
    if ((left & (kOpen | kInside)) != 0) return;
    emptied.fetch_add(1, std::memory_order_seq_cst);
    emptied.notify_one();
  }

  void Work(int worker) {
    const SignalStack signal_stack;
    uint32_t generation = 0;
    for (;;) {
      const auto changed = [&] { return (gate.load(std::memory_order_acquire) & kGeneration) != generation; };
      if (!SpinUntil(spin, changed)) {
        const uint32_t now = gate.load(std::memory_order_seq_cst);
        if ((now & kGeneration) == generation) gate.wait(now, std::memory_order_seq_cst);
        continue;
      }
      // In this order: a worker that sees the generation that the destructor began sees `stop`, too.
      generation = gate.load(std::memory_order_acquire) & kGeneration;
      if (stop.load(std::memory_order_acquire)) return;
      if (!Join()) continue;
      // The job joined may be newer than the one seen.
      generation = gate.load(std::memory_order_relaxed) & kGeneration;
      TakeIndices(worker);
      Leave();
    }
  }

  void Open() {
    const uint32_t generation = (gate.load(std::memory_order_relaxed) & kGeneration) + kOneGeneration;
    gate.store(generation | kOpen, std::memory_order_seq_cst);
    gate.notify_all();
  }

  void CloseAndWait() {
    gate.fetch_and(~kOpen, std::memory_order_seq_cst);
    const auto empty = [&] { return (gate.load(std::memory_order_seq_cst) & kInside) == 0; };
    while (!SpinUntil(spin, empty)) {
      const uint32_t seen = emptied.load(std::memory_order_seq_cst);
      if (empty()) break;
      emptied.wait(seen, std::memory_order_seq_cst);
    }
  }
};

ThreadPool::ThreadPool(int num_threads) : num_threads_(num_threads), state_(std::make_unique<State>()) {
  INGOT_CHECK(num_threads >= 1 && num_threads <= kMaxThreads);
  // With more threads than CPUs a spinning thread only keeps the one it waits for from running.
  if (static_cast<unsigned>(num_threads) <= std::thread::hardware_concurrency()) state_->spin = kSpin;
  for (int worker = 1; worker < num_threads; ++worker) {
    std::thread thread([state = state_.get(), worker] { state->Work(worker); });
    pthread_setname_np(thread.native_handle(), "ingot-worker");
    state_->workers.push_back(std::move(thread));
  }
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true, std::memory_order_release);
  state_->gate.fetch_add(kOneGeneration, std::memory_order_seq_cst);
  state_->gate.notify_all();
  for (std::thread& thread : state_->workers) thread.join();
}

void ThreadPool::ParallelForWorker(int64_t n, FunctionRef<void(int64_t index, int worker)> body) {
  State& state = *state_;
  INGOT_CHECK(!state.running);
  state.running = true;
  if (num_threads_ == 1 || n <= 1) {
    for (int64_t index = 0; index < n; ++index) body(index, 0);
  } else {
    state.body = &body;
    state.n = n;
    state.next.store(0, std::memory_order_relaxed);
    state.Open();
    state.TakeIndices(0);
    state.CloseAndWait();
  }
  state.running = false;
}

}  // namespace ingot
