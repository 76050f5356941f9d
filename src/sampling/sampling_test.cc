#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "sampling/params.h"
#include "sampling/select.h"

namespace ingot::sampling {
namespace {

using ops::UniformAt;

TEST(Philox, GivesTheKnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  const auto philox = [](Words counter, uint32_t key0, uint32_t key1) {
    return std::bit_cast<Words>(ops::Philox4x32(std::bit_cast<ops::Philox4>(counter), key0, key1));
  };
  EXPECT_EQ(philox({0, 0, 0, 0}, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, ~0u, ~0u), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, UniformIsInRangeAndEven) {
  std::array<int, 10> counts{};
  for (uint64_t position = 0; position < 100'000; ++position) {
    const double u = UniformAt(42, position);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++counts[static_cast<size_t>(u * 10)];
  }
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 500);
  EXPECT_NE(UniformAt(1, 5), UniformAt(2, 5));
  EXPECT_NE(UniformAt(1, 5), UniformAt(uint64_t{1} << 32 | 1, 5));
}

// The only products and sums are those of IEEE, so a device has the same bits.
TEST(TokenWeights, AreExponentials) {
  const auto exp_of = [](double x) { return kernels::ExpOfNonPositive(x); };
  EXPECT_EQ(exp_of(0.0), 1.0);
  EXPECT_EQ(exp_of(-std::numeric_limits<double>::infinity()), 0.0);
  EXPECT_EQ(exp_of(-708.5), 0.0);
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> small(-1.0, 0.0), large(-708.0, 0.0);
  for (int i = 0; i < 100'000; ++i) {
    for (const double x : {small(random), large(random)}) {
      const double want = std::exp(x);
      ASSERT_TRUE(std::abs(exp_of(x) - want) <= 2 * 0x1p-52 * want) << x;
    }
  }
  const ops::TokenWeights weights{.max = 3.0, .temperature = 0.5, .min_p = 0.1};
  EXPECT_EQ(weights(3.0f), 1.0);
  EXPECT_EQ(weights(1.0f), 0.0);
  EXPECT_NEAR(weights(2.0f), std::exp(-2.0), 1e-16);
}

TEST(Select, FindsMaximaAndBadNumbers) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (size_t size = 1; size < 70; ++size) {
    std::vector<float> row(size, -3.0f);
    for (size_t at = 0; at < size; ++at) {
      row[at] = 5.0f;
      EXPECT_EQ(FindMax(row).value, 5.0f);
      EXPECT_FALSE(FindMax(row).invalid);
      row[at] = std::nanf("");
      EXPECT_TRUE(FindMax(row).invalid);
      row[at] = infinity;
      EXPECT_TRUE(FindMax(row).invalid);
      row[at] = -infinity;
      EXPECT_FALSE(FindMax(row).invalid);
      row[at] = -3.0f;
    }
  }
  EXPECT_EQ(FindMax(std::vector<float>(33, -infinity)).value, -infinity);
  EXPECT_EQ(FindFirst(std::vector<float>{1, 7, 7}, 7), 1);
}

TEST(Select, TopEqualsAFullSortWithManyTies) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 300; ++round) {
    std::vector<float> row(1 + random() % 3000);
    const uint64_t levels = 1 + random() % 50;
    for (float& x : row) x = static_cast<float>(random() % levels);
    std::vector<Candidate> sorted;
    for (size_t i = 0; i < row.size(); ++i) sorted.push_back({row[i], static_cast<int32_t>(i)});
    std::sort(sorted.begin(), sorted.end(), Before);
    const auto k = static_cast<int64_t>(1 + random() % (row.size() + 3));
    std::vector<Candidate> top;
    top.reserve(row.size());
    const size_t capacity = top.capacity();
    SelectTop(row, k, &top);
    ASSERT_EQ(top.size(), std::min(row.size(), static_cast<size_t>(k)));
    ASSERT_EQ(top.capacity(), capacity);
    for (size_t i = 0; i < top.size(); ++i) ASSERT_EQ(top[i].id, sorted[i].id);
  }
}

TEST(Select, TopKeepsRowsOfMinusInfinity) {
  const std::vector<float> row(1000, -std::numeric_limits<float>::infinity());
  std::vector<Candidate> top;
  SelectTop(row, 3, &top);
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[2].id, 2);
}

}  // namespace
}  // namespace ingot::sampling
