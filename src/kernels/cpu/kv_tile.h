// Where the tiles of the KV cache lie, and their contents as floats. A format's numbers are the same floats on every
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

// A tile that will be wanted soon: fetched in as many parts as the present one is converted in.
struct NextTile {
  const std::byte* begin = nullptr;
  int64_t bytes = 0;
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

// The numbers that codes of 4 bits in the low or high halves of bytes stand for.
#if defined(__AVX512F__)
struct Levels {
  F32 levels;  // of code 0…15
  Levels(F32 scale, F32 min)
      : levels(Fma({_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)}, scale, min)) {}
  F32 OfLow(I32 codes) const { return {_mm512_permutexvar_ps(codes.v, levels.v)}; }  // looks at 4 bits only
  F32 OfHigh(I32 codes) const { return OfLow(ShiftRight<4>(codes)); }
};
#else
struct Levels {
  F32 scale, min;
  Levels(F32 scale_of, F32 min_of) : scale(scale_of), min(min_of) {}
  F32 OfLow(I32 codes) const { return Fma(ToFloat(codes & SetI32(15)), scale, min); }
  F32 OfHigh(I32 codes) const { return Fma(ToFloat(ShiftRight<4>(codes)), scale, min); }
};
#endif

inline const uint16_t* Halves(const std::byte* p) { return reinterpret_cast<const uint16_t*>(p); }

// out: [n up to whole vectors]
inline void ConvertScales(const uint16_t* halves, int n, float* out) {
  for (int i = 0; i < n; i += kLanes) Store(out + i, LoadHalfFirst(halves + i, n - i < kLanes ? n - i : kLanes));
}

constexpr int kHalfTile = kKvTile / 2;

// Numbers of 16 bits.
struct Fp16 {
  static F32 Load(const uint16_t* p) { return LoadHalf(p); }
  static F32 LoadFirst(const uint16_t* p, int n) { return LoadHalfFirst(p, n); }
  static void StoreFirst(uint16_t* p, F32 a, int n) { StoreHalfFirst(p, a, n); }
};
struct Bf16 {
  static F32 Load(const uint16_t* p) { return LoadBf16(p); }
  static F32 LoadFirst(const uint16_t* p, int n) { return LoadBf16First(p, n); }
  static void StoreFirst(uint16_t* p, F32 a, int n) { StoreBf16First(p, a, n); }
};

// Readers of tiles of keys. At(j), j < 16, reads the positions j, j + 1… of a vector and those 16 further; Load(d)
// gives both, of dim d.

struct FloatKeys {
  static constexpr int kFetchDims = 0;
  const float* tile;
  struct Columns {
    const float* at;
    void Load(int d, F32* first, F32* second) const {
      *first = INGOT_ISA_NAMESPACE::Load(at + d * kKvTile);
      *second = INGOT_ISA_NAMESPACE::Load(at + d * kKvTile + kHalfTile);
    }
  };
  Columns At(int j) const { return {tile + j}; }
};

template <typename Number>
struct HalfKeys {
  static constexpr int kFetchDims = 16;
  const uint16_t* tile;
  struct Columns {
    const uint16_t* at;
    void Load(int d, F32* first, F32* second) const {
      *first = Number::Load(at + d * kKvTile);
      *second = Number::Load(at + d * kKvTile + kHalfTile);
    }
  };
  Columns At(int j) const { return {tile + j}; }
};

struct ByteKeys {
  static constexpr int kFetchDims = 16;
  const std::byte* tile;
  int dim;
  struct Columns {
    const std::byte* at;
    F32 scale[2], min[2];
    void Load(int d, F32* first, F32* second) const {
      *first = Fma(ToFloat(LoadU8(at + d * kKvTile)), scale[0], min[0]);
      *second = Fma(ToFloat(LoadU8(at + d * kKvTile + kHalfTile)), scale[1], min[1]);
    }
  };
  Columns At(int j) const {
    const uint16_t* scales = Halves(tile + int64_t{kKvTile} * dim) + j;
    const uint16_t* mins = scales + kKvTile;
    return {tile + j, {LoadHalf(scales), LoadHalf(scales + kHalfTile)}, {LoadHalf(mins), LoadHalf(mins + kHalfTile)}};
  }
};

struct CodeKeys {
  static constexpr int kFetchDims = 16;
  const std::byte* tile;
  const float* scales;  // [dim]
  const float* mins;    // [dim]

