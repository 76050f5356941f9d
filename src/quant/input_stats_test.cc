#include "quant/input_stats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "ops/isa_info.h"

namespace ingot::quant {
namespace {

class InputStatsTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<ops::Backend> backend_ = ops::MakeCpuBackend(3, GetParam());
  const ops::Host host_ = backend_->host();
};

std::vector<float> Random(int64_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> draw(0.1f, 1);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& value : x) value = draw(rng);
  return x;
}

void ExpectStatsOf(const std::vector<float>& x, int64_t channels, const InputStats& stats) {
  const int64_t rows = static_cast<int64_t>(x.size()) / channels;
  ASSERT_EQ(stats.tokens, rows);
  ASSERT_EQ(stats.channels, channels);
  for (int64_t i = 0; i < channels; ++i) {
    double sum = 0, max = 0;
    for (int64_t r = 0; r < rows; ++r) {
      sum += std::fabs(x[r * channels + i]);
      max = std::max(max, double{std::fabs(x[r * channels + i])});
    }
    EXPECT_TRUE(std::abs(stats.abs_sum[i] - sum) <= 1e-5 * sum);
    EXPECT_TRUE(std::abs(stats.abs_max[i] - max) <= 1e-6 * max);
    for (int64_t j = 0; j < channels; ++j) {
      double gram = 0, size = 0;
      for (int64_t r = 0; r < rows; ++r) {
        gram += double{x[r * channels + i]} * x[r * channels + j];
        size += std::fabs(double{x[r * channels + i]} * x[r * channels + j]);
      }
      ASSERT_TRUE(std::abs(stats.gram[i * channels + j] - gram) <= 1e-5 * size) << i << ", " << j;
    }
  }
}

TEST_P(InputStatsTest, SumsOverAllCalls) {
  for (const int64_t channels : {1, 7, 48, 100}) {
    const std::vector<float> x = Random(83 * channels, 1);
    InputStats stats;
    Accumulate(host_, x.data(), 50, channels, &stats);
    Accumulate(host_, x.data() + 50 * channels, 0, channels, &stats);
    Accumulate(host_, x.data() + 50 * channels, 33, channels, &stats);
    ExpectStatsOf(x, channels, stats);
    EXPECT_TRUE(CheckStats(stats).ok());
  }
}

TEST_P(InputStatsTest, MergedStatsAreThoseOfAllTokens) {
  const int64_t channels = 19;
  const std::vector<float> x = Random(60 * channels, 2);
  InputStats first, second;
  Accumulate(host_, x.data(), 20, channels, &first);
  Accumulate(host_, x.data() + 20 * channels, 40, channels, &second);
  Merge(second, &first);
  ExpectStatsOf(x, channels, first);
}

TEST_P(InputStatsTest, ScalesNeedNoNewRun) {
  const int64_t channels = 19, rows = 40;
  std::vector<float> x = Random(rows * channels, 3), scale(channels);
  InputStats stats;
  Accumulate(host_, x.data(), rows, channels, &stats);
  for (int64_t c = 0; c < channels; ++c) scale[c] = 0.5f + 0.25f * static_cast<float>(c);
  for (int64_t i = 0; i < rows * channels; ++i) x[i] /= scale[i % channels];
  DivideInputs(scale, &stats);
  ExpectStatsOf(x, channels, stats);
}

TEST_P(InputStatsTest, NoTokensAndNoNumbersAreRefused) {
  InputStats stats;
  Accumulate(host_, nullptr, 0, 4, &stats);
  EXPECT_NE(CheckStats(stats).message().find("no calibration tokens"), std::string::npos);
  std::vector<float> x = Random(5 * 4, 4);
  for (const float bad : {NAN, INFINITY}) {
    x[6] = bad;
    InputStats broken;
    Accumulate(host_, x.data(), 5, 4, &broken);
    EXPECT_NE(CheckStats(broken).message().find("not finite"), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, InputStatsTest, testing::ValuesIn(ops::GetIsaInfo().available),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace ingot::quant
