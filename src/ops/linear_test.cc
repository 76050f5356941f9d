#include "ops/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/kernel_table.h"
#include "ops/backend.h"
#include "ops/isa_info.h"

namespace ingot::ops {
namespace {

using Zero = Format::Zero;
using Scale = Format::Scale;
using Codebook = Format::Codebook;

constexpr double kEps = 0x1p-24;  // half an ulp of 1 in f32

struct Case {
  const char* name;
  Format format;
  int64_t multiple;  // K is a multiple of this
};
// What files hold (GGUF's types, AWQ, GPTQ, plain numbers) and the corners of the descriptor.
std::vector<Case> Cases() {
  return {{"q4_0", {.bits = 4, .group_size = 32}, 32},
          {"q4_1", {.bits = 4, .group_size = 32, .zero = Zero::kMin}, 32},
          {"q5_0", {.bits = 5, .group_size = 32}, 32},
          {"q5_1", {.bits = 5, .group_size = 32, .zero = Zero::kMin}, 32},
          {"q8_0", {.bits = 8, .group_size = 32}, 32},
          {"q2_k", {.bits = 2, .group_size = 16, .zero = Zero::kMin, .scale = Scale::kSuper}, 256},
          {"q3_k", {.bits = 3, .group_size = 16, .scale = Scale::kSuper}, 256},
          {"q4_k", {.bits = 4, .group_size = 32, .zero = Zero::kMin, .scale = Scale::kSuper}, 256},
          {"q5_k", {.bits = 5, .group_size = 32, .zero = Zero::kMin, .scale = Scale::kSuper}, 256},
          {"q6_k", {.bits = 6, .group_size = 16, .scale = Scale::kSuper}, 256},
          {"tq1_0", {.bits = 2, .group_size = 256}, 256},
          {"iq4_nl", {.bits = 4, .group_size = 32, .codebook = Codebook::kIq4}, 32},
          {"iq4_xs", {.bits = 4, .group_size = 32, .scale = Scale::kSuper, .codebook = Codebook::kIq4}, 256},
          {"iq3_xxs", {.bits = 4, .group_size = 32, .scale = Scale::kSuper, .codebook = Codebook::kIq3Xxs}, 256},
          {"iq3_s", {.bits = 4, .group_size = 32, .scale = Scale::kSuper, .codebook = Codebook::kIq3S}, 256},
          {"iq2_s", {.bits = 4, .group_size = 16, .scale = Scale::kSuper, .codebook = Codebook::kIq2}, 256},
          {"iq1_m", {.bits = 4, .group_size = 16, .scale = Scale::kSuper, .codebook = Codebook::kIq1}, 256},
          {"mxfp4", {.bits = 4, .group_size = 32, .scale = Scale::kE8M0, .codebook = Codebook::kFp4}, 32},
          {"nvfp4", {.bits = 4, .group_size = 16, .codebook = Codebook::kFp4}, 64},
          {"coded_row_f32", {.bits = 4, .group_size = 0, .scale = Scale::kF32, .codebook = Codebook::kIq4}, 1},
          {"awq", {.bits = 4, .group_size = 128, .zero = Zero::kInteger}, 1},
          {"gptq_g64_f32", {.bits = 4, .group_size = 64, .zero = Zero::kInteger, .scale = Scale::kF32}, 1},
          {"int8_row", {.bits = 8, .group_size = 0, .scale = Scale::kF32}, 1},
          {"int8_zero", {.bits = 8, .group_size = 32, .zero = Zero::kInteger}, 1},
          {"int8_min_g16", {.bits = 8, .group_size = 16, .zero = Zero::kMin, .scale = Scale::kF32}, 1},
          {"int4_row", {.bits = 4, .group_size = 0}, 1},
          {"int4_g16", {.bits = 4, .group_size = 16, .zero = Zero::kInteger}, 1},
          {"int4_g16_min", {.bits = 4, .group_size = 16, .zero = Zero::kMin}, 1},
          {"int4_g16_mid", {.bits = 4, .group_size = 16}, 1},
          {"int3", {.bits = 3, .group_size = 64}, 1},
          {"int2_zero", {.bits = 2, .group_size = 64, .zero = Zero::kInteger}, 1},
          {"f32", Format::Dense(DType::kF32), 1},
          {"f16", Format::Dense(DType::kF16), 1},
          {"bf16", Format::Dense(DType::kBF16), 1}};
}

// Random weights, held whole.
class RandomSource : public WeightSource {
 public:
  RandomSource(const Format& format, int64_t rows, int64_t cols, uint32_t seed) : random_(seed) {
    all_.format = format;
    all_.rows = rows;
    all_.cols = cols;
    format.quantized() ? MakeQuantized() : MakeDense();
  }
  int64_t rows() const override { return all_.rows; }
  int64_t cols() const override { return all_.cols; }
  Format format() const override { return all_.format; }
  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    out->format = all_.format;
    out->rows = count;
    out->cols = all_.cols;
    const auto slice = [&](const auto& from, auto& to) {
      const auto each = static_cast<int64_t>(from.size()) / all_.rows;
      to.assign(from.begin() + row * each, from.begin() + (row + count) * each);
    };
    slice(all_.dense, out->dense);
    slice(all_.codes, out->codes);
    slice(all_.scale, out->scale);
    slice(all_.zero, out->zero);
    slice(all_.super_scale, out->super_scale);
    slice(all_.super_min, out->super_min);
    slice(all_.scale_code, out->scale_code);
    slice(all_.min_code, out->min_code);
  }
  const WeightRows& all() const { return all_; }
  void SetExponent(int64_t group, int code) {
    all_.scale_code[group] = static_cast<int16_t>(code);
    all_.scale[group] = std::ldexp(1.0F, code - 128);
  }