  // scratch: [2 · dim up to whole vectors]
  CodeKeys(const std::byte* at, int dim, float* scratch) : tile(at), scales(scratch), mins(scratch + PaddedDim(dim)) {
    const uint16_t* halves = Halves(at + int64_t{kHalfTile} * dim);
    ConvertScales(halves, dim, scratch);
    ConvertScales(halves + dim, dim, scratch + PaddedDim(dim));
  }
  struct Columns {
    const std::byte* at;
    const float* scales;
    const float* mins;
    void Load(int d, F32* first, F32* second) const {
      const Levels levels(Set(scales[d]), Set(mins[d]));
      const I32 codes = LoadU8(at + d * kHalfTile);
      *first = levels.OfLow(codes);
      *second = levels.OfHigh(codes);
    }
  };
  Columns At(int j) const { return {tile + j, scales, mins}; }
};

// Readers of tiles of values. At(j) reads position j; Load gives V vectors of dims from d on, a multiple of V vectors
// (or of 32). What it gives beyond the last dim is not to be looked at.

struct FloatValues {
  static constexpr int kFetchPositions = 0;
  const float* tile;
  int64_t stride;  // dim up to whole vectors
  struct Row {
    const float* at;
    template <int V>
    void Load(int d, F32* out) const {
      for (int v = 0; v < V; ++v) out[v] = INGOT_ISA_NAMESPACE::Load(at + d + v * kLanes);
    }
  };
  Row At(int j) const { return {tile + j * stride}; }
};

template <typename Number>
struct HalfValues {
  static constexpr int kFetchPositions = 8;
  const uint16_t* tile;
  int dim;  // whole vectors: what follows the last tile may not be readable
  struct Row {
    const uint16_t* at;
    template <int V>
    void Load(int d, F32* out) const {
      for (int v = 0; v < V; ++v) out[v] = Number::Load(at + d + v * kLanes);
    }
  };
  Row At(int j) const { return {tile + int64_t{j} * dim}; }
};

struct ByteValues {
  static constexpr int kFetchPositions = 8;
  const std::byte* tile;
  int dim;
  struct Row {
    const std::byte* at;
    F32 scale, min;
    template <int V>
    void Load(int d, F32* out) const {
      for (int v = 0; v < V; ++v) out[v] = Fma(ToFloat(LoadU8(at + d + v * kLanes)), scale, min);
    }
  };
  Row At(int j) const {
    const uint16_t* scales = Halves(tile + int64_t{kKvTile} * dim);
    return {tile + int64_t{j} * dim, SetHalf(scales[j]), SetHalf(scales[kKvTile + j])};
  }
};

struct CodeValues {
  static constexpr int kFetchPositions = 8;
  const std::byte* tile;
  int dim;
  const float* scales;  // [groups, 32]
  const float* mins;    // [groups, 32]

  // scratch: [2 · groups · 32]
  CodeValues(const std::byte* at, int head_dim, float* scratch) : tile(at), dim(head_dim), scales(scratch) {
    const int count = (dim + kValueGroup - 1) / kValueGroup * kKvTile;
    mins = scratch + count;
    ConvertScales(Halves(at + int64_t{kHalfTile} * dim), 2 * count, scratch);
  }
  struct Row {
    const std::byte* at;
    const float* scales;
    const float* mins;
    bool high;
    template <int V>
    void Load(int d, F32* out) const {
      constexpr int kOfGroup = kValueGroup / kLanes < V ? kValueGroup / kLanes : V;  // vectors
      for (int v = 0; v < V; v += kOfGroup) {
        const int begin = d + v * kLanes, group = begin / kValueGroup * kKvTile;
        const Levels levels(Set(scales[group]), Set(mins[group]));
        for (int i = 0; i < kOfGroup && v + i < V; ++i) {
          const I32 codes = LoadU8(at + begin + i * kLanes);
          out[v + i] = high ? levels.OfHigh(codes) : levels.OfLow(codes);
        }
      }
    }
  };
  Row At(int j) const { return {tile + int64_t{j % kHalfTile} * dim, scales + j, mins + j, j >= kHalfTile}; }
};

// out: [dim, 32]
template <typename Keys>
inline void ConvertKeys(const Keys& keys, int dim, NextTile next, float* out) {
  Prefetcher prefetcher(next, dim);
  for (int j = 0; j < kHalfTile; j += kLanes) {
    const auto columns = keys.At(j);
    for (int d = 0; d < dim; ++d) {
      if (j == 0) prefetcher.FetchPart();
      F32 first, second;
      columns.Load(d, &first, &second);
      Store(out + d * kKvTile + j, first);
      Store(out + d * kKvTile + j + kHalfTile, second);
    }
  }
}

// out: [32, PaddedDim(dim)]
template <typename Values>
inline void ConvertValues(const Values& values, int dim, NextTile next, float* out) {
  Prefetcher prefetcher(next, kKvTile);
  for (int j = 0; j < kKvTile; ++j) {
    prefetcher.FetchPart();
    const auto row = values.At(j);
    for (int d = 0; d < dim; d += kLanes) {
      F32 value;
      row.template Load<1>(d, &value);
      Store(out + j * PaddedDim(dim) + d, value);
    }
  }
}

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
