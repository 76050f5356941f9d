#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "bench/load_generator.h"

namespace ingot::bench {
namespace {

TEST(PoissonArrivals, AreOrderedAndRepeatable) {
  const auto times = PoissonArrivals(1000, 5, 7);
  EXPECT_EQ(times.front(), 0);
  EXPECT_TRUE(std::ranges::is_sorted(times));
  EXPECT_EQ(times, PoissonArrivals(1000, 5, 7));
  EXPECT_NE(times, PoissonArrivals(1000, 5, 8));
  EXPECT_TRUE(PoissonArrivals(0, 5, 7).empty());
}

TEST(PoissonArrivals, AllAtOnceWithoutARate) {
  for (const double time : PoissonArrivals(10, std::numeric_limits<double>::infinity(), 1)) EXPECT_EQ(time, 0);
}

// Gaps are exponential: mean and standard deviation 1 / rate, and a share of 1 - 1/e below that.
TEST(PoissonArrivals, HaveExponentialGaps) {
  constexpr size_t kCount = 200000;
  const auto times = PoissonArrivals(kCount, 4, 3);
  double squares = 0, below = 0;
  for (size_t i = 1; i < kCount; ++i) {
    const double gap = times[i] - times[i - 1];
    squares += gap * gap;
    below += gap < 0.25 ? 1 : 0;
  }
  const double n = kCount - 1, mean = times.back() / n;
  EXPECT_TRUE(std::abs(mean - 0.25) <= 0.25 * 4 / std::sqrt(n)) << mean;  // four standard errors
  EXPECT_TRUE(std::abs(squares / n - 2 * 0.25 * 0.25) <= 0.125 * 0.05) << squares / n;
  EXPECT_TRUE(std::abs(below / n - (1 - std::exp(-1))) <= 0.005) << below / n;
}

}  // namespace
}  // namespace ingot::bench
