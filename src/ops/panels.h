// Weights as panels of 16 output channels (kernels/gemm.h), the last filled up with zero weights: how the CPU and CUDA
// backends hold them.
#pragma once

#include "base/thread_pool.h"
#include "kernels/gemm.h"
#include "ops/linear.h"

namespace ingot::ops {

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
