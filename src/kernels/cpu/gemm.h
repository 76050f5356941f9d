// What the parts of the CPU's matrix products share. For gemm*.cc only.
#pragma once

#include "kernels/cpu/simd.h"
#include "kernels/gemm.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {

void Quantize(const QuantizeParams& params);
void MultiplyInt8(const GemmParams& params);
void MultiplyF32(const GemmParams& params);
#ifdef __AVX512F__
void RoundBf16(const QuantizeParams& params);
void MultiplyBf16(const GemmParams& params);
#endif

namespace {

// Panels that share one read of the activations. Accumulators of a tile of 6 rows: 6 × 2 sums of int32 and 6 × 2 of
// fp32, of 32 registers; AVX2 has 16 and needs two of them for 16 lanes.
#ifdef __AVX512F__
constexpr int kPanelsTogether = 2;
#else
constexpr int kPanelsTogether = 1;
#endif

// The panels of one step: [panel, panel + kPanelsTogether), of which the last may not exist (it then repeats the first
// and has no lanes) or be partly filled.
struct PanelStep {
  const std::byte* panels[kPanelsTogether];
  int64_t lanes[kPanelsTogether];  // outputs that exist
  int64_t first_output;
};
INGOT_INLINE PanelStep StepAt(const GemmParams& p, int64_t panel) {
  PanelStep step;
  step.first_output = panel * kPanelChannels;
  for (int n = 0; n < kPanelsTogether; ++n) {
    const bool exists = panel + n < p.panel_end;
    step.panels[n] = p.packed + (exists ? panel + n : panel) * p.layout->panel_bytes;
    const int64_t left = exists ? p.out_features - step.first_output - n * kPanelChannels : 0;
    step.lanes[n] = left < kPanelChannels ? left : kPanelChannels;
  }
  return step;
}

// y = bias (or 0) for the outputs of a step: what the chains start from.
INGOT_INLINE void StartOutputs(const GemmParams& p, const PanelStep& step) {
  for (int n = 0; n < kPanelsTogether; ++n) {
    const int64_t at = step.first_output + n * kPanelChannels;
    const F32x16 start =
        p.bias == nullptr || step.lanes[n] == 0 ? Broadcast(0.0F) : LoadF32x16(p.bias + at, step.lanes[n]);
    for (int64_t t = p.tile_begin; t < p.tile_end; ++t) {
      for (int64_t r = 0; r < p.tiles[t].rows; ++r) {
        if (step.lanes[n] > 0) Store(p.y + (p.tiles[t].row + r) * p.out_features + at, start, step.lanes[n]);
      }
    }
  }
}

// The running sums of R rows: y[r][n], 16 outputs each.
template <int R>
struct Outputs {
  F32x16 y[R][kPanelsTogether];

  INGOT_INLINE void Read(const float* from, int64_t stride, const int64_t* lanes) {
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < kPanelsTogether; ++n) y[r][n] = LoadF32x16(from + r * stride + n * kPanelChannels, lanes[n]);
    }
  }
  INGOT_INLINE void Write(float* to, int64_t stride, const int64_t* lanes) const {
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < kPanelsTogether; ++n) Store(to + r * stride + n * kPanelChannels, y[r][n], lanes[n]);
    }
  }
};

// 2^(code - 128), which may be subnormal: the product of two numbers that are not, from half of the code each.
INGOT_INLINE F32x16 PowersOfTwo(I32x16 codes) {
  const I32x16 half = ShiftRight<1>(codes), bias = Broadcast(int32_t{127 - 64});
  return FromBits(ShiftLeft<23>(half + bias)) * FromBits(ShiftLeft<23>(codes - half + bias));
}

// The numbers of a layout's scale (or minimum) as f32, for inputs [begin, end) in sub-groups of `sub` inputs.
struct NumbersAt {
  const std::byte* values;
  const std::byte* codes;  // kSuper
};
INGOT_INLINE F32x16 NumberOf(const PanelLayout& layout, const NumbersAt& at, int64_t group) {
  if (layout.scale == ScaleKind::kF16) return LoadF16x16(at.values + group * 32);
  if (layout.scale == ScaleKind::kF32) return LoadF32x16(reinterpret_cast<const float*>(at.values) + group * 16);
  if (layout.scale == ScaleKind::kE8M0) return PowersOfTwo(LoadU8x16(at.values + group * 16));
  return LoadF16x16(at.values + group * layout.group_size / 256 * 32) * ToFloat(LoadS8x16(at.codes + group * 16));
}

// Scale and zero (or minimum) of 16 channels for each sub-group of 16 or 32 inputs of a run.
struct ScaleRoom {
  float* scales;  // [inputs / sub][16]
  float* zeros;   // the same; stays untouched for kMidpoint
};
INGOT_INLINE void UnpackScales(const PanelLayout& layout, const std::byte* panel, int64_t k_begin, int64_t k_end,
                               ScaleRoom room) {
  const int64_t sub = layout.group_size == 16 ? 16 : 32;
  const NumbersAt scale{panel + layout.scale_offset, panel + layout.scale_code_offset};
  const NumbersAt zero{panel + layout.zero_offset, panel + layout.zero_code_offset};
  int64_t group = k_begin / layout.group_size, group_end = (group + 1) * layout.group_size;
  for (int64_t k = k_begin; k < k_end; k += sub, room.scales += 16, room.zeros += 16) {
    if (k == group_end) ++group, group_end += layout.group_size;
    const F32x16 number = NumberOf(layout, scale, group);
    Store(room.scales, layout.coded ? number * Broadcast(layout.unit) : number);
    if (layout.zero == ZeroKind::kMin) Store(room.zeros, NumberOf(layout, zero, group));
    if (layout.zero == ZeroKind::kInteger) Store(room.zeros, ToFloat(LoadU8x16(zero.values + group * 16)));
  }
}

}  // namespace
}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
