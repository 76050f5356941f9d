// Vectors of the instruction set this file is compiled for, in that set's namespace: AVX-512 (16 lanes), AVX2 with FMA
// and F16C (8 lanes), or else one float, which the reference kernels use. F32, I32: one register. F32x16, I32x16,
// Bytes64: 16 lanes of 32 bits whatever the set, one per channel of a panel; two registers with AVX2.
#pragma once

#include <cstddef>
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

#define INGOT_INLINE [[gnu::always_inline]] inline

#if defined(__AVX512F__)

inline constexpr int kLanes = 16;
struct F32 {
  __m512 v;
};
struct I32 {
  __m512i v;
};
struct Bytes {
  __m512i v;
};
struct Mask {
  __mmask16 v;
};

INGOT_INLINE F32 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
INGOT_INLINE void Store(float* p, F32 a) { _mm512_storeu_ps(p, a.v); }
INGOT_INLINE F32 Set(float a) { return {_mm512_set1_ps(a)}; }
INGOT_INLINE F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
INGOT_INLINE F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
INGOT_INLINE F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
INGOT_INLINE F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
INGOT_INLINE F32 SquareRoot(F32 a) { return {_mm512_sqrt_ps(a.v)}; }
INGOT_INLINE F32 Fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }      // a · b + c
INGOT_INLINE F32 NegFma(F32 a, F32 b, F32 c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a · b
// b where either is NaN.
INGOT_INLINE F32 Min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
INGOT_INLINE F32 Max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
INGOT_INLINE F32 Abs(F32 a) { return {_mm512_abs_ps(a.v)}; }
INGOT_INLINE F32 CopySign(F32 magnitude, F32 sign) {
  const __m512i bit = _mm512_set1_epi32(INT32_MIN);  // 0xd8: bit ? sign : magnitude
  return {_mm512_castsi512_ps(
      _mm512_ternarylogic_epi32(_mm512_castps_si512(magnitude.v), _mm512_castps_si512(sign.v), bit, 0xd8))};
}
INGOT_INLINE Mask Less(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
INGOT_INLINE F32 Select(Mask m, F32 a, F32 b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }
INGOT_INLINE F32 RoundToEven(F32 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a · 2^n, rounded once. n: a whole number in [-252, 254].
INGOT_INLINE F32 Scale(F32 a, F32 n) { return {_mm512_scalef_ps(a.v, n.v)}; }
INGOT_INLINE float ReduceAdd(F32 a) { return _mm512_reduce_add_ps(a.v); }
INGOT_INLINE float ReduceMax(F32 a) { return _mm512_reduce_max_ps(a.v); }

// Lanes begin <= i < end.
INGOT_INLINE Mask LanesBetween(int begin, int end) {
  const uint32_t below_end = end >= kLanes ? 0xffffu : end <= 0 ? 0u : (1u << end) - 1;
  const uint32_t below_begin = begin >= kLanes ? 0xffffu : begin <= 0 ? 0u : (1u << begin) - 1;
  return {static_cast<__mmask16>(below_end & ~below_begin)};
}
// The first n lanes; zero in the others.
INGOT_INLINE F32 LoadFirst(const float* p, int n) { return {_mm512_maskz_loadu_ps(LanesBetween(0, n).v, p)}; }
INGOT_INLINE void StoreFirst(float* p, F32 a, int n) { _mm512_mask_storeu_ps(p, LanesBetween(0, n).v, a.v); }

INGOT_INLINE F32 LoadHalf(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
INGOT_INLINE F32 LoadHalfFirst(const uint16_t* p, int n) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(LanesBetween(0, n).v, p))};
}
// Rounded to nearest even.
INGOT_INLINE void StoreHalfFirst(uint16_t* p, F32 a, int n) {
  const __m256i half = _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm256_mask_storeu_epi16(p, LanesBetween(0, n).v, half);
}

// A number of bf16 is the upper half of a float.
INGOT_INLINE F32 LoadBf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
INGOT_INLINE F32 LoadBf16First(const uint16_t* p, int n) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(LanesBetween(0, n).v, p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
// Rounded to nearest even; a NaN is made quiet.
INGOT_INLINE void StoreBf16First(uint16_t* p, F32 a, int n) {
  const __m512i bits = _mm512_castps_si512(a.v), upper = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  const __m512i number = _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40));
  _mm256_mask_storeu_epi16(p, LanesBetween(0, n).v, _mm512_cvtepi32_epi16(number));
}

