// The write of keys and values into the cache: head norms, rotation, conversion.
#pragma once

#include "kernels/attention.h"
#include "kernels/cpu/simd.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {

inline std::byte* KeyPlane(const KvLayer& kv, int64_t block, int kv_head) {
  return kv.data + block * kv.block_stride + int64_t{2} * kv_head * kv.plane_bytes;
}

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
inline void WriteToken(const KvLayer& kv, std::byte* key_plane, int offset, const float* k, const float* v) {
  const int dim = kv.head_dim;
  const int64_t key_index = int64_t{offset / kKvTile} * dim * kKvTile + offset % kKvTile;
  if (!kv.is_f16) {
    float* keys = reinterpret_cast<float*>(key_plane) + key_index;
    float* values = reinterpret_cast<float*>(key_plane + kv.plane_bytes) + int64_t{offset} * dim;
    for (int d = 0; d < dim; ++d) {
      keys[int64_t{d} * kKvTile] = k[d];
      values[d] = v[d];
    }
    return;
  }
  uint16_t* keys = reinterpret_cast<uint16_t*>(key_plane) + key_index;
  uint16_t* values = reinterpret_cast<uint16_t*>(key_plane + kv.plane_bytes) + int64_t{offset} * dim;
  for (int d = 0; d < dim; d += kLanes) {
    const int n = dim - d < kLanes ? dim - d : kLanes;
    uint16_t half[kLanes];
    StoreHalfFirst(half, LoadSome(k + d, n), n);
    for (int i = 0; i < n; ++i) keys[int64_t{d + i} * kKvTile] = half[i];
    StoreHalfFirst(values + d, LoadSome(v + d, n), n);
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
    const int64_t block = p.slots[t] / p.kv.block_len;
    const int offset = p.slots[t] % p.kv.block_len;
    for (int h = 0; h < p.num_kv_heads; ++h) {
      float* k = p.k + t * p.stride + int64_t{h} * dim;
      if (p.k_norm != nullptr) NormHead(p.k_norm, p.norm_eps, dim, k);
      RotateHead(cos, sin, half, k);
      WriteToken(p.kv, KeyPlane(p.kv, block, h), offset, k, p.v + t * p.stride + int64_t{h} * dim);
    }
  }
}

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
