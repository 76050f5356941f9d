// Weights of every format, and what their products are: for tests of Linear.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/kernel_table.h"
#include "ops/backend.h"
#include "ops/isa_info.h"
#include "ops/linear.h"

namespace ingot::ops {

using Zero = Format::Zero;
using Scale = Format::Scale;
using Codebook = Format::Codebook;

inline constexpr double kEps = 0x1p-24;  // half an ulp of 1 in f32

struct Case {
  const char* name;
  Format format;
  int64_t multiple;  // K is a multiple of this
};
// What files hold (GGUF's types, AWQ, GPTQ, plain numbers) and the corners of the descriptor.
inline std::vector<Case> Cases() {
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

inline std::vector<float> RandomActivations(int64_t count, uint32_t seed) {
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

inline std::vector<float> Row(const std::vector<float>& matrix, int64_t row, int64_t cols) {
  return {matrix.begin() + row * cols, matrix.begin() + (row + 1) * cols};
}
inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
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
inline Sum QuantizedProduct(const WeightRows& w, int64_t row, const float* x) {
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

enum class Rounded { kNothing, kActivations };  // to bf16
inline float ToBf16(float value) { return BF16ToF32(F32ToBF16(value)); }
inline Sum ExactProduct(const float* w, const float* x, int64_t k, Rounded rounded) {
  Sum sum;
  for (int64_t i = 0; i < k; ++i) {
    sum.Add(static_cast<double>(w[i]) * (rounded == Rounded::kNothing ? x[i] : ToBf16(x[i])));
  }
  return sum;
}

// The definition of products on tiles in kernels/gemm.h, but for the order of additions: activations rounded to bf16,
// weights of f16 as tiles have them.
inline std::vector<float> TileWeights(const WeightRows& rows) {
  std::vector<float> w(rows.rows * rows.cols);
  DequantizeRows(rows, w.data());
  if (rows.format.quantized() || rows.format.dense != DType::kF16) return w;
  for (float& value : w) {
    value = std::bit_cast<float>(std::bit_cast<uint32_t>(value * (1 + 3.0F / 1024)) & 0xffff0000U);
  }
  return w;
}

inline bool HasTiles(const std::string& isa) { return isa.starts_with("amx"); }

inline int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// What this machine has, and AMX in plain C++ where that can run.
inline std::vector<std::string> IsasWithEmulatedTiles() {
  std::vector<std::string> isas = GetIsaInfo().available;
  if (std::ranges::find(isas, "avx2") != isas.end()) isas.emplace_back("amx_emulated");
  return isas;
}

}  // namespace ingot::ops