// Whole numbers in [0, 255] as bytes.
INGOT_INLINE void StoreBytesFirst(uint8_t* p, F32 a, int n) {
  _mm_mask_storeu_epi8(p, LanesBetween(0, n).v, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}
// A half in every lane.
INGOT_INLINE F32 SetHalf(uint16_t bits) { return {_mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(bits)))}; }

// Integers.
INGOT_INLINE I32 SetI32(int32_t x) { return {_mm512_set1_epi32(x)}; }
INGOT_INLINE I32 LoadU8(const void* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
INGOT_INLINE I32 LoadS8(const void* p) {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
INGOT_INLINE I32 LoadU16(const void* p) {
  return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)))};
}
INGOT_INLINE I32 LoadI32(const void* p) { return {_mm512_loadu_si512(p)}; }
INGOT_INLINE I32 operator+(I32 a, I32 b) { return {_mm512_add_epi32(a.v, b.v)}; }
INGOT_INLINE I32 operator-(I32 a, I32 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
INGOT_INLINE I32 operator&(I32 a, I32 b) { return {_mm512_and_si512(a.v, b.v)}; }
INGOT_INLINE I32 MaxU32(I32 a, I32 b) { return {_mm512_max_epu32(a.v, b.v)}; }
template <int kBits>
INGOT_INLINE I32 ShiftRight(I32 x) {
  return {_mm512_srli_epi32(x.v, kBits)};
}
template <int kBits>
INGOT_INLINE I32 ShiftLeft(I32 x) {
  return {_mm512_slli_epi32(x.v, kBits)};
}
INGOT_INLINE F32 ToFloat(I32 x) { return {_mm512_cvtepi32_ps(x.v)}; }
INGOT_INLINE I32 ToInt(F32 x) { return {_mm512_cvtps_epi32(x.v)}; }  // to nearest even
INGOT_INLINE I32 Bits(F32 x) { return {_mm512_castps_si512(x.v)}; }
INGOT_INLINE F32 FromBits(I32 x) { return {_mm512_castsi512_ps(x.v)}; }

// Bytes, four to a lane of 32 bits.
INGOT_INLINE Bytes LoadBytes(const void* p) { return {_mm512_loadu_si512(p)}; }
INGOT_INLINE void Store(void* p, Bytes x) { _mm512_storeu_si512(p, x.v); }
INGOT_INLINE Bytes LowNibbles(Bytes x) { return {_mm512_and_si512(x.v, _mm512_set1_epi8(15))}; }
INGOT_INLINE Bytes HighNibbles(Bytes x) { return {_mm512_and_si512(_mm512_srli_epi16(x.v, 4), _mm512_set1_epi8(15))}; }
// A table of 16 bytes, and the entries that indices below 16 name.
INGOT_INLINE Bytes LoadTable(const uint8_t* p) {
  return {_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
INGOT_INLINE Bytes LookUp(Bytes table, Bytes indices) { return {_mm512_shuffle_epi8(table.v, indices.v)}; }
// acc[c] += Σ_i codes[c][i] · a[c][i], unsigned codes times signed activations.
INGOT_INLINE I32 Dot(I32 acc, Bytes codes, I32 a) { return {_mm512_dpbusd_epi32(acc.v, codes.v, a.v)}; }

using F32x16 = F32;
using I32x16 = I32;
using Bytes64 = Bytes;
// make(i): the vector of the lanes from lane i on.
template <typename F>
INGOT_INLINE auto Sixteen(F make) {
  return make(0);
}
// The first n lanes, n in [0, 16]: memory beyond is not touched, lanes beyond are zero.
INGOT_INLINE Mask FirstLanes(int64_t n) { return {static_cast<__mmask16>((1U << n) - 1)}; }
INGOT_INLINE F32x16 LoadF32x16(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(FirstLanes(n).v, p)}; }
INGOT_INLINE void Store(float* p, F32x16 x, int64_t n) { _mm512_mask_storeu_ps(p, FirstLanes(n).v, x.v); }
INGOT_INLINE void StoreS8(int8_t* p, I32x16 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v));
}
INGOT_INLINE int32_t Sum(I32x16 x) { return _mm512_reduce_add_epi32(x.v); }
INGOT_INLINE uint32_t MaxLane(I32x16 x) { return _mm512_reduce_max_epu32(x.v); }

