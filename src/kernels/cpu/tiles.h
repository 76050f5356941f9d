// Tiles: eight registers of 16 rows of 64 bytes, and their products. Two implementations: AMX's instructions, and plain
// C++ with the same results, bit for bit (INGOT_EMULATE_TILES). For gemm_tiles.cc and attention_tiles.cc.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/flush_denormals.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

// Tiles 0…3 are sums, [rows][16 channels] f32; 4 and 5 hold activations, [rows][pairs][2] bf16; 6 and 7 hold weights,
// [pairs][16 channels][2] bf16.
struct TileSizes {
  int64_t rows, pairs;  // up to 16
};

// Owns the thread's tile registers while it lives; they are free, and cost no context switch anything, after.
#ifndef INGOT_EMULATE_TILES

class Tiles {
 public:
  explicit Tiles(const TileSizes& sizes) {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; ++i) {
      config.row_bytes[i] = static_cast<uint16_t>(i == 4 || i == 5 ? 4 * sizes.pairs : 64);
      config.rows[i] = static_cast<uint8_t>(i < 6 ? sizes.rows : sizes.pairs);
    }
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  ~Tiles() { asm volatile("tilerelease"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <int kTile>
  void Zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  // stride: bytes between rows
  template <int kTile>
  void Load(const void* from, int64_t stride = 64) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  void Store(void* to, int64_t stride = 64) const {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  // sums += activations · weights
  template <int kSums, int kActivations, int kWeights>
  void MultiplyBf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kActivations), "i"(kWeights));
  }
};

#else

inline float FloatOf(uint16_t bf16) {
  const uint32_t bits = uint32_t{bf16} << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// sums[c] += Σ x[k] · w[k / 2][c][k % 2]
[[gnu::noinline]] void MultiplyRow(const uint16_t* x, const uint16_t (*w)[32], int64_t pairs, float* sums) {
  float even[16] = {}, odd[16] = {};
  for (int64_t pair = 0; pair < pairs; ++pair) {
    const float x_even = FloatOf(x[2 * pair]), x_odd = FloatOf(x[2 * pair + 1]);
    for (int64_t c = 0; c < 16; ++c) {
      even[c] = __builtin_fmaf(x_even, FloatOf(w[pair][2 * c]), even[c]);
      odd[c] = __builtin_fmaf(x_odd, FloatOf(w[pair][2 * c + 1]), odd[c]);
    }
  }
  for (int64_t c = 0; c < 16; ++c) sums[c] += even[c] + odd[c];
}

// REQUIRES: a FlushDenormals lives.
class Tiles {
 public:
  explicit Tiles(const TileSizes& sizes) : sizes_(sizes) {}
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <int kTile>
  void Zero() {
    __builtin_memset(tiles_[kTile], 0, sizeof tiles_[kTile]);
  }
  template <int kTile>
  void Load(const void* from, int64_t stride = 64) {
    const auto bytes = static_cast<uint64_t>(kTile == 4 || kTile == 5 ? 4 * sizes_.pairs : 64);
    for (int64_t row = 0; row < RowsOf(kTile); ++row) {
      __builtin_memcpy(tiles_[kTile][row], static_cast<const char*>(from) + row * stride, bytes);
    }
  }
  template <int kTile>
  void Store(void* to, int64_t stride = 64) const {
    for (int64_t row = 0; row < RowsOf(kTile); ++row) {
      __builtin_memcpy(static_cast<char*>(to) + row * stride, tiles_[kTile][row], 64);
    }
  }
  template <int kSums, int kActivations, int kWeights>
  void MultiplyBf16() {
    for (int64_t row = 0; row < sizes_.rows; ++row) {
      MultiplyRow(reinterpret_cast<const uint16_t*>(tiles_[kActivations][row]),
                  reinterpret_cast<const uint16_t(*)[32]>(tiles_[kWeights]), sizes_.pairs,
                  reinterpret_cast<float*>(tiles_[kSums][row]));
    }
  }

 private:
  int64_t RowsOf(int tile) const { return tile < 6 ? sizes_.rows : sizes_.pairs; }

  alignas(64) uint8_t tiles_[8][16][64] = {};
  TileSizes sizes_;
};

#endif

}  // namespace
}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
