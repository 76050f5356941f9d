// The write of keys and values into the cache: head norms, rotation, conversion.
#pragma once

#include "kernels/cpu/kv_tile.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {

// x: [head_dim], normalized over the head when norm is not null.
inline void NormHead(const float* norm, float eps, int head_dim, float* x) {
  F32 sum = Set(0);
  for (int d = 0; d < head_dim; d += kLanes) {
    const F32 v = LoadSome(x + d, head_dim - d);
    sum = Fma(v, v, sum);
  }
  const F32 mean = Set(ReduceAdd(sum)) / Set(static_cast<float>(head_dim)) + Set(eps);
  const F32 inverse = Set(1.0f) / SquareRoot(mean);
  for (int d = 0; d < head_dim; d += kLanes) {
    StoreSome(x + d, LoadSome(x + d, head_dim - d) * inverse * LoadSome(norm + d, head_dim - d), head_dim - d);
  }
}

// cos, sin: [half] of the token.
inline void RotateHead(const float* cos, const float* sin, int half, float* x) {
  for (int i = 0; i < half; i += kLanes) {
    const int n = half - i;
    const F32 a = LoadSome(x + i, n), b = LoadSome(x + half + i, n), c = LoadSome(cos + i, n), s = LoadSome(sin + i, n);
    StoreSome(x + i, Fma(a, c, Set(0) - b * s), n);
    StoreSome(x + half + i, Fma(b, c, a * s), n);
  }
}

// k, v: [head_dim]. A key goes to a column of its tile, a value to a row.
inline void WriteFloats(const TilePair& tiles, int column, int dim, const float* k, const float* v) {
  float* keys = reinterpret_cast<float*>(tiles.keys) + column;
  float* values = reinterpret_cast<float*>(tiles.values) + int64_t{column} * dim;
  for (int d = 0; d < dim; ++d) {
    keys[int64_t{d} * kKvTile] = k[d];
    values[d] = v[d];
  }
}

// fp16's finite numbers; NaN stays.
inline F32 ClampToHalf(F32 x) {
  constexpr float kMaxHalf = 65504;
  return Max(Set(-kMaxHalf), Min(Set(kMaxHalf), x));
}

template <typename Number, bool kClamp>
inline void WriteHalves(const TilePair& tiles, int column, int dim, const float* k, const float* v) {
  uint16_t* keys = reinterpret_cast<uint16_t*>(tiles.keys) + column;
  uint16_t* values = reinterpret_cast<uint16_t*>(tiles.values) + int64_t{column} * dim;
  for (int d = 0; d < dim; d += kLanes) {
    const int n = dim - d < kLanes ? dim - d : kLanes;
    F32 key = LoadSome(k + d, n), value = LoadSome(v + d, n);
    if (kClamp) key = ClampToHalf(key), value = ClampToHalf(value);
    uint16_t half[kLanes];
    Number::StoreFirst(half, key, n);
    for (int i = 0; i < n; ++i) keys[int64_t{d + i} * kKvTile] = half[i];
    Number::StoreFirst(values + d, value, n);
  }
}

// Codes of a group: x ≈ min + code · scale, both numbers of fp16.
struct Group {
  uint16_t scale_bits, min_bits;
  float min, inverse;  // 1 / scale; 0 where all are alike
};

// Codes are 0…max_code. A NaN among x makes the minimum NaN, and so all of the group.
inline Group FitGroup(const float* x, int n, float max_code) {
  F32 low = Set(__builtin_inff()), high = Set(-__builtin_inff()), nan = Set(0);
  for (int i = 0; i < n; i += kLanes) {
    const int count = n - i < kLanes ? n - i : kLanes;
    const F32 v = ClampToHalf(LoadSome(x + i, count));
    const Mask mask = LanesBetween(0, count);
    low = Min(Select(mask, v, low), low);
    high = Max(Select(mask, v, high), high);
    nan = nan + Select(mask, v - v, Set(0));
  }
  Group group;
  StoreHalfFirst(&group.min_bits, Set(0 - ReduceMax(Set(0) - low)) + Set(ReduceAdd(nan)), 1);
  const F32 min = SetHalf(group.min_bits);
  StoreHalfFirst(&group.scale_bits, Max((Set(ReduceMax(high)) - min) / Set(max_code), Set(0)), 1);
  const F32 scale = SetHalf(group.scale_bits);
  StoreFirst(&group.min, min, 1);
  StoreFirst(&group.inverse, Select(Less(Set(0), scale), Set(1) / scale, Set(0)), 1);
  return group;
}

inline void Encode(const float* x, int n, const Group& group, float max_code, uint8_t* codes) {
  for (int i = 0; i < n; i += kLanes) {
    const int count = n - i < kLanes ? n - i : kLanes;
    const F32 v = ClampToHalf(LoadSome(x + i, count));
    const F32 code = RoundToEven((v - Set(group.min)) * Set(group.inverse));
    StoreBytesFirst(codes + i, Min(Max(code, Set(0)), Set(max_code)), count);  // of a NaN: 0
  }
}

