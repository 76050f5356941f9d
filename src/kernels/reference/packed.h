// Reading single numbers out of packed panels (kernels/gemm.h), and what the packer needs to write them.
#pragma once

#include "kernels/gemm.h"

namespace ingot::kernels {

// Byte offset of the code of input k, channel c in its panel. kInt4: the byte that holds it, see HighNibble.
inline int64_t CodeOffset(const PanelLayout& layout, int64_t k, int64_t c) {
  const int64_t group = k / 32, quad = k % 32 / 4, i = k % 4;
  if (layout.kind == WeightKind::kInt8) return (group * 8 + quad) * 64 + c * 4 + i;
  return (group * 4 + quad % 4) * 64 + c * 4 + i;
}
inline bool HighNibble(int64_t k) { return k % 32 >= 16; }

// `panel` is the panel's begin; c in [0, 16). With a codebook, the code is the byte it stands for.
int CodeAt(const PanelLayout& layout, const std::byte* panel, int64_t k, int64_t c);
float ScaleAt(const PanelLayout& layout, const std::byte* panel, int64_t group, int64_t c);
// kInteger: the zero point; kMin: the minimum.
float ZeroAt(const PanelLayout& layout, const std::byte* panel, int64_t group, int64_t c);
// The weight as a number.
float WeightAt(const PanelLayout& layout, const std::byte* panel, int64_t k, int64_t c);

}  // namespace ingot::kernels