 private:
  int Below(int end) { return std::uniform_int_distribution<int>(0, end - 1)(random_); }
  float Uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(random_); }
  float Round(float value) const { return all_.format.scale == Scale::kF16 ? F16ToF32(F32ToF16(value)) : value; }
  void MakeQuantized() {
    const Format& format = all_.format;
    const int64_t group = format.group_size == 0 ? all_.cols : format.group_size;
    const int64_t groups = (all_.cols + group - 1) / group;
    for (int64_t i = 0; i < all_.rows * all_.cols; ++i)
      all_.codes.push_back(static_cast<uint8_t>(Below(1 << format.bits)));
    if (format.scale == Scale::kSuper) return MakeSupers(groups, group);
    if (format.scale == Scale::kE8M0) return MakeExponents(all_.rows * groups);
    for (int64_t i = 0; i < all_.rows * groups; ++i) {
      all_.scale.push_back(Round(Uniform(-0.01F, 0.02F)));
      if (format.zero == Zero::kMin) all_.zero.push_back(Round(Uniform(-0.2F, 0.05F)));
      if (format.zero == Zero::kInteger) all_.zero.push_back(static_cast<float>(Below(1 << format.bits)));
    }
  }
  void MakeDense() {
    for (int64_t i = 0; i < all_.rows * all_.cols; ++i) {
      const float value = Uniform(-0.1F, 0.1F);
      all_.dense.push_back(all_.format.dense == DType::kF16    ? F16ToF32(F32ToF16(value))
                           : all_.format.dense == DType::kBF16 ? BF16ToF32(F32ToBF16(value))
                                                               : value);
    }
  }
  void MakeSupers(int64_t groups, int64_t group) {
    const int64_t supers = (all_.cols + kSuperBlock - 1) / kSuperBlock;
    const bool min = all_.format.zero == Zero::kMin;
    const float unit = all_.format.codebook == Codebook::kNone ? 1 : InfoOf(all_.format.codebook).unit;
    for (int64_t i = 0; i < all_.rows * supers; ++i) {
      all_.super_scale.push_back(F16ToF32(F32ToF16(Uniform(0, 0.0005F))));
      if (min) all_.super_min.push_back(F16ToF32(F32ToF16(Uniform(-0.005F, 0))));
    }
    for (int64_t i = 0; i < all_.rows * groups; ++i) {
      const int64_t super = i / groups * supers + i % groups * group / kSuperBlock;
      all_.scale_code.push_back(static_cast<int16_t>(min ? Below(64) : Below(256) - 128));
      all_.scale.push_back(all_.super_scale[super] * all_.scale_code.back() * unit);
      if (!min) continue;
      all_.min_code.push_back(static_cast<int16_t>(Below(64)));
      all_.zero.push_back(all_.super_min[super] * all_.min_code.back());
    }
  }

  // Most of them usual ones, and now and then one from both ends.
  void MakeExponents(int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const int code = i % 61 == 60 ? Below(3) : 114 + Below(12);
      all_.scale_code.push_back(static_cast<int16_t>(code));
      all_.scale.push_back(std::ldexp(1.0F, code - 128));
    }
  }

  std::mt19937 random_;
  WeightRows all_;
};

std::vector<float> RandomActivations(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float& value : x) value = normal(random);
  for (int64_t i = 0; i < count; i += 97) x[i] *= 20;  // outliers
  return x;
}

// Runs ops with one instruction set, one mode and one thread count.
class Runner {
 public:
  Runner(const std::string& isa, Compute compute, int threads = 1)
      : backend_(MakeCpuBackend(threads, isa)),
        context_{.backend = backend_.get(), .scratch = &scratch_, .compute = compute} {}
  const Context& context() const { return context_; }
  PackedWeight Pack(const WeightSource& source) const { return backend_->Prepack(source).value(); }
  std::vector<float> Multiply(const std::vector<float>& x, const PackedWeight& weight,
                              const std::vector<float>& bias = {}) {
    const int64_t k = weight.in_features(), n = weight.out_features(), m = static_cast<int64_t>(x.size()) / k;
    // Not a byte more than was said.
    scratch_ = Scratch::Allocate(*backend_, backend_->LinearBytes(m, {&weight, 1})).value();
    constexpr float kGuard = 12345.0F;
    std::vector<float> y(m * n + 64, kGuard);
    backend_->Linear(context_, {.data = const_cast<float*>(x.data()), .shape = {m, k}}, {&weight, 1},
                     {.data = const_cast<float*>(bias.data())}, {.data = y.data(), .shape = {m, n}});
    for (int64_t i = m * n; i < m * n + 64; ++i) EXPECT_EQ(y[i], kGuard) << "write behind y";
    EXPECT_EQ(scratch_.used(), 0);
    y.resize(m * n);
    return y;
  }

