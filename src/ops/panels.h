// Weights as panels of 16 output channels, the last filled up with zero weights. Both backends hold them so; what a
// panel is on the CPU (kernels/gemm.h).
#pragma once

#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/gemm.h"
#include "ops/linear.h"

namespace ingot::ops {

constexpr int64_t PanelsOf(int64_t out_features) {
  return (out_features + kernels::kPanelChannels - 1) / kernels::kPanelChannels;
}

// Reads a matrix in pieces, in parallel, and calls body(rows, begin, panel) for each panel, whose channels are the rows
// from `begin` on: 16, or what is left.
template <typename F>
void ForEachPanel(ThreadPool& pool, const WeightSource& source, F body) {
  constexpr int64_t kRowsPerRead = 4 * kernels::kPanelChannels;  // a few hundred KB of scratch per thread
  std::vector<WeightRows> scratch(static_cast<size_t>(pool.num_threads()));
  pool.ParallelForWorker((source.rows() + kRowsPerRead - 1) / kRowsPerRead, [&](int64_t index, int worker) {
    WeightRows& rows = scratch[static_cast<size_t>(worker)];
    const int64_t first = index * kRowsPerRead;
    source.Read(first, std::min(kRowsPerRead, source.rows() - first), &rows);
    for (int64_t begin = 0; begin < rows.rows; begin += kernels::kPanelChannels) {
      body(rows, begin, (first + begin) / kernels::kPanelChannels);
    }
  });
  source.Drop();
}

struct PanelPackedLayout : PackedWeight::Layout {
  kernels::PanelLayout panel{};
  InputOrder input_order;  // input j of the packed matrix is x[input_order[j]]; empty: x[j]
};
inline const PanelPackedLayout& PackedLayoutOf(const PackedWeight& weight) {
  return static_cast<const PanelPackedLayout&>(*weight.layout());
}

// Raised whenever PackPanels makes other bytes of the same weights: weights caches of before are then left alone.
inline constexpr int kPackingVersion = 1;

// As the weights of a file are held: the same, or the next wider format that has panels.
Format PanelFormat(const Format& source);
int64_t PanelBytes(const Format& source, int64_t out_features, int64_t in_features);
// A packed weight but for its data. `bytes` counts the panels and the input order.
PackedWeight::Parts PanelParts(const WeightSource& source);
// panels: of the host, zeroed, [ceil(rows / 16)] of layout.panel_bytes each.
void PackPanels(ThreadPool& pool, const WeightSource& source, const kernels::PanelLayout& layout, std::byte* panels);

}  // namespace ingot::ops
