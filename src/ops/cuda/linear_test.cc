// Products on CUDA against sums in double, and their bits against the rows beside them.
#include "ops/linear.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <random>
#include <span>

#include "ops/cuda/test_device.h"
#include "ops/test_linear.h"

namespace ingot::ops {
namespace {

std::unique_ptr<CudaBackend> MakeBackend(DType dtype,
                                         kernels::emulator::Schedule schedule = kernels::emulator::Schedule::kForward) {
  std::unique_ptr<CudaBackend> backend = MakeTestBackend(dtype, {.schedule = schedule});
  backend->UseInt8Products(true);
  return backend;
}

// y of the public call, with the scratch that it says it needs.   x: [M, K] of the activations' type
std::vector<float> Multiply(Backend& backend, const std::vector<float>& x, const FusedLinear& weight, DType y_dtype) {
  const int64_t k = weight.in_features(), m = static_cast<int64_t>(x.size()) / k;
  Scratch scratch = Scratch::Allocate(backend, backend.LinearBytes(m, weight.parts)).value();
  const Context context{.backend = &backend, .scratch = &scratch, .compute = Compute::kFast};
  const Tensor in = Put(backend, backend.activation_dtype(), {m, k}, x);
  const Tensor out = Garbage(backend, y_dtype, {m, weight.out_features()});
  Linear(context, in.view(), weight, out.view());
  return Get(backend, out.view());
}
FusedLinear Pack(Backend& backend, const WeightSource& source, const std::vector<float>& bias = {}) {
  FusedLinear weight;
  weight.parts.push_back(backend.Prepack(source).value());
  if (!bias.empty()) weight.bias = ToDevice(backend, bias).value();
  return weight;
}

std::vector<float> RoundedActivations(DType dtype, int64_t count, uint32_t seed) {
  std::vector<float> x = RandomActivations(count, seed);
  for (float& value : x) value = RoundTo(dtype, value);
  return x;
}

// The rows of experts, two for each token.   begins: [experts + 1]
std::vector<float> MultiplyExperts(Backend& backend, const std::vector<float>& x,
                                   const std::vector<FusedLinear>& experts, const std::vector<int32_t>& begins) {
  const int64_t k = experts[0].in_features(), n = experts[0].out_features(), m = begins.back();
  Scratch scratch = Scratch::Allocate(backend, backend.LinearBytes(m / 2, experts[0].parts)).value();
  const Context context{.backend = &backend, .scratch = &scratch, .compute = Compute::kFast};
  const Tensor in = Put(backend, backend.activation_dtype(), {m, k}, x), out = Garbage(backend, DType::kF32, {m, n});
  const Tensor ids = PutIds(backend, {m / 2, 2}, std::vector<int32_t>(static_cast<size_t>(m)));
  const Tensor token_of = PutIds(backend, {m}, std::vector<int32_t>(static_cast<size_t>(m)));
  const Tensor expert_begin = PutIds(backend, {std::ssize(begins)}, begins);
  const Routing routing{
      .ids = ids.view(), .weights = {}, .row_of = {}, .token_of = token_of.view(), .expert_begin = expert_begin.view()};
  ExpertLinear(context, in.view(), routing, experts, out.view());
  return Get(backend, out.view());
}

class CudaLinear : public testing::TestWithParam<DType> {};

// How far the weight of a row and input may be from what the kernels multiply. The scale and the minimum are rounded
// to the activations' type and so is the result: eps · (|scale · q| + |min| + |w|), where |scale · q| <= |w| + |min|.
// Below the smallest normal number of fp16, a scale is 2^-25 from its own at most, times up to 2^bits.
double WeightError(const WeightRows& rows, DType dtype, int64_t row, int64_t k, double w) {
  const Format& format = rows.format;
  if (format.bits == 32) return 0;
  double min = 0;
  if (format.quantized() && format.codebook == Codebook::kNone && format.zero == Zero::kMin) {
    const auto groups = static_cast<int64_t>(rows.zero.size()) / rows.rows;
    min = rows.zero[static_cast<size_t>(row * groups + (format.group_size == 0 ? 0 : k / format.group_size))];
  }
  const double tiny = dtype == DType::kF16 ? 0x1p-25 * (format.quantized() ? 257 : 1) : 0;
  return EpsOf(dtype) * 2.01 * (std::abs(w) + std::abs(min)) + tiny;
}

// Int8 with a scale for each channel, which MakeBackend has multiplied in int8 (W8A8).
bool IsInt8Products(const Format& format) { return format.bits == 8 && format.group_size == 0; }
// x as int8 has it, a scale for each row.
std::vector<float> QuantizedRows(std::vector<float> x, int64_t k) {
  for (size_t begin = 0; begin < x.size(); begin += static_cast<size_t>(k)) {
    const std::span<float> row(x.data() + begin, static_cast<size_t>(k));
    float amax = 0;
    for (const float value : row) amax = std::max(amax, std::abs(value));
    for (float& value : row) value = std::nearbyint(value * (127 / amax)) * (amax / 127);
  }
  return x;
}

void ExpectProduct(const RandomSource& source, const std::vector<float>& bias, DType dtype,
                   const std::vector<float>& activations, const std::vector<float>& y) {
  const int64_t n = source.rows(), k = source.cols(), m = static_cast<int64_t>(activations.size()) / k;
  const bool is_int8 = IsInt8Products(source.format());
  const std::vector<float> x = is_int8 ? QuantizedRows(activations, k) : activations;
  std::vector<float> w(static_cast<size_t>(n * k));
  ReadDense(source, 0, n, w.data());
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t col = 0; col < n; ++col) {
      Sum sum = ExactProduct(w.data() + col * k, x.data() + row * k, k, Rounded::kNothing);
      double tolerance = 0;
      for (int64_t i = 0; i < k; ++i) {
        if (is_int8) break;  // codes and their sums are exact
        const double error = WeightError(source.all(), dtype, col, i, w[static_cast<size_t>(col * k + i)]);
        tolerance += error * std::abs(x[static_cast<size_t>(row * k + i)]);
      }
      sum.Add(bias[static_cast<size_t>(col)]);
      tolerance += (static_cast<double>(k) + 16) * 2 * kEps * sum.magnitude;  // k products, 8 splits and the bias
      const double error = std::abs(y[static_cast<size_t>(row * n + col)] - sum.value);
      ASSERT_TRUE(error <= tolerance) << "row " << row << " column " << col << ": " << error << " of " << tolerance;
    }
  }
}

