#include "kernels/cpu/gemm.h"

#include <bit>

namespace ingot::kernels {
namespace INGOT_ISA_NAMESPACE {
namespace {

// The sums that go with 32 quantized activations (kernels/gemm.h).   sums: [16-input halves or one]
INGOT_INLINE void StoreSums(const PanelLayout& layout, float scale, const int32_t* halves, void* out) {
  const int subs = layout.group_size == 16 ? 2 : 1;
  auto* integers = static_cast<int32_t*>(out);
  auto* floats = static_cast<float*>(out);
  for (int s = 0; s < subs; ++s) {
    const int32_t sum = subs == 2 ? halves[s] : halves[0] + halves[1];
    const auto number = static_cast<float>(sum);
    if (layout.zero == ZeroKind::kMidpoint) integers[s] = -layout.midpoint * sum;
    if (layout.zero == ZeroKind::kInteger) floats[s] = number;
    if (layout.zero == ZeroKind::kMin) floats[s] = scale * number;
  }
}

// 32 activations (the last ones may be missing) → int8 codes and their scale; halves: sums of 16 codes.
INGOT_INLINE float QuantizeGroup(const float* x, int64_t count, int8_t* codes, int32_t* halves) {
  const F32x16 x0 = LoadF32x16(x, count < 16 ? count : 16);
  const F32x16 x1 = count > 16 ? LoadF32x16(x + 16, count < 32 ? count - 16 : 16) : Broadcast(0.0F);
  const I32x16 no_sign = Broadcast(int32_t{0x7fffffff});
  // Floats without sign sort as their bits, Inf and NaN above all.
  const uint32_t amax_bits = MaxLane(MaxU32(Bits(x0) & no_sign, Bits(x1) & no_sign));
  const auto amax = std::bit_cast<float>(amax_bits);
  const bool finite = amax_bits < 0x7f800000U;
  if (!finite || !(amax >= 1e-30F)) {
    StoreS8(codes, Broadcast(int32_t{0}));
    StoreS8(codes + 16, Broadcast(int32_t{0}));
    halves[0] = halves[1] = 0;
    return finite ? 0.0F : std::bit_cast<float>(0x7fc00000U);
  }
  const F32x16 inverse = Broadcast(127.0F / amax);
  const I32x16 a0 = ToInt(x0 * inverse), a1 = ToInt(x1 * inverse);
  StoreS8(codes, a0);
  StoreS8(codes + 16, a1);
  halves[0] = Sum(a0);
  halves[1] = Sum(a1);
  return amax / 127.0F;
}

}  // namespace

void Quantize(const QuantizeParams& p) {
  const PanelLayout& layout = *p.layout;
  const int64_t sum_bytes = layout.group_size == 16 ? 8 : 4;
  for (int64_t t = p.tile_begin; t < p.tile_end; ++t) {
    const RowTile& tile = p.tiles[t];
    for (int64_t r = 0; r < tile.rows; ++r) {
      const float* x = p.x + (tile.row + r) * layout.k;
      std::byte* group = p.activations + tile.offset;
      for (int64_t k = 0; k < layout.k; k += 32, group += tile.rows * (36 + sum_bytes)) {
        int32_t halves[2];
        const float scale = QuantizeGroup(x + k, layout.k - k, reinterpret_cast<int8_t*>(group) + r * 32, halves);
        reinterpret_cast<float*>(group + tile.rows * 32)[r] = scale;
        StoreSums(layout, scale, halves, group + tile.rows * 36 + r * sum_bytes);
      }
    }
  }
}

}  // namespace INGOT_ISA_NAMESPACE

const GemmKernels INGOT_ISA_NAMESPACE::kGemm = {
    .quantize = INGOT_ISA_NAMESPACE::Quantize,
    .multiply_int8 = INGOT_ISA_NAMESPACE::MultiplyInt8,
    .multiply_f32 = INGOT_ISA_NAMESPACE::MultiplyF32,
#ifdef __AVX512F__
    .round_bf16 = INGOT_ISA_NAMESPACE::RoundBf16,
    .multiply_bf16 = INGOT_ISA_NAMESPACE::MultiplyBf16,
#else
    .round_bf16 = nullptr,
    .multiply_bf16 = nullptr,
#endif
    .round_tiles = nullptr,
    .multiply_tiles = nullptr,
};

}  // namespace ingot::kernels
