// A vector of floats of the instruction set this file is compiled for, in that set's namespace: AVX-512 (16 lanes),
// AVX2 with FMA and F16C (8 lanes), or else one float, which the reference kernels use.
#pragma once

#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#else
#include <cmath>

#include "tensor/dtype.h"
#endif

#ifndef INGOT_ISA_NAMESPACE
#error "INGOT_ISA_NAMESPACE names the instruction set"
#endif

namespace ingot::kernels::INGOT_ISA_NAMESPACE {

#if defined(__AVX512F__)

inline constexpr int kLanes = 16;
struct F32 {
  __m512 v;
};
struct Mask {
  __mmask16 v;
};

inline F32 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void Store(float* p, F32 a) { _mm512_storeu_ps(p, a.v); }
inline F32 Set(float a) { return {_mm512_set1_ps(a)}; }
inline F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32 SquareRoot(F32 a) { return {_mm512_sqrt_ps(a.v)}; }
inline F32 Fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// b where either is NaN.
inline F32 Min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32 Max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32 Abs(F32 a) { return {_mm512_abs_ps(a.v)}; }
inline F32 CopySign(F32 magnitude, F32 sign) {
  const __m512i bit = _mm512_set1_epi32(INT32_MIN);  // 0xd8: bit ? sign : magnitude
  return {_mm512_castsi512_ps(
      _mm512_ternarylogic_epi32(_mm512_castps_si512(magnitude.v), _mm512_castps_si512(sign.v), bit, 0xd8))};
}
inline Mask Less(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline F32 Select(Mask m, F32 a, F32 b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }
inline F32 RoundToEven(F32 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// a · 2^n, rounded once. n: a whole number in [-252, 254].
inline F32 Scale(F32 a, F32 n) { return {_mm512_scalef_ps(a.v, n.v)}; }
inline float ReduceAdd(F32 a) { return _mm512_reduce_add_ps(a.v); }
inline float ReduceMax(F32 a) { return _mm512_reduce_max_ps(a.v); }

// Lanes begin <= i < end.
inline Mask LanesBetween(int begin, int end) {
  const uint32_t below_end = end >= kLanes ? 0xffffu : end <= 0 ? 0u : (1u << end) - 1;
  const uint32_t below_begin = begin >= kLanes ? 0xffffu : begin <= 0 ? 0u : (1u << begin) - 1;
  return {static_cast<__mmask16>(below_end & ~below_begin)};
}
// The first n lanes; zero in the others.
inline F32 LoadFirst(const float* p, int n) { return {_mm512_maskz_loadu_ps(LanesBetween(0, n).v, p)}; }
inline void StoreFirst(float* p, F32 a, int n) { _mm512_mask_storeu_ps(p, LanesBetween(0, n).v, a.v); }

inline F32 LoadHalf(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline F32 LoadHalfFirst(const uint16_t* p, int n) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(LanesBetween(0, n).v, p))};
}
// Rounded to nearest even.
inline void StoreHalfFirst(uint16_t* p, F32 a, int n) {
  const __m256i half = _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm256_mask_storeu_epi16(p, LanesBetween(0, n).v, half);
}

// A number of bf16 is the upper half of a float.
inline F32 LoadBf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
inline F32 LoadBf16First(const uint16_t* p, int n) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(LanesBetween(0, n).v, p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
// Rounded to nearest even; a NaN is made quiet.
inline void StoreBf16First(uint16_t* p, F32 a, int n) {
  const __m512i bits = _mm512_castps_si512(a.v), upper = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  const __m512i number = _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40));
  _mm256_mask_storeu_epi16(p, LanesBetween(0, n).v, _mm512_cvtepi32_epi16(number));
}

// Sixteen bytes as numbers.
inline F32 LoadBytes(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
// Whole numbers in [0, 255] as bytes.
inline void StoreBytesFirst(uint8_t* p, F32 a, int n) {
  _mm_mask_storeu_epi8(p, LanesBetween(0, n).v, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}
// A half in every lane.
inline F32 SetHalf(uint16_t bits) { return {_mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(bits)))}; }

#elif defined(__AVX2__)

inline constexpr int kLanes = 8;
struct F32 {
  __m256 v;
};
struct Mask {
  __m256i v;
};

inline F32 Load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void Store(float* p, F32 a) { _mm256_storeu_ps(p, a.v); }
inline F32 Set(float a) { return {_mm256_set1_ps(a)}; }
inline F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.v, b.v)}; }
inline F32 SquareRoot(F32 a) { return {_mm256_sqrt_ps(a.v)}; }
inline F32 Fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline F32 Min(F32 a, F32 b) { return {_mm256_min_ps(a.v, b.v)}; }
inline F32 Max(F32 a, F32 b) { return {_mm256_max_ps(a.v, b.v)}; }
inline F32 Abs(F32 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
inline F32 CopySign(F32 magnitude, F32 sign) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(bit, magnitude.v), _mm256_and_ps(bit, sign.v))};
}
inline Mask Less(F32 a, F32 b) { return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))}; }
inline F32 Select(Mask m, F32 a, F32 b) { return {_mm256_blendv_ps(b.v, a.v, _mm256_castsi256_ps(m.v))}; }
inline F32 RoundToEven(F32 a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline F32 Scale(F32 a, F32 n) {
  // In two steps, since one exponent field cannot hold all of n; only the second rounds.
  const __m256i whole = _mm256_cvtps_epi32(n.v);
  const __m256i first = _mm256_srai_epi32(whole, 1), second = _mm256_sub_epi32(whole, first);
  const __m256i bias = _mm256_set1_epi32(127);
  const auto pow2 = [bias](__m256i e) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, bias), 23)); };
  return {_mm256_mul_ps(_mm256_mul_ps(a.v, pow2(first)), pow2(second))};
}
inline float ReduceAdd(F32 a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float ReduceMax(F32 a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

inline Mask LanesBetween(int begin, int end) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return {_mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(begin), lane),
                              _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane))};
}
inline F32 LoadFirst(const float* p, int n) { return {_mm256_maskload_ps(p, LanesBetween(0, n).v)}; }
inline void StoreFirst(float* p, F32 a, int n) { _mm256_maskstore_ps(p, LanesBetween(0, n).v, a.v); }

