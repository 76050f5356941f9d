// Kernels that treat each row on its own.
#pragma once

#include "kernels/cuda/arch.h"
#include "kernels/cuda/params.h"

namespace ingot::kernels::cuda {

inline constexpr float kLog2E = 1.44269504f;

INGOT_DEVICE float Exp(float x) { return Exp2(x * kLog2E); }

// y = x / sqrt(mean(x²) + eps) · weight. Values are read twice; a row fits the first-level cache.
// grid: (rows), threads: kNormThreads, shared memory: kNormSharedBytes
template <typename X, typename T>
INGOT_DEVICE void RmsNorm(const NormParams& p) {
  SharedMemory shared;
  float* const sums = shared.Take<float>(kNormThreads / kWarpSize);
  const int64_t begin = BlockIndex().x * p.n;
  const X* const x = static_cast<const X*>(p.x) + begin;
  float* const residual = p.residual != nullptr ? p.residual + begin : nullptr;
  float sum = 0;
  for (int64_t i = ThreadIndex().x; i < p.n; i += kNormThreads) {
    float value = ToFloat(x[i]);
    if (residual != nullptr) residual[i] = value += residual[i];
    sum = Fma(value, value, sum);
  }
  sum = WarpSum(sum);
  if (Lane() == 0) sums[Warp()] = sum;
  SyncThreads();
  sum = 0;
  INGOT_UNROLL
  for (int warp = 0; warp < kNormThreads / kWarpSize; ++warp) sum += sums[warp];
  const float inverse = ReciprocalSqrt(Divide(sum, static_cast<float>(p.n)) + p.eps);
  T* const y = static_cast<T*>(p.y) + begin;
  for (int64_t i = ThreadIndex().x; i < p.n; i += kNormThreads) {
    const float value = residual != nullptr ? residual[i] : ToFloat(x[i]);
    y[i] = FromFloat<T>(value * inverse * p.weight[i]);
  }
}

// Codes of 8 bits of a row, whose largest is 127. A row with something that is not finite has codes 0 and a scale that
// is not a number, so that its products show it.
// grid: (rows), threads: kNormThreads, shared memory: kNormSharedBytes
INGOT_DEVICE void QuantizeRows(const QuantizeRowsParams& p) {
  constexpr float kLargest = 127, kNothing = 1e-30f;  // below, 127 / amax is no longer finite
  SharedMemory shared;
  float* const largest = shared.Take<float>(kNormThreads / kWarpSize);
  const int64_t row = BlockIndex().x;
  const auto* const x = static_cast<const uint16_t*>(p.x) + row * p.k;
  const auto number = [&](int64_t i) { return p.x_is_bfloat16 ? ToFloat(BFloat16{x[i]}) : ToFloat(Half{x[i]}); };
  float amax = 0;
  for (int64_t i = ThreadIndex().x; i < p.k; i += kNormThreads) {
    const float size = Maximum(number(i), -number(i));
    amax = Maximum(amax, size < kInfinity ? size : kInfinity);  // also where it is not a number
  }
  amax = WarpMaximum(amax);
  if (Lane() == 0) largest[Warp()] = amax;
  SyncThreads();
  INGOT_UNROLL
  for (int warp = 0; warp < kNormThreads / kWarpSize; ++warp) amax = Maximum(amax, largest[warp]);
  const bool some = kNothing < amax && amax < kInfinity;
  const float inverse = some ? Divide(kLargest, amax) : 0;
  for (int64_t i = ThreadIndex().x; i < p.y_stride; i += kNormThreads) {
    const float code = some && i < p.k ? RoundToEven(number(i) * inverse) : 0;
    p.y[row * p.y_stride + i] = static_cast<int8_t>(static_cast<int>(code));
  }
  if (ThreadIndex().x == 0) p.scales[row] = amax < kInfinity ? Divide(amax, kLargest) : Bits<float>(0x7fc00000u);
}

// The number of a thread in a grid over `count` numbers.
INGOT_DEVICE int64_t ElementIndex() {
  return static_cast<int64_t>(BlockIndex().x) * kRowThreads + static_cast<int64_t>(ThreadIndex().x);
}

// These: grid: (ceil(count / kRowThreads)), threads: kRowThreads
template <typename T>
INGOT_DEVICE void Add(const AddParams& p) {
  const int64_t i = ElementIndex();
  if (i < p.count) p.y[i] += ToFloat(static_cast<const T*>(p.x)[i]);
}

INGOT_DEVICE float Activate(Activation activation, float x) {
  constexpr float kTwoSqrt2OverPi = 1.5957691216f, kSqrtHalf = 0.70710678f;
  switch (activation) {
    case Activation::kSilu:
      return Divide(x, 1 + Exp(-x));
    case Activation::kGeluTanh:  // x/2 · (1 + tanh(u)) = x / (1 + e^(-2u)), u = sqrt(2/π) · (x + 0.044715 x³)
      return Divide(x, 1 + Exp(-kTwoSqrt2OverPi * Fma(0.044715f * x * x, x, x)));
    case Activation::kGelu:
      return 0.5f * x * (1 + Erf(x * kSqrtHalf));
  }
  return x;
}
template <typename T>
INGOT_DEVICE void ActivateMultiply(const ActivateParams& p) {
  const int64_t i = ElementIndex();
  if (i >= p.count) return;
  const T* const gate = static_cast<const T*>(p.gate_up) + i / p.n * 2 * p.n + i % p.n;
  static_cast<T*>(p.y)[i] = FromFloat<T>(Activate(p.activation, ToFloat(gate[0])) * ToFloat(gate[p.n]));
}

INGOT_DEVICE void Softcap(const SoftcapParams& p) {
  const int64_t i = ElementIndex();
  if (i < p.count) p.x[i] = p.cap * Tanh(Divide(p.x[i], p.cap));
}

INGOT_DEVICE void RopeAngles(const RopeAnglesParams& p) {
  const int64_t i = ElementIndex();
  if (i >= p.count) return;
  const double angle = static_cast<double>(p.positions[i / p.half]) * p.inv_freq[i % p.half];
  p.cos[i] = static_cast<float>(p.factor * Cos(angle));
  p.sin[i] = static_cast<float>(p.factor * Sin(angle));
}

// grid: (rows of y), threads: kRowThreads
INGOT_DEVICE void GatherRows(const GatherParams& p) {
  const uint16_t* const x = p.x + p.rows[BlockIndex().x] * p.n;
  uint16_t* const y = p.y + BlockIndex().x * p.n;
  for (int64_t i = ThreadIndex().x; i < p.n; i += kRowThreads) y[i] = x[i];
}

}  // namespace ingot::kernels::cuda
