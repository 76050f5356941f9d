// Reading single numbers out of packed panels (kernels/gemm.h), and what the packer needs to write them.
#pragma once

#include "kernels/gemm.h"

namespace ingot::kernels {

// Byte offset of the code of input k, channel c in its panel. kInt4: the byte that holds it, see HighNibble.
int64_t CodeOffset(const PanelLayout& layout, int64_t k, int64_t c);
bool HighNibble(int64_t k);
// Index of a weight of 16 or 32 bits in its panel.
int64_t DenseIndex(const PanelLayout& layout, int64_t k, int64_t c);

// `panel` is the panel's begin; c in [0, 16). With a codebook, the code is the byte it stands for.
int CodeAt(const PanelLayout& layout, const std::byte* panel, int64_t k, int64_t c);
float ScaleAt(const PanelLayout& layout, const std::byte* panel, int64_t group, int64_t c);
// kInteger: the zero point; kMin: the minimum.
float ZeroAt(const PanelLayout& layout, const std::byte* panel, int64_t group, int64_t c);
// The weight as a number.
float WeightAt(const PanelLayout& layout, const std::byte* panel, int64_t k, int64_t c);

}  // namespace ingot::kernels
