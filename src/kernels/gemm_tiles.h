// Products on tiles: what their kernels take.
#pragma once

#include "kernels/gemm.h"

namespace ingot::kernels {

// Activations for tiles: the M rows in tiles of 16 (of M, where M < 16), K in blocks of 256 inputs, of which the last
// may be shorter: bf16 [blocks][row tiles][inputs of the block / 32][16 pairs][width][2]. Rows that fill up the last
// tile are zero.
inline constexpr int64_t kTileWidth = 16, kTileInputs = 32, kBlockInputs = 256;
[[gnu::always_inline]] inline int64_t TileWidthOf(int64_t rows) { return rows < kTileWidth ? rows : kTileWidth; }
[[gnu::always_inline]] inline int64_t RowTilesOf(int64_t rows) { return (rows + kTileWidth - 1) / kTileWidth; }

struct RoundTilesParams {
  const float* x;  // [M, k]
  const PanelLayout* layout;
  int64_t rows;                  // M
  int64_t tile_begin, tile_end;  // of row tiles
  uint16_t* activations;         // 64-byte aligned
};
inline constexpr int64_t kPanelsOfBlock = 4;  // that tiles multiply together

struct TileGemmParams {
  const PanelLayout* layout;  // kTileRows
  const std::byte* packed;    // panel 0
  int64_t panel_begin, panel_end;
  int64_t rows;
  int64_t tile_begin, tile_end;  // of row tiles
  const uint16_t* activations;
  const float* bias;  // [out_features] or null
  float* y;           // [M, out_features]
  int64_t out_features;
  float* sums;  // of more than one row tile: SumsOf floats that no other call uses, 64-byte aligned
};

[[gnu::always_inline]] inline int64_t SumsOf(int64_t row_tiles, int64_t panels) {
  return row_tiles * ((panels + kPanelsOfBlock - 1) / kPanelsOfBlock * kPanelsOfBlock) * kTileWidth * kPanelChannels;
}

}  // namespace ingot::kernels
