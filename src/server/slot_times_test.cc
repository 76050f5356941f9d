#include "server/slot_times.h"

#include <gtest/gtest.h>

#include <limits>

namespace ingot::server {
namespace {

TEST(SlotTimesTest, AreKnownOnceOneHasEnded) {
  SlotTimes times;
  EXPECT_EQ(times.SecondsUntilServed(1000, 4), 0);
  times.Add(2);
  EXPECT_EQ(times.SecondsUntilServed(10, 4), 5);
  EXPECT_EQ(times.SecondsUntilServed(10, 0), 20);
  times.Add(4);
  EXPECT_EQ(times.SecondsUntilServed(10, 1), 30);
  EXPECT_EQ(times.SecondsUntilServed(0, 1), 0);
}

TEST(SlotTimesTest, ForgetWhatWas) {
  SlotTimes times;
  for (int i = 0; i < 100; ++i) times.Add(50);
  for (int i = 0; i < 300; ++i) times.Add(1);
  EXPECT_NEAR(times.SecondsUntilServed(1, 1), 1, 0.01);
}

TEST(SlotTimesTest, RetryAfterIsWholeSecondsWithinBounds) {
  EXPECT_EQ(RetrySeconds(-5), 1);
  EXPECT_EQ(RetrySeconds(0), 1);
  EXPECT_EQ(RetrySeconds(1.01), 2);
  EXPECT_EQ(RetrySeconds(59.5), 60);
  EXPECT_EQ(RetrySeconds(std::numeric_limits<double>::infinity()), 60);
}

}  // namespace
}  // namespace ingot::server
