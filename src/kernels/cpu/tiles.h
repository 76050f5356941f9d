// Tiles: eight registers of 16 rows of 64 bytes, and their products. Two implementations: AMX's instructions, and plain
// C++ with the same results, bit for bit (INGOT_EMULATE_TILES). For gemm_tiles.cc only.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

// Tiles 0…3 are sums, [16 channels][width] f32, and tile 4 holds activations, [16 pairs of inputs][width][2] bf16;
// tiles 5…7 hold weights, [16 channels][32 inputs] bf16.
// Owns the thread's tile registers while it lives; they are free, and cost no context switch anything, after.
#ifndef INGOT_EMULATE_TILES

class Tiles {
 public:
  explicit Tiles(int64_t width) {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; ++i) {
      config.row_bytes[i] = static_cast<uint16_t>(i < 5 ? 4 * width : 64);
      config.rows[i] = 16;
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
  template <int kTile>
  void Load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  void Store(void* to, int64_t stride) const {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  // sum += weights · activations
  template <int kSum, int kWeights, int kActivations>
  void MultiplyBf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kWeights), "i"(kActivations));
  }
};

#else

// While it lives, arithmetic takes denormal operands and results as zero, as tiles do.
class FlushDenormals {
 public:
  FlushDenormals() : before_(_mm_getcsr()) { Set(before_ | 0x8040); }
  ~FlushDenormals() { Set(before_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  static void Set(uint32_t mxcsr) { asm volatile("ldmxcsr %0" : : "m"(mxcsr) : "memory"); }
  uint32_t before_;
};

inline float FloatOf(uint16_t bf16) {
  const uint32_t bits = uint32_t{bf16} << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// sums[n] += Σ w[k] · x[k / 2][n][k % 2]
[[gnu::noinline]] void MultiplyRow(const uint16_t* w, const uint16_t (*x)[32], int64_t width, float* sums) {
  float even[16] = {}, odd[16] = {};
  for (int64_t pair = 0; pair < 16; ++pair) {
    const float w_even = FloatOf(w[2 * pair]), w_odd = FloatOf(w[2 * pair + 1]);
    for (int64_t n = 0; n < width; ++n) {
      even[n] = __builtin_fmaf(w_even, FloatOf(x[pair][2 * n]), even[n]);
      odd[n] = __builtin_fmaf(w_odd, FloatOf(x[pair][2 * n + 1]), odd[n]);
    }
  }
  for (int64_t n = 0; n < width; ++n) sums[n] += even[n] + odd[n];
}

class Tiles {
 public:
  explicit Tiles(int64_t width) : width_(width) {}
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <int kTile>
  void Zero() {
    __builtin_memset(tiles_[kTile], 0, sizeof tiles_[kTile]);
  }
  template <int kTile>
  void Load(const void* from, int64_t stride) {
    for (int64_t row = 0; row < 16; ++row) {
      __builtin_memcpy(tiles_[kTile][row], static_cast<const char*>(from) + row * stride, RowBytes(kTile));
    }
  }
  template <int kTile>
  void Store(void* to, int64_t stride) const {
    for (int64_t row = 0; row < 16; ++row) {
      __builtin_memcpy(static_cast<char*>(to) + row * stride, tiles_[kTile][row], RowBytes(kTile));
    }
  }
  template <int kSum, int kWeights, int kActivations>
  void MultiplyBf16() {
    const FlushDenormals flush;
    for (int64_t row = 0; row < 16; ++row) {
      MultiplyRow(reinterpret_cast<const uint16_t*>(tiles_[kWeights][row]),
                  reinterpret_cast<const uint16_t(*)[32]>(tiles_[kActivations]), width_,
                  reinterpret_cast<float*>(tiles_[kSum][row]));
    }
  }

 private:
  uint64_t RowBytes(int tile) const { return tile < 5 ? 4 * static_cast<uint64_t>(width_) : 64; }

  alignas(64) uint8_t tiles_[8][16][64] = {};
  int64_t width_;
};

#endif

}  // namespace
}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
