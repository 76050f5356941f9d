// Products on CUDA against sums in double, and their bits against the rows beside them.
#include "ops/linear.h"

#include <gtest/gtest.h>

#include "ops/cuda/test_device.h"
#include "ops/test_linear.h"

namespace ingot::ops {
namespace {

// y of the public call.   x: [M, K] of the activations' type
std::vector<float> Multiply(Backend& backend, const std::vector<float>& x, const FusedLinear& weight, DType y_dtype) {
  const int64_t k = weight.in_features(), m = static_cast<int64_t>(x.size()) / k;
  const Context context{.backend = &backend, .scratch = nullptr, .compute = Compute::kFast};
  const Tensor in = Put(backend, backend.activation_dtype(), {m, k}, x);
  const Tensor out = Garbage(backend, y_dtype, {m, weight.out_features()});
  Linear(context, in.view(), weight, out.view());
  return Get(backend, out.view());
}

std::vector<float> RoundedActivations(DType dtype, int64_t count, uint32_t seed) {
  std::vector<float> x = RandomActivations(count, seed);
  for (float& value : x) value = RoundTo(dtype, value);
  return x;
}

class CudaLinear : public testing::TestWithParam<DType> {};

TEST_P(CudaLinear, MultipliesEveryFormat) {
  const DType dtype = GetParam();
  const auto backend = MakeTestBackend(dtype);
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const int64_t m = 9, n = 35, k = c.multiple == 1 ? 83 : RoundUp(96, c.multiple);  // no multiple of a tile
    const RandomSource source(c.format, n, k, 7);
    FusedLinear weight;
    weight.parts.push_back(backend->Prepack(source).value());
    const std::vector<float> bias = RandomActivations(n, 3);
    weight.bias = ToDevice(*backend, bias).value();
    const std::vector<float> x = RoundedActivations(dtype, m * k, 5);
    const std::vector<float> y = Multiply(*backend, x, weight, DType::kF32);
    std::vector<float> w(static_cast<size_t>(n * k));
    ReadDense(source, 0, n, w.data());
    for (int64_t row = 0; row < m; ++row) {
      for (int64_t col = 0; col < n; ++col) {
        Sum sum = ExactProduct(w.data() + col * k, x.data() + row * k, k, Rounded::kNothing);
        sum.Add(bias[static_cast<size_t>(col)]);
        // Weights are rounded to the activations' type; a warp's sums and then those of 4 warps are rounded k / 4 + 4
        // times at most.
        const double weight_eps = c.format.dense == DType::kF32 && !c.format.quantized() ? 0 : EpsOf(dtype);
        const double tolerance = (weight_eps + (static_cast<double>(k) / 4 + 8) * 2 * kEps) * sum.magnitude;
        const double error = std::abs(y[static_cast<size_t>(row * n + col)] - sum.value);
        ASSERT_TRUE(error <= tolerance) << "row " << row << " column " << col << ": " << error << " of " << tolerance;
      }
    }
    // Numbers of 16 bits are those of 32, rounded.
    std::vector<float> rounded = y;
    for (float& value : rounded) value = RoundTo(dtype, value);
    EXPECT_TRUE(SameBits(Multiply(*backend, x, weight, dtype), rounded));
    for (const int64_t row : {0L, 8L}) {
      EXPECT_TRUE(SameBits(Multiply(*backend, Row(x, row, k), weight, DType::kF32), Row(y, row, n)));
    }
  }
}

TEST_P(CudaLinear, PlacesPartsSideBySide) {
  const auto backend = MakeTestBackend(GetParam());
  FusedLinear fused;
  std::vector<float> want;
  const std::vector<float> x = RoundedActivations(GetParam(), 2 * 64, 5);
  const RandomSource first({.bits = 4, .group_size = 32}, 20, 64, 1), second(Format::Dense(DType::kF16), 7, 64, 2);
  std::vector<std::vector<float>> alone;
  for (const RandomSource* source : {&first, &second}) {
    FusedLinear part;
    part.parts.push_back(backend->Prepack(*source).value());
    alone.push_back(Multiply(*backend, x, part, DType::kF32));
    fused.parts.push_back(backend->Prepack(*source).value());
  }
  for (int64_t row = 0; row < 2; ++row) {
    for (const auto& [part, n] : {std::pair(&alone[0], int64_t{20}), std::pair(&alone[1], int64_t{7})}) {
      const std::vector<float> columns = Row(*part, row, n);
      want.insert(want.end(), columns.begin(), columns.end());
    }
  }
  EXPECT_TRUE(SameBits(Multiply(*backend, x, fused, DType::kF32), want));
}

INSTANTIATE_TEST_SUITE_P(Types, CudaLinear, testing::Values(DType::kF16, DType::kBF16),
                         [](const auto& test) { return std::string(DTypeName(test.param)); });

TEST(CudaEmbed, ReadsRowsAndDrawnTokens) {
  const auto backend = MakeTestBackend();
  for (const Case& c : Cases()) {
    const int64_t k = RoundUp(64, c.multiple);
    const RandomSource source(c.format, 19, k, 7);
    const PackedWeight table = backend->Prepack(source).value();
    const Tensor ids = PutIds(*backend, {3}, {18, ~1, 0}), drawn = PutIds(*backend, {2}, {5, 17});
    const Tensor y = Garbage(*backend, DType::kF32, {3, k});
    const Context context{.backend = backend.get(), .scratch = nullptr, .compute = Compute::kFast};
    const Step step{.num_tokens = 3, .token_ids = ids.view(), .drawn_tokens = drawn.view()};
    Embed(context, step, table, 2.0f, y.view());
    const std::vector<float> got = Get(*backend, y.view());
    std::vector<float> w(static_cast<size_t>(19 * k));
    ReadDense(source, 0, 19, w.data());
    const int64_t rows[] = {18, 17, 0};
    for (int64_t i = 0; i < 3 * k; ++i) {
      const double want = 2.0 * w[static_cast<size_t>(rows[i / k] * k + i % k)];
      ASSERT_TRUE(std::abs(got[static_cast<size_t>(i)] - want) <= 8 * kEps * (std::abs(want) + 0.5)) << c.name;
    }
  }
}

}  // namespace
}  // namespace ingot::ops
