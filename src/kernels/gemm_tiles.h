// Products on tiles: what their kernels take.
#pragma once

#include "kernels/gemm.h"

namespace ingot::kernels {

inline constexpr int64_t kTileRows = 16, kStepInputs = 32, kBlockInputs = 256;
// Up to this many rows are multiplied by vector instructions, which give the same results: reading weights takes
// longer.
inline constexpr int64_t kVectorRows = 2;

// Activations: the M rows in tiles of 16 (of M, where M < 16), rounded to bf16:
//   M > 2   bf16 [row tiles][padded_k / 32][width][32]; for weights with codes, 32 inputs are in the order 0, 2, 1, 3,
//           4, 6, 5, 7, …, which is that of the pairs that such weights unpack to
//   M <= 2  f32 [width][padded_k]
// Rows that fill up a tile are zero.
struct TileActivations {
  std::byte* rounded;  // 64-byte aligned
  float* sums;         // of the inputs of each span: [row tiles][spans][width]; written where NeedsSums
};
[[gnu::always_inline]] inline int64_t TileWidthOf(int64_t rows) { return rows < kTileRows ? rows : kTileRows; }
[[gnu::always_inline]] inline int64_t RowTilesOf(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }
[[gnu::always_inline]] inline bool NeedsSums(const PanelLayout& layout) {
  return layout.quantized() && layout.zero != ZeroKind::kMidpoint;
}

// A span is what is scaled together: inputs of one group and of one block of 256.
[[gnu::always_inline]] inline int64_t SpanEnd(const PanelLayout& layout, int64_t k) {
  int64_t end = (k / kBlockInputs + 1) * kBlockInputs;
  if (layout.quantized() && (k / layout.group_size + 1) * layout.group_size < end) {
    end = (k / layout.group_size + 1) * layout.group_size;
  }
  return end < layout.padded_k ? end : layout.padded_k;
}
[[gnu::always_inline]] inline int64_t SpansOf(const PanelLayout& layout) {
  int64_t spans = 0;
  for (int64_t k = 0; k < layout.padded_k; k = SpanEnd(layout, k)) ++spans;
  return spans;
}

struct RoundTilesParams {
  const float* x;  // [M, k]
  const PanelLayout* layout;
  int64_t rows, spans;           // M; SpansOf(layout)
  int64_t tile_begin, tile_end;  // of row tiles
  TileActivations activations;
};

inline constexpr int64_t kPanelsOfBlock = 2;  // whose weights are in L1 together

struct TileGemmParams {
  const PanelLayout* layout;
  const std::byte* packed;  // panel 0
  int64_t panel_begin, panel_end;
  int64_t rows, spans;           // M; SpansOf(layout)
  int64_t tile_begin, tile_end;  // of row tiles
  TileActivations activations;
  const float* bias;  // [out_features] or null
  float* y;           // [M, y_stride], of which out_features are written
  int64_t out_features, y_stride;
  float* sums;  // of more than one row tile: SumsOf floats that no other call uses, 64-byte aligned
};

[[gnu::always_inline]] inline int64_t SumsOf(int64_t row_tiles, int64_t panels) {
  return row_tiles * panels * kTileRows * kPanelChannels;
}

}  // namespace ingot::kernels
