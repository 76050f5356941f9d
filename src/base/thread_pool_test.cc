#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#if defined(__SANITIZE_THREAD__)
#define INGOT_TSAN 1
#elif defined(__has_feature)
#define INGOT_TSAN __has_feature(thread_sanitizer)
#else
#define INGOT_TSAN 0
#endif

// Counts allocations, to show that a call makes none. TSan brings its own operators.
#if !INGOT_TSAN
static std::atomic<int64_t> g_allocations{0};
void* operator new(size_t size) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
#endif

namespace ingot {
namespace {

TEST(ThreadPool, EachIndexOnceAndVisibleAfterwards) {
  for (const int num_threads : {1, 2, 3, 8}) {
    ThreadPool pool(num_threads);
    EXPECT_EQ(pool.num_threads(), num_threads);
    for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{17}, int64_t{1000}}) {
      for (int round = 0; round < 50; ++round) {
        std::vector<int> counts(static_cast<size_t>(n));  // plain ints: the pool orders the accesses
        pool.ParallelForWorker(n, [&](int64_t index, int worker) {
          ASSERT_GE(worker, 0);
          ASSERT_LT(worker, num_threads);
          ++counts[static_cast<size_t>(index)];
        });
        for (const int count : counts) ASSERT_EQ(count, 1);
      }
    }
  }
}

TEST(ThreadPool, NoTwoThreadsShareAWorkerNumber) {
  ThreadPool pool(4);
  std::vector<std::atomic<bool>> busy(4);
  for (int round = 0; round < 200; ++round) {
    pool.ParallelForWorker(64, [&](int64_t, int worker) {
      ASSERT_FALSE(busy[static_cast<size_t>(worker)].exchange(true));
      std::this_thread::yield();
      busy[static_cast<size_t>(worker)].store(false);
    });
  }
}

TEST(ThreadPool, WorkersWakeAfterSleeping) {
  ThreadPool pool(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    // Neither index ends before both have begun: this hangs unless two threads take part.
    std::atomic<int> begun{0};
    pool.ParallelFor(2, [&](int64_t) {
      begun.fetch_add(1);
      while (begun.load() < 2) std::this_thread::yield();
    });
  }
}

TEST(ThreadPool, ManyShortCallsLoseNothing) {
  ThreadPool pool(3);
  int64_t sum = 0;
  std::vector<int64_t> partial(3 * 8);  // [num_threads] sums, a cache line each
  for (int round = 0; round < 100'000; ++round) {
    pool.ParallelForWorker(3, [&](int64_t index, int worker) { partial[static_cast<size_t>(worker) * 8] += index; });
  }
  for (size_t worker = 0; worker < 3; ++worker) sum += partial[worker * 8];
  EXPECT_EQ(sum, 3 * 100'000);
}

#if !INGOT_TSAN
TEST(ThreadPool, CallsAllocateNothing) {
  ThreadPool pool(2);
  std::atomic<int64_t> sum{0};
  pool.ParallelFor(8, [&](int64_t index) { sum += index; });
  const int64_t before = g_allocations.load();
  for (int round = 0; round < 100; ++round) pool.ParallelFor(8, [&](int64_t index) { sum += index; });
  EXPECT_EQ(g_allocations.load(), before);
}
#endif

TEST(ThreadPool, EndsWhileWorkersSleepOrSpin) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(4);
    if (round % 2 == 0) pool.ParallelFor(4, [](int64_t) {});
    if (round % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST(ThreadPoolDeathTest, NestedCallIsABug) {
  EXPECT_DEATH(
      {
        ThreadPool pool(1);
        pool.ParallelFor(1, [&](int64_t) { pool.ParallelFor(1, [](int64_t) {}); });
      },
      "check failed");
}

// A worker that is between two jobs when the pool ends must not sleep through it.
TEST(ThreadPool, EndsRightAfterAJob) {
  for (int round = 0; round < 1000; ++round) {
    std::atomic<int> sum = 0;
    {
      ThreadPool pool(round % 4 + 2);
      for (int job = round % 3; job > 0; --job) pool.ParallelFor(2, [&](int64_t) { sum.fetch_add(1); });
    }
    ASSERT_EQ(sum, 2 * (round % 3));
  }
}

}  // namespace
}  // namespace ingot