TEST_P(CudaLinear, MultipliesEveryFormat) {
  const DType dtype = GetParam();
  const auto backend = MakeBackend(dtype);
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const int64_t m = 17, n = 35, k = c.multiple == 1 ? 83 : RoundUp(96, c.multiple);  // no multiple of a tile
    const RandomSource source(c.format, n, k, 7);
    const std::vector<float> bias = RandomActivations(n, 3);
    const FusedLinear weight = Pack(*backend, source, bias);
    const std::vector<float> x = RoundedActivations(dtype, m * k, 5);
    const std::vector<float> y = Multiply(*backend, x, weight, DType::kF32);
    ExpectProduct(source, bias, dtype, x, y);
    // Numbers of 16 bits are those of 32, rounded.
    std::vector<float> rounded = y;
    for (float& value : rounded) value = RoundTo(dtype, value);
    EXPECT_TRUE(SameBits(Multiply(*backend, x, weight, dtype), rounded));
    for (const int64_t row : {0L, 16L}) {  // by the kernel for few rows
      EXPECT_TRUE(SameBits(Multiply(*backend, Row(x, row, k), weight, DType::kF32), Row(y, row, n)));
    }
  }
}

// One format for each kernel, and the numbers of groups that a tile of 64 inputs may have.
std::vector<Case> KernelCases() {
  return {{"int4_g16_min", {.bits = 4, .group_size = 16, .zero = Zero::kMin}, 1},
          {"int4_g32", {.bits = 4, .group_size = 32}, 1},
          {"int4_g128_zero", {.bits = 4, .group_size = 128, .zero = Zero::kInteger}, 1},
          {"coded_int4_g32", {.bits = 4, .group_size = 32, .codebook = Codebook::kIq4}, 1},
          {"int8_g64_zero", {.bits = 8, .group_size = 64, .zero = Zero::kInteger}, 1},
          {"int8_products", {.bits = 8, .group_size = 0, .scale = Scale::kF32}, 1},
          {"dense", Format::Dense(DType::kF16), 1}};
}

