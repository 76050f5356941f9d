// Where the tiles of the KV cache lie, and their contents as floats. Every format becomes the same floats on every
// instruction set: code · scale + minimum is rounded once.
#pragma once

#include "kernels/attention.h"
#include "kernels/cpu/simd.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {

// The tiles of one KV head that hold a position.
struct TilePair {
  std::byte* keys;
  std::byte* values;
};

inline TilePair CacheTiles(const KvLayer& kv, int64_t block, int offset, int kv_head) {
  const int64_t tiles = kv.block_len / kKvTile, tile = offset / kKvTile;
  std::byte* head = kv.data + block * kv.block_stride + kv_head * tiles * (kv.key_tile_bytes + kv.value_tile_bytes);
  return {head + tile * kv.key_tile_bytes, head + tiles * kv.key_tile_bytes + tile * kv.value_tile_bytes};
}

// The open tiles of a token's own positions.
inline TilePair OwnTiles(const OpenTiles& open, int64_t token, int num_kv_heads, int kv_head, int head_dim) {
  const int64_t tile_bytes = int64_t{kKvTile} * head_dim * 2, index = open.index[token];
  std::byte* base =
      index >= 0 ? open.passing + index * num_kv_heads * 2 * tile_bytes : open.tails + ~index * open.tail_stride;
  std::byte* keys = base + kv_head * 2 * tile_bytes;
  return {keys, keys + tile_bytes};
}

// The tile that will be wanted next: fetched in as many parts as the present one is converted in.
struct NextTile {
  const std::byte* begin;
  int64_t bytes;
};
class Prefetcher {
 public:
  Prefetcher(NextTile tile, int parts) : at_(tile.begin), part_(tile.bytes / parts) {}
  void FetchPart() {
    for (int64_t i = 0; i < part_; i += 64) _mm_prefetch(reinterpret_cast<const char*>(at_ + i), _MM_HINT_T0);
    at_ += part_;
  }

 private:
  const std::byte* at_;
  const int64_t part_;
};

// The 16 numbers that codes of 4 bits stand for, and eight or sixteen codes at a time as numbers: the low halves of
// bytes by one such set, the high halves by another.
#if defined(__AVX512F__)
struct Levels {
  __m512 v;
  Levels(F32 scale, F32 min)
      : v(Fma({_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)}, scale, min).v) {}
};
inline void LoadCodes(const std::byte* p, Levels low, Levels high, float* low_out, float* high_out) {
  const __m512i codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  Store(low_out, {_mm512_permutexvar_ps(codes, low.v)});  // looks at 4 bits of a lane only
  Store(high_out, {_mm512_permutexvar_ps(_mm512_srli_epi32(codes, 4), high.v)});
}
#else
struct Levels {
  F32 scale, min;
  Levels(F32 scale_of, F32 min_of) : scale(scale_of), min(min_of) {}
};
inline void LoadCodes(const std::byte* p, Levels low, Levels high, float* low_out, float* high_out) {
  const __m256i codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const __m256i low_codes = _mm256_and_si256(codes, _mm256_set1_epi32(15));
  Store(low_out, Fma({_mm256_cvtepi32_ps(low_codes)}, low.scale, low.min));
  Store(high_out, Fma({_mm256_cvtepi32_ps(_mm256_srli_epi32(codes, 4))}, high.scale, high.min));
}
#endif

inline const uint8_t* Bytes(const std::byte* p) { return reinterpret_cast<const uint8_t*>(p); }
inline const uint16_t* Halves(const std::byte* p) { return reinterpret_cast<const uint16_t*>(p); }

// Every tile of 32 · dim halves whose rows are whole vectors.   out: as the tile
inline void ConvertHalves(const std::byte* tile, int dim, NextTile next, float* out) {
  const uint16_t* half = Halves(tile);
  Prefetcher prefetcher(next, dim);
  for (int i = 0; i < dim * kKvTile; i += kKvTile) {
    prefetcher.FetchPart();
    for (int v = 0; v < kKvTile; v += kLanes) Store(out + i + v, LoadHalf(half + i + v));
  }
}

// out: [dim, 32]
inline void ConvertKeys8(const std::byte* tile, int dim, NextTile next, float* out) {
  const uint16_t* scales = Halves(tile + int64_t{kKvTile} * dim);
  F32 scale[kKvTile / kLanes], min[kKvTile / kLanes];
  for (int v = 0; v < kKvTile / kLanes; ++v) {
    scale[v] = LoadHalf(scales + v * kLanes);
    min[v] = LoadHalf(scales + kKvTile + v * kLanes);
  }
  Prefetcher prefetcher(next, dim);
  for (int i = 0; i < dim * kKvTile; i += kKvTile) {
    prefetcher.FetchPart();
    for (int v = 0; v < kKvTile / kLanes; ++v) {
      Store(out + i + v * kLanes, Fma(LoadBytes(Bytes(tile) + i + v * kLanes), scale[v], min[v]));
    }
  }
}

// out: [32, stride >= dim up to whole vectors]; what lies beyond dim is not to be looked at
inline void ConvertValues8(const std::byte* tile, int dim, int64_t stride, NextTile next, float* out) {
  const uint16_t* scales = Halves(tile + int64_t{kKvTile} * dim);
  Prefetcher prefetcher(next, kKvTile);
  for (int j = 0; j < kKvTile; ++j) {
    prefetcher.FetchPart();
    const F32 scale = SetHalf(scales[j]), min = SetHalf(scales[kKvTile + j]);
    for (int d = 0; d < dim; d += kLanes) {
      Store(out + j * stride + d, Fma(LoadBytes(Bytes(tile) + int64_t{j} * dim + d), scale, min));
    }
  }
}

// out: [dim, 32]
inline void ConvertKeys4(const std::byte* tile, int dim, NextTile next, float* out) {
  constexpr int kHalf = kKvTile / 2;
  const uint16_t* scales = Halves(tile + int64_t{kHalf} * dim);
  Prefetcher prefetcher(next, dim);
  for (int d = 0; d < dim; ++d) {
    prefetcher.FetchPart();
    const Levels levels(SetHalf(scales[d]), SetHalf(scales[dim + d]));
    for (int j = 0; j < kHalf; j += kLanes) {
      float* to = out + d * kKvTile + j;
      LoadCodes(tile + d * kHalf + j, levels, levels, to, to + kHalf);
    }
  }
}

// out: as for ConvertValues8
inline void ConvertValues4(const std::byte* tile, int dim, int64_t stride, NextTile next, float* out) {
  constexpr int kHalf = kKvTile / 2;
  const int groups = (dim + kValueGroup - 1) / kValueGroup;
  const uint16_t* scales = Halves(tile + int64_t{kHalf} * dim);
  const uint16_t* mins = scales + groups * kKvTile;
  Prefetcher prefetcher(next, kHalf);
  for (int j = 0; j < kHalf; ++j) {
    prefetcher.FetchPart();
    for (int group = 0; group < groups; ++group) {
      const int g = group * kKvTile + j, begin = group * kValueGroup;
      const int end = begin + kValueGroup < dim ? begin + kValueGroup : dim;
      const Levels low(SetHalf(scales[g]), SetHalf(mins[g]));
      const Levels high(SetHalf(scales[g + kHalf]), SetHalf(mins[g + kHalf]));
      for (int d = begin; d < end; d += kLanes) {
        float* to = out + j * stride + d;
        LoadCodes(tile + int64_t{j} * dim + d, low, high, to, to + kHalf * stride);
      }
    }
  }
}

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
