// Reading weights out of panels of 16 channels; kernels/gemm.h says how they lie.
#pragma once

#include "kernels/cuda/arch.h"
#include "kernels/cuda/params.h"

namespace ingot::kernels::cuda {

template <typename T>
INGOT_DEVICE T LoadAt(const std::byte* p, int64_t index) {
  return reinterpret_cast<const T*>(p)[index];
}

INGOT_DEVICE float HalfBitsToFloat(uint16_t bits) { return ToFloat(Half{bits}); }

// A number of the scale's kind; `super` and `index` in units of 16 channels.
INGOT_DEVICE float NumberAt(ScaleKind kind, const std::byte* values, const std::byte* codes, int64_t super,
                            int64_t index) {
  switch (kind) {
    case ScaleKind::kF16:
      return HalfBitsToFloat(LoadAt<uint16_t>(values, index));
    case ScaleKind::kF32:
      return LoadAt<float>(values, index);
    case ScaleKind::kSuper:
      return HalfBitsToFloat(LoadAt<uint16_t>(values, super)) * static_cast<float>(LoadAt<int8_t>(codes, index));
    case ScaleKind::kE8M0:
      return PowerOfTwo(LoadAt<uint8_t>(values, index) - 128);
  }
  return 0;
}

// A code q of a group stands for Fma(q, scale, offset).
struct GroupScale {
  float scale, offset;
};
INGOT_DEVICE GroupScale GroupScaleAt(const PanelLayout& layout, const std::byte* panel, int64_t group, int c) {
  const int64_t super = group * layout.group_size / 256 * kPanelChannels + c, index = group * kPanelChannels + c;
  float scale = NumberAt(layout.scale, panel + layout.scale_offset, panel + layout.scale_code_offset, super, index);
  if (layout.coded) scale *= layout.unit;
  switch (layout.zero) {
    case ZeroKind::kMidpoint:
      return {scale, -scale * static_cast<float>(layout.midpoint)};  // exact: the midpoint is a power of two
    case ZeroKind::kInteger:
      return {scale, -scale * static_cast<float>(LoadAt<uint8_t>(panel + layout.zero_offset, index))};
    case ZeroKind::kMin:
      return {scale, NumberAt(layout.scale, panel + layout.zero_offset, panel + layout.zero_code_offset, super, index)};
  }
  return {};
}

template <WeightKind kKind>
INGOT_DEVICE float DenseWeightAt(const std::byte* panel, int64_t k, int c) {
  if constexpr (kKind == WeightKind::kF32) return LoadAt<float>(panel, k * kPanelChannels + c);
  if constexpr (kKind == WeightKind::kF16) return HalfBitsToFloat(LoadAt<uint16_t>(panel, k * kPanelChannels + c));
  return ToFloat(BFloat16{LoadAt<uint16_t>(panel, (k / 2 * kPanelChannels + c) * 2 + k % 2)});
}

// The weight of input k and channel c of the panel.
INGOT_DEVICE float WeightAt(const PanelLayout& layout, const std::byte* panel, int64_t k, int c) {
  switch (layout.kind) {
    case WeightKind::kF32:
      return DenseWeightAt<WeightKind::kF32>(panel, k, c);
    case WeightKind::kF16:
      return DenseWeightAt<WeightKind::kF16>(panel, k, c);
    case WeightKind::kBF16:
      return DenseWeightAt<WeightKind::kBF16>(panel, k, c);
    default:
      break;
  }
  const int64_t block = k / 32, quad = k % 32 / 4;
  const bool nibbles = layout.kind == WeightKind::kInt4;
  const int64_t byte_at = (nibbles ? block * 4 + quad % 4 : block * 8 + quad) * 64 + c * 4 + k % 4;
  int code = LoadAt<uint8_t>(panel, byte_at);
  if (nibbles) code = k % 32 >= 16 ? code >> 4 : code & 15;
  if (layout.coded) code = layout.table[code];
  const GroupScale group = GroupScaleAt(layout, panel, k / layout.group_size, c);
  return Fma(static_cast<float>(code), group.scale, group.offset);
}

}  // namespace ingot::kernels::cuda
