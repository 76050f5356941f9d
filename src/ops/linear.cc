#include "ops/linear.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/gemm.h"

namespace ingot::ops {
namespace {

using kernels::GemmParams;
using kernels::kMaxTileRows;
using kernels::kPanelChannels;
using kernels::PanelLayout;
using kernels::QuantizeParams;
using kernels::RowTile;
using kernels::WeightKind;

// Activations of the rows that are multiplied with a panel while it is in L1; they stay in L2 (1 to 2 MB on the cores
// of today) from panel to panel.
constexpr int64_t kBlockBytes = 768 * 1024;
// Weights that a thread takes at a time: long enough that taking them (~0.1 µs) costs nothing beside reading them.
constexpr int64_t kChunkBytes = 48 * 1024;

enum class Way { kInt8, kBf16, kF32 };
Way WayOf(const Context& context, const PanelLayout& layout) {
  if (context.compute == Compute::kExact) return Way::kF32;
  if (layout.quantized()) return Way::kInt8;
  const bool bf16 = layout.kind == WeightKind::kBF16 && context.kernels->gemm.multiply_bf16 != nullptr;
  return bf16 && kernels::CpuMultipliesBf16() ? Way::kBf16 : Way::kF32;
}

// Bytes per row of activations in the form that the way needs.
int64_t ActivationRowBytes(Way way, const PanelLayout& layout) {
  if (way == Way::kF32) return layout.k * 4;
  if (way == Way::kBf16) return layout.padded_k * 2;
  const int64_t group_bytes = layout.group_size == 16 ? kernels::kTileGroupBytes16 : kernels::kTileGroupBytes32;
  return layout.padded_k / kernels::kActivationGroup * group_bytes;
}

// Sizes that kernels have; two middling tiles rather than one of six and a sliver.
int64_t NextTileRows(int64_t remaining) {
  if (remaining >= 9 || remaining == 6) return 6;
  if (remaining == 7 || remaining == 8) return 4;
  return remaining == 5 ? 3 : remaining;
}

// Cuts M rows into tiles. Returns how many; `tiles` has room for M / 6 + 2.
int64_t MakeTiles(int64_t m, int64_t row_bytes, RowTile* tiles) {
  int64_t count = 0;
  for (int64_t row = 0; row < m;) {
    const int64_t rows = NextTileRows(m - row);
    tiles[count++] = {.row = row, .rows = rows, .offset = row * row_bytes};
    row += rows;
  }
  return count;
}

using Quantize = void (*)(const QuantizeParams&);
void PrepareActivations(const Context& context, Quantize quantize, QuantizeParams params) {
  const int64_t tiles = params.tile_end;
  constexpr int64_t kTilesEach = 2;  // a dozen rows: tens of microseconds at usual widths
  if (tiles <= kTilesEach) return quantize(params);
  context.pool->ParallelFor((tiles + kTilesEach - 1) / kTilesEach, [&](int64_t i) {
    QuantizeParams part = params;
    part.tile_begin = i * kTilesEach;
    part.tile_end = std::min(tiles, (i + 1) * kTilesEach);
    quantize(part);
  });
}

using Multiply = void (*)(const GemmParams&);
// All tiles × all panels of `params`, in blocks of rows that fit L2 and chunks of panels that threads take in turn.
void MultiplyInParallel(const Context& context, Multiply multiply, const GemmParams& params, int64_t row_bytes) {
  const int64_t tiles = params.tile_end, panels = params.panel_end;
  const int64_t tiles_each = std::max<int64_t>(1, kBlockBytes / std::max<int64_t>(1, kMaxTileRows * row_bytes));
  const int64_t blocks = (tiles + tiles_each - 1) / tiles_each;
  const int64_t fair = panels / (4 * context.pool->num_threads());  // so that threads end at about the same time
  const int64_t large = kChunkBytes / std::max<int64_t>(64, params.layout->panel_bytes);
  const int64_t panels_each = std::max<int64_t>(1, std::min(fair, large) / 2) * 2;  // kernels take panels in pairs
  const int64_t chunks = (panels + panels_each - 1) / panels_each;
  context.pool->ParallelFor(blocks * chunks, [&](int64_t i) {
    GemmParams part = params;
    part.tile_begin = i / chunks * tiles_each;
    part.tile_end = std::min(tiles, part.tile_begin + tiles_each);
    part.panel_begin = i % chunks * panels_each;
    part.panel_end = std::min(panels, part.panel_begin + panels_each);
    multiply(part);
  });
}

// The columns of x in the order of the packed inputs: [M, K] in scratch.
const float* ReorderInputs(const Context& context, const TensorView& x, const InputOrder& order) {
  const int64_t m = x.shape[0], k = x.shape[1];
  float* reordered = context.scratch->Take<float>(m * k);
  context.pool->ParallelFor(m, [&](int64_t row) {
    const float* from = x.Data<float>() + row * k;
    float* to = reordered + row * k;
    for (int64_t j = 0; j < k; ++j) to[j] = from[order[static_cast<size_t>(j)]];
  });
  return reordered;
}

}  // namespace

int64_t LinearScratchBytes(int64_t max_rows, const PackedWeight& weight) {
  // Activations: at most 64 bytes per 32 inputs (bf16); tiles; both rounded up to whole lines by Scratch.
  const int64_t groups = (weight.in_features() + kernels::kActivationGroup - 1) / kernels::kActivationGroup;
  const int64_t tiles = (max_rows / kMaxTileRows + 2) * static_cast<int64_t>(sizeof(RowTile));
  const int64_t reordered = weight.input_order().empty() ? 0 : max_rows * weight.in_features() * 4 + 64;
  return max_rows * groups * 64 + tiles + reordered + 3 * 64;
}

void Linear(const Context& context, const TensorView& x, const PackedWeight& weight, const float* bias,
            const TensorView& y) {
  const PanelLayout& layout = weight.layout();
  const int64_t m = x.shape[0], k = weight.in_features(), n = weight.out_features();
  INGOT_CHECK(x.dtype == DType::kF32 && y.dtype == DType::kF32);
  INGOT_CHECK(x.shape == Shape({m, k}) && y.shape == Shape({m, n}));
  if (m == 0 || n == 0) return;

  const Way way = WayOf(context, layout);
  const Scratch::Mark mark(*context.scratch);
  const float* inputs =
      weight.input_order().empty() ? x.Data<float>() : ReorderInputs(context, x, weight.input_order());
  const int64_t row_bytes = ActivationRowBytes(way, layout);
  RowTile* tiles = context.scratch->Take<RowTile>(m / kMaxTileRows + 2);
  const int64_t num_tiles = MakeTiles(m, row_bytes, tiles);
  std::byte* activations = nullptr;
  const kernels::GemmKernels& gemm = context.kernels->gemm;
  if (way != Way::kF32) {
    activations = context.scratch->Take<std::byte>(m * row_bytes);
    PrepareActivations(context, way == Way::kInt8 ? gemm.quantize : gemm.round_bf16,
                       {.x = inputs,
                        .layout = &layout,
                        .tiles = tiles,
                        .tile_begin = 0,
                        .tile_end = num_tiles,
                        .activations = activations});
  }
  const Multiply multiply = way == Way::kInt8   ? gemm.multiply_int8
                            : way == Way::kBf16 ? gemm.multiply_bf16
                                                : gemm.multiply_f32;
  MultiplyInParallel(context, multiply,
                     {.layout = &layout,
                      .packed = weight.data(),
                      .panel_begin = 0,
                      .panel_end = (n + kPanelChannels - 1) / kPanelChannels,
                      .tiles = tiles,
                      .tile_begin = 0,
                      .tile_end = num_tiles,
                      .activations = activations,
                      .x = inputs,
                      .bias = bias,
                      .y = y.Data<float>(),
                      .out_features = n},
                     row_bytes);
}

void Embed(const Context& context, const TokenIds& tokens, const PackedWeight& table, float scale,
           const TensorView& y) {
  const int64_t count = static_cast<int64_t>(tokens.ids.size()), k = table.in_features();
  INGOT_CHECK(y.dtype == DType::kF32 && y.shape == Shape({count, k}));
  const auto gather = [&](int64_t i) {
    int32_t id = tokens.ids[static_cast<size_t>(i)];
    if (id < 0) {
      INGOT_CHECK(static_cast<size_t>(~id) < tokens.drawn.size());
      id = tokens.drawn[static_cast<size_t>(~id)];
    }
    INGOT_CHECK(id >= 0 && id < table.out_features());
    kernels::DequantizeChannel(table.layout(), table.data(), id, scale, y.Data<float>() + i * k);
  };
  if (count <= 4) {
    for (int64_t i = 0; i < count; ++i) gather(i);
  } else {
    context.pool->ParallelFor(count, gather);
  }
}

}  // namespace ingot::ops
