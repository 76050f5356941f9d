#include "ops/cpu/linear_tiles.h"

#include <algorithm>

namespace ingot::ops {
namespace {

using kernels::kPanelsOfBlock;
using kernels::PanelLayout;
using kernels::TileGemmParams;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Up to this many row tiles reading weights takes longer than multiplying: a thread takes few panels at a time, but as
// many as make taking them (~0.1 µs) cost nothing beside reading them.
constexpr int64_t kFewTiles = 4, kChunkBytes = 48 * 1024;
// More tiles: a thread reads the activations from L3 once for all panels that it takes, so it takes as many as leave
// their sums in L2 beside 256 inputs of the activations: 1 MB of sums. And no more rows than that.
constexpr int64_t kMaxTilesAtOnce = 32, kMaxPanelsAtOnce = 32;

// Panels that a thread takes at a time: so that threads end at about the same time, and whole blocks of them.
int64_t PanelsEach(int64_t row_tiles, int64_t panels, int64_t panel_bytes, int threads) {
  const int64_t most =
      row_tiles > kFewTiles ? kMaxPanelsAtOnce : std::clamp<int64_t>(kChunkBytes / panel_bytes, 1, kMaxPanelsAtOnce);
  const int64_t rounds = std::max<int64_t>(CeilDivide(panels, threads * most), row_tiles > kFewTiles ? 1 : 4);
  return CeilDivide(CeilDivide(panels, threads * rounds), kPanelsOfBlock) * kPanelsOfBlock;
}

}  // namespace

int64_t TilesBytes(int64_t max_rows, const PanelLayout& layout, int threads) {
  if (layout.order != kernels::PanelOrder::kTileRows) return 0;
  const int64_t tiles = kernels::RowTilesOf(max_rows);
  const int64_t sums = kernels::SumsOf(std::min(tiles, kMaxTilesAtOnce), kMaxPanelsAtOnce);
  return tiles * kernels::TileWidthOf(max_rows) * layout.padded_k * 2 + threads * sums * 4 + 2 * 64;
}

void MultiplyOnTiles(ThreadPool& pool, Scratch& scratch, const kernels::GemmKernels& kernels, const float* x,
                     const TileGemmParams& whole) {
  const PanelLayout& layout = *whole.layout;
  const int64_t tiles = whole.tile_end, panels = whole.panel_end;
  uint16_t* activations = scratch.Take<uint16_t>(tiles * kernels::TileWidthOf(whole.rows) * layout.padded_k);
  pool.ParallelFor(tiles, [&](int64_t t) {
    kernels.round_tiles({.x = x,
                         .layout = &layout,
                         .rows = whole.rows,
                         .tile_begin = t,
                         .tile_end = t + 1,
                         .activations = activations});
  });
  const int64_t panels_each = PanelsEach(tiles, panels, layout.panel_bytes, pool.num_threads());
  const int64_t chunks = CeilDivide(panels, panels_each);
  const int64_t sums_each = kernels::SumsOf(std::min(tiles, kMaxTilesAtOnce), panels_each);
  float* sums = scratch.Take<float>(sums_each * pool.num_threads());
  pool.ParallelForWorker(CeilDivide(tiles, kMaxTilesAtOnce) * chunks, [&](int64_t i, int worker) {
    TileGemmParams part = whole;
    part.tile_begin = i / chunks * kMaxTilesAtOnce;
    part.tile_end = std::min(tiles, part.tile_begin + kMaxTilesAtOnce);
    part.panel_begin = i % chunks * panels_each;
    part.panel_end = std::min(panels, part.panel_begin + panels_each);
    part.activations = activations;
    part.sums = sums + worker * sums_each;
    kernels.multiply_tiles(part);
  });
}

}  // namespace ingot::ops
