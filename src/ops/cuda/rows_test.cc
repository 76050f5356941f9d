// The other ops of a layer on CUDA against plain loops in double.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "ops/cuda/test_device.h"
#include "ops/transformer.h"

namespace ingot::ops {
namespace {

std::vector<float> Random(DType dtype, int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(count));
  for (float& value : x) value = RoundTo(dtype, normal(random));
  return x;
}

class CudaRows : public testing::TestWithParam<DType> {
 protected:
  const DType dtype_ = GetParam();
  const std::unique_ptr<Backend> backend_ = MakeTestBackend(dtype_);
  const Context context_{.backend = backend_.get(), .scratch = nullptr, .compute = Compute::kFast};

  // |got - want| <= (half an ulp of `dtype`, and some ulps of f32 on the way) · |want| + a little.
  void ExpectNear(const TensorView& got, const std::function<double(size_t)>& want) {
    const std::vector<float> numbers = Get(*backend_, got);
    const double eps = (got.dtype == DType::kF32 ? 0 : EpsOf(got.dtype)) + 16 * 0x1p-24;
    for (size_t i = 0; i < numbers.size(); ++i) {
      ASSERT_TRUE(std::abs(numbers[i] - want(i)) <= eps * std::abs(want(i)) + 1e-6) << i << ": " << numbers[i];
    }
  }
};

TEST_P(CudaRows, Norms) {
  for (const int64_t n : {1, 33, 700}) {
    const int64_t rows = 3;
    const std::vector<float> x = Random(dtype_, rows * n, 1), residual = Random(DType::kF32, rows * n, 2);
    const std::vector<float> weight = Random(DType::kF32, n, 3);
    const Tensor w = ToDevice(*backend_, weight).value();
    const NormWeight norm{w, 1e-5f};
    const auto expect = [&](const TensorView& y, const std::function<double(size_t)>& in) {
      ExpectNear(y, [&](size_t i) {
        const size_t width = static_cast<size_t>(n), row = i / width;
        double squares = 0;
        for (size_t j = 0; j < width; ++j) squares += in(row * width + j) * in(row * width + j);
        return in(i) / std::sqrt(squares / static_cast<double>(n) + 1e-5) * weight[i % width];
      });
    };
    const Tensor y = Garbage(*backend_, dtype_, {rows, n});
    const Tensor f32 = Put(*backend_, DType::kF32, {rows, n}, residual), own = Put(*backend_, dtype_, {rows, n}, x);
    RmsNorm(context_, f32.view(), norm, y.view());
    expect(y.view(), [&](size_t i) { return residual[i]; });
    AddRmsNorm(context_, own.view(), f32.view(), norm, y.view());
    const auto sum = [&](size_t i) { return static_cast<double>(x[i] + residual[i]); };
    expect(y.view(), sum);
    ExpectNear(f32.view(), sum);
    RmsNorm(context_, own.view(), norm, own.view());  // in place
    expect(own.view(), [&](size_t i) { return x[i]; });
  }
}

TEST_P(CudaRows, ActivationsSumsAndCaps) {
  const int64_t rows = 3, n = 300;
  const std::vector<float> x = Random(dtype_, rows * 2 * n, 1);
  const Tensor gate_up = Put(*backend_, dtype_, {rows, 2 * n}, x), y = Garbage(*backend_, dtype_, {rows, n});
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    ActMul(context_, gate_up.view(), activation, y.view());
    ExpectNear(y.view(), [&](size_t i) {
      const size_t width = static_cast<size_t>(n), at = i / width * 2 * width + i % width;
      const double g = x[at], up = x[at + width];
      if (activation == Activation::kSilu) return g * sigmoid(g) * up;
      if (activation == Activation::kGelu) return g / 2 * (1 + std::erf(g / std::sqrt(2.0))) * up;
      return g / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g))) * up;
    });
  }
  const std::vector<float> residual = Random(DType::kF32, rows * 2 * n, 4);
  const Tensor f32 = Put(*backend_, DType::kF32, {rows, 2 * n}, residual);
  Add(context_, gate_up.view(), f32.view());
  const auto sum = [&](size_t i) { return static_cast<double>(x[i] + residual[i]); };
  ExpectNear(f32.view(), sum);
  Softcap(context_, f32.view(), 2.0f);
  ExpectNear(f32.view(), [&](size_t i) { return 2 * std::tanh(sum(i) / 2); });
}

