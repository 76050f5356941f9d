// Vectors of 16 lanes, one per channel of a panel: one register with AVX-512, two with AVX2. For gemm*.cc only.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

#define INGOT_INLINE [[gnu::always_inline]] inline

#ifdef __AVX512F__

struct F32x16 {
  __m512 v;
};
struct I32x16 {
  __m512i v;
};
// A quad of inputs of a panel: [16 channels][4] codes.
struct Bytes64 {
  __m512i v;
};

INGOT_INLINE __mmask16 FirstLanes(int64_t n) { return static_cast<__mmask16>((1U << n) - 1); }

INGOT_INLINE F32x16 Zeros() { return {_mm512_setzero_ps()}; }
INGOT_INLINE F32x16 Broadcast(float x) { return {_mm512_set1_ps(x)}; }
INGOT_INLINE I32x16 Broadcast(int32_t x) { return {_mm512_set1_epi32(x)}; }
INGOT_INLINE F32x16 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
INGOT_INLINE void Store(float* p, F32x16 x) { _mm512_storeu_ps(p, x.v); }
// The first n lanes, n in [0, 16]; memory beyond is not touched, lanes beyond are zero.
INGOT_INLINE F32x16 Load(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(FirstLanes(n), p)}; }
INGOT_INLINE void Store(float* p, F32x16 x, int64_t n) { _mm512_mask_storeu_ps(p, FirstLanes(n), x.v); }
INGOT_INLINE F32x16 LoadF16(const void* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)))};
}
INGOT_INLINE I32x16 LoadU8(const void* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
INGOT_INLINE I32x16 LoadU16(const void* p) {
  return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)))};
}
INGOT_INLINE I32x16 LoadS8(const void* p) {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
INGOT_INLINE I32x16 LoadI32(const void* p) { return {_mm512_loadu_si512(p)}; }
INGOT_INLINE Bytes64 LoadBytes(const void* p) { return {_mm512_loadu_si512(p)}; }
INGOT_INLINE void StoreBytes(void* p, Bytes64 x) { _mm512_storeu_si512(p, x.v); }

INGOT_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }      // a · b + c
INGOT_INLINE F32x16 NegFma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a · b
INGOT_INLINE F32x16 Mul(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
INGOT_INLINE F32x16 Add(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
INGOT_INLINE F32x16 Sub(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
INGOT_INLINE F32x16 ToFloat(I32x16 x) { return {_mm512_cvtepi32_ps(x.v)}; }
INGOT_INLINE I32x16 Round(F32x16 x) { return {_mm512_cvtps_epi32(x.v)}; }
INGOT_INLINE I32x16 Add(I32x16 a, I32x16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
INGOT_INLINE I32x16 Sub(I32x16 a, I32x16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
INGOT_INLINE I32x16 And(I32x16 a, I32x16 b) { return {_mm512_and_si512(a.v, b.v)}; }
INGOT_INLINE I32x16 MaxU32(I32x16 a, I32x16 b) { return {_mm512_max_epu32(a.v, b.v)}; }
INGOT_INLINE I32x16 Bits(F32x16 x) { return {_mm512_castps_si512(x.v)}; }
INGOT_INLINE F32x16 FromBits(I32x16 x) { return {_mm512_castsi512_ps(x.v)}; }
template <int kBits>
INGOT_INLINE I32x16 ShiftRight(I32x16 x) {
  return {_mm512_srli_epi32(x.v, kBits)};
}
template <int kBits>
INGOT_INLINE I32x16 ShiftLeft(I32x16 x) {
  return {_mm512_slli_epi32(x.v, kBits)};
}
INGOT_INLINE Bytes64 LowNibbles(Bytes64 x) { return {_mm512_and_si512(x.v, _mm512_set1_epi8(15))}; }
INGOT_INLINE Bytes64 HighNibbles(Bytes64 x) {
  return {_mm512_and_si512(_mm512_srli_epi16(x.v, 4), _mm512_set1_epi8(15))};
}
// A table of 16 bytes, and the entries that indices below 16 name.
INGOT_INLINE Bytes64 LoadTable(const uint8_t* p) {
  return {_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
INGOT_INLINE Bytes64 LookUp(Bytes64 table, Bytes64 indices) { return {_mm512_shuffle_epi8(table.v, indices.v)}; }
INGOT_INLINE void StoreS8(int8_t* p, I32x16 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v));
}
INGOT_INLINE int32_t Sum(I32x16 x) { return _mm512_reduce_add_epi32(x.v); }
INGOT_INLINE uint32_t MaxLane(I32x16 x) { return _mm512_reduce_max_epu32(x.v); }
// acc[c] += Σ_i codes[c][i] · a[c][i], unsigned codes times signed activations.
INGOT_INLINE I32x16 Dot(I32x16 acc, Bytes64 codes, I32x16 a) { return {_mm512_dpbusd_epi32(acc.v, codes.v, a.v)}; }

#else

struct F32x16 {
  __m256 lo, hi;
};
struct I32x16 {
  __m256i lo, hi;
};
struct Bytes64 {
  __m256i lo, hi;
};

// All ones in lane i where first + i < n.
INGOT_INLINE __m256i LanesBelow(int64_t n, int first) {
  const __m256i lane = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(first));
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}

INGOT_INLINE F32x16 Zeros() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
INGOT_INLINE F32x16 Broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INGOT_INLINE I32x16 Broadcast(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INGOT_INLINE F32x16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INGOT_INLINE void Store(float* p, F32x16 x) {
  _mm256_storeu_ps(p, x.lo);
  _mm256_storeu_ps(p + 8, x.hi);
}
// The first n lanes, n in [0, 16]; memory beyond is not touched, lanes beyond are zero.
INGOT_INLINE F32x16 Load(const float* p, int64_t n) {
  return {_mm256_maskload_ps(p, LanesBelow(n, 0)), _mm256_maskload_ps(p + 8, LanesBelow(n, 8))};
}
INGOT_INLINE void Store(float* p, F32x16 x, int64_t n) {
  _mm256_maskstore_ps(p, LanesBelow(n, 0), x.lo);
  _mm256_maskstore_ps(p + 8, LanesBelow(n, 8), x.hi);
}
INGOT_INLINE __m128i Half(const void* p, int index) { return _mm_loadu_si128(static_cast<const __m128i*>(p) + index); }
INGOT_INLINE F32x16 LoadF16(const void* p) { return {_mm256_cvtph_ps(Half(p, 0)), _mm256_cvtph_ps(Half(p, 1))}; }
INGOT_INLINE I32x16 LoadU8(const void* p) {
  return {_mm256_cvtepu8_epi32(Half(p, 0)), _mm256_cvtepu8_epi32(_mm_srli_si128(Half(p, 0), 8))};
}
INGOT_INLINE I32x16 LoadU16(const void* p) {
  const auto* words = static_cast<const __m128i*>(p);
  return {_mm256_cvtepu16_epi32(_mm_loadu_si128(words)), _mm256_cvtepu16_epi32(_mm_loadu_si128(words + 1))};
}
INGOT_INLINE I32x16 LoadS8(const void* p) {
  return {_mm256_cvtepi8_epi32(Half(p, 0)), _mm256_cvtepi8_epi32(_mm_srli_si128(Half(p, 0), 8))};
}
INGOT_INLINE I32x16 LoadI32(const void* p) {
  const auto* at = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
}
INGOT_INLINE Bytes64 LoadBytes(const void* p) {
  const auto* at = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
}
INGOT_INLINE void StoreBytes(void* p, Bytes64 x) {
  auto* at = static_cast<__m256i*>(p);
  _mm256_storeu_si256(at, x.lo);
  _mm256_storeu_si256(at + 1, x.hi);
}

INGOT_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {  // a · b + c
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
INGOT_INLINE F32x16 NegFma(F32x16 a, F32x16 b, F32x16 c) {  // c - a · b
  return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}
INGOT_INLINE F32x16 Mul(F32x16 a, F32x16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
INGOT_INLINE F32x16 Add(F32x16 a, F32x16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
INGOT_INLINE F32x16 Sub(F32x16 a, F32x16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
INGOT_INLINE F32x16 ToFloat(I32x16 x) { return {_mm256_cvtepi32_ps(x.lo), _mm256_cvtepi32_ps(x.hi)}; }
INGOT_INLINE I32x16 Round(F32x16 x) { return {_mm256_cvtps_epi32(x.lo), _mm256_cvtps_epi32(x.hi)}; }
INGOT_INLINE I32x16 Add(I32x16 a, I32x16 b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
INGOT_INLINE I32x16 Sub(I32x16 a, I32x16 b) { return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)}; }
INGOT_INLINE I32x16 And(I32x16 a, I32x16 b) { return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)}; }
INGOT_INLINE I32x16 MaxU32(I32x16 a, I32x16 b) { return {_mm256_max_epu32(a.lo, b.lo), _mm256_max_epu32(a.hi, b.hi)}; }
INGOT_INLINE I32x16 Bits(F32x16 x) { return {_mm256_castps_si256(x.lo), _mm256_castps_si256(x.hi)}; }
INGOT_INLINE F32x16 FromBits(I32x16 x) { return {_mm256_castsi256_ps(x.lo), _mm256_castsi256_ps(x.hi)}; }
template <int kBits>
INGOT_INLINE I32x16 ShiftRight(I32x16 x) {
  return {_mm256_srli_epi32(x.lo, kBits), _mm256_srli_epi32(x.hi, kBits)};
}
template <int kBits>
INGOT_INLINE I32x16 ShiftLeft(I32x16 x) {
  return {_mm256_slli_epi32(x.lo, kBits), _mm256_slli_epi32(x.hi, kBits)};
}
INGOT_INLINE Bytes64 LowNibbles(Bytes64 x) {
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(x.lo, mask), _mm256_and_si256(x.hi, mask)};
}
INGOT_INLINE Bytes64 HighNibbles(Bytes64 x) {
  return LowNibbles({_mm256_srli_epi16(x.lo, 4), _mm256_srli_epi16(x.hi, 4)});
}
// A table of 16 bytes, and the entries that indices below 16 name.
INGOT_INLINE Bytes64 LoadTable(const uint8_t* p) {
  const __m256i table = _mm256_broadcastsi128_si256(Half(p, 0));
  return {table, table};
}
INGOT_INLINE Bytes64 LookUp(Bytes64 table, Bytes64 indices) {
  return {_mm256_shuffle_epi8(table.lo, indices.lo), _mm256_shuffle_epi8(table.hi, indices.hi)};
}
INGOT_INLINE void StoreS8(int8_t* p, I32x16 x) {
  // packs works within halves of 128 bits: [lo0 hi0 | lo1 hi1] of 4 lanes each
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.lo, x.hi), 0b11011000);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
INGOT_INLINE int32_t Sum(I32x16 x) {
  const __m256i eight = _mm256_add_epi32(x.lo, x.hi);
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(two) + _mm_extract_epi32(two, 1);
}
INGOT_INLINE uint32_t MaxLane(I32x16 x) {
  const __m256i eight = _mm256_max_epu32(x.lo, x.hi);
  const __m128i four = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_max_epu32(four, _mm_unpackhi_epi64(four, four));
  const __m128i one = _mm_max_epu32(two, _mm_shuffle_epi32(two, 1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(one));
}
#ifdef __AVXVNNI__
// acc[c] += Σ_i codes[c][i] · a[c][i], unsigned codes times signed activations.
INGOT_INLINE I32x16 Dot(I32x16 acc, Bytes64 codes, I32x16 a) {
  return {_mm256_dpbusd_avx_epi32(acc.lo, codes.lo, a.lo), _mm256_dpbusd_avx_epi32(acc.hi, codes.hi, a.hi)};
}
#endif

#endif

}  // namespace
}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
