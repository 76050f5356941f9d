// Products: shares panels and rows out to the threads.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/gemm.h"
#include "ops/cpu/backend.h"
#include "ops/cpu/linear_tiles.h"
#include "ops/panels.h"

namespace ingot::ops {
namespace {

using kernels::GemmParams;
using kernels::kMaxTileRows;
using kernels::kPanelChannels;
using kernels::PanelLayout;
using kernels::QuantizeParams;
using kernels::RowTile;
using kernels::TileGemmParams;
using kernels::WeightKind;

// Activations of the rows that are multiplied with a panel while it is in L1; they stay in L2 (1 to 2 MB on the cores
// of today) from panel to panel.
constexpr int64_t kBlockBytes = 768 * 1024;
// Weights that a thread takes at a time: long enough that taking them (~0.1 µs) costs nothing compared with reading
// them.
constexpr int64_t kChunkBytes = 48 * 1024;

enum class Way { kInt8, kBf16, kF32, kTiles };
Way WayOf(const kernels::GemmKernels& gemm, Compute compute, const PanelLayout& layout) {
  if (compute == Compute::kExact) return Way::kF32;
  if (gemm.multiply_tiles != nullptr && layout.kind != WeightKind::kF32) return Way::kTiles;
  if (layout.quantized()) return Way::kInt8;
  const bool bf16 = layout.kind == WeightKind::kBF16 && gemm.multiply_bf16 != nullptr;
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
void PrepareActivations(ThreadPool& pool, Quantize quantize, QuantizeParams params) {
  const int64_t tiles = params.tile_end;
  constexpr int64_t kTilesEach = 2;  // a dozen rows: tens of microseconds at usual widths
  if (tiles <= kTilesEach) return quantize(params);
  pool.ParallelFor((tiles + kTilesEach - 1) / kTilesEach, [&](int64_t i) {
    QuantizeParams part = params;
    part.tile_begin = i * kTilesEach;
    part.tile_end = std::min(tiles, (i + 1) * kTilesEach);
    quantize(part);
  });
}

using Multiply = void (*)(const GemmParams&);
// All tiles × all panels of `params`, in blocks of rows that fit L2 and chunks of panels that threads take in turn.
void MultiplyInParallel(ThreadPool& pool, Multiply multiply, const GemmParams& params, int64_t row_bytes) {
  const int64_t tiles = params.tile_end, panels = params.panel_end;
  const int64_t tiles_each = std::max<int64_t>(1, kBlockBytes / std::max<int64_t>(1, kMaxTileRows * row_bytes));
  const int64_t blocks = (tiles + tiles_each - 1) / tiles_each;
  const int64_t fair = panels / (4 * pool.num_threads());  // so that threads end at about the same time
  const int64_t large = kChunkBytes / std::max<int64_t>(64, params.layout->panel_bytes);
  const int64_t panels_each = std::max<int64_t>(1, std::min(fair, large) / 2) * 2;  // kernels take panels in pairs
  const int64_t chunks = (panels + panels_each - 1) / panels_each;
  pool.ParallelFor(blocks * chunks, [&](int64_t i) {
    GemmParams part = params;
    part.tile_begin = i / chunks * tiles_each;
    part.tile_end = std::min(tiles, part.tile_begin + tiles_each);
    part.panel_begin = i % chunks * panels_each;
    part.panel_end = std::min(panels, part.panel_begin + panels_each);
    multiply(part);
  });
}

// The columns of x in the order of the packed inputs.   x, reordered: [rows, K]
void ReorderInputs(ThreadPool& pool, const float* x, int64_t rows, const InputOrder& order, float* reordered) {
  const int64_t k = std::ssize(order);
  pool.ParallelFor(rows, [&](int64_t row) {
    const float* from = x + row * k;
    float* to = reordered + row * k;
    for (int64_t j = 0; j < k; ++j) to[j] = from[order[static_cast<size_t>(j)]];
  });
}

// All of the product, whose y has rows of `y_stride`.
TileGemmParams OnTiles(const PackedWeight& weight, int64_t rows, const float* bias, float* y, int64_t y_stride) {
  const int64_t n = weight.out_features();
  return {.layout = &PackedLayoutOf(weight).panel,
          .packed = weight.data(),
          .panel_begin = 0,
          .panel_end = (n + kPanelChannels - 1) / kPanelChannels,
          .rows = rows,
          .spans = 0,
          .tile_begin = 0,
          .tile_end = kernels::RowTilesOf(rows),
          .activations = {},
          .bias = bias,
          .y = y,
          .out_features = n,
          .y_stride = y_stride,
          .sums = nullptr};
}

}  // namespace

int64_t CpuBackend::LinearBytes(int64_t max_rows, std::span<const PackedWeight> parts) const {
  int64_t widest = 0, product = 0;
  for (const PackedWeight& part : parts) {
    // Activations: at most 64 bytes per 32 inputs (bf16); tiles; both rounded up to whole lines by Scratch.
    const int64_t groups = (part.in_features() + kernels::kActivationGroup - 1) / kernels::kActivationGroup;
    const int64_t tiles = (max_rows / kMaxTileRows + 2) * static_cast<int64_t>(sizeof(RowTile));
    const int64_t reordered = PackedLayoutOf(part).input_order.empty() ? 0 : max_rows * part.in_features() * 4 + 64;
    const PanelLayout& layout = PackedLayoutOf(part).panel;
    const int64_t on_tiles =
        kernels_.gemm.multiply_tiles == nullptr ? 0 : TilesBytes(max_rows, layout, pool_.num_threads());
    product = std::max(product, std::max(max_rows * groups * 64 + tiles + 2 * 64, on_tiles) + reordered + 64);
    widest = std::max(widest, part.out_features());
  }
  const int64_t aside = parts.size() > 1 ? max_rows * widest * static_cast<int64_t>(sizeof(float)) + 64 : 0;
  return aside + product + std::ssize(parts) * static_cast<int64_t>(sizeof(TileGemmParams)) + 64;
}

void CpuBackend::Multiply(const Context& context, const PackedWeight& weight, const Product& product) {
  const PanelPackedLayout& packed = PackedLayoutOf(weight);
  const PanelLayout& layout = packed.panel;
  const int64_t m = product.rows, n = weight.out_features();
  const kernels::GemmKernels& gemm = kernels_.gemm;
  const Way way = WayOf(gemm, context.compute, layout);
  const Scratch::Mark mark(*context.scratch);
  const float* inputs = product.x;
  if (!packed.input_order.empty()) {
    float* const reordered = context.scratch->Take<float>(m * weight.in_features());
    ReorderInputs(pool_, product.x, m, packed.input_order, reordered);
    inputs = reordered;
  }
  if (way == Way::kTiles) {
    TileGemmParams whole = OnTiles(weight, m, product.bias, product.y, n);
    return MultiplyOnTiles(pool_, *context.scratch, gemm, inputs, {&whole, 1});
  }
  const int64_t row_bytes = ActivationRowBytes(way, layout);
  RowTile* tiles = context.scratch->Take<RowTile>(m / kMaxTileRows + 2);
  const int64_t num_tiles = MakeTiles(m, row_bytes, tiles);
  std::byte* activations = nullptr;
  if (way != Way::kF32) {
    activations = context.scratch->Take<std::byte>(m * row_bytes);
    PrepareActivations(pool_, way == Way::kInt8 ? gemm.quantize : gemm.round_bf16,
                       {.x = inputs,
                        .layout = &layout,
                        .tiles = tiles,
                        .tile_begin = 0,
                        .tile_end = num_tiles,
                        .activations = activations});
  }
  const auto multiply = way == Way::kInt8   ? gemm.multiply_int8
                        : way == Way::kBf16 ? gemm.multiply_bf16
                                            : gemm.multiply_f32;
  MultiplyInParallel(pool_, multiply,
                     {.layout = &layout,
                      .packed = weight.data(),
                      .panel_begin = 0,
                      .panel_end = (n + kPanelChannels - 1) / kPanelChannels,
                      .tiles = tiles,
                      .tile_begin = 0,
                      .tile_end = num_tiles,
                      .activations = activations,
                      .x = inputs,
                      .bias = product.bias,
                      .y = product.y,
                      .out_features = n},
                     row_bytes);
}

void CpuBackend::MultiplyParts(const Context& context, std::span<const PackedWeight> parts, const Product& product) {
  if (parts.size() == 1) return Multiply(context, parts[0], product);
  int64_t stride = 0, begin = 0;  // of y; the part's first column
  bool on_tiles = true;
  for (const PackedWeight& part : parts) {
    const PanelPackedLayout& packed = PackedLayoutOf(part);
    stride += part.out_features();
    on_tiles &= WayOf(kernels_.gemm, context.compute, packed.panel) == Way::kTiles && packed.input_order.empty();
  }
  const Scratch::Mark all(*context.scratch);
  if (on_tiles) {
    const std::span whole(context.scratch->Take<TileGemmParams>(std::ssize(parts)), parts.size());
    for (size_t i = 0; i < parts.size(); begin += parts[i++].out_features()) {
      const float* bias = product.bias == nullptr ? nullptr : product.bias + begin;
      whole[i] = OnTiles(parts[i], product.rows, bias, product.y + begin, stride);
    }
    return MultiplyOnTiles(pool_, *context.scratch, kernels_.gemm, product.x, whole);
  }
  for (const PackedWeight& part : parts) {
    const Scratch::Mark mark(*context.scratch);
    const int64_t rows = product.rows, width = part.out_features();
    float* const columns = product.y + begin;
    // A single row of y is contiguous; more are written aside and copied.
    float* const out = rows == 1 ? columns : context.scratch->Take<float>(rows * width);
    Multiply(context, part,
             {.x = product.x, .rows = rows, .bias = product.bias ? product.bias + begin : nullptr, .y = out});
    if (rows != 1) {
      pool_.ParallelFor(rows, [&](int64_t row) {
        std::memcpy(columns + row * stride, out + row * width, static_cast<size_t>(width) * sizeof(float));
      });
    }
    begin += width;
  }
}

void CpuBackend::Linear(const Context& context, const TensorView& x, std::span<const PackedWeight> parts,
                        const TensorView& bias, const TensorView& y) {
  MultiplyParts(context, parts,
                {.x = x.Data<float>(), .rows = x.shape[0], .bias = bias.Data<float>(), .y = y.Data<float>()});
}

void CpuBackend::Embed(const Context&, const Step& step, const PackedWeight& table, float scale, const TensorView& y) {
  const int64_t count = step.num_tokens, k = table.in_features();
  const PanelLayout& layout = PackedLayoutOf(table).panel;
  const auto gather = [&](int64_t i) {
    int32_t id = step.token_ids.Data<int32_t>()[i];
    if (id < 0) {
      INGOT_CHECK(~id < step.drawn_tokens.shape.NumElements());
      id = step.drawn_tokens.Data<int32_t>()[~id];
    }
    INGOT_CHECK(id >= 0 && id < table.out_features());
    kernels::DequantizeChannel(layout, table.data(), id, scale, y.Data<float>() + i * k);
  };
  if (count <= 4) {
    for (int64_t i = 0; i < count; ++i) gather(i);
  } else {
    pool_.ParallelFor(count, gather);
  }
}

}  // namespace ingot::ops
