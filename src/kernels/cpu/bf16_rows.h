// Rows of 32 numbers of bf16, as tiles hold them: with AVX-512, or in plain C++ with the same results (for
// INGOT_EMULATE_TILES). For gemm_tiles.cc only.
#pragma once

#include "kernels/cpu/gemm_vec.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

#ifndef INGOT_EMULATE_TILES

struct Bf16Row {
  __m512i v;
};

// To nearest even; denormals become zero, NaN stays NaN.
INGOT_INLINE Bf16Row RoundToBf16(F32x16 first, F32x16 second) {
  return {(__m512i)_mm512_cvtne2ps_pbh(second.v, first.v)};
}
INGOT_INLINE void Store(void* to, Bf16Row row) { _mm512_storeu_si512(to, row.v); }

// Numbers of bf16 for all that a nibble may be, in the upper halves of 16 lanes. To nearest, the middle away from zero:
// one addition, where a conversion costs five times that.   numbers: NaN with the bits 0x7fc00000 alone
struct NibbleTable {
  __m512i v;
};
INGOT_INLINE NibbleTable RoundTable(F32x16 numbers) {
  return {_mm512_add_epi32(_mm512_castps_si512(numbers.v), _mm512_set1_epi32(0x8000))};
}

// The numbers for the nibbles number kNibble of 32 words: those of the first 16 words from the first table.
template <int kNibble>
INGOT_INLINE __m512i IndexOf(const void* words) {
  const __m512i x = _mm512_loadu_si512(words);
  // The upper half of lane i is word 2·i + 1 of a table; vpermw reads 5 bits of an index.
  const __m512i shifted =
      kNibble == 0 ? _mm512_add_epi16(x, x) : _mm512_srli_epi16(x, kNibble == 0 ? 0 : 4 * kNibble - 1);
  return _mm512_or_si512(shifted, _mm512_set1_epi16(1));
}
template <int kNibble>
INGOT_INLINE Bf16Row LookUp(NibbleTable table, const void* words) {
  return {_mm512_permutexvar_epi16(IndexOf<kNibble>(words), table.v)};
}
template <int kNibble>
INGOT_INLINE Bf16Row LookUp(NibbleTable first, NibbleTable second, const void* words) {
  const __m512i index = IndexOf<kNibble>(words);
  return {_mm512_mask_permutexvar_epi16(_mm512_permutexvar_epi16(index, first.v), 0xffff0000U, index, second.v)};
}

// One bit pattern for all NaN.
INGOT_INLINE F32x16 PlainNan(F32x16 x) {
  const __mmask16 nan = _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q);
  return {_mm512_mask_mov_ps(x.v, nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)))};
}

// to[i] = the lanes i of 16 vectors, `stride` bytes apart.
INGOT_INLINE void Transpose(const void* from, int64_t stride, I32x16* to) {
  const auto* p = static_cast<const char*>(from);
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(p + i * stride);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {  // a[i + j]: lanes j, 4 + j, 8 + j, 12 + j of the rows i … i + 3
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i even_low = _mm512_shuffle_i32x4(a[j], a[4 + j], 0x88);        // lanes j, 8 + j of the rows 0 … 7
    const __m512i odd_low = _mm512_shuffle_i32x4(a[j], a[4 + j], 0xdd);         // lanes 4 + j, 12 + j
    const __m512i even_high = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0x88);  // of the rows 8 … 15
    const __m512i odd_high = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0xdd);
    to[j].v = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
    to[4 + j].v = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
    to[8 + j].v = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
    to[12 + j].v = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
  }
}

INGOT_INLINE void Store(void* to, I32x16 x, int64_t lanes) { _mm512_mask_storeu_epi32(to, FirstLanes(lanes), x.v); }

#else

struct Bf16Row {
  alignas(64) uint16_t v[32];
};

inline uint16_t RoundedToBf16(uint32_t bits) {
  const uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<uint16_t>(bits >> 16 | 0x40);
  if (magnitude < 0x00800000U) return static_cast<uint16_t>(bits >> 16 & 0x8000);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INGOT_INLINE Bf16Row RoundToBf16(F32x16 first, F32x16 second) {
  uint32_t bits[32];
  __builtin_memcpy(bits, &first, 64);
  __builtin_memcpy(bits + 16, &second, 64);
  Bf16Row row;
  for (int i = 0; i < 32; ++i) row.v[i] = RoundedToBf16(bits[i]);
  return row;
}
INGOT_INLINE void Store(void* to, const Bf16Row& row) { __builtin_memcpy(to, row.v, 64); }

struct NibbleTable {
  uint32_t v[16];
};
INGOT_INLINE NibbleTable RoundTable(F32x16 numbers) {
  NibbleTable table;
  __builtin_memcpy(table.v, &numbers, 64);
  for (uint32_t& bits : table.v) bits += 0x8000;
  return table;
}
template <int kNibble>
INGOT_INLINE Bf16Row LookUp(const NibbleTable& first, const NibbleTable& second, const void* words) {
  uint16_t word[32];
  __builtin_memcpy(word, words, 64);
  Bf16Row row;
  for (int i = 0; i < 32; ++i) {
    row.v[i] = static_cast<uint16_t>((i < 16 ? first : second).v[word[i] >> (4 * kNibble) & 15] >> 16);
  }
  return row;
}
template <int kNibble>
INGOT_INLINE Bf16Row LookUp(const NibbleTable& table, const void* words) {
  return LookUp<kNibble>(table, table, words);
}

INGOT_INLINE F32x16 PlainNan(F32x16 x) {
  float lanes[16];
  __builtin_memcpy(lanes, &x, 64);
  for (float& lane : lanes) lane = lane == lane ? lane : __builtin_nanf("");
  __builtin_memcpy(&x, lanes, 64);
  return x;
}

INGOT_INLINE void Transpose(const void* from, int64_t stride, I32x16* to) {
  int32_t lanes[16][16];
  for (int64_t i = 0; i < 16; ++i) {
    int32_t row[16];
    __builtin_memcpy(row, static_cast<const char*>(from) + i * stride, 64);
    for (int64_t j = 0; j < 16; ++j) lanes[j][i] = row[j];
  }
  __builtin_memcpy(to, lanes, sizeof lanes);
}

INGOT_INLINE void Store(void* to, I32x16 x, int64_t lanes) {
  __builtin_memcpy(to, &x, static_cast<uint64_t>(lanes) * 4);
}

#endif

}  // namespace
}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
