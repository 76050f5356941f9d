#include "quant/gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "ops/isa_info.h"
#include "quant/cholesky.h"
#include "quant/round_to_nearest.h"
#include "quant/smooth.h"
#include "quant/test_layer.h"
#include "tensor/dtype.h"

namespace ingot::quant {
namespace {

using Zero = Format::Zero;
using Matrix = std::vector<double>;  // square, row-major

class GptqTest : public testing::TestWithParam<std::string> {
 protected:
  GptqWeight Quantize(const TestLayer& layer, const Format& format, const GptqOptions& options = {}) {
    auto result = Gptq(host_, {layer.w.data(), layer.rows}, layer.stats, format, options);
    EXPECT_TRUE(result.has_value());
    return *std::move(result);
  }
  WeightRows Nearest(const TestLayer& layer, const Format& format) {
    WeightRows rows;
    RoundToNearest(layer.w.data(), layer.rows, layer.channels, format, &rows);
    return rows;
  }
  ThreadPool one_{1};
  std::unique_ptr<ops::Backend> backend_ = ops::MakeCpuBackend(3, GetParam());
  const ops::Host host_ = backend_->host();
};

// Weights with the columns in the order of the inputs.
std::vector<float> InInputOrder(const GptqWeight& weight) {
  const std::vector<float> values = ValuesOf(weight.rows);
  if (weight.order.empty()) return values;
  std::vector<float> sorted(values.size());
  const int64_t cols = weight.rows.cols;
  for (size_t i = 0; i < values.size(); ++i) {
    sorted[static_cast<int64_t>(i) / cols * cols + weight.order[static_cast<int64_t>(i) % cols]] = values[i];
  }
  return sorted;
}

Matrix Inverse(Matrix a, int64_t n) {  // Gauss and Jordan
  Matrix inverse(a.size());
  for (int64_t i = 0; i < n; ++i) inverse[i * n + i] = 1;
  for (int64_t k = 0; k < n; ++k) {
    const double pivot = a[k * n + k];
    for (int64_t j = 0; j < n; ++j) {
      a[k * n + j] /= pivot;
      inverse[k * n + j] /= pivot;
    }
    for (int64_t i = 0; i < n; ++i) {
      const double factor = a[i * n + k];
      if (i == k || factor == 0) continue;
      for (int64_t j = 0; j < n; ++j) {
        a[i * n + j] -= factor * a[k * n + j];
        inverse[i * n + j] -= factor * inverse[k * n + j];
      }
    }
  }
  return inverse;
}

// GPTQ as its paper's first steps say it, in double: round an input to its grid, spread its error over the inputs that
// are left by the inverse of their Hessian, and take the input out of it.   The weights' values, input order[k] k-th.
std::vector<float> PlainGptq(const TestLayer& layer, const WeightRows& grids, const std::vector<int32_t>& order) {
  const int64_t n = layer.channels, group = grids.format.group_size;
  double mean = 0;
  for (int64_t c = 0; c < n; ++c) mean += double{layer.stats.gram[c * n + c]} / static_cast<double>(n);
  std::vector<double> w(layer.w.begin(), layer.w.end());
  std::vector<float> q(w.size());
  for (int64_t k = 0; k < n; ++k) {
    const int64_t left = n - k;
    Matrix h(left * left);
    for (int64_t i = 0; i < left; ++i) {
      for (int64_t j = 0; j < left; ++j) {
        h[i * left + j] = layer.stats.gram[order[k + i] * n + order[k + j]];
        if (i == j) h[i * left + j] += 0.3 * (h[i * left + j] + 0.01 * mean);
      }
    }
    h = Inverse(h, left);
    for (int64_t r = 0; r < layer.rows; ++r) {
      const int64_t at = r * n + order[k], g = r * (n / group) + order[k] / group;
      const double code = std::clamp(std::nearbyint(w[at] / grids.scale[g] + grids.zero[g]), 0.0, 15.0);
      q[at] = static_cast<float>(grids.scale[g] * (code - grids.zero[g]));
      const double error = (w[at] - q[at]) / h[0];
      for (int64_t j = 1; j < left; ++j) w[r * n + order[k + j]] -= error * h[j];
    }
  }
  return q;
}

TEST_P(GptqTest, FactorsFromTheEnd) {
  for (const int64_t n : {1, 2, 63, 64, 65, 150}) {
    const TestLayer layer(host_, 1, n, 2 * n, 1);
    std::vector<float> h = layer.stats.gram;
    for (int64_t i = 0; i < n; ++i) h[i * (n + 1)] += 1;
    std::vector<float> r = h;
    ASSERT_TRUE(FactorFromTheEnd(host_, n, r.data()));
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (int64_t k = i; k < n; ++k) sum += double{r[k * n + i]} * r[k * n + j];
        const double size = std::sqrt(double{h[i * (n + 1)]} * h[j * (n + 1)]);
        ASSERT_TRUE(std::abs(sum - h[i * n + j]) <= 1e-5 * size) << n << ": " << i << ", " << j;
      }
    }
  }
  for (const float bad : {-1.0f, 0.0f, NAN, INFINITY}) {
    float h[] = {bad, 0, 0, 1};
    EXPECT_FALSE(FactorFromTheEnd(host_, 2, h)) << bad;
  }
}