inline void WriteBytes(const TilePair& tiles, int column, int dim, const float* k, const float* v) {
  constexpr float kMaxCode = 255;
  const auto write_scale = [&](std::byte* tile, const Group& group) {
    uint16_t* scales = reinterpret_cast<uint16_t*>(tile + int64_t{kKvTile} * dim);
    scales[column] = group.scale_bits;
    scales[kKvTile + column] = group.min_bits;
  };
  const Group key = FitGroup(k, dim, kMaxCode), value = FitGroup(v, dim, kMaxCode);
  write_scale(tiles.keys, key);
  write_scale(tiles.values, value);
  uint8_t* keys = reinterpret_cast<uint8_t*>(tiles.keys) + column;
  for (int d = 0; d < dim; d += kLanes) {
    const int n = dim - d < kLanes ? dim - d : kLanes;
    uint8_t codes[kLanes];
    Encode(k + d, n, key, kMaxCode, codes);
    for (int i = 0; i < n; ++i) keys[int64_t{d + i} * kKvTile] = codes[i];
  }
  Encode(v, dim, value, kMaxCode, reinterpret_cast<uint8_t*>(tiles.values) + int64_t{column} * dim);
}

inline void WriteToken(const KvLayer& kv, const TilePair& tiles, int column, const float* k, const float* v) {
  switch (kv.format) {
    case KvFormat::kF32:
      return WriteFloats(tiles, column, kv.head_dim, k, v);
    case KvFormat::kF16:
      return WriteHalves<Fp16, false>(tiles, column, kv.head_dim, k, v);
    case KvFormat::kBF16:
      return WriteHalves<Bf16, false>(tiles, column, kv.head_dim, k, v);
    case KvFormat::kI8:
      return WriteBytes(tiles, column, kv.head_dim, k, v);
    case KvFormat::kI4:
      return WriteHalves<Fp16, true>(tiles, column, kv.head_dim, k, v);
  }
}

// Of n <= 32 halves, codes of 4 bits: [32], and the group's scale and minimum.
inline void QuantizeGroup(const uint16_t* half, int n, uint8_t* codes, uint16_t* scale, uint16_t* min) {
  constexpr float kMaxCode = 15;
  float x[kKvTile];
  for (int i = 0; i < n; i += kLanes) Store(x + i, LoadHalfFirst(half + i, n - i < kLanes ? n - i : kLanes));
  const Group group = FitGroup(x, n, kMaxCode);
  Encode(x, n, group, kMaxCode, codes);
  *scale = group.scale_bits;
  *min = group.min_bits;
}

inline void CloseTile(const std::byte* open, int dim, std::byte* key_tile, std::byte* value_tile) {
  constexpr int kHalf = kKvTile / 2;
  uint8_t codes[kKvTile], later[kKvTile];
  const uint16_t* half = Halves(open);
  uint8_t* keys = reinterpret_cast<uint8_t*>(key_tile);
  uint16_t* scales = reinterpret_cast<uint16_t*>(key_tile + int64_t{kHalf} * dim);
  for (int d = 0; d < dim; ++d) {
    QuantizeGroup(half + int64_t{d} * kKvTile, kKvTile, codes, scales + d, scales + dim + d);
    for (int j = 0; j < kHalf; ++j) keys[d * kHalf + j] = static_cast<uint8_t>(codes[j] | codes[j + kHalf] << 4);
  }
  half += int64_t{kKvTile} * dim;
  uint8_t* values = reinterpret_cast<uint8_t*>(value_tile);
  scales = reinterpret_cast<uint16_t*>(value_tile + int64_t{kHalf} * dim);
  const int groups = (dim + kValueGroup - 1) / kValueGroup;
  uint16_t* mins = scales + groups * kKvTile;
  for (int j = 0; j < kHalf; ++j) {
    for (int begin = 0; begin < dim; begin += kValueGroup) {
      const int n = dim - begin < kValueGroup ? dim - begin : kValueGroup, g = begin / kValueGroup * kKvTile + j;
      const uint16_t* row = half + int64_t{j} * dim + begin;
      QuantizeGroup(row, n, codes, scales + g, mins + g);
      QuantizeGroup(row + int64_t{kHalf} * dim, n, later, scales + g + kHalf, mins + g + kHalf);
      for (int i = 0; i < n; ++i) {
        values[int64_t{j} * dim + begin + i] = static_cast<uint8_t>(codes[i] | later[i] << 4);
      }
    }
  }
}

inline void KvWrite(const KvWriteParams& p, int64_t begin, int64_t end) {
  const int dim = p.kv.head_dim, half = p.rotary_dim / 2;
  for (int64_t t = begin; t < end; ++t) {
    const float *cos = p.cos + t * half, *sin = p.sin + t * half;
    for (int h = 0; h < p.num_heads; ++h) {
      float* q = p.q + t * p.stride + int64_t{h} * dim;
      if (p.q_norm != nullptr) NormHead(p.q_norm, p.norm_eps, dim, q);
      RotateHead(cos, sin, half, q);
    }
    const int64_t block = p.kv_slots[t] / p.kv.block_len;
    const int offset = p.kv_slots[t] % p.kv.block_len;
    for (int h = 0; h < p.num_kv_heads; ++h) {
      float* k = p.k + t * p.stride + int64_t{h} * dim;
      if (p.k_norm != nullptr) NormHead(p.k_norm, p.norm_eps, dim, k);
      RotateHead(cos, sin, half, k);
      const TilePair tiles = p.kv.format == KvFormat::kI4 ? OwnTiles(p.open, t, p.num_kv_heads, h, dim)
                                                          : CacheTiles(p.kv, block, offset, h);
      WriteToken(p.kv, tiles, offset % kKvTile, k, p.v + t * p.stride + int64_t{h} * dim);
    }
  }
}

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
