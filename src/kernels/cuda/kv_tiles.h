// Tiles of the cache: 32 positions of one KV head; kernels/attention.h says how each format lies.
#pragma once

#include "kernels/cuda/arch.h"
#include "kernels/cuda/params.h"

namespace ingot::kernels::cuda {

struct KvTile {
  std::byte *keys, *values;
};

INGOT_DEVICE KvTile CacheTile(const KvLayer& kv, int64_t slot, int kv_head) {
  const int64_t block = slot / kv.block_len, tile = slot % kv.block_len / kKvTile, tiles = kv.block_len / kKvTile;
  std::byte* const keys =
      kv.data + block * kv.block_stride + kv_head * tiles * (kv.key_tile_bytes + kv.value_tile_bytes);
  return {keys + tile * kv.key_tile_bytes, keys + tiles * kv.key_tile_bytes + tile * kv.value_tile_bytes};
}

// kI4: where the tile of `token` is while it is open.
struct OpenTileOf {
  int64_t token;
  int num_kv_heads, kv_head, head_dim;
};
INGOT_DEVICE KvTile OpenTile(const OpenTiles& open, const OpenTileOf& of) {
  const int64_t bytes = int64_t{kKvTile} * of.head_dim * 2, index = open.index[of.token];
  std::byte* const base =
      index >= 0 ? open.passing + index * of.num_kv_heads * 2 * bytes : open.tails + ~index * open.tail_stride;
  return {base + of.kv_head * 2 * bytes, base + (of.kv_head * 2 + 1) * bytes};
}

// Numbers of 16 bits, and fp32 for tests.   keys [head_dim][32], values [32][head_dim]
template <KvFormat kFormat>
INGOT_DEVICE float LoadNumber(const std::byte* tile, int64_t index) {
  if constexpr (kFormat == KvFormat::kF32) return reinterpret_cast<const float*>(tile)[index];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(tile)[index];
  return kFormat == KvFormat::kBF16 ? ToFloat(BFloat16{bits}) : ToFloat(Half{bits});
}

INGOT_DEVICE float ScaleAt(const std::byte* scales, int64_t index) { return LoadNumber<KvFormat::kF16>(scales, index); }

// The key of position `j` of a tile in a dim.
template <KvFormat kFormat>
INGOT_DEVICE float KeyAt(const std::byte* tile, int j, int d, int head_dim) {
  if constexpr (kFormat == KvFormat::kI8) {
    const std::byte* const scales = tile + kKvTile * head_dim;
    const auto code = static_cast<float>(reinterpret_cast<const uint8_t*>(tile)[d * kKvTile + j]);
    return Fma(code, ScaleAt(scales, j), ScaleAt(scales, kKvTile + j));
  } else if constexpr (kFormat == KvFormat::kI4) {
    const std::byte* const scales = tile + kKvTile / 2 * head_dim;
    const int code = reinterpret_cast<const uint8_t*>(tile)[d * 16 + j % 16] >> (j < 16 ? 0 : 4) & 15;
    return Fma(static_cast<float>(code), ScaleAt(scales, d), ScaleAt(scales, head_dim + d));
  } else {
    return LoadNumber<kFormat>(tile, d * kKvTile + j);
  }
}
template <KvFormat kFormat>
INGOT_DEVICE float ValueAt(const std::byte* tile, int j, int d, int head_dim) {
  if constexpr (kFormat == KvFormat::kI8) {
    const std::byte* const scales = tile + kKvTile * head_dim;
    const auto code = static_cast<float>(reinterpret_cast<const uint8_t*>(tile)[j * head_dim + d]);
    return Fma(code, ScaleAt(scales, j), ScaleAt(scales, kKvTile + j));
  } else if constexpr (kFormat == KvFormat::kI4) {
    const std::byte* const scales = tile + kKvTile / 2 * head_dim;
    const int groups = (head_dim + kValueGroup - 1) / kValueGroup, group = d / kValueGroup * kKvTile + j;
    const int code = reinterpret_cast<const uint8_t*>(tile)[j % 16 * head_dim + d] >> (j < 16 ? 0 : 4) & 15;
    return Fma(static_cast<float>(code), ScaleAt(scales, group), ScaleAt(scales, groups * kKvTile + group));
  } else {
    return LoadNumber<kFormat>(tile, j * head_dim + d);
  }
}

// x ≈ min + code · scale with codes 0 … max_code; scale and min are numbers of fp16. One NaN makes the minimum NaN.
struct CodeGrid {
  float scale, min, max_code;
};
INGOT_DEVICE float ClampToHalf(float x) { return IsNan(x) ? x : Minimum(Maximum(x, -65504.0f), 65504.0f); }
INGOT_DEVICE float RoundToHalf(float x) { return ToFloat(FloatToHalf(x)); }
INGOT_DEVICE CodeGrid FitGrid(float low, float high, bool has_nan, float max_code) {
  if (has_nan) return {0, Bits<float>(0x7fc00000U), max_code};
  const float min = RoundToHalf(low);
  return {RoundToHalf(Maximum(0.0f, Divide(high - min, max_code))), min, max_code};
}
INGOT_DEVICE uint32_t CodeOf(float x, const CodeGrid& grid) {
  if (!(grid.scale > 0) || IsNan(grid.min)) return 0;
  const float code = RoundToEven((ClampToHalf(x) - grid.min) * Divide(1, grid.scale));
  return static_cast<uint32_t>(Minimum(Maximum(code, 0.0f), grid.max_code));
}
INGOT_DEVICE void StoreHalf(std::byte* p, int64_t index, float x) {
  reinterpret_cast<uint16_t*>(p)[index] = FloatToHalf(x).bits;
}

}  // namespace ingot::kernels::cuda
