// Tiles of the cache: 32 positions of one KV head; kernels/attention.h says how each format lies.
#pragma once

#include <type_traits>

#include "kernels/cuda/mma.h"
#include "kernels/cuda/params.h"

namespace ingot::kernels::cuda {

// The numbers of a format of 16 bits.
template <KvFormat kFormat>
struct NumberOf {
  using Type = Half;
};
template <>
struct NumberOf<KvFormat::kBF16> {
  using Type = BFloat16;
};

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

// keys [head_dim][32], values [32][head_dim]
template <KvFormat kFormat>
INGOT_DEVICE float LoadNumber(const std::byte* tile, int64_t index) {
  const uint16_t bits = reinterpret_cast<const uint16_t*>(tile)[index];
  return kFormat == KvFormat::kBF16 ? ToFloat(BFloat16{bits}) : ToFloat(Half{bits});
}

INGOT_DEVICE float ScaleAt(const std::byte* scales, int64_t index) { return LoadNumber<KvFormat::kF16>(scales, index); }

// Eight numbers of 16 bits, side by side.
struct alignas(16) Eight {
  uint32_t pairs[4];
};
template <typename T>
INGOT_DEVICE Eight PackEight(const float (&x)[8]) {
  return {{Pack<T>(x[0], x[1]), Pack<T>(x[2], x[3]), Pack<T>(x[4], x[5]), Pack<T>(x[6], x[7])}};
}
template <typename T>
INGOT_DEVICE bool AllFinite(const Eight& x) {
  uint32_t carry = 0;  // into the sign bits, from exponents that are all ones
  INGOT_UNROLL
  for (int i = 0; i < 4; ++i) carry |= (x.pairs[i] & 0x7fff7fffU) + T::kLastOfExponent * 0x10001U;
  return (carry & 0x80008000U) == 0;
}

// Eight of the format's numbers as they lie, from `index` on, which is a multiple of 8: as numbers of T.
template <typename T, KvFormat kFormat>
INGOT_DEVICE Eight LoadEight(const std::byte* tile, int64_t index) {
  using Raw = typename NumberOf<kFormat>::Type;
  const Eight raw = reinterpret_cast<const Eight*>(tile)[index / 8];
  if constexpr (std::is_same_v<T, Raw>) {
    return raw;
  } else {
    float x[8];
    INGOT_UNROLL
    for (int i = 0; i < 4; ++i) {
      x[2 * i] = UnpackFirst<Raw>(raw.pairs[i]);
      x[2 * i + 1] = UnpackSecond<Raw>(raw.pairs[i]);
    }
    return PackEight<T>(x);
  }
}

// Eight codes of a byte or (shift 0 or 4) of half of one.
struct alignas(8) EightCodes {
  uint32_t words[2];
};
template <int kBits>
INGOT_DEVICE float CodeAt(const EightCodes& codes, int i, int shift) {
  return static_cast<float>(codes.words[i / 4] >> (i % 4 * 8 + shift) & ((1U << kBits) - 1));
}

// The keys of positions j … j + 7 in a dim; j is a multiple of 8.
template <typename T, KvFormat kFormat>
INGOT_DEVICE Eight EightKeys(const std::byte* tile, int j, int d, int head_dim) {
  float x[8];
  if constexpr (kFormat == KvFormat::kI8) {
    const auto codes = *reinterpret_cast<const EightCodes*>(tile + d * kKvTile + j);
    const std::byte* const scales = tile + kKvTile * head_dim;
    INGOT_UNROLL
    for (int i = 0; i < 8; ++i) {
      x[i] = Fma(CodeAt<8>(codes, i, 0), ScaleAt(scales, j + i), ScaleAt(scales, kKvTile + j + i));
    }
  } else if constexpr (kFormat == KvFormat::kI4) {
    const auto codes = *reinterpret_cast<const EightCodes*>(tile + d * (kKvTile / 2) + j % (kKvTile / 2));
    const std::byte* const scales = tile + kKvTile / 2 * head_dim;
    const float scale = ScaleAt(scales, d), min = ScaleAt(scales, head_dim + d);
    INGOT_UNROLL
    for (int i = 0; i < 8; ++i) x[i] = Fma(CodeAt<4>(codes, i, j < kKvTile / 2 ? 0 : 4), scale, min);
  } else {
    return LoadEight<T, kFormat>(tile, d * kKvTile + j);
  }
  return PackEight<T>(x);
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
// The dims d … d + 7 of the value of a position; d is a multiple of 8. Zeros beyond head_dim.
template <typename T, KvFormat kFormat>
INGOT_DEVICE Eight EightValues(const std::byte* tile, int j, int d, int head_dim) {
  float x[8] = {};
  if (head_dim % 8 != 0) {  // rows are not aligned
    for (int i = 0; i < 8 && d + i < head_dim; ++i) x[i] = ValueAt<kFormat>(tile, j, d + i, head_dim);
    return PackEight<T>(x);
  }
  if constexpr (kFormat == KvFormat::kI8) {
    const auto codes = *reinterpret_cast<const EightCodes*>(tile + j * head_dim + d);
    const std::byte* const scales = tile + kKvTile * head_dim;
    const float scale = ScaleAt(scales, j), min = ScaleAt(scales, kKvTile + j);
    INGOT_UNROLL
    for (int i = 0; i < 8; ++i) x[i] = Fma(CodeAt<8>(codes, i, 0), scale, min);
  } else if constexpr (kFormat == KvFormat::kI4) {
    const auto codes = *reinterpret_cast<const EightCodes*>(tile + j % (kKvTile / 2) * head_dim + d);
    const std::byte* const scales = tile + kKvTile / 2 * head_dim;
    const int groups = (head_dim + kValueGroup - 1) / kValueGroup, group = d / kValueGroup * kKvTile + j;
    const float scale = ScaleAt(scales, group), min = ScaleAt(scales, groups * kKvTile + group);
    INGOT_UNROLL
    for (int i = 0; i < 8; ++i) x[i] = Fma(CodeAt<4>(codes, i, j < kKvTile / 2 ? 0 : 4), scale, min);
  } else {
    return LoadEight<T, kFormat>(tile, j * head_dim + d);
  }
  return PackEight<T>(x);
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