inline F32 LoadHalf(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline F32 LoadHalfFirst(const uint16_t* p, int n) {
  uint16_t lanes[kLanes] = {};
  __builtin_memcpy(lanes, p, static_cast<uint64_t>(n < kLanes ? n : kLanes) * sizeof(uint16_t));
  return LoadHalf(lanes);
}
inline void StoreHalfFirst(uint16_t* p, F32 a, int n) {
  uint16_t lanes[kLanes];
  const __m128i half = _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(lanes), half);
  __builtin_memcpy(p, lanes, static_cast<uint64_t>(n < kLanes ? n : kLanes) * sizeof(uint16_t));
}

// A number of bf16 is the upper half of a float.
inline F32 LoadBf16(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
}
inline F32 LoadBf16First(const uint16_t* p, int n) {
  uint16_t lanes[kLanes] = {};
  __builtin_memcpy(lanes, p, static_cast<uint64_t>(n < kLanes ? n : kLanes) * sizeof(uint16_t));
  return LoadBf16(lanes);
}
// Rounded to nearest even; a NaN is made quiet.
inline void StoreBf16First(uint16_t* p, F32 a, int n) {
  const __m256i bits = _mm256_castps_si256(a.v), upper = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q));
  const __m256i number = _mm256_blendv_epi8(rounded, _mm256_or_si256(upper, _mm256_set1_epi32(0x40)), nan);
  uint16_t lanes[kLanes];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(lanes),
                   _mm_packus_epi32(_mm256_castsi256_si128(number), _mm256_extracti128_si256(number, 1)));
  __builtin_memcpy(p, lanes, static_cast<uint64_t>(n < kLanes ? n : kLanes) * sizeof(uint16_t));
}

// Eight bytes as numbers.
inline F32 LoadBytes(const uint8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}
// Whole numbers in [0, 255] as bytes.
inline void StoreBytesFirst(uint8_t* p, F32 a, int n) {
  const __m256i whole = _mm256_cvtps_epi32(a.v);
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  uint8_t lanes[2 * kLanes];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(lanes), _mm_packus_epi16(words, words));
  __builtin_memcpy(p, lanes, static_cast<uint64_t>(n < kLanes ? n : kLanes));
}
// A half in every lane.
inline F32 SetHalf(uint16_t bits) { return {_mm256_cvtph_ps(_mm_set1_epi16(static_cast<int16_t>(bits)))}; }

#else

inline constexpr int kLanes = 1;
struct F32 {
  float v;
};
struct Mask {
  bool v;
};

inline F32 Load(const float* p) { return {*p}; }
inline void Store(float* p, F32 a) { *p = a.v; }
inline F32 Set(float a) { return {a}; }
inline F32 operator+(F32 a, F32 b) { return {a.v + b.v}; }
inline F32 operator-(F32 a, F32 b) { return {a.v - b.v}; }
inline F32 operator*(F32 a, F32 b) { return {a.v * b.v}; }
inline F32 operator/(F32 a, F32 b) { return {a.v / b.v}; }
inline F32 Fma(F32 a, F32 b, F32 c) { return {std::fma(a.v, b.v, c.v)}; }
inline F32 Min(F32 a, F32 b) { return {a.v < b.v ? a.v : b.v}; }
inline F32 Max(F32 a, F32 b) { return {a.v > b.v ? a.v : b.v}; }
inline F32 Abs(F32 a) { return {std::fabs(a.v)}; }
inline F32 CopySign(F32 magnitude, F32 sign) { return {std::copysign(magnitude.v, sign.v)}; }
inline Mask Less(F32 a, F32 b) { return {a.v < b.v}; }
inline F32 Select(Mask m, F32 a, F32 b) { return m.v ? a : b; }
inline F32 RoundToEven(F32 a) { return {std::nearbyint(a.v)}; }
inline F32 Scale(F32 a, F32 n) { return n.v == n.v ? F32{std::ldexp(a.v, static_cast<int>(n.v))} : n; }

#endif

#if defined(__AVX512F__) || defined(__AVX2__)
// The first min(n, kLanes) lanes: what a loop over [0, n) in steps of kLanes needs, its rest included.
inline F32 LoadSome(const float* p, int64_t n) { return n >= kLanes ? Load(p) : LoadFirst(p, static_cast<int>(n)); }
inline void StoreSome(float* p, F32 a, int64_t n) {
  if (n >= kLanes) {
    Store(p, a);
  } else {
    StoreFirst(p, a, static_cast<int>(n));
  }
}
#endif

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
