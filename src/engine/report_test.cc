#include "engine/report.h"

#include <gtest/gtest.h>

namespace ingot::engine {
namespace {

TEST(StepTokens, BucketsHaveTheirUpperBound) {
  StepTokens counts;
  for (const int64_t tokens : {1, 2, 3, 4, 5, 8192, 8193, 1'000'000}) counts.Add(tokens);
  EXPECT_EQ(counts.tokens, 1 + 2 + 3 + 4 + 5 + 8192 + 8193 + 1'000'000);
  EXPECT_EQ(counts.steps, (std::array<int64_t, 15>{1, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2}));
}

}  // namespace
}  // namespace ingot::engine
