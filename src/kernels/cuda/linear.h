// Products with packed weights, and rows of the embedding.
#pragma once

#include "kernels/cuda/weights.h"

namespace ingot::kernels::cuda {

// The rows of a block: those from `first` on.
struct RowRange {
  int64_t first;
  int count;  // 0 or less: none
};
INGOT_DEVICE RowRange RowsOf(const LinearParams& p, int rows_of_block) {
  const int64_t begin = p.row_range != nullptr ? p.row_range[0] : 0;
  const int64_t end = p.row_range != nullptr ? p.row_range[1] : p.rows;
  const int64_t first = begin + static_cast<int64_t>(BlockIndex().y) * rows_of_block;
  return {first, static_cast<int>(Minimum<int64_t>(rows_of_block, end - first))};
}

// y of the block's rows and panel.   sums: [kLinearWarps, rows_of_block, 16], added up in the order of the warps
template <typename T>
INGOT_DEVICE void WriteSums(const LinearParams& p, const RowRange& range, const float* sums, int rows_of_block) {
  const auto thread = static_cast<int>(ThreadIndex().x);
  for (int i = thread; i < range.count * kPanelChannels; i += kLinearWarps * kWarpSize) {
    const int row = i / kPanelChannels, c = i % kPanelChannels;
    const int64_t n = static_cast<int64_t>(BlockIndex().x) * kPanelChannels + c;
    if (n >= p.out_features) continue;
    float total = p.bias != nullptr ? p.bias[n] : 0;
    INGOT_UNROLL
    for (int warp = 0; warp < kLinearWarps; ++warp) total += sums[(warp * rows_of_block + row) * kPanelChannels + c];
    const int64_t at = (range.first + row) * p.y_stride + n;
    if (p.y_is_float) {
      static_cast<float*>(p.y)[at] = total;
    } else {
      static_cast<T*>(p.y)[at] = FromFloat<T>(total);
    }
  }
}

// Without tensor cores, for weights of fp32. A block: one panel of 16 channels times kLinearRows rows. Its warps take
// the blocks of 32 inputs in turn, and a lane's inputs are fixed by K, so a row's sums run in the same order whatever
// rows are beside it. grid: (panels, ceil(rows / kLinearRows)), threads: kLinearWarps warps, shared memory:
// kLinearSharedBytes
template <typename T>
INGOT_DEVICE void LinearF32(const LinearParams& p) {
  SharedMemory shared;
  float* const sums = shared.Take<float>(kLinearWarps * kLinearRows * kPanelChannels);
  const RowRange range = RowsOf(p, kLinearRows);
  if (range.count <= 0) return;
  const int64_t k = p.layout.k;
  const std::byte* const panel = p.packed + BlockIndex().x * p.layout.panel_bytes;
  const T* const x = static_cast<const T*>(p.x) + range.first * k;
  const int c = Lane() % kPanelChannels, half = Lane() / kPanelChannels;

  float sum[kLinearRows] = {};
  for (int64_t block = Warp(); block * 32 < k; block += kLinearWarps) {
    const int64_t begin = block * 32 + half * 16, end = Minimum(begin + 16, k);
    for (int64_t input = begin; input < end; ++input) {
      const float w = DenseWeightAt<WeightKind::kF32>(panel, input, c);
      const int64_t from = p.order != nullptr ? p.order[input] : input;
      INGOT_UNROLL
      for (int row = 0; row < kLinearRows; ++row) {
        if (row < range.count) sum[row] = Fma(ToFloat(x[row * k + from]), w, sum[row]);
      }
    }
  }
  INGOT_UNROLL
  for (int row = 0; row < kLinearRows; ++row) {
    if (row >= range.count) break;
    sum[row] += ShuffleXor(sum[row], kPanelChannels);
    if (half == 0) sums[(Warp() * kLinearRows + row) * kPanelChannels + c] = sum[row];
  }
  SyncThreads();
  WriteSums<T>(p, range, sums, kLinearRows);
}

// grid: (tokens), threads: kRowThreads
INGOT_DEVICE void Embed(const EmbedParams& p) {
  const int64_t token = BlockIndex().x;
  int32_t id = p.ids[token];
  if (id < 0) id = p.drawn[~id];
  const std::byte* const panel = p.packed + id / kPanelChannels * p.layout.panel_bytes;
  for (int64_t k = ThreadIndex().x; k < p.layout.k; k += kRowThreads) {
    p.y[token * p.layout.k + k] = WeightAt(p.layout, panel, k, id % kPanelChannels) * p.scale;
  }
}

}  // namespace ingot::kernels::cuda
