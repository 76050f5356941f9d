// Elementary functions on F32, the same formula on every instruction set. The coefficients are minimax fits (weighted
// for relative error) on the interval named beside them; their own error is below 0.3 ulp.
#pragma once

#include "kernels/cpu/simd.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {

// c[0] + c[1]·x + …
template <int N>
inline F32 Polynomial(F32 x, const float (&c)[N]) {
  F32 y = Set(c[N - 1]);
  for (int i = N - 2; i >= 0; --i) y = Fma(y, x, Set(c[i]));
  return y;
}

// e^x; 0 from -104 down, +inf from 88.73 up, NaN stays. e^x = 2^n · e^r, n = round(x / ln 2), |r| <= ln 2 / 2.
inline F32 Exp(F32 x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;  // High · n is exact
  constexpr float kC[] = {0.4999999403953552f, 0.1666652113199234f, 0.04166838899254799f, 0.008368716575205326f,
                          0.001381459878757596f};  // (e^r - 1 - r) / r²
  x = Max(Set(-105.0f), Min(Set(89.0f), x));
  const F32 n = RoundToEven(x * Set(kLog2E));
  const F32 r = Fma(n, Set(-kLn2Low), Fma(n, Set(-kLn2High), x));
  const F32 p = Fma(Polynomial(r, kC), r * r, r) + Set(1.0f);
  return Scale(p, n);
}

// 1 / (1 + e^-x)
inline F32 Sigmoid(F32 x) { return Set(1.0f) / (Set(1.0f) + Exp(Set(0.0f) - x)); }

inline F32 Tanh(F32 x) {
  constexpr float kC[] = {-0.3333325982093811f, 0.1333083063364029f, -0.05368802323937416f, 0.02046941965818405f,
                          -0.005515164230018854f};  // (tanh x - x) / x³ on |x| <= 0.65
  const F32 a = Abs(x), x2 = x * x;
  const F32 near = Fma(Polynomial(x2, kC) * x2, x, x);
  const F32 far = Set(1.0f) - Set(2.0f) / (Exp(a + a) + Set(1.0f));
  return Select(Less(a, Set(0.65f)), near, CopySign(far, x));
}

inline F32 Silu(F32 x) { return x * Sigmoid(x); }

// x/2 · (1 + tanh(u)) = x · sigmoid(2u), u = sqrt(2/π) · (x + 0.044715 x³)
inline F32 GeluTanh(F32 x) {
  constexpr float kTwoSqrt2OverPi = 1.5957691216f;
  const F32 u = Fma(Set(0.044715f) * x * x, x, x);
  return x * Sigmoid(Set(kTwoSqrt2OverPi) * u);
}

// x/2 · erfc(-x/√2). With z = |x|/√2: erfc(z) = e^(-z²) · P(t) / (1 + 2z), t = (z - 2) / (z + 2).
inline F32 Gelu(F32 x) {
  constexpr float kSqrtHalf = 0.70710678f;
  constexpr float kC[] = {1.2769783735275269f,     -0.09276380389928818f,  -0.16603206098079681f,
                          0.1640504151582718f,     -0.05419822037220001f,  -0.008022087626159191f,
                          0.008621107786893845f,   0.0012043131282553077f, -0.0012584065552800894f,
                          -0.0002941203420050442f, 6.391706847352907e-05f};  // z in [0, 14]
  const F32 z = Min(Set(14.0f), Abs(x) * Set(kSqrtHalf));
  const F32 t = (z - Set(2.0f)) / (z + Set(2.0f));
  const F32 erfc = Exp(Set(-0.5f) * x * x) * Polynomial(t, kC) / Fma(Set(2.0f), z, Set(1.0f));
  const F32 tail = Set(0.5f) * Abs(x) * erfc;
  return Select(Less(x, Set(0.0f)), Set(0.0f) - tail, x - tail);
}

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