// The inputs are cut into two splits.
TEST_P(CudaLinear, RowsHaveTheSameBitsInEveryKernel) {
  const DType dtype = GetParam();
  for (const auto schedule : {kernels::emulator::Schedule::kForward, kernels::emulator::Schedule::kRandom}) {
    const auto backend = MakeBackend(dtype, schedule);
    for (const Case& c : KernelCases()) {
      SCOPED_TRACE(c.name);
      const int64_t m = 66, n = 73, k = 1096;
      const RandomSource source(c.format, n, k, 7);
      const std::vector<float> bias = RandomActivations(n, 3), x = RoundedActivations(dtype, m * k, 5);
      const FusedLinear weight = Pack(*backend, source, bias);
      ASSERT_GT(backend->LinearBytes(1, weight.parts), 0) << "is not cut into splits";
      const std::vector<float> y = Multiply(*backend, x, weight, DType::kF32);
      ExpectProduct(source, bias, dtype, Row(x, 65, k), Row(y, 65, n));
      for (const int64_t row : {0L, 40L, 65L}) {
        EXPECT_TRUE(SameBits(Multiply(*backend, Row(x, row, k), weight, DType::kF32), Row(y, row, n)));
      }
      const std::vector<float> few = {x.begin() + 30 * k, x.begin() + 43 * k};
      const std::vector<float> of_few = {y.begin() + 30 * n, y.begin() + 43 * n};
      EXPECT_TRUE(SameBits(Multiply(*backend, few, weight, DType::kF32), of_few));
    }
  }
}

// An expert's rows are those of a product with it alone, though its block does all splits one after another.
TEST_P(CudaLinear, ExpertsAreMultipliedTogether) {
  const DType dtype = GetParam();
  const auto backend = MakeBackend(dtype);
  for (const Case& c : KernelCases()) {
    SCOPED_TRACE(c.name);
    const int64_t n = 40, k = 1096;
    const std::vector<int32_t> begins = {0, 20, 20, 50, 66};
    const std::vector<float> bias = RandomActivations(n, 3), x = RoundedActivations(dtype, begins.back() * k, 5);
    std::vector<FusedLinear> experts;
    std::vector<float> want;
    for (size_t e = 0; e + 1 < begins.size(); ++e) {
      experts.push_back(Pack(*backend, RandomSource(c.format, n, k, static_cast<uint32_t>(e)), bias));
      if (begins[e] == begins[e + 1]) continue;
      const std::vector<float> rows = {x.begin() + begins[e] * k, x.begin() + begins[e + 1] * k};
      const std::vector<float> y = Multiply(*backend, rows, experts.back(), DType::kF32);
      want.insert(want.end(), y.begin(), y.end());
    }
    EXPECT_TRUE(SameBits(MultiplyExperts(*backend, x, experts, begins), want));
  }
}

TEST_P(CudaLinear, FillsTilesOfY) {
  const DType dtype = GetParam();
  const auto backend = MakeBackend(dtype);
  for (const Case& c : KernelCases()) {
    SCOPED_TRACE(c.name);
    const int64_t m = 130, n = 274, k = 72;  // two tiles of rows and of channels, or three
    const RandomSource source(c.format, n, k, 7);
    const std::vector<float> bias(static_cast<size_t>(n)), x = RoundedActivations(dtype, m * k, 5);
    ExpectProduct(source, bias, dtype, x, Multiply(*backend, x, Pack(*backend, source), DType::kF32));
  }
}

TEST_P(CudaLinear, MatricesAreLoadedWithoutBankConflicts) {
  if (GetEnv("INGOT_TEST_CUDA").value_or("") == "gpu") GTEST_SKIP() << "counted on the emulator alone";
  const auto backend = MakeBackend(GetParam());
  for (const Case& c : KernelCases()) {
    for (const int64_t m : {1, 17}) {
      kernels::emulator::ResetCounts();
      const FusedLinear weight = Pack(*backend, RandomSource(c.format, 20, 128, 7));
      Multiply(*backend, RoundedActivations(GetParam(), m * 128, 5), weight, DType::kF32);
      EXPECT_GT(kernels::emulator::CountsSoFar().matrix_loads, 0) << c.name;
      EXPECT_EQ(kernels::emulator::CountsSoFar().bank_conflicts, 0) << c.name;
    }
  }
}

