// Pairs of bf16 for 16 channels, which is a row of a tile, and f32 with the same values: with AVX-512, or in plain C++
// with the same results (for INGOT_EMULATE_TILES). For gemm_tiles.cc and attention_tiles.cc.
#pragma once

#include "kernels/cpu/simd.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

INGOT_INLINE F32x16 UpperHalves(I32x16 x) { return FromBits(x & Broadcast(static_cast<int32_t>(0xffff0000U))); }

// Halves are added to each other until one number is left.
INGOT_INLINE float SumOf(__m256 eight) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#ifndef INGOT_EMULATE_TILES

INGOT_INLINE float SumOf(F32x16 x) {
  return SumOf(_mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1)));
}

struct Bf16Pairs {
  __m512i v;
};

INGOT_INLINE void Store(void* to, Bf16Pairs pairs) { _mm512_storeu_si512(to, pairs.v); }

// The upper halves of f32, the rest of which is zero.
INGOT_INLINE Bf16Pairs PairsOf(F32x16 even, F32x16 odd) {
  return {_mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(even.v), 16), _mm512_castps_si512(odd.v))};
}

// To nearest even; denormals become zero, NaN stays NaN. In the order of the 32 numbers.
INGOT_INLINE Bf16Pairs RoundToBf16(F32x16 first, F32x16 second) {
  return {(__m512i)_mm512_cvtne2ps_pbh(second.v, first.v)};
}
// Number i of the first 16, then number i of the others.
INGOT_INLINE Bf16Pairs Interleave(Bf16Pairs pairs) {
  alignas(64) static constexpr uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return {_mm512_permutexvar_epi16(_mm512_load_si512(kOrder), pairs.v)};
}
// Up to 32 numbers of two rows, one of the first, then one of the other: `low` of their first 16, `high` of the rest.
struct PairsOfRows {
  Bf16Pairs low, high;
};
// odd: or null, for zeros.   n: 16 or more
INGOT_INLINE PairsOfRows LoadPairs(const uint16_t* even, const uint16_t* odd, int n) {
  alignas(64) static constexpr uint16_t kLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                    8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __mmask32 lanes = n < 32 ? 0xffffU : 0xffffffffU;
  const __m512i a = _mm512_maskz_loadu_epi16(lanes, even);
  const __m512i b = odd == nullptr ? _mm512_setzero_si512() : _mm512_maskz_loadu_epi16(lanes, odd);
  const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  return {{_mm512_permutex2var_epi16(a, low, b)}, {_mm512_permutex2var_epi16(a, high, b)}};
}
INGOT_INLINE bool AreFinite(const PairsOfRows& pairs) {
  const __m512i exponent = _mm512_set1_epi16(0x7f80);
  const auto full = [&](__m512i x) { return _mm512_cmpeq_epi16_mask(_mm512_and_si512(x, exponent), exponent); };
  return (full(pairs.low.v) | full(pairs.high.v)) == 0;
}
// Of four numbers, the second and the third change places.
INGOT_INLINE Bf16Pairs SwapMiddles(Bf16Pairs pairs) {
  const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
  return {_mm512_shuffle_epi8(pairs.v, _mm512_broadcast_i32x4(order))};
}

INGOT_INLINE F32x16 LookUp(F32x16 table, I32x16 nibbles) { return {_mm512_permutexvar_ps(nibbles.v, table.v)}; }

// Numbers of bf16 for all that a nibble may be, in both halves of 16 lanes.
struct NibbleTable {
  __m512i v;
};
INGOT_INLINE NibbleTable TableOf(F32x16 numbers) {
  const __m512i bits = _mm512_castps_si512(numbers.v);
  return {_mm512_or_si512(bits, _mm512_srli_epi32(bits, 16))};
}
// The numbers for the nibbles number kNibble of 32 words. vpermw reads 5 bits of an index; the lowest one chooses
// between the equal halves of a lane.
template <int kNibble>
INGOT_INLINE Bf16Pairs LookUp(NibbleTable table, I32x16 words) {
  const __m512i x = words.v;
  const __m512i index =
      kNibble == 0 ? _mm512_add_epi16(x, x) : _mm512_srli_epi16(x, kNibble == 0 ? 0 : 4 * kNibble - 1);
  return {_mm512_permutexvar_epi16(index, table.v)};
}

