// Products on tensor cores: weights stay packed until registers, where they become numbers of the activations' type
// (W4A16, W8A16, W16A16); sums are fp32.
#pragma once

#include "kernels/cuda/linear.h"
#include "kernels/cuda/mma.h"

namespace ingot::kernels::cuda {

// Inputs k … k + 3 of a row of x, zeros where there are none.   x: the row, or null
template <typename T>
INGOT_DEVICE void LoadFourInputs(const LinearParams& p, const T* x, int64_t k, uint32_t* first, uint32_t* second) {
  *first = *second = 0;
  if (x == nullptr) return;
  if (p.order == nullptr && p.layout.k % 4 == 0) {  // aligned to 8 bytes
    if (k >= p.layout.k) return;
    const auto* const words = reinterpret_cast<const uint32_t*>(x + k);
    *first = words[0];
    *second = words[1];
    return;
  }
  uint32_t bits[4] = {};
  INGOT_UNROLL
  for (int i = 0; i < 4; ++i) {
    if (k + i < p.layout.k) bits[i] = x[p.order != nullptr ? p.order[k + i] : k + i].bits;
  }
  *first = bits[0] | bits[1] << 16;
  *second = bits[2] | bits[3] << 16;
}

// Inputs k … k + 3 of a channel of the panel; k is a multiple of 4.
template <WeightKind kKind>
INGOT_DEVICE void LoadFourWeights(const PanelLayout& layout, const std::byte* panel, int64_t k, int c, float (&w)[4]) {
  if constexpr (kKind == WeightKind::kInt4 || kKind == WeightKind::kInt8) {
    const int64_t block = k / 32, quad = k % 32 / 4;
    const int64_t at = kKind == WeightKind::kInt4 ? block * 4 + quad % 4 : block * 8 + quad;
    uint32_t word = LoadAt<uint32_t>(panel, at * kPanelChannels + c);
    if (kKind == WeightKind::kInt4) word = word >> (quad >= 4 ? 4 : 0) & 0x0f0f0f0f;
    const GroupScale group = GroupScaleAt(layout, panel, k / layout.group_size, c);
    INGOT_UNROLL
    for (int i = 0; i < 4; ++i) {
      uint32_t code = word >> (8 * i) & 255;
      if (kKind == WeightKind::kInt4 && layout.coded) code = layout.table[code];
      w[i] = Fma(static_cast<float>(code), group.scale, group.offset);
    }
  } else {
    INGOT_UNROLL
    for (int i = 0; i < 4; ++i) w[i] = DenseWeightAt<kKind>(panel, k + i, c);
  }
}

// A block: one panel of 16 channels times kMmaRows rows. Its warps take the blocks of 32 inputs in turn: K is cut the
// same way whatever M is, and a row of an mma does not depend on the others. Within 16 inputs, a lane's four lie side
// by side: products may meet in any order as long as both operands have the same. grid: (panels, ceil(rows /
// kMmaRows)), threads: kLinearWarps warps, shared memory: kMmaSharedBytes
template <typename T, WeightKind kKind>
INGOT_DEVICE void LinearMma(const LinearParams& p) {
  SharedMemory shared;
  float* const sums = shared.Take<float>(kLinearWarps * kMmaRows * kPanelChannels);
  const RowRange range = RowsOf(p, kMmaRows);
  if (range.count <= 0) return;
  const std::byte* const panel = p.packed + BlockIndex().x * p.layout.panel_bytes;
  const T* const x = static_cast<const T*>(p.x) + range.first * p.layout.k;
  const int group = Lane() / 4, in_group = Lane() % 4;
  const T* const upper = group < range.count ? x + group * p.layout.k : nullptr;
  const T* const lower = group + 8 < range.count ? x + (group + 8) * p.layout.k : nullptr;

  float sum[2][4] = {};  // channels 0 … 7 and 8 … 15
  for (int64_t block = Warp(); block * 32 < p.layout.k; block += kLinearWarps) {
    INGOT_UNROLL
    for (int part = 0; part < 2; ++part) {
      const int64_t k = block * 32 + part * 16 + in_group * 4;
      uint32_t a[4];
      LoadFourInputs(p, upper, k, &a[0], &a[2]);
      LoadFourInputs(p, lower, k, &a[1], &a[3]);
      INGOT_UNROLL
      for (int tile = 0; tile < 2; ++tile) {
        float w[4];
        LoadFourWeights<kKind>(p.layout, panel, k, tile * 8 + group, w);
        const uint32_t b[2] = {Pack<T>(w[0], w[1]), Pack<T>(w[2], w[3])};
        MultiplyTile(T{}, sum[tile], a, b);
      }
    }
  }
  INGOT_UNROLL
  for (int tile = 0; tile < 2; ++tile) {
    INGOT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int row = group + i / 2 * 8, c = tile * 8 + in_group * 2 + i % 2;
      sums[(Warp() * kMmaRows + row) * kPanelChannels + c] = sum[tile][i];
    }
  }
  SyncThreads();
  WriteSums<T>(p, range, sums, kMmaRows);
}

}  // namespace ingot::kernels::cuda