TEST_P(GptqTest, CodesAreThoseOfThePaper) {
  const Format format{.bits = 4, .group_size = 32, .zero = Zero::kInteger};
  for (const bool act_order : {false, true}) {
    const TestLayer layer(host_, 6, 160, 400, 2);
    const WeightRows grids = Nearest(layer, format);
    std::vector<int32_t> order(160);
    std::iota(order.begin(), order.end(), 0);
    const auto size = [&](int32_t c) { return layer.stats.gram[c * 161]; };
    if (act_order) std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return size(a) > size(b); });
    const std::vector<float> want = PlainGptq(layer, grids, order);
    const GptqWeight got = Quantize(layer, format, {.act_order = act_order, .grids = &grids});
    EXPECT_TRUE(got.order.empty());
    EXPECT_EQ(got.rows.scale, grids.scale);
    const std::vector<float> values = ValuesOf(got.rows);
    int64_t different = 0;  // a target in the middle of two codes may go either way, and others follow it
    for (size_t i = 0; i < want.size(); ++i) different += !(std::abs(want[i] - values[i]) <= 1e-5f);
    EXPECT_LE(different, 10) << act_order;
  }
}

std::vector<Format> Formats() {
  return {{.bits = 4, .group_size = 64, .zero = Zero::kInteger}, {.bits = 4, .group_size = 32},
          {.bits = 4, .group_size = 32, .zero = Zero::kMin},     {.bits = 3, .group_size = 0, .zero = Zero::kInteger},
          {.bits = 2, .group_size = 16, .zero = Zero::kInteger}, kInt8PerOutput};
}

TEST_P(GptqTest, HalvesTheErrorOfRounding) {
  for (const Format& format : Formats()) {
    for (const int64_t rows : {3, 100}) {
      const TestLayer layer(host_, rows, 192, 500, 3);  // a block and a half
      const double plain = layer.ErrorOf(ValuesOf(Nearest(layer, format)));
      const GptqWeight in_turn = Quantize(layer, format), by_size = Quantize(layer, format, {.act_order = true});
      EXPECT_TRUE(layer.ErrorOf(InInputOrder(in_turn)) <= 0.5 * plain) << format.ToString();
      EXPECT_TRUE(layer.ErrorOf(InInputOrder(by_size)) <= 0.5 * plain) << format.ToString();
      for (const float scale : in_turn.rows.scale) {
        if (format.scale == Format::Scale::kF16) EXPECT_EQ(F16ToF32(F32ToF16(scale)), scale);
      }
    }
  }
}

// GPTQ's files cannot hold a zero of 0, which groups without negative weights would take.
TEST_P(GptqTest, ZerosStartWhereTheFormatSays) {
  Format format{.bits = 4, .group_size = 32, .zero = Zero::kInteger};
  TestLayer layer(host_, 20, 96, 200, 9);
  for (float& w : layer.w) w = std::fabs(w);
  EXPECT_EQ(std::ranges::min(Quantize(layer, format).rows.zero), 0);
  format.min_zero = 1;
  for (const bool act_order : {false, true}) {
    const GptqWeight weight = Quantize(layer, format, {.act_order = act_order});
    EXPECT_EQ(std::ranges::min(weight.rows.zero), 1);
    EXPECT_TRUE(layer.ErrorOf(InInputOrder(weight)) <= 0.5 * layer.ErrorOf(ValuesOf(Nearest(layer, format))));
  }
}

