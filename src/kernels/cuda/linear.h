// Products with packed weights, and rows of the embedding.
#pragma once

#include "kernels/cuda/weights.h"

namespace ingot::kernels::cuda {

// A block: one panel of 16 channels times kLinearRows rows. Its warps take the blocks of 32 inputs in turn, and a
// lane's inputs are fixed by K, so a row's sums run in the same order whatever rows are beside it.
// grid: (panels, ceil(rows / kLinearRows)), threads: kLinearWarps warps, shared memory: LinearSharedBytes
template <typename T, WeightKind kKind>
INGOT_DEVICE void Linear(const LinearParams& p) {
  SharedMemory shared;
  float* const sums = shared.Take<float>(kLinearWarps * kLinearRows * kPanelChannels);
  const int64_t begin = p.row_range != nullptr ? p.row_range[0] : 0;
  const int64_t end = p.row_range != nullptr ? p.row_range[1] : p.rows;
  const int64_t first = begin + static_cast<int64_t>(BlockIndex().y) * kLinearRows;
  if (first >= end) return;
  const int rows = static_cast<int>(Minimum<int64_t>(kLinearRows, end - first));
  const int64_t k = p.layout.k;
  const std::byte* const panel = p.packed + BlockIndex().x * p.layout.panel_bytes;
  const T* const x = static_cast<const T*>(p.x) + first * k;
  const int half = Lane() / kPanelChannels;

  float sum[kLinearRows] = {};
  for (int64_t block = Warp(); block * 32 < k; block += kLinearWarps) {
    float w[kLaneInputs];
    LoadLaneWeights<kKind>(p.layout, panel, block, w);
    INGOT_UNROLL
    for (int row = 0; row < kLinearRows; ++row) {
      if (row >= rows) break;
      INGOT_UNROLL
      for (int i = 0; i < kLaneInputs; ++i) {
        const int64_t input = block * 32 + LaneInput(half, i);
        if (input >= k) continue;
        const int64_t from = p.order != nullptr ? p.order[input] : input;
        sum[row] = Fma(ToFloat(x[row * k + from]), w[i], sum[row]);
      }
    }
  }
  INGOT_UNROLL
  for (int row = 0; row < kLinearRows; ++row) {
    if (row >= rows) break;
    sum[row] += ShuffleXor(sum[row], kPanelChannels);
    if (half == 0) sums[(Warp() * kLinearRows + row) * kPanelChannels + Lane()] = sum[row];
  }
  SyncThreads();
  for (int i = static_cast<int>(ThreadIndex().x); i < rows * kPanelChannels; i += kLinearWarps * kWarpSize) {
    const int row = i / kPanelChannels, c = i % kPanelChannels;
    const int64_t n = static_cast<int64_t>(BlockIndex().x) * kPanelChannels + c;
    if (n >= p.out_features) continue;
    float total = p.bias != nullptr ? p.bias[n] : 0;
    INGOT_UNROLL
    for (int warp = 0; warp < kLinearWarps; ++warp) total += sums[(warp * kLinearRows + row) * kPanelChannels + c];
    const int64_t at = (first + row) * p.y_stride + n;
    if (p.y_is_float) {
      static_cast<float*>(p.y)[at] = total;
    } else {
      static_cast<T*>(p.y)[at] = FromFloat<T>(total);
    }
  }
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