#elif defined(__AVX2__)

inline constexpr int kLanes = 8;
struct F32 {
  __m256 v;
};
struct I32 {
  __m256i v;
};
struct Bytes {
  __m256i v;
};
struct Mask {
  __m256i v;
};

INGOT_INLINE F32 Load(const float* p) { return {_mm256_loadu_ps(p)}; }
INGOT_INLINE void Store(float* p, F32 a) { _mm256_storeu_ps(p, a.v); }
INGOT_INLINE F32 Set(float a) { return {_mm256_set1_ps(a)}; }
INGOT_INLINE F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.v, b.v)}; }
INGOT_INLINE F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.v, b.v)}; }
INGOT_INLINE F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.v, b.v)}; }
INGOT_INLINE F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.v, b.v)}; }
INGOT_INLINE F32 SquareRoot(F32 a) { return {_mm256_sqrt_ps(a.v)}; }
INGOT_INLINE F32 Fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
INGOT_INLINE F32 NegFma(F32 a, F32 b, F32 c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
INGOT_INLINE F32 Min(F32 a, F32 b) { return {_mm256_min_ps(a.v, b.v)}; }
INGOT_INLINE F32 Max(F32 a, F32 b) { return {_mm256_max_ps(a.v, b.v)}; }
INGOT_INLINE F32 Abs(F32 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
INGOT_INLINE F32 CopySign(F32 magnitude, F32 sign) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(bit, magnitude.v), _mm256_and_ps(bit, sign.v))};
}
INGOT_INLINE Mask Less(F32 a, F32 b) { return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))}; }
INGOT_INLINE F32 Select(Mask m, F32 a, F32 b) { return {_mm256_blendv_ps(b.v, a.v, _mm256_castsi256_ps(m.v))}; }
INGOT_INLINE F32 RoundToEven(F32 a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
INGOT_INLINE F32 Scale(F32 a, F32 n) {
  // In two steps, since one exponent field cannot hold all of n; only the second rounds.
  const __m256i whole = _mm256_cvtps_epi32(n.v);
  const __m256i first = _mm256_srai_epi32(whole, 1), second = _mm256_sub_epi32(whole, first);
  const __m256i bias = _mm256_set1_epi32(127);
  const auto pow2 = [bias](__m256i e) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, bias), 23)); };
  return {_mm256_mul_ps(_mm256_mul_ps(a.v, pow2(first)), pow2(second))};
}
INGOT_INLINE float ReduceAdd(F32 a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
INGOT_INLINE float ReduceMax(F32 a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

INGOT_INLINE Mask LanesBetween(int begin, int end) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return {_mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(begin), lane),
                              _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane))};
}
INGOT_INLINE F32 LoadFirst(const float* p, int n) { return {_mm256_maskload_ps(p, LanesBetween(0, n).v)}; }
INGOT_INLINE void StoreFirst(float* p, F32 a, int n) { _mm256_maskstore_ps(p, LanesBetween(0, n).v, a.v); }

INGOT_INLINE F32 LoadHalf(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
INGOT_INLINE F32 LoadHalfFirst(const uint16_t* p, int n) {
  uint16_t lanes[kLanes] = {};
  __builtin_memcpy(lanes, p, static_cast<uint64_t>(n < kLanes ? n : kLanes) * sizeof(uint16_t));
  return LoadHalf(lanes);
}
INGOT_INLINE void StoreHalfFirst(uint16_t* p, F32 a, int n) {
  uint16_t lanes[kLanes];
  const __m128i half = _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(lanes), half);
  __builtin_memcpy(p, lanes, static_cast<uint64_t>(n < kLanes ? n : kLanes) * sizeof(uint16_t));
}

