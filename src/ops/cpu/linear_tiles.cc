#include "ops/cpu/linear_tiles.h"

#include <algorithm>

namespace ingot::ops {
namespace {

using kernels::kPanelsOfBlock;
using kernels::PanelLayout;
using kernels::TileGemmParams;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One row tile: reading weights takes longest. A thread takes as many panels at a time as make what it waits for at
// their beginning cost little, but so few that threads end at about the same time.
constexpr int64_t kChunkBytes = 256 * 1024;
// More tiles: a thread reads the activations from L3 once for all panels that it takes, so it takes as many as leave
// their sums in L2 beside 256 inputs of the activations: 1 MB of sums. And no more rows than that.
constexpr int64_t kMaxTilesAtOnce = 32, kMaxPanelsAtOnce = 32;

int64_t PanelsEach(int64_t row_tiles, int64_t panels, int64_t panel_bytes, int threads) {
  if (row_tiles == 1) {
    const int64_t most = std::max<int64_t>(1, kChunkBytes / panel_bytes);
    const int64_t each = CeilDivide(panels, threads * std::max<int64_t>(CeilDivide(panels, threads * most), 4));
    return CeilDivide(each, 2) * 2;  // kernels take panels in pairs
  }
  const int64_t rounds = CeilDivide(panels, threads * kMaxPanelsAtOnce);
  return CeilDivide(CeilDivide(panels, threads * rounds), kPanelsOfBlock) * kPanelsOfBlock;
}

int64_t RoundedBytes(int64_t rows, const PanelLayout& layout) {
  const int64_t number = rows <= kernels::kVectorRows ? sizeof(float) : sizeof(uint16_t);
  return kernels::RowTilesOf(rows) * kernels::TileWidthOf(rows) * layout.padded_k * number;
}
int64_t NumSpanSums(int64_t rows, const PanelLayout& layout) {
  return kernels::RowTilesOf(rows) * kernels::TileWidthOf(rows) * kernels::SpansOf(layout);
}
int64_t NumSums(int64_t row_tiles, int64_t panels, int threads) {
  return row_tiles == 1 ? 0 : kernels::SumsOf(std::min(row_tiles, kMaxTilesAtOnce), panels) * threads;
}

// Whether activations rounded for `a` serve `b`.
bool SameActivations(const PanelLayout& a, const PanelLayout& b) {
  if (a.quantized() != b.quantized()) return false;
  return !kernels::NeedsSums(b) || (kernels::NeedsSums(a) && a.group_size == b.group_size);
}

void MultiplyOne(ThreadPool& pool, Scratch& scratch, const kernels::GemmKernels& kernels, const TileGemmParams& whole) {
  const Scratch::Mark mark(scratch);
  const int64_t tiles = whole.tile_end, panels = whole.panel_end;
  const int64_t panels_each = PanelsEach(tiles, panels, whole.layout->panel_bytes, pool.num_threads());
  const int64_t chunks = CeilDivide(panels, panels_each);
  float* const sums = scratch.Take<float>(NumSums(tiles, panels_each, pool.num_threads()));
  pool.ParallelForWorker(CeilDivide(tiles, kMaxTilesAtOnce) * chunks, [&](int64_t i, int worker) {
    TileGemmParams part = whole;
    part.tile_begin = i / chunks * kMaxTilesAtOnce;
    part.tile_end = std::min(tiles, part.tile_begin + kMaxTilesAtOnce);
    part.panel_begin = i % chunks * panels_each;
    part.panel_end = std::min(panels, part.panel_begin + panels_each);
    part.sums = sums + worker * NumSums(tiles, panels_each, 1);
    kernels.multiply_tiles(part);
  });
}

}  // namespace

int64_t TilesBytes(int64_t max_rows, const PanelLayout& layout, int threads) {
  const int64_t sums = NumSums(kernels::RowTilesOf(max_rows), kMaxPanelsAtOnce, threads);
  // Few rows are held in f32.
  const int64_t rounded = std::max(RoundedBytes(max_rows, layout), RoundedBytes(kernels::kVectorRows, layout));
  return rounded + (NumSpanSums(std::max(max_rows, kernels::kVectorRows), layout) + sums) * 4 + 3 * 64;
}

void MultiplyOnTiles(ThreadPool& pool, Scratch& scratch, const kernels::GemmKernels& kernels, const float* x,
                     std::span<TileGemmParams> whole) {
  int64_t bytes = 0, span_sums = 0;
  for (const TileGemmParams& product : whole) {
    bytes = std::max(bytes, RoundedBytes(product.rows, *product.layout));
    span_sums = std::max(span_sums, NumSpanSums(product.rows, *product.layout));
  }
  const kernels::TileActivations activations{scratch.Take<std::byte>(bytes), scratch.Take<float>(span_sums)};
  const PanelLayout* rounded_for = nullptr;
  for (TileGemmParams& product : whole) {
    product.spans = kernels::SpansOf(*product.layout);
    product.activations = activations;
    if (rounded_for == nullptr || !SameActivations(*rounded_for, *product.layout)) {
      rounded_for = product.layout;
      pool.ParallelFor(product.tile_end, [&](int64_t t) {
        kernels.round_tiles({.x = x,
                             .layout = product.layout,
                             .rows = product.rows,
                             .spans = product.spans,
                             .tile_begin = t,
                             .tile_end = t + 1,
                             .activations = activations});
      });
    }
    MultiplyOne(pool, scratch, kernels, product);
  }
}

}  // namespace ingot::ops
