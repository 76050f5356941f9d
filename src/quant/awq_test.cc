#include "quant/awq.h"

#include <gtest/gtest.h>

#include "ops/isa_info.h"
#include "quant/output_error.h"
#include "quant/round_to_nearest.h"
#include "quant/test_layer.h"
#include "tensor/dtype.h"

namespace ingot::quant {
namespace {

using Zero = Format::Zero;

class AwqTest : public testing::TestWithParam<std::string> {
 protected:
  ThreadPool one_{1};
  std::unique_ptr<ops::Backend> backend_ = ops::MakeCpuBackend(3, GetParam());
  const ops::Host host_ = backend_->host();
};

std::vector<Format> Formats() {
  return {{.bits = 4, .group_size = 64, .zero = Zero::kInteger},
          {.bits = 4, .group_size = 32},
          {.bits = 4, .group_size = 32, .zero = Zero::kMin},
          {.bits = 3, .group_size = 0, .zero = Zero::kInteger}};
}

std::vector<float> Rounded(const std::vector<float>& w, int64_t channels, const Format& format) {
  WeightRows rows;
  RoundToNearest(w.data(), static_cast<int64_t>(w.size()) / channels, channels, format, &rows);
  return ValuesOf(rows);
}

// The error as a plain loop over tokens, the exponents as the paper writes them.
double PlainErrorAt(const TestLayer& layer, const Format& format, double exponent) {
  std::vector<double> scale(layer.channels);
  double min = INFINITY, max = 0;
  for (int64_t c = 0; c < layer.channels; ++c) {
    double mean = 0;
    for (int64_t t = 0; t < layer.tokens; ++t)
      mean += std::fabs(double{layer.x[t * layer.channels + c]}) / layer.tokens;
    scale[c] = std::pow(mean, exponent);
    min = std::min(min, scale[c]);
    max = std::max(max, scale[c]);
  }
  std::vector<float> w = layer.w;
  for (size_t i = 0; i < w.size(); ++i) w[i] *= static_cast<float>(scale[i % layer.channels] / std::sqrt(min * max));
  std::vector<float> q = Rounded(w, layer.channels, format);
  for (size_t i = 0; i < q.size(); ++i) q[i] /= static_cast<float>(scale[i % layer.channels] / std::sqrt(min * max));
  return layer.ErrorOf(q);
}

TEST_P(AwqTest, OutputErrorIsThatOfTheTokens) {
  for (const int64_t rows : {1, 5, 200}) {
    const TestLayer layer(host_, rows, 33, 50, 1);
    std::vector<float> q = layer.w, d(q.size());
    for (size_t i = 0; i < q.size(); ++i) q[i] += d[i] = 0.01f * std::sin(static_cast<float>(i));
    const double want = layer.ErrorOf(q), got = OutputError(host_, d.data(), rows, layer.stats);
    EXPECT_TRUE(std::abs(got - want) <= 1e-4 * want) << rows;
  }
}

TEST_P(AwqTest, TakesTheExponentWithTheLeastError) {
  for (const Format& format : Formats()) {
    const TestLayer layer(host_, 24, 128, 120, 2);
    const LinearWeight linears[] = {{layer.w.data(), 10}, {layer.w.data() + 10 * 128, 14}};  // as q and k, v
    const InputScale found = SearchScale(host_, linears, layer.stats, format);
    double least = INFINITY;
    for (int i = 0; i < 20; ++i) least = std::min(least, PlainErrorAt(layer, format, i / 20.0));
    const double plain = PlainErrorAt(layer, format, 0), got = PlainErrorAt(layer, format, double{found.exponent});
    EXPECT_TRUE(got <= 1.01 * least) << format.ToString();
    EXPECT_TRUE(std::abs(found.error - got) <= 0.02 * got) << format.ToString();
    EXPECT_TRUE(std::abs(found.plain_error - plain) <= 1e-3 * plain) << format.ToString();
    EXPECT_TRUE(found.error <= found.plain_error);
    if (format.group_size == 64) EXPECT_TRUE(found.error < 0.8 * found.plain_error) << found.error / found.plain_error;
  }
}

// Inputs 2·i and 2·i + 1 are one number of the layer before.
TEST_P(AwqTest, PooledInputsShareTheirScale) {
  const TestLayer layer(host_, 24, 128, 120, 12);
  std::vector<int32_t> pools(128);
  for (int32_t c = 0; c < 128; ++c) pools[c] = c / 2;
  const LinearWeight linear[] = {{layer.w.data(), 24}};
  const InputScale found =
      SearchScale(host_, linear, layer.stats, {.bits = 4, .group_size = 64, .zero = Zero::kInteger}, pools);
  EXPECT_GT(found.exponent, 0);
  EXPECT_TRUE(found.error < found.plain_error);
  for (size_t c = 0; c < 128; c += 2) EXPECT_EQ(found.scale[c], found.scale[c + 1]);
  EXPECT_NE(found.scale[4], found.scale[6]);  // 5 is one of the large ones
}

TEST_P(AwqTest, DeadInputsKeepScalesInBounds) {
  TestLayer layer(host_, 8, 64, 50, 3);
  for (size_t i = 0; i < layer.x.size(); ++i) layer.x[i] *= i % 64 < 3 ? 0.0f : 1.0f;
  layer.stats = {};
  Accumulate(host_, layer.x.data(), 50, 64, &layer.stats);
  const LinearWeight linear[] = {{layer.w.data(), 8}};
  const InputScale found = SearchScale(host_, linear, layer.stats, {.bits = 4, .group_size = 32});
  for (const float s : found.scale) EXPECT_TRUE(s >= 0.005f && s <= 200);

  layer.stats = {};
  const std::vector<float> zeros(64);
  Accumulate(host_, zeros.data(), 1, 64, &layer.stats);
  const InputScale none = SearchScale(host_, linear, layer.stats, {.bits = 4, .group_size = 32});
  EXPECT_EQ(none.exponent, 0);
  EXPECT_EQ(none.scale, std::vector<float>(64, 1.0f));
}

TEST_P(AwqTest, ClippingBeatsRoundingInEveryRow) {
  for (const Format& format : Formats()) {
    for (const int64_t rows : {1, 7, 130}) {
      const TestLayer layer(host_, rows, 128, 100, 4);
      WeightRows clipped;
      RoundClipped(host_, {layer.w.data(), rows}, layer.stats, format, &clipped);
      const std::vector<float> plain = Rounded(layer.w, 128, format), better = ValuesOf(clipped);
      TestLayer one = layer;
      one.rows = 1;
      for (int64_t r = 0; r < rows; ++r) {
        one.w.assign(&layer.w[r * 128], &layer.w[r * 128] + 128);
        const double before = one.ErrorOf({&plain[r * 128], &plain[r * 128] + 128});
        const double after = one.ErrorOf({&better[r * 128], &better[r * 128] + 128});
        EXPECT_TRUE(after <= before * 1.001) << format.ToString() << " row " << r;
      }
      const double before = layer.ErrorOf(plain), after = layer.ErrorOf(better);
      EXPECT_TRUE(after <= 0.85 * before) << format.ToString() << ": " << after / before;
    }
  }
}

TEST_P(AwqTest, ClippedCodesAreTheNearestOnGridsThatFilesHold) {
  for (const Format& format : Formats()) {
    const TestLayer layer(host_, 9, 64, 60, 5);
    WeightRows clipped, again;
    RoundClipped(host_, {layer.w.data(), 9}, layer.stats, format, &clipped);
    again = clipped;
    RoundToGrids(layer.w.data(), &again);
    EXPECT_EQ(again.codes, clipped.codes);
    for (const float scale : clipped.scale) EXPECT_EQ(F16ToF32(F32ToF16(scale)), scale);
    for (const float zero : clipped.zero) {
      if (format.zero == Zero::kInteger)
        EXPECT_TRUE(zero >= 0 && zero < (1 << format.bits) && zero == std::floor(zero));
      if (format.zero == Zero::kMin) EXPECT_EQ(F16ToF32(F32ToF16(zero)), zero);
    }
  }
}

TEST_P(AwqTest, ThreadsChangeNothing) {
  const TestLayer layer(host_, 250, 64, 60, 6);
  const Format format{.bits = 4, .group_size = 32, .zero = Zero::kInteger};
  ops::Host alone = host_;
  alone.pool = &one_;
  const LinearWeight linear{layer.w.data(), 250};
  WeightRows a, b;
  RoundClipped(host_, linear, layer.stats, format, &a);
  RoundClipped(alone, linear, layer.stats, format, &b);
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.scale, b.scale);
  EXPECT_EQ(a.zero, b.zero);
  const LinearWeight linears[] = {linear};
  EXPECT_EQ(SearchScale(host_, linears, layer.stats, format).error,
            SearchScale(alone, linears, layer.stats, format).error);
}

INSTANTIATE_TEST_SUITE_P(Isas, AwqTest, testing::ValuesIn(ops::GetIsaInfo().available),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace ingot::quant
