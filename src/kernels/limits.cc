#include "kernels/limits.h"

#include <immintrin.h>

#include <algorithm>

#include "kernels/gemm.h"
#include "kernels/isa.h"

namespace ingot::kernels {
namespace {

constexpr int64_t kRepeats = 100;  // of the instructions of a round
constexpr int64_t kChains = 12;    // as many as latency and throughput of any of these need

// Twelve chains of one instruction, all of zeros.
#define INGOT_ONE(op, reg, n) op " %%" reg "12, %%" reg "13, %%" reg #n "\n\t"
#define INGOT_CHAINS(op, reg) \
  INGOT_ONE(op, reg, 0)       \
  INGOT_ONE(op, reg, 1)       \
  INGOT_ONE(op, reg, 2)       \
  INGOT_ONE(op, reg, 3)       \
  INGOT_ONE(op, reg, 4)       \
  INGOT_ONE(op, reg, 5)       \
  INGOT_ONE(op, reg, 6)       \
  INGOT_ONE(op, reg, 7)       \
  INGOT_ONE(op, reg, 8)       \
  INGOT_ONE(op, reg, 9) INGOT_ONE(op, reg, 10) INGOT_ONE(op, reg, 11)
#define INGOT_REGISTERS \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13"
#define INGOT_LIMIT_LOOP(name, op, reg)                          \
  void name(int64_t rounds) {                                    \
    asm volatile("vzeroall" : : : INGOT_REGISTERS);              \
    for (int64_t i = 0; i < rounds * kRepeats; ++i) {            \
      asm volatile(INGOT_CHAINS(op, reg) : : : INGOT_REGISTERS); \
    }                                                            \
    asm volatile("vzeroupper");                                  \
  }
INGOT_LIMIT_LOOP(Fp32Ymm, "vfmadd231ps", "ymm")
INGOT_LIMIT_LOOP(Fp32Zmm, "vfmadd231ps", "zmm")
INGOT_LIMIT_LOOP(Int8Ymm, "%{vex%} vpdpbusd", "ymm")
INGOT_LIMIT_LOOP(Int8Zmm, "vpdpbusd", "zmm")
INGOT_LIMIT_LOOP(Bf16Zmm, "vdpbf16ps", "zmm")

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
#define INGOT_TILE_LOOP(name, op)                                                                               \
  void name(int64_t rounds) {                                                                                   \
    const TileConfig config;                                                                                    \
    alignas(64) static constexpr uint8_t kZeros[1024] = {};                                                     \
    asm volatile("ldtilecfg %0" : : "m"(config));                                                               \
    asm volatile(                                                                                               \
        "tileloadd (%0,%1,1), %%tmm0\n\ttileloadd (%0,%1,1), %%tmm1\n\ttileloadd (%0,%1,1), %%tmm2\n\t"         \
        "tileloadd (%0,%1,1), %%tmm3\n\ttileloadd (%0,%1,1), %%tmm4\n\ttileloadd (%0,%1,1), %%tmm5\n\t"         \
        "tileloadd (%0,%1,1), %%tmm6\n\ttileloadd (%0,%1,1), %%tmm7"                                            \
        :                                                                                                       \
        : "r"(kZeros), "r"(int64_t{64})                                                                         \
        : "memory");                                                                                            \
    for (int64_t i = 0; i < rounds * kRepeats; ++i) {                                                           \
      asm volatile(op " %tmm6, %tmm4, %tmm0\n\t" op " %tmm7, %tmm4, %tmm1\n\t" op " %tmm6, %tmm5, %tmm2\n\t" op \
                      " %tmm7, %tmm5, %tmm3");                                                                  \
    }                                                                                                           \
    asm volatile("tilerelease");                                                                                \
  }
INGOT_TILE_LOOP(Bf16Tiles, "tdpbf16ps")
INGOT_TILE_LOOP(Int8Tiles, "tdpbssd")

}  // namespace

std::vector<MultiplyLimit> MultiplyLimits() {
  const std::vector<Isa> isas = AvailableIsas();
  const auto has = [&](Isa isa) { return std::ranges::find(isas, isa) != isas.end(); };
  constexpr double kRound = kRepeats * kChains, kTiles = kRepeats * 4.0 * 16 * 16;
  std::vector<MultiplyLimit> limits;
  if (has(Isa::kAvx2)) limits.push_back({"fp32_avx2", "vfmadd231ps ymm", kRound * 8, Fp32Ymm});
  if (has(Isa::kAvx512)) limits.push_back({"fp32_avx512", "vfmadd231ps zmm", kRound * 16, Fp32Zmm});
  if (has(Isa::kAvx512) && CpuMultipliesBf16()) {
    limits.push_back({"bf16_avx512", "vdpbf16ps zmm", kRound * 32, Bf16Zmm});
  }
  if (has(Isa::kAvx2Vnni)) limits.push_back({"int8_avx2vnni", "vpdpbusd ymm", kRound * 32, Int8Ymm});
  if (has(Isa::kAvx512)) limits.push_back({"int8_avx512", "vpdpbusd zmm", kRound * 64, Int8Zmm});
  if (has(Isa::kAmx)) limits.push_back({"bf16_amx", "tdpbf16ps", kTiles * 32, Bf16Tiles});
  if (has(Isa::kAmx)) limits.push_back({"int8_amx", "tdpbssd", kTiles * 64, Int8Tiles});
  return limits;
}

namespace {

uint64_t ReadWords(const std::byte* from, int64_t bytes) {
  const auto* a = reinterpret_cast<const __m128i*>(from);
  const __m128i* const b = a + bytes / 32;
  __m128i sums[4] = {};
  for (int64_t i = 0; i < bytes / 32; i += 4) {
    for (int64_t j = 0; j < 4; ++j) sums[j] = _mm_add_epi64(sums[j], _mm_add_epi64(a[i + j], b[i + j]));
  }
  const __m128i sum = _mm_add_epi64(_mm_add_epi64(sums[0], sums[1]), _mm_add_epi64(sums[2], sums[3]));
  return static_cast<uint64_t>(_mm_extract_epi64(sum, 0)) + static_cast<uint64_t>(_mm_extract_epi64(sum, 1));
}
[[gnu::target("avx512f")]] uint64_t ReadLines(const std::byte* from, int64_t bytes) {
  const auto* a = reinterpret_cast<const __m512i*>(from);
  const __m512i* const b = a + bytes / 128;
  __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  for (int64_t i = 0; i < bytes / 128; i += 2) {
    sums[0] = _mm512_add_epi64(sums[0], a[i]);
    sums[1] = _mm512_add_epi64(sums[1], b[i]);
    sums[2] = _mm512_add_epi64(sums[2], a[i + 1]);
    sums[3] = _mm512_add_epi64(sums[3], b[i + 1]);
  }
  const __m512i sum = _mm512_add_epi64(_mm512_add_epi64(sums[0], sums[1]), _mm512_add_epi64(sums[2], sums[3]));
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(sum));
}

}  // namespace

uint64_t ReadMemory(const std::byte* from, int64_t bytes) {
  static const bool lines = [] {
    const std::vector<Isa> isas = AvailableIsas();
    return std::ranges::find(isas, Isa::kAvx512) != isas.end();
  }();
  return lines ? ReadLines(from, bytes) : ReadWords(from, bytes);
}

}  // namespace ingot::kernels
