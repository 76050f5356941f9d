// What the CPU knows of a packed weight: panels of 16 output channels (kernels/gemm.h), the last filled up with zero
// weights.
#pragma once

#include "kernels/gemm.h"
#include "ops/linear.h"

namespace ingot::ops {

struct CpuPackedLayout : PackedWeight::Layout {
  kernels::PanelLayout panel{};
  InputOrder input_order;  // input j of the packed matrix is x[input_order[j]]; empty: x[j]
};
inline const CpuPackedLayout& PackedLayoutOf(const PackedWeight& weight) {
  return static_cast<const CpuPackedLayout&>(*weight.layout());
}

}  // namespace ingot::ops