// What is not a number stays in its row.
TEST_P(CudaLinear, KeepsRowsApart) {
  const auto backend = MakeBackend(GetParam());
  for (const Case& c : KernelCases()) {
    SCOPED_TRACE(c.name);
    const int64_t m = 18, n = 20, k = 64;
    const FusedLinear weight = Pack(*backend, RandomSource(c.format, n, k, 7));
    std::vector<float> x = RoundedActivations(GetParam(), m * k, 5);
    const std::vector<float> y = Multiply(*backend, x, weight, DType::kF32);
    x[3 * k + 5] = NAN;
    x[4 * k + 6] = INFINITY;
    const std::vector<float> spoiled = Multiply(*backend, x, weight, DType::kF32);
    for (int64_t row = 0; row < m; ++row) {
      if (row != 3 && row != 4) EXPECT_TRUE(SameBits(Row(spoiled, row, n), Row(y, row, n))) << row;
    }
    for (int64_t col = 0; col < n; ++col) EXPECT_TRUE(std::isnan(spoiled[static_cast<size_t>(3 * n + col)]));
  }
}

class ReorderedSource : public RandomSource {
 public:
  ReorderedSource(const Format& format, int64_t rows, InputOrder order)
      : RandomSource(format, rows, std::ssize(order), 7),
        order_(std::make_shared<const InputOrder>(std::move(order))) {}
  std::shared_ptr<const InputOrder> input_order() const override { return order_; }

 private:
  std::shared_ptr<const InputOrder> order_;
};

TEST_P(CudaLinear, TakesInputsInTheOrderOfTheWeights) {
  const auto backend = MakeBackend(GetParam());
  for (const Case& c : KernelCases()) {
    SCOPED_TRACE(c.name);
    backend->UseInt8Products(true);
    const int64_t m = 17, n = 20, k = 104;
    InputOrder order(static_cast<size_t>(k));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(3));
    const FusedLinear reordered = Pack(*backend, ReorderedSource(c.format, n, order));
    backend->UseInt8Products(false);  // which reordered weights are not in any case
    const FusedLinear plain = Pack(*backend, RandomSource(c.format, n, k, 7));
    const std::vector<float> x = RoundedActivations(GetParam(), m * k, 5);
    std::vector<float> moved = x;
    for (int64_t i = 0; i < m * k; ++i) {
      moved[static_cast<size_t>(i)] = x[static_cast<size_t>(i / k * k + order[static_cast<size_t>(i % k)])];
    }
    for (const int64_t rows : {1L, m}) {
      const std::vector<float> some = {x.begin(), x.begin() + rows * k};
      const std::vector<float> some_moved = {moved.begin(), moved.begin() + rows * k};
      EXPECT_TRUE(SameBits(Multiply(*backend, some, reordered, DType::kF32),
                           Multiply(*backend, some_moved, plain, DType::kF32)));
    }
  }
}

TEST_P(CudaLinear, PlacesPartsSideBySide) {
  const auto backend = MakeBackend(GetParam());
  FusedLinear fused;
  std::vector<float> want;
  const std::vector<float> x = RoundedActivations(GetParam(), 2 * 64, 5);
  const RandomSource first({.bits = 4, .group_size = 32}, 20, 64, 1), second(Format::Dense(DType::kF16), 7, 64, 2);
  std::vector<std::vector<float>> alone;
  for (const RandomSource* source : {&first, &second}) {
    alone.push_back(Multiply(*backend, x, Pack(*backend, *source), DType::kF32));
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
      const double weight = w[static_cast<size_t>(rows[i / k] * k + i % k)];
      const double error = 2 * WeightError(source.all(), DType::kF16, rows[i / k], i % k, weight);
      ASSERT_TRUE(std::abs(got[static_cast<size_t>(i)] - 2.0 * weight) <= error + 8 * kEps) << c.name;
    }
  }
}

}  // namespace
}  // namespace ingot::ops