 private:
  std::unique_ptr<Backend> backend_;
  Scratch scratch_;
  const Context context_;
};

std::vector<float> Row(const std::vector<float>& matrix, int64_t row, int64_t cols) {
  return {matrix.begin() + row * cols, matrix.begin() + (row + 1) * cols};
}
bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// A sum in double and the sum of its terms' magnitudes, to which rounding errors are proportional.
struct Sum {
  double value = 0, magnitude = 0;
  void Add(double term) {
    value += term;
    magnitude += std::abs(term);
  }
};

// The definition of W4A8 in kernels/gemm.h, in double: x a row of activations, w its row of weights.
Sum QuantizedProduct(const WeightRows& w, int64_t row, const float* x) {
  const int64_t group = w.format.group_size == 0 ? w.cols : w.format.group_size;
  const int64_t groups = (w.cols + group - 1) / group;
  Sum sum;
  for (int64_t begin = 0; begin < w.cols; begin += 32) {
    const int64_t end = std::min(begin + 32, w.cols);
    float amax = 0;
    for (int64_t k = begin; k < end; ++k) amax = std::max(amax, std::abs(x[k]));
    if (amax == 0) continue;
    const double scale_x = amax / 127.0F;
    double products = 0, minimum = 0;
    for (int64_t k = begin; k < end; ++k) {
      const double a = std::nearbyint(x[k] * (127.0F / amax));
      const int64_t g = row * groups + k / group;
      const double code = w.codes[row * w.cols + k], scale = w.scale[g];
      if (w.format.codebook != Codebook::kNone) {
        products += scale * InfoOf(w.format.codebook).values[static_cast<size_t>(code)] * a;
        continue;
      }
      if (w.format.zero == Zero::kMidpoint) products += scale * (code - (1 << (w.format.bits - 1))) * a;
      if (w.format.zero == Zero::kInteger) products += scale * (code - w.zero[g]) * a;
      if (w.format.zero == Zero::kMin) products += scale * code * a, minimum += w.zero[g] * a;
    }
    sum.Add(scale_x * products);
    sum.Add(scale_x * minimum);
  }
  return sum;
}

Sum ExactProduct(const float* w, const float* x, int64_t k, bool bf16_activations) {
  Sum sum;
  for (int64_t i = 0; i < k; ++i) {
    sum.Add(static_cast<double>(w[i]) * (bf16_activations ? BF16ToF32(F32ToBF16(x[i])) : x[i]));
  }
  return sum;
}

int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

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
        const std::vector<float> x = RandomActivations(33 * cols, ++seed);
        std::vector<std::vector<float>> alone;
        for (int64_t m = 0; m < 33; ++m) alone.push_back(runner.Multiply(Row(x, m, cols), weight));
        for (const int64_t m : {2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33}) {
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
    const bool bf16 = c.format.dense == DType::kBF16 && !c.format.quantized() &&
                      runner.context().backend->host().kernels->gemm.multiply_bf16 != nullptr &&
                      kernels::CpuMultipliesBf16();
    double error2 = 0, norm2 = 0;
    for (int64_t i = 0; i < m * n; ++i) {
      const int64_t row = i / n, channel = i % n;
      const Sum exact = ExactProduct(&w[channel * k], &x[row * k], k, false);
      const Sum want = c.format.quantized() ? QuantizedProduct(source.all(), channel, &x[row * k])
                                            : ExactProduct(&w[channel * k], &x[row * k], k, bf16);
      // Each of the chain's additions rounds a partial sum, whose size is at most the magnitude.
      const double additions = (c.format.quantized() ? 2.0 * k / 16 : 2.0 * k) + 4;
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
      const Sum want = ExactProduct(&w[i % n * k], &x[i / n * k], k, false);
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

// The chains of operations are the same everywhere, so the bits are; only bf16 products differ.
TEST_P(LinearTest, AgreesWithReferenceBitForBit) {
  uint32_t seed = 300;
  for (const Compute compute : {Compute::kFast, Compute::kExact}) {
    Runner runner(GetParam(), compute), reference("reference", compute);
    for (const Case& c : Cases()) {
      if (compute == Compute::kFast && c.format == Format::Dense(DType::kBF16)) continue;
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

INSTANTIATE_TEST_SUITE_P(Isas, LinearTest, testing::ValuesIn(GetIsaInfo().available),
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
