#include "ops/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/test_linear.h"

namespace ingot::ops {
namespace {

class LinearTest : public testing::TestWithParam<std::string> {};

// Design contract 1: row m of any M equals the same row alone, bit for bit.
TEST_P(LinearTest, RowDoesNotDependOnBatch) {
  uint32_t seed = 1;
  for (const Compute compute : {Compute::kFast, Compute::kExact}) {
    Runner runner(GetParam(), compute);
    for (const Case& c : Cases()) {
      for (const auto& [n, k] : {std::pair<int64_t, int64_t>{37, 75}, {51, 544}, {18, 2100}}) {
        const int64_t cols = RoundUp(k, c.multiple);
        const PackedWeight weight = runner.Pack(RandomSource(c.format, n, cols, ++seed));
        const std::vector<float> x = RandomActivations(40 * cols, ++seed);
        std::vector<std::vector<float>> alone;
        for (int64_t m = 0; m < 40; ++m) alone.push_back(runner.Multiply(Row(x, m, cols), weight));
        for (const int64_t m : {2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 33, 40}) {
          const std::vector<float> y = runner.Multiply({x.begin(), x.begin() + m * cols}, weight);
          for (int64_t row = 0; row < m; ++row) {
            ASSERT_TRUE(SameBits(Row(y, row, n), alone[row]))
                << c.name << " M=" << m << " N=" << n << " K=" << cols << " row " << row << " exact "
                << (compute == Compute::kExact);
          }
        }
      }
    }
  }
}

TEST_P(LinearTest, FastMatchesItsDefinition) {
  Runner runner(GetParam(), Compute::kFast);
  uint32_t seed = 100;
  for (const Case& c : Cases()) {
    const int64_t m = 7, n = 21, k = RoundUp(2100, c.multiple);
    const RandomSource source(c.format, n, k, ++seed);
    const PackedWeight weight = runner.Pack(source);
    const std::vector<float> x = RandomActivations(m * k, ++seed), bias = RandomActivations(n, ++seed);
    const std::vector<float> y = runner.Multiply(x, weight, bias);
    std::vector<float> w(n * k);
    DequantizeRows(source.all(), w.data());
    const bool tiles = HasTiles(GetParam()) && c.format != Format::Dense(DType::kF32);
    const std::vector<float> on_tiles = TileWeights(source.all());
    const bool bf16 = c.format.dense == DType::kBF16 && !c.format.quantized() &&
                      runner.context().backend->host().kernels->gemm.multiply_bf16 != nullptr &&
                      kernels::CpuMultipliesBf16();
    const Rounded rounded = tiles || bf16 ? Rounded::kActivations : Rounded::kNothing;
    double error2 = 0, norm2 = 0;
    for (int64_t i = 0; i < m * n; ++i) {
      const int64_t row = i / n, channel = i % n;
      const Sum exact = ExactProduct(&w[channel * k], &x[row * k], k, Rounded::kNothing);
      const Sum want = c.format.quantized() && !tiles
                           ? QuantizedProduct(source.all(), channel, &x[row * k])
                           : ExactProduct(tiles ? &on_tiles[channel * k] : &w[channel * k], &x[row * k], k, rounded);
      // Each of the chain's additions rounds a partial sum, whose size is at most the magnitude.
      const double additions = (tiles ? k / 32 + 18.0 : c.format.quantized() ? 2.0 * k / 16 : 2.0 * k) + 4;
      const double tolerance = additions * kEps * (want.magnitude + std::abs(bias[channel]));
      ASSERT_TRUE(!(std::abs(y[i] - bias[channel] - want.value) > tolerance) && std::isfinite(y[i]))
          << c.name << " row " << row << " channel " << channel << ": " << y[i] << " is not "
          << want.value + bias[channel] << " ± " << tolerance;
      error2 += std::pow(y[i] - bias[channel] - exact.value, 2);
      norm2 += exact.value * exact.value;
    }
    EXPECT_TRUE(std::sqrt(error2 / norm2) <= 0.03) << c.name << ": " << std::sqrt(error2 / norm2);
  }
}

TEST_P(LinearTest, ExactMatchesDequantizedWeights) {
  Runner runner(GetParam(), Compute::kExact);
  uint32_t seed = 200;
  for (const Case& c : Cases()) {
    const int64_t m = 7, n = 21, k = RoundUp(2100, c.multiple);
    const RandomSource source(c.format, n, k, ++seed);
    const PackedWeight weight = runner.Pack(source);
    const std::vector<float> x = RandomActivations(m * k, ++seed), bias = RandomActivations(n, ++seed);
    const std::vector<float> y = runner.Multiply(x, weight, bias);
    std::vector<float> w(n * k);
    DequantizeRows(source.all(), w.data());
    for (int64_t i = 0; i < m * n; ++i) {
      const Sum want = ExactProduct(&w[i % n * k], &x[i / n * k], k, Rounded::kNothing);
      const double tolerance = (k + 4.0) * kEps * (want.magnitude + std::abs(bias[i % n]));
      ASSERT_TRUE(std::abs(y[i] - bias[i % n] - want.value) <= tolerance) << c.name << " element " << i;
    }
  }
}

// Rows of the identity take single weights out of the matrix: what a kernel makes of each code is what the file says,
// bit for bit (but for the sign of a zero).
TEST_P(LinearTest, IdentityGivesTheWeights) {
  Runner runner(GetParam(), Compute::kExact);
  uint32_t seed = 250;
  for (const Case& c : Cases()) {
    const int64_t n = 37, k = RoundUp(300, c.multiple);
    const RandomSource source(c.format, n, k, ++seed);
    const PackedWeight weight = runner.Pack(source);
    std::vector<float> w(n * k), identity(k * k, 0.0F);
    DequantizeRows(source.all(), w.data());
    for (int64_t i = 0; i < k; ++i) identity[i * k + i] = 1;
    const std::vector<float> y = runner.Multiply(identity, weight);
    for (int64_t i = 0; i < k * n; ++i) ASSERT_EQ(y[i], w[i % n * k + i / n]) << c.name << " element " << i;
  }
}

// Every shared exponent, subnormal scales among them.
TEST_P(LinearTest, HoldsEveryExponent) {
  Runner runner(GetParam(), Compute::kExact);
  RandomSource source({.bits = 4, .group_size = 32, .scale = Scale::kE8M0, .codebook = Codebook::kFp4}, 256, 32, 260);
  for (int code = 0; code < 256; ++code) source.SetExponent(code, code);
  std::vector<float> w(256 * 32), x(32, 0.0F);
  DequantizeRows(source.all(), w.data());
  x[3] = 1;
  for (int row = 0; row < 253; ++row) ASSERT_TRUE(std::isfinite(w[row * 32 + 3]));
  const std::vector<float> y = runner.Multiply(x, runner.Pack(source));
  for (int row = 0; row < 253; ++row) ASSERT_EQ(y[row], w[row * 32 + 3]) << "exponent " << row;
}

// The chains of operations are the same everywhere, so the bits are; only bf16 products and tiles differ.
TEST_P(LinearTest, AgreesWithReferenceBitForBit) {
  uint32_t seed = 300;
  for (const Compute compute : {Compute::kFast, Compute::kExact}) {
    Runner runner(GetParam(), compute), reference("reference", compute);
    for (const Case& c : Cases()) {
      if (compute == Compute::kFast && (c.format == Format::Dense(DType::kBF16) || HasTiles(GetParam()))) continue;
      const int64_t n = 21, k = RoundUp(2100, c.multiple);
      const RandomSource source(c.format, n, k, ++seed);
      const std::vector<float> x = RandomActivations(9 * k, ++seed);
      ASSERT_TRUE(SameBits(runner.Multiply(x, runner.Pack(source)), reference.Multiply(x, reference.Pack(source))))
          << c.name << " exact " << (compute == Compute::kExact);
    }
  }
}

TEST_P(LinearTest, ThreadsDoNotMatter) {
  for (const Compute compute : {Compute::kFast, Compute::kExact}) {
    Runner one(GetParam(), compute, 1), two(GetParam(), compute, 2), three(GetParam(), compute, 3);
    for (const Case& c : Cases()) {
      const int64_t n = 500, k = RoundUp(200, c.multiple);
      const RandomSource source(c.format, n, k, 7);
      const PackedWeight weight = one.Pack(source), weight3 = three.Pack(source);
      ASSERT_EQ(weight.bytes(), weight3.bytes());
      ASSERT_EQ(std::memcmp(weight.data(), weight3.data(), weight.bytes()), 0) << c.name;
      const std::vector<float> x = RandomActivations(19 * k, 8);
      const std::vector<float> y = one.Multiply(x, weight);
      ASSERT_TRUE(SameBits(y, two.Multiply(x, weight))) << c.name;
      ASSERT_TRUE(SameBits(y, three.Multiply(x, weight))) << c.name;
    }
  }
}

TEST_P(LinearTest, BadRowStaysAlone) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  for (const Compute compute : {Compute::kFast, Compute::kExact}) {
    Runner runner(GetParam(), compute);
    for (const Case& c : Cases()) {
      const int64_t n = 20, k = RoundUp(100, c.multiple);
      const PackedWeight weight = runner.Pack(RandomSource(c.format, n, k, 9));
      std::vector<float> x = RandomActivations(6 * k, 10);
      const std::vector<float> good = runner.Multiply(x, weight);
      x[2 * k + 40] = kNan;
      x[4 * k + k - 1] = kInf;
      const std::vector<float> y = runner.Multiply(x, weight);
      for (int64_t row = 0; row < 6; ++row) {
        if (row != 2 && row != 4) {
          ASSERT_TRUE(SameBits(Row(y, row, n), Row(good, row, n))) << c.name;
          continue;
        }
        for (int64_t i = 0; i < n; ++i) ASSERT_FALSE(std::isfinite(y[row * n + i])) << c.name << " hides it";
      }
    }
  }
}

TEST_P(LinearTest, ZerosGiveTheBias) {
  for (const Compute compute : {Compute::kFast, Compute::kExact}) {
    Runner runner(GetParam(), compute);
    for (const Case& c : Cases()) {
      const int64_t n = 20, k = RoundUp(100, c.multiple);
      const PackedWeight weight = runner.Pack(RandomSource(c.format, n, k, 11));
      const std::vector<float> bias = RandomActivations(n, 12);
      std::vector<float> x(2 * k, 0.0F);
      for (int64_t i = 0; i < k; ++i) x[k + i] = i % 2 ? 1e-39F : -1e-38F;  // below what has a reciprocal
      const std::vector<float> y = runner.Multiply(x, weight, bias);
      for (int64_t i = 0; i < 2 * n; ++i) ASSERT_EQ(y[i], bias[i % n]) << c.name;
    }
  }
}

TEST_P(LinearTest, HugeAndTinyActivations) {
  if (HasTiles(GetParam())) GTEST_SKIP() << "tiles do not quantize activations";
  Runner runner(GetParam(), Compute::kFast), reference("reference", Compute::kFast);
  const RandomSource source({.bits = 8, .group_size = 32}, 16, 64, 13);
  const PackedWeight weight = runner.Pack(source), same = reference.Pack(source);
  for (const float size : {1e-37F, 1e-30F, 1e-29F, 1e-20F, 1e30F, 3e38F}) {
    std::vector<float> x = RandomActivations(64, 14);
    for (float& value : x) value = std::clamp(value / 100, -1.0F, 1.0F) * size;
    x[5] = size;
    ASSERT_TRUE(SameBits(runner.Multiply(x, weight), reference.Multiply(x, same))) << size;
  }
}

TEST_P(LinearTest, EmbedGathersRows) {
  Runner runner(GetParam(), Compute::kFast);
  for (const Case& c : Cases()) {
    const int64_t n = 40, k = RoundUp(70, c.multiple);
    const RandomSource source(c.format, n, k, 15);
    const PackedWeight table = runner.Pack(source);
    std::vector<float> w(n * k);
    DequantizeRows(source.all(), w.data());
    std::vector<int32_t> ids = {39, 0, 17, 17, 16, 15, 31, 38};
    std::vector<float> y(ids.size() * k);
    std::vector<int32_t> with_slots = ids, drawn = {5, 17, 31};  // two are drawn for slots
    with_slots[2] = ~1;
    with_slots[6] = ~2;
    const auto ints = [](std::vector<int32_t>& x) {
      return TensorView{.data = x.data(), .dtype = DType::kI32, .shape = {std::ssize(x)}, .device = {}};
    };
    const Step step{.num_tokens = std::ssize(ids), .token_ids = ints(with_slots), .drawn_tokens = ints(drawn)};
    Embed(runner.context(), step, table, 1.5F, {.data = y.data(), .shape = {std::ssize(ids), k}});
    for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], w[ids[i / k] * k + i % k] * 1.5F) << c.name << " " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, LinearTest, testing::ValuesIn(IsasWithEmulatedTiles()),
                         [](const auto& info) { return info.param; });