TEST_P(GptqTest, ActOrderSaysWhereTheColumnsBelong) {
  const Format format{.bits = 4, .group_size = 32, .zero = Zero::kInteger};
  const TestLayer layer(host_, 4, 96, 200, 4);
  const GptqWeight weight = Quantize(layer, format, {.act_order = true});
  ASSERT_EQ(weight.order.size(), 96u);
  std::vector<int32_t> sorted = weight.order;
  std::sort(sorted.begin(), sorted.end());
  for (int32_t c = 0; c < 96; ++c) ASSERT_EQ(sorted[c], c);
  for (size_t k = 1; k < 96; ++k) {
    EXPECT_GE(layer.stats.gram[weight.order[k - 1] * 97], layer.stats.gram[weight.order[k] * 97]);
  }
}

TEST_P(GptqTest, KeptGridsGainFromClippingAndOrder) {
  const Format format{.bits = 4, .group_size = 32, .zero = Zero::kInteger};
  const TestLayer layer(host_, 40, 192, 500, 5);
  WeightRows clipped;
  RoundClipped(host_, {layer.w.data(), 40}, layer.stats, format, &clipped);
  const GptqWeight weight = Quantize(layer, format, {.act_order = true, .grids = &clipped});
  EXPECT_TRUE(weight.order.empty());
  EXPECT_EQ(weight.rows.scale, clipped.scale);
  EXPECT_EQ(weight.rows.zero, clipped.zero);
  EXPECT_TRUE(layer.ErrorOf(ValuesOf(weight.rows)) < 0.9 * layer.ErrorOf(ValuesOf(clipped)));
}

// What is on its grid already leaves no error to feed back.
TEST_P(GptqTest, WhatIsOnAGridStays) {
  const Format format{.bits = 4, .group_size = 32, .zero = Zero::kInteger};
  TestLayer layer(host_, 5, 160, 300, 6);
  const WeightRows once = Nearest(layer, format);
  layer.w = ValuesOf(once);
  const GptqWeight weight = Quantize(layer, format, {.grids = &once});
  EXPECT_EQ(weight.rows.codes, once.codes);
  EXPECT_EQ(ValuesOf(Quantize(layer, format).rows), layer.w);
}

TEST_P(GptqTest, InputsNeverSeenAreRounded) {
  const Format format{.bits = 4, .group_size = 32, .zero = Zero::kInteger};
  TestLayer layer(host_, 5, 64, 100, 7);
  for (size_t i = 0; i < layer.x.size(); ++i) layer.x[i] *= i % 64 < 10 ? 0.0f : 1.0f;
  for (const int64_t tokens : {int64_t{100}, int64_t{0}}) {
    layer.stats = {};
    Accumulate(host_, layer.x.data(), tokens, 64, &layer.stats);
    const WeightRows plain = Nearest(layer, format);
    const GptqWeight weight = Quantize(layer, format, {.grids = &plain});
    for (int64_t r = 0; r < 5; ++r) {
      for (int64_t c = 0; c < (tokens == 0 ? 64 : 10); ++c)
        EXPECT_EQ(weight.rows.codes[r * 64 + c], plain.codes[r * 64 + c]);
    }
  }
}

TEST_P(GptqTest, FewerTokensThanInputsNeedDamping) {
  const Format format{.bits = 4, .group_size = 32, .zero = Zero::kInteger};
  const TestLayer layer(host_, 5, 128, 20, 8);
  EXPECT_TRUE(layer.ErrorOf(ValuesOf(Quantize(layer, format).rows)) <= layer.ErrorOf(ValuesOf(Nearest(layer, format))));
  TestLayer broken = layer;
  for (int64_t c = 0; c < 128; ++c) broken.stats.gram[c * 129] = c == 3 ? -1e9f : 1.0f;
  const auto refused = Gptq(host_, {layer.w.data(), 5}, broken.stats, format, {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message().find("calibrate with more tokens than 20"), std::string::npos);
}

TEST_P(GptqTest, ThreadsChangeNothing) {
  const TestLayer layer(host_, 250, 200, 100, 9);
  const Format format{.bits = 4, .group_size = 0, .zero = Zero::kInteger};
  ops::Host alone = host_;
  alone.pool = &one_;
  const GptqWeight a = Quantize(layer, format, {.act_order = true});
  const auto b = Gptq(alone, {layer.w.data(), 250}, layer.stats, format, {.act_order = true});
  ASSERT_TRUE(b.has_value());
  EXPECT_EQ(a.rows.codes, b->rows.codes);
  EXPECT_EQ(a.rows.scale, b->rows.scale);
}

INSTANTIATE_TEST_SUITE_P(Isas, GptqTest, testing::ValuesIn(ops::GetIsaInfo().available),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace ingot::quant
