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

// The part of a lane in a block of 32 inputs: 8 of the first 16 inputs, and the same 8 of the others. Lanes 0 … 15 have
// the channels' inputs 0 … 7 and 16 … 23, lanes 16 … 31 the rest.
inline constexpr int kLaneInputs = 16;
INGOT_DEVICE int64_t LaneInput(int half, int i) { return (i < 8 ? 0 : 8) + half * 8 + i; }

template <WeightKind kKind>
INGOT_DEVICE void LoadLaneWeights(const PanelLayout& layout, const std::byte* panel, int64_t block,
                                  float (&w)[kLaneInputs]) {
  const int c = Lane() % kPanelChannels, half = Lane() / kPanelChannels;
  if constexpr (kKind == WeightKind::kInt4 || kKind == WeightKind::kInt8) {
    INGOT_UNROLL
    for (int part = 0; part < 2; ++part) {
      const int64_t k = block * 32 + part * 16 + half * 8;
      const GroupScale group = GroupScaleAt(layout, panel, k / layout.group_size, c);
      INGOT_UNROLL
      for (int quad = 0; quad < 2; ++quad) {
        const int64_t at =
            kKind == WeightKind::kInt4 ? block * 4 + half * 2 + quad : block * 8 + part * 4 + half * 2 + quad;
        uint32_t word = LoadAt<uint32_t>(panel, at * kPanelChannels + c);
        if (kKind == WeightKind::kInt4) word = word >> (part * 4) & 0x0f0f0f0f;
        INGOT_UNROLL
        for (int i = 0; i < 4; ++i) {
          uint32_t code = word >> (8 * i) & 255;
          if (kKind == WeightKind::kInt4 && layout.coded) code = layout.table[code];
          w[part * 8 + quad * 4 + i] = Fma(static_cast<float>(code), group.scale, group.offset);
        }
      }
    }
  } else {
    INGOT_UNROLL
    for (int i = 0; i < kLaneInputs; ++i) {
      const int64_t k = block * 32 + LaneInput(half, i);
      w[i] = kKind == WeightKind::kF32 && k >= layout.k ? 0 : DenseWeightAt<kKind>(panel, k, c);
    }
  }
}

}  // namespace ingot::kernels::cuda
