#include "base/task_pool.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <stdexcept>
#include <utility>

namespace ingot {
namespace {

// A pool whose one thread waits, so that what comes after stays in the queue.
class HeldPool {
 public:
  explicit HeldPool(TaskPool::Limits limits) : pool_(1, limits) {
    std::promise<void> started;
    pool_.Post([this, &started] {
      started.set_value();
      go_on_.get_future().wait();
    });
    started.get_future().wait();
  }
  ~HeldPool() { Release(); }
  void Release() {
    if (!std::exchange(released_, true)) go_on_.set_value();
  }
  TaskPool& operator*() { return pool_; }

 private:
  std::promise<void> go_on_;
  bool released_ = false;
  TaskPool pool_;
};

TEST(TaskPool, RefusesMoreTasksThanMayWaitButRunsThoseItTook) {
  int ran = 0;
  {
    HeldPool pool({.tasks = 3});
    for (int i = 0; i < 5; ++i) EXPECT_EQ((*pool).TryPost([&] { ++ran; }, 1), i < 3) << i;
    (*pool).Post([&] { ran += 10; });  // is never refused
    pool.Release();
  }
  EXPECT_EQ(ran, 13);
}

TEST(TaskPool, AnExceptionEndsOnlyItsTask) {
  TaskPool pool(1, {});
  const auto held = std::make_shared<int>(0);
  pool.Post([held] { throw std::runtime_error("a bug"); });
  std::promise<void> ran;
  pool.Post([&] { ran.set_value(); });
  ran.get_future().wait();
  EXPECT_EQ(held.use_count(), 1);  // what the task had is gone, so that its request is answered
}

TEST(TaskPool, CountsTheBytesThatWait) {
  HeldPool pool({.bytes = 100});
  EXPECT_TRUE((*pool).TryPost([] {}, 60));
  EXPECT_FALSE((*pool).TryPost([] {}, 41));
  EXPECT_TRUE((*pool).TryPost([] {}, 40));
  std::promise<void> ran;
  (*pool).Post([&] { ran.set_value(); });
  pool.Release();
  ran.get_future().wait();
  EXPECT_TRUE((*pool).TryPost([] {}, 100));  // what has run counts no more
}

TEST(TaskPool, TakesATaskOfAnySizeWhenNothingWaits) {
  HeldPool pool({.tasks = 1, .bytes = 100});
  EXPECT_TRUE((*pool).TryPost([] {}, 1000));
  EXPECT_FALSE((*pool).TryPost([] {}, 1));
}

}  // namespace
}  // namespace ingot