#else

INGOT_INLINE float SumOf(F32x16 x) { return SumOf((x.lo + x.hi).v); }

struct Bf16Pairs {
  alignas(64) uint16_t v[32];
};

INGOT_INLINE void Store(void* to, const Bf16Pairs& pairs) { __builtin_memcpy(to, pairs.v, 64); }

INGOT_INLINE Bf16Pairs PairsOf(F32x16 even, F32x16 odd) {
  uint32_t even_bits[16], odd_bits[16];
  __builtin_memcpy(even_bits, &even, 64);
  __builtin_memcpy(odd_bits, &odd, 64);
  Bf16Pairs pairs;
  for (int i = 0; i < 16; ++i) {
    pairs.v[2 * i] = static_cast<uint16_t>(even_bits[i] >> 16);
    pairs.v[2 * i + 1] = static_cast<uint16_t>(odd_bits[i] >> 16);
  }
  return pairs;
}

inline uint16_t RoundedToBf16(uint32_t bits) {
  const uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<uint16_t>(bits >> 16 | 0x40);
  if (magnitude < 0x00800000U) return static_cast<uint16_t>(bits >> 16 & 0x8000);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
INGOT_INLINE Bf16Pairs RoundToBf16(F32x16 first, F32x16 second) {
  uint32_t bits[32];
  __builtin_memcpy(bits, &first, 64);
  __builtin_memcpy(bits + 16, &second, 64);
  Bf16Pairs pairs;
  for (int i = 0; i < 32; ++i) pairs.v[i] = RoundedToBf16(bits[i]);
  return pairs;
}
INGOT_INLINE Bf16Pairs Interleave(const Bf16Pairs& pairs) {
  Bf16Pairs mixed;
  for (int i = 0; i < 16; ++i) mixed.v[2 * i] = pairs.v[i], mixed.v[2 * i + 1] = pairs.v[16 + i];
  return mixed;
}
struct PairsOfRows {
  Bf16Pairs low, high;
};
INGOT_INLINE PairsOfRows LoadPairs(const uint16_t* even, const uint16_t* odd, int n) {
  PairsOfRows pairs{};
  for (int i = 0; i < (n < 32 ? 16 : 32); ++i) {
    uint16_t* const to = (i < 16 ? pairs.low : pairs.high).v + i % 16 * 2;
    to[0] = even[i];
    to[1] = odd == nullptr ? 0 : odd[i];
  }
  return pairs;
}
INGOT_INLINE bool AreFinite(const PairsOfRows& pairs) {
  for (int i = 0; i < 32; ++i) {
    if ((pairs.low.v[i] & 0x7f80) == 0x7f80 || (pairs.high.v[i] & 0x7f80) == 0x7f80) return false;
  }
  return true;
}
INGOT_INLINE Bf16Pairs SwapMiddles(const Bf16Pairs& pairs) {
  Bf16Pairs swapped = pairs;
  for (int i = 0; i < 32; i += 4) swapped.v[i + 1] = pairs.v[i + 2], swapped.v[i + 2] = pairs.v[i + 1];
  return swapped;
}

INGOT_INLINE F32x16 LookUp(F32x16 table, I32x16 nibbles) {
  const auto half = [&](I32 index) {
    return F32{_mm256_blendv_ps(_mm256_permutevar8x32_ps(table.lo.v, index.v),
                                _mm256_permutevar8x32_ps(table.hi.v, index.v), FromBits(ShiftLeft<28>(index)).v)};
  };
  return {half(nibbles.lo), half(nibbles.hi)};
}

struct NibbleTable {
  F32x16 numbers;
};
INGOT_INLINE NibbleTable TableOf(F32x16 numbers) { return {numbers}; }
template <int kNibble>
INGOT_INLINE Bf16Pairs LookUp(const NibbleTable& table, I32x16 words) {
  return PairsOf(LookUp(table.numbers, ShiftRight<4 * kNibble>(words)),
                 LookUp(table.numbers, ShiftRight<4 * kNibble + 16>(words)));
}

#endif

}  // namespace
}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