TEST(PackedBytesTest, StaysNearTheFile) {
  const auto backend = MakeCpuBackend(1);
  const struct {
    Encoding encoding;
    double limit;
  } limits[] = {{Encoding::kQ4_0, 1.001},  {Encoding::kQ4_1, 1.001},   {Encoding::kQ8_0, 1.001},
                {Encoding::kQ4_K, 1.03},   {Encoding::kIQ4_NL, 1.001}, {Encoding::kIQ4_XS, 1.02},
                {Encoding::kMXFP4, 1.001}, {Encoding::kNVFP4, 1.12},   {Encoding::kQ2_K, 1.96},
                {Encoding::kQ3_K, 1.34},   {Encoding::kQ5_0, 1.56},    {Encoding::kQ5_1, 1.51},
                {Encoding::kQ5_K, 1.6},    {Encoding::kQ6_K, 1.56},    {Encoding::kF16, 1.0},
                {Encoding::kBF16, 1.0},    {Encoding::kF32, 1.0}};
  for (const auto& [encoding, limit] : limits) {
    const double file = 2048.0 * static_cast<double>(RowBytes(encoding, 5632).value());
    EXPECT_LE(static_cast<double>(backend->PackedBytes(FormatOf(encoding), 2048, 5632)), file * limit)
        << InfoOf(encoding).name;
  }
}

}  // namespace
}  // namespace ingot::ops
