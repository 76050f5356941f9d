#include "quant/smooth.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "ops/isa_info.h"
#include "quant/test_layer.h"

namespace ingot::quant {
namespace {

class SmoothTest : public testing::TestWithParam<std::string> {
 protected:
  ThreadPool one_{1};
  std::unique_ptr<ops::Backend> backend_ = ops::MakeCpuBackend(3, GetParam());
  const ops::Host host_ = backend_->host();
};

TokenSample SampleOf(const TestLayer& layer) {
  TokenSample sample;
  AddTokens(layer.x.data(), layer.tokens, layer.channels, &sample);
  return sample;
}

// The nearest of 255 steps, in double, by the definition.
std::vector<double> Int8(const std::vector<double>& values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  std::vector<double> rounded;
  for (const double value : values)
    rounded.push_back(largest == 0 ? 0 : std::nearbyint(value / largest * 127) * largest / 127);
  return rounded;
}

enum class Size { kMax, kMean };

std::vector<double> PlainScale(const TestLayer& layer, double alpha, Size size) {
  std::vector<double> scale(layer.channels, 1.0);
  double min = INFINITY, max = 0;
  for (int64_t c = 0; c < layer.channels && alpha > 0; ++c) {
    double x = 0, w = 0;
    for (int64_t t = 0; t < layer.tokens; ++t) {
      const double value = std::abs(double{layer.x[t * layer.channels + c]});
      x = size == Size::kMax ? std::max(x, value) : x + value;
    }
    for (int64_t r = 0; r < layer.rows; ++r) w = std::max(w, std::abs(double{layer.w[r * layer.channels + c]}));
    scale[c] = std::pow(x, alpha) / std::pow(w, 1 - alpha);
    min = std::min(min, scale[c]);
    max = std::max(max, scale[c]);
  }
  for (double& s : scale) s /= alpha > 0 ? std::sqrt(min * max) : 1;
  return scale;
}

// Σ over tokens of |error|² / |y|², as plain loops.
double PlainError(const TestLayer& layer, const std::vector<double>& scale) {
  const int64_t channels = layer.channels;
  std::vector<std::vector<double>> w;
  for (int64_t r = 0; r < layer.rows; ++r) {
    std::vector<double> row(channels);
    for (int64_t c = 0; c < channels; ++c) row[c] = layer.w[r * channels + c] * scale[c];
    w.push_back(Int8(row));
  }
  double sum = 0;
  for (int64_t t = 0; t < layer.tokens; ++t) {
    std::vector<double> x(channels);
    for (int64_t c = 0; c < channels; ++c) x[c] = layer.x[t * channels + c] / scale[c];
    x = Int8(x);
    double error = 0, size = 0;
    for (int64_t r = 0; r < layer.rows; ++r) {
      double exact = 0, got = 0;
      for (int64_t c = 0; c < channels; ++c) {
        exact += double{layer.w[r * channels + c]} * layer.x[t * channels + c];
        got += w[r][c] * x[c];
      }
      error += (got - exact) * (got - exact);
      size += exact * exact;
    }
    sum += error / size;
  }
  return sum;
}

TEST_P(SmoothTest, TakesTheScaleWithTheLeastError) {
  for (const int64_t rows : {5, 30}) {
    TestLayer layer(host_, rows, 70, 100, 1);
    for (size_t i = 0; i < layer.w.size(); ++i) layer.w[i] *= i % 70 % 9 == 4 ? 6.0f : 1.0f;
    const LinearWeight linears[] = {{layer.w.data(), 2}, {layer.w.data() + 2 * 70, rows - 2}};
    const InputScale found = SearchSmoothing(host_, linears, layer.stats, SampleOf(layer));
    double least = INFINITY;
    std::vector<double> best;
    for (const Size size : {Size::kMax, Size::kMean}) {
      for (int i = 0; i < 20; ++i) {
        const std::vector<double> scale = PlainScale(layer, i / 20.0, size);
        const double error = PlainError(layer, scale);
        if (error < least) best = scale;
        least = std::min(least, error);
      }
    }
    const double plain = PlainError(layer, std::vector<double>(70, 1.0));
    EXPECT_TRUE(std::abs(found.error - least) <= 0.02 * least) << found.error << ", " << least;
    EXPECT_TRUE(std::abs(found.plain_error - plain) <= 0.02 * plain) << found.plain_error << ", " << plain;
    EXPECT_TRUE(least < 0.5 * plain) << least / plain;  // some channels are twelve times as large as others
    const std::vector<double> scale(found.scale.begin(), found.scale.end());
    EXPECT_TRUE(PlainError(layer, scale) <= 1.02 * least);
  }
}

// Inputs 2·i and 2·i + 1 are one number of the layer before.
TEST_P(SmoothTest, PooledInputsShareTheirScale) {
  const TestLayer layer(host_, 24, 128, 120, 12);
  std::vector<int32_t> pools(128);
  for (int32_t c = 0; c < 128; ++c) pools[c] = c / 2;
  const LinearWeight linear[] = {{layer.w.data(), 24}};
  const InputScale found = SearchSmoothing(host_, linear, layer.stats, SampleOf(layer), pools);
  EXPECT_GT(found.exponent, 0);
  EXPECT_TRUE(found.error < found.plain_error);
  for (size_t c = 0; c < 128; c += 2) EXPECT_EQ(found.scale[c], found.scale[c + 1]);
  EXPECT_NE(found.scale[4], found.scale[6]);  // 5 is one of the large ones
}

TEST_P(SmoothTest, DeadInputsAndDeadTokens) {
  TestLayer layer(host_, 6, 40, 60, 2);
  for (size_t i = 0; i < layer.x.size(); ++i) layer.x[i] *= i % 40 < 3 || i / 40 == 7 ? 0.0f : 1.0f;
  for (size_t i = 0; i < layer.w.size(); ++i) layer.w[i] *= i % 40 == 2 || i % 40 == 9 ? 0.0f : 1.0f;
  layer.stats = {};
  Accumulate(host_, layer.x.data(), 60, 40, &layer.stats);
  const LinearWeight linear[] = {{layer.w.data(), 6}};
  const InputScale found = SearchSmoothing(host_, linear, layer.stats, SampleOf(layer));
  EXPECT_TRUE(std::isfinite(found.error) && found.error <= found.plain_error);
  for (const float s : found.scale) EXPECT_TRUE(s > 1e-5f && s < 1e5f);

  std::fill(layer.x.begin(), layer.x.end(), 0.0f);
  layer.stats = {};
  Accumulate(host_, layer.x.data(), 60, 40, &layer.stats);
  EXPECT_EQ(SearchSmoothing(host_, linear, layer.stats, SampleOf(layer)).scale, std::vector<float>(40, 1.0f));
}

TEST_P(SmoothTest, ThreadsChangeNothing) {
  const TestLayer layer(host_, 250, 64, 60, 3);
  ops::Host alone = host_;
  alone.pool = &one_;
  const LinearWeight linear[] = {{layer.w.data(), 250}};
  const InputScale a = SearchSmoothing(host_, linear, layer.stats, SampleOf(layer));
  const InputScale b = SearchSmoothing(alone, linear, layer.stats, SampleOf(layer));
  EXPECT_EQ(a.scale, b.scale);
  EXPECT_EQ(a.error, b.error);
}

TEST(TokenSampleTest, EveryTokenHasTheSameChance) {
  for (const int64_t rows : {0, 1, 255, 256, 257, 100000}) {
    TokenSample sample;
    for (int64_t t = 0; t < rows;) {  // token t is (t, -t)
      const int64_t count = std::min<int64_t>(rows - t, 37);
      std::vector<float> x;
      for (int64_t i = t; i < t + count; ++i) x.insert(x.end(), {static_cast<float>(i), -static_cast<float>(i)});
      AddTokens(x.data(), count, 2, &sample);
      t += count;
    }
    EXPECT_EQ(sample.seen, rows);
    EXPECT_EQ(sample.rows, std::min(rows, kSampledTokens));
    ASSERT_EQ(static_cast<int64_t>(sample.x.size()), 2 * sample.rows);
    std::vector<int64_t> tokens, tenths(10);
    for (int64_t i = 0; i < sample.rows; ++i) {
      tokens.push_back(static_cast<int64_t>(sample.x[2 * i]));
      EXPECT_EQ(sample.x[2 * i + 1], -sample.x[2 * i]);
      ++tenths[tokens.back() * 10 / rows];
    }
    std::sort(tokens.begin(), tokens.end());
    EXPECT_EQ(std::adjacent_find(tokens.begin(), tokens.end()), tokens.end());  // none twice
    for (const int64_t count : tenths) {  // 25.6 each, give or take five standard deviations
      if (rows == 100000) EXPECT_TRUE(count >= 2 && count <= 50) << count;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, SmoothTest, testing::ValuesIn(ops::GetIsaInfo().available),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace ingot::quant
