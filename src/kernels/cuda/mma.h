// Pieces of products on tensor cores: m16n8k16 with sums in fp32. Lane 4 · g + t has of
//   A [16, 16]  rows g and g + 8, columns 2t, 2t + 1, 2t + 8, 2t + 9
//   B [16, 8]   rows (of K) 2t, 2t + 1, 2t + 8, 2t + 9 of column g
//   D [16, 8]   d[i] is row g + i / 2 · 8, column 2t + i % 2
#pragma once

#include "kernels/cuda/arch.h"

namespace ingot::kernels::cuda {

// Two numbers in a register, the first in the low half.
template <typename T>
INGOT_DEVICE uint32_t Pack(float first, float second) {
  return FromFloat<T>(first).bits | static_cast<uint32_t>(FromFloat<T>(second).bits) << 16;
}
template <typename T>
INGOT_DEVICE float UnpackFirst(uint32_t pair) {
  return ToFloat(T{static_cast<uint16_t>(pair)});
}
template <typename T>
INGOT_DEVICE float UnpackSecond(uint32_t pair) {
  return ToFloat(T{static_cast<uint16_t>(pair >> 16)});
}

INGOT_DEVICE void MultiplyTile(Half, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] INGOT_HERE) {
  MmaF16(d, a, b INGOT_PASS_HERE);
}
INGOT_DEVICE void MultiplyTile(BFloat16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] INGOT_HERE) {
  MmaBF16(d, a, b INGOT_PASS_HERE);
}

// A of 16 rows and 16 columns.   rows: [16] in shared memory, `stride` numbers apart, each aligned to 16 bytes
template <typename T>
INGOT_DEVICE void LoadRows(uint32_t (&a)[4], const T* rows, int stride INGOT_HERE) {
  LoadMatrix4(a, rows + Lane() % 16 * stride + Lane() / 16 * 8 INGOT_PASS_HERE);
}
// B of 16 columns, that is two tiles, from rows of K.   rows: [16] in shared memory, `stride` numbers apart
template <typename T>
INGOT_DEVICE void LoadColumns(uint32_t (&left)[2], uint32_t (&right)[2], const T* rows, int stride INGOT_HERE) {
  uint32_t r[4];
  LoadMatrix4Transposed(r, rows + Lane() % 16 * stride + Lane() / 16 * 8 INGOT_PASS_HERE);
  left[0] = r[0], left[1] = r[1];
  right[0] = r[2], right[1] = r[3];
}

}  // namespace ingot::kernels::cuda