// A number of bf16 is the upper half of a float.
INGOT_INLINE F32 LoadBf16(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
}
INGOT_INLINE F32 LoadBf16First(const uint16_t* p, int n) {
  uint16_t lanes[kLanes] = {};
  __builtin_memcpy(lanes, p, static_cast<uint64_t>(n < kLanes ? n : kLanes) * sizeof(uint16_t));
  return LoadBf16(lanes);
}
// Rounded to nearest even; a NaN is made quiet.
INGOT_INLINE void StoreBf16First(uint16_t* p, F32 a, int n) {
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

// Whole numbers in [0, 255] as bytes.
INGOT_INLINE void StoreBytesFirst(uint8_t* p, F32 a, int n) {
  const __m256i whole = _mm256_cvtps_epi32(a.v);
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  uint8_t lanes[2 * kLanes];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(lanes), _mm_packus_epi16(words, words));
  __builtin_memcpy(p, lanes, static_cast<uint64_t>(n < kLanes ? n : kLanes));
}
// A half in every lane.
INGOT_INLINE F32 SetHalf(uint16_t bits) { return {_mm256_cvtph_ps(_mm_set1_epi16(static_cast<int16_t>(bits)))}; }

INGOT_INLINE I32 SetI32(int32_t x) { return {_mm256_set1_epi32(x)}; }
INGOT_INLINE I32 LoadU8(const void* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)))};
}
INGOT_INLINE I32 LoadS8(const void* p) {
  return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)))};
}
INGOT_INLINE I32 LoadU16(const void* p) {
  return {_mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
INGOT_INLINE I32 LoadI32(const void* p) { return {_mm256_loadu_si256(static_cast<const __m256i*>(p))}; }
INGOT_INLINE I32 operator+(I32 a, I32 b) { return {_mm256_add_epi32(a.v, b.v)}; }
INGOT_INLINE I32 operator-(I32 a, I32 b) { return {_mm256_sub_epi32(a.v, b.v)}; }
INGOT_INLINE I32 operator&(I32 a, I32 b) { return {_mm256_and_si256(a.v, b.v)}; }
INGOT_INLINE I32 MaxU32(I32 a, I32 b) { return {_mm256_max_epu32(a.v, b.v)}; }
template <int kBits>
INGOT_INLINE I32 ShiftRight(I32 x) {
  return {_mm256_srli_epi32(x.v, kBits)};
}
template <int kBits>
INGOT_INLINE I32 ShiftLeft(I32 x) {
  return {_mm256_slli_epi32(x.v, kBits)};
}
INGOT_INLINE F32 ToFloat(I32 x) { return {_mm256_cvtepi32_ps(x.v)}; }
INGOT_INLINE I32 ToInt(F32 x) { return {_mm256_cvtps_epi32(x.v)}; }
INGOT_INLINE I32 Bits(F32 x) { return {_mm256_castps_si256(x.v)}; }
INGOT_INLINE F32 FromBits(I32 x) { return {_mm256_castsi256_ps(x.v)}; }

INGOT_INLINE Bytes LoadBytes(const void* p) { return {_mm256_loadu_si256(static_cast<const __m256i*>(p))}; }
INGOT_INLINE void Store(void* p, Bytes x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x.v); }
INGOT_INLINE Bytes LowNibbles(Bytes x) { return {_mm256_and_si256(x.v, _mm256_set1_epi8(15))}; }
INGOT_INLINE Bytes HighNibbles(Bytes x) { return {_mm256_and_si256(_mm256_srli_epi16(x.v, 4), _mm256_set1_epi8(15))}; }
INGOT_INLINE Bytes LookUp(Bytes table, Bytes indices) { return {_mm256_shuffle_epi8(table.v, indices.v)}; }
#ifdef __AVXVNNI__
INGOT_INLINE I32 Dot(I32 acc, Bytes codes, I32 a) { return {_mm256_dpbusd_avx_epi32(acc.v, codes.v, a.v)}; }
#endif

template <typename V>
struct Two {
  V lo, hi;
};
using F32x16 = Two<F32>;
using I32x16 = Two<I32>;
using Bytes64 = Two<Bytes>;
template <typename F>
INGOT_INLINE auto Sixteen(F make) {
  return Two<decltype(make(0))>{make(0), make(kLanes)};
}
template <typename V>
INGOT_INLINE Two<V> operator+(Two<V> a, Two<V> b) {
  return {a.lo + b.lo, a.hi + b.hi};
}
template <typename V>
INGOT_INLINE Two<V> operator-(Two<V> a, Two<V> b) {
  return {a.lo - b.lo, a.hi - b.hi};
}
INGOT_INLINE F32x16 operator*(F32x16 a, F32x16 b) { return {a.lo * b.lo, a.hi * b.hi}; }
INGOT_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) { return {Fma(a.lo, b.lo, c.lo), Fma(a.hi, b.hi, c.hi)}; }
INGOT_INLINE F32x16 NegFma(F32x16 a, F32x16 b, F32x16 c) {
  return {NegFma(a.lo, b.lo, c.lo), NegFma(a.hi, b.hi, c.hi)};
}
INGOT_INLINE I32x16 operator&(I32x16 a, I32x16 b) { return {a.lo & b.lo, a.hi & b.hi}; }
INGOT_INLINE I32x16 MaxU32(I32x16 a, I32x16 b) { return {MaxU32(a.lo, b.lo), MaxU32(a.hi, b.hi)}; }
template <int kBits>
INGOT_INLINE I32x16 ShiftRight(I32x16 x) {
  return {ShiftRight<kBits>(x.lo), ShiftRight<kBits>(x.hi)};
}
template <int kBits>
INGOT_INLINE I32x16 ShiftLeft(I32x16 x) {
  return {ShiftLeft<kBits>(x.lo), ShiftLeft<kBits>(x.hi)};
}
INGOT_INLINE F32x16 ToFloat(I32x16 x) { return {ToFloat(x.lo), ToFloat(x.hi)}; }
INGOT_INLINE I32x16 ToInt(F32x16 x) { return {ToInt(x.lo), ToInt(x.hi)}; }
INGOT_INLINE I32x16 Bits(F32x16 x) { return {Bits(x.lo), Bits(x.hi)}; }
INGOT_INLINE F32x16 FromBits(I32x16 x) { return {FromBits(x.lo), FromBits(x.hi)}; }
INGOT_INLINE Bytes64 LowNibbles(Bytes64 x) { return {LowNibbles(x.lo), LowNibbles(x.hi)}; }
INGOT_INLINE Bytes64 HighNibbles(Bytes64 x) { return {HighNibbles(x.lo), HighNibbles(x.hi)}; }
INGOT_INLINE Bytes64 LoadTable(const uint8_t* p) {
  const Bytes table{_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  return {table, table};
}
INGOT_INLINE Bytes64 LookUp(Bytes64 table, Bytes64 indices) {
  return {LookUp(table.lo, indices.lo), LookUp(table.hi, indices.hi)};
}
#ifdef __AVXVNNI__
INGOT_INLINE I32x16 Dot(I32x16 acc, Bytes64 codes, I32x16 a) {
  return {Dot(acc.lo, codes.lo, a.lo), Dot(acc.hi, codes.hi, a.hi)};
}
#endif
INGOT_INLINE void Store(float* p, F32x16 x) {
  Store(p, x.lo);
  Store(p + kLanes, x.hi);
}
INGOT_INLINE void Store(void* p, Bytes64 x) {
  Store(p, x.lo);
  Store(static_cast<std::byte*>(p) + 32, x.hi);
}
INGOT_INLINE F32x16 LoadF32x16(const float* p, int64_t n) {
  return {LoadFirst(p, static_cast<int>(n)), LoadFirst(p + kLanes, static_cast<int>(n) - kLanes)};
}
INGOT_INLINE void Store(float* p, F32x16 x, int64_t n) {
  StoreFirst(p, x.lo, static_cast<int>(n));
  StoreFirst(p + kLanes, x.hi, static_cast<int>(n) - kLanes);
}
INGOT_INLINE void StoreS8(int8_t* p, I32x16 x) {
  // packs works within halves of 128 bits: [lo0 hi0 | lo1 hi1] of 4 lanes each
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.lo.v, x.hi.v), 0b11011000);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
INGOT_INLINE int32_t Sum(I32x16 x) {
  const __m256i eight = (x.lo + x.hi).v;
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(two) + _mm_extract_epi32(two, 1);
}
INGOT_INLINE uint32_t MaxLane(I32x16 x) {
  const __m256i eight = MaxU32(x.lo, x.hi).v;
  const __m128i four = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_max_epu32(four, _mm_unpackhi_epi64(four, four));
  const __m128i one = _mm_max_epu32(two, _mm_shuffle_epi32(two, 1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(one));
}

#else

inline constexpr int kLanes = 1;
struct F32 {
  float v;
};
struct Mask {
  bool v;
};

INGOT_INLINE F32 Load(const float* p) { return {*p}; }
INGOT_INLINE void Store(float* p, F32 a) { *p = a.v; }
INGOT_INLINE F32 Set(float a) { return {a}; }
INGOT_INLINE F32 operator+(F32 a, F32 b) { return {a.v + b.v}; }
INGOT_INLINE F32 operator-(F32 a, F32 b) { return {a.v - b.v}; }
INGOT_INLINE F32 operator*(F32 a, F32 b) { return {a.v * b.v}; }
INGOT_INLINE F32 operator/(F32 a, F32 b) { return {a.v / b.v}; }
INGOT_INLINE F32 Fma(F32 a, F32 b, F32 c) { return {std::fma(a.v, b.v, c.v)}; }
INGOT_INLINE F32 Min(F32 a, F32 b) { return {a.v < b.v ? a.v : b.v}; }
INGOT_INLINE F32 Max(F32 a, F32 b) { return {a.v > b.v ? a.v : b.v}; }
INGOT_INLINE F32 Abs(F32 a) { return {std::fabs(a.v)}; }
INGOT_INLINE F32 CopySign(F32 magnitude, F32 sign) { return {std::copysign(magnitude.v, sign.v)}; }
INGOT_INLINE Mask Less(F32 a, F32 b) { return {a.v < b.v}; }
INGOT_INLINE F32 Select(Mask m, F32 a, F32 b) { return m.v ? a : b; }
INGOT_INLINE F32 RoundToEven(F32 a) { return {std::nearbyint(a.v)}; }
INGOT_INLINE F32 Scale(F32 a, F32 n) { return n.v == n.v ? F32{std::ldexp(a.v, static_cast<int>(n.v))} : n; }

#endif

#if defined(__AVX512F__) || defined(__AVX2__)
// The first min(n, kLanes) lanes: what a loop over [0, n) in steps of kLanes needs, its rest included.
INGOT_INLINE F32 LoadSome(const float* p, int64_t n) {
  return n >= kLanes ? Load(p) : LoadFirst(p, static_cast<int>(n));
}
INGOT_INLINE void StoreSome(float* p, F32 a, int64_t n) {
  if (n >= kLanes) {
    Store(p, a);
  } else {
    StoreFirst(p, a, static_cast<int>(n));
  }
}

// Sixteen lanes from memory: named by the numbers there.
INGOT_INLINE F32x16 Broadcast(float x) {
  return Sixteen([&](int) { return Set(x); });
}
INGOT_INLINE I32x16 Broadcast(int32_t x) {
  return Sixteen([&](int) { return SetI32(x); });
}
INGOT_INLINE F32x16 LoadF32x16(const float* p) {
  return Sixteen([&](int i) { return Load(p + i); });
}
INGOT_INLINE F32x16 LoadF16x16(const void* p) {
  return Sixteen([&](int i) { return LoadHalf(static_cast<const uint16_t*>(p) + i); });
}
INGOT_INLINE I32x16 LoadU8x16(const void* p) {
  return Sixteen([&](int i) { return LoadU8(static_cast<const uint8_t*>(p) + i); });
}
INGOT_INLINE I32x16 LoadS8x16(const void* p) {
  return Sixteen([&](int i) { return LoadS8(static_cast<const int8_t*>(p) + i); });
}
INGOT_INLINE I32x16 LoadU16x16(const void* p) {
  return Sixteen([&](int i) { return LoadU16(static_cast<const uint16_t*>(p) + i); });
}
INGOT_INLINE I32x16 LoadI32x16(const void* p) {
  return Sixteen([&](int i) { return LoadI32(static_cast<const int32_t*>(p) + i); });
}
INGOT_INLINE Bytes64 LoadBytes64(const void* p) {
  return Sixteen([&](int i) { return LoadBytes(static_cast<const uint8_t*>(p) + 4 * i); });
}
#endif

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
