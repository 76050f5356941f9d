// How weights lie on a CUDA device: in the order in which the lanes of a warp multiply them.
//
// A panel holds 16 output channels; panels lie one after another, the last is filled up with zeros. A panel is a row of
// tiles, each of 64 inputs of its channels (128 of kInt8Products), then the numbers of its groups. Of a tile a lane has
// vectors of 16 bytes: [vectors][32 lanes][4 words]. With lane = 4 · g + t, the words of channel c = g or g + 8 and of
// step j, which is one mma, are
//   kInt4, kCodedInt4   1 vector   word j, nibbles p and p + 4: inputs 16j + 2t and the next (p = 0), + 8 and + 9
//                                  (p = 1) of channel g; p = 2 and 3 alike of channel g + 8
//   kInt8               2 vectors  word 2j: bytes of inputs 16j + 2t, + 1, + 8, + 9 of channel g; word 2j + 1: of g + 8
//   kDense              4 vectors  words 4j, 4j + 1: inputs 16j + 2t + {0, 1}, {8, 9} of channel g; then of g + 8
//   kInt8Products       4 vectors  words 4j, 4j + 1: inputs 32j + 4t + {0 … 3}, {16 … 19} of channel g; then of g + 8
//   kFloat              no tiles: f32 [k][16]
// Numbers of 16 bits, T, are of the activations' type. The groups of kInt4, kCodedInt4 and kInt8 are
//   [groups][8 g][group_words][2 channels g, g + 8] T: the scale, and after it the zero (kInteger) or the minimum
//   (kMin)
// where a code q stands for scale · (q - midpoint), scale · (q - zero) or scale · q + min, and q of kCodedInt4 is what
// its table has for the code. The zero is held as zero + CodeBase, as codes come out of their bits (gemm_weights.h).
// kInt8Products has one scale for each channel: f32 [16], and signed codes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm.h"

#ifdef __CUDACC__
#define INGOT_HOST_DEVICE __host__ __device__
#else
#define INGOT_HOST_DEVICE
#endif

namespace ingot::kernels::cuda {

enum class TileKind : uint8_t { kInt4, kCodedInt4, kInt8, kDense, kInt8Products, kFloat };

struct WeightTiles {
  TileKind kind;
  ZeroKind zero;
  bool bfloat16;         // T
  int64_t k;             // inputs
  int64_t panel_bytes;   // a multiple of 64
  int64_t group_offset;  // bytes from the panel's begin
  int32_t tiles;         // of a panel
  int32_t group_shift;   // a group has 2^group_shift inputs
  int32_t group_words;   // 1 or 2
  uint32_t zero_pair;    // CodeBase, plus the code (or the table's byte) that stands for 0 (kMidpoint), twice as T
  uint32_t table[4];     // kCodedInt4: 16 bytes, what a code stands for plus 128

  bool operator==(const WeightTiles&) const = default;
};

inline constexpr int kVectorBytes = 512;   // of 16 bytes each, of all lanes
inline constexpr int kTileRowBytes = 128;  // of a row of x in a tile

INGOT_HOST_DEVICE constexpr int InputsOfTile(TileKind kind) { return kind == TileKind::kInt8Products ? 128 : 64; }
INGOT_HOST_DEVICE constexpr int VectorsOf(TileKind kind) {
  switch (kind) {
    case TileKind::kInt4:
    case TileKind::kCodedInt4:
      return 1;
    case TileKind::kInt8:
      return 2;
    case TileKind::kDense:
    case TileKind::kInt8Products:
      return 4;
    case TileKind::kFloat:
      break;
  }
  return 0;
}
INGOT_HOST_DEVICE constexpr bool HasGroups(TileKind kind) {
  return kind == TileKind::kInt4 || kind == TileKind::kCodedInt4 || kind == TileKind::kInt8;
}
// What code 0 is as a number of T, before anything is subtracted: the magic number into whose bits codes are put.
INGOT_HOST_DEVICE constexpr int CodeBase(TileKind kind, bool bfloat16) {
  if (!bfloat16) return 1024;
  return kind == TileKind::kInt4 ? 128 : 0;
}

// Where in a tile the code (or number, unless kFloat) of an input and a channel lies.   input: in the tile
struct TilePosition {
  int word;   // [vectors · 128]
  int shift;  // its lowest bit
};
INGOT_HOST_DEVICE constexpr TilePosition PositionInTile(TileKind kind, int input, int channel) {
  const int g = channel % 8, high = channel / 8;
  if (kind == TileKind::kInt8Products) {
    const int step = input / 32, in_step = input % 32, t = in_step % 16 / 4;
    return {(step * 32 + 4 * g + t) * 4 + high * 2 + in_step / 16, in_step % 4 * 8};
  }
  const int step = input / 16, t = input % 8 / 2, second = input % 16 / 8, odd = input % 2, lane = 4 * g + t;
  if (kind == TileKind::kDense) return {(step * 32 + lane) * 4 + high * 2 + second, odd * 16};
  if (kind == TileKind::kInt8) return {(step / 2 * 32 + lane) * 4 + step % 2 * 2 + high, (second * 2 + odd) * 8};
  return {lane * 4 + step, (high * 2 + second + odd * 4) * 4};
}

}  // namespace ingot::kernels::cuda