TEST_P(CudaRows, GathersAndAngles) {
  const std::vector<float> x = Random(dtype_, 4 * 37, 1);
  const Tensor from = Put(*backend_, dtype_, {4, 37}, x), f32 = Put(*backend_, DType::kF32, {4, 37}, x);
  const Tensor rows = PutIds(*backend_, {3}, {3, 0, 3});
  const size_t want[] = {3, 0, 3};
  for (const Tensor* source : {&from, &f32}) {
    const Tensor y = Garbage(*backend_, source->view().dtype, {3, 37});
    GatherRows(context_, source->view(), rows.view(), y.view());
    const std::vector<float> got = Get(*backend_, y.view());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], x[want[i / 37] * 37 + i % 37]);
  }
  const std::vector<double> frequencies = {1.0, 0.1, 1e-4};
  const Tensor inv_freq = AllocateTensor(*backend_, DType::kF64, {3}).value();
  backend_->Upload(inv_freq.Data<std::byte>(), frequencies.data(), 24);
  const Tensor positions = PutIds(*backend_, {2}, {5, 100000});
  const Tensor cos = Garbage(*backend_, DType::kF32, {2, 3}), sin = Garbage(*backend_, DType::kF32, {2, 3});
  RopeAngles(context_, positions.view(), {inv_freq, 1.5}, cos.view(), sin.view());
  const auto angle = [&](size_t i) { return (i < 3 ? 5 : 100000) * frequencies[i % 3]; };
  ExpectNear(cos.view(), [&](size_t i) { return 1.5 * std::cos(angle(i)); });
  ExpectNear(sin.view(), [&](size_t i) { return 1.5 * std::sin(angle(i)); });
}

TEST_P(CudaRows, RoutesTokensToExperts) {
  for (const bool normalize : {false, true}) {
    const int64_t tokens = 300, experts = 6, k = 2, h = 5;  // more tokens than a block has threads
    std::vector<float> logits = Random(DType::kF32, tokens * experts, 1);
    logits[2] = logits[4] = 9;  // a tie
    const Tensor scores = Put(*backend_, DType::kF32, {tokens, experts}, logits);
    const Tensor ids = PutIds(*backend_, {tokens, k}, std::vector<int32_t>(tokens * k, -1));
    const Tensor weights = Garbage(*backend_, DType::kF32, {tokens, k});
    const Tensor row_of = PutIds(*backend_, {tokens, k}, std::vector<int32_t>(tokens * k, -1));
    const Tensor token_of = PutIds(*backend_, {tokens * k}, std::vector<int32_t>(tokens * k, -1));
    const Tensor begins = PutIds(*backend_, {experts + 1}, std::vector<int32_t>(experts + 1, -1));
    const Routing routing{ids.view(), weights.view(), row_of.view(), token_of.view(), begins.view()};
    Route(context_, scores.view(), {.k = static_cast<int>(k), .normalize = normalize}, routing);
    const std::vector<int32_t> chosen = GetIds(*backend_, ids.view()), rows = GetIds(*backend_, row_of.view());
    const std::vector<int32_t> begin = GetIds(*backend_, begins.view()), owner = GetIds(*backend_, token_of.view());
    const std::vector<float> share = Get(*backend_, weights.view());
    EXPECT_EQ(chosen[0], 2);
    EXPECT_EQ(chosen[1], 4);
    EXPECT_EQ(begin[0], 0);
    EXPECT_EQ(begin[static_cast<size_t>(experts)], tokens * k);
    std::vector<int32_t> previous(static_cast<size_t>(experts), -1);
    for (size_t t = 0; t < static_cast<size_t>(tokens); ++t) {
      std::vector<int> order(static_cast<size_t>(experts));
      std::iota(order.begin(), order.end(), 0);
      const float* const own = logits.data() + t * static_cast<size_t>(experts);
      std::ranges::sort(order, [&](int a, int b) { return own[a] > own[b] || (own[a] == own[b] && a < b); });
      double all = 0, top = 0;
      for (size_t e = 0; e < order.size(); ++e) {
        all += std::exp(own[order[e]]);
        if (e < 2) top += std::exp(own[order[e]]);
      }
      for (size_t rank = 0; rank < 2; ++rank) {
        const size_t i = t * 2 + rank, expert = static_cast<size_t>(chosen[i]);
        ASSERT_EQ(chosen[i], order[rank]);
        ASSERT_NEAR(share[i], std::exp(own[order[rank]]) / (normalize ? top : all), 1e-6);
        ASSERT_EQ(owner[static_cast<size_t>(rows[i])], static_cast<int32_t>(t));
        ASSERT_TRUE(rows[i] >= begin[expert] && rows[i] < begin[expert + 1] && rows[i] > previous[expert]);
        previous[expert] = rows[i];  // an expert's rows are by token
      }
    }
    const std::vector<float> outputs = Random(dtype_, tokens * k * h, 6);
    const Tensor x = Put(*backend_, dtype_, {tokens * k, h}, outputs), y = Garbage(*backend_, dtype_, {tokens, h});
    CombineExperts(context_, x.view(), routing, y.view());
    ExpectNear(y.view(), [&](size_t i) {
      double sum = 0;
      for (size_t rank = 0; rank < 2; ++rank) {
        const size_t pair = i / h * 2 + rank;
        sum += static_cast<double>(share[pair]) * outputs[static_cast<size_t>(rows[pair]) * h + i % h];
      }
      return sum;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaRows, testing::Values(DType::kF16, DType::kBF16),
                         [](const auto& test) { return std::string(DTypeName(test.param)); });

}  // namespace
}  // namespace ingot::ops
