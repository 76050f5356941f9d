// The only way from a kernel to the machine: one function per instruction, with PTX behind it under nvcc, and the
// emulator (emulator/emulator.h) behind it under the host's compiler.
//
// Rules of kernels, so that both can compile them: no asm, intrinsic or CUDA header outside of this file; shared memory
// by SharedMemory; numbers are reinterpreted by Bits; products and sums are fused where Fma says so and nowhere else
// (nvcc -fmad=false); a function that wraps a collective passes its caller's location on (INGOT_HERE).
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define INGOT_DEVICE __device__ __forceinline__
#define INGOT_UNROLL _Pragma("unroll")
#define INGOT_HERE
#define INGOT_PASS_HERE
#else
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/cuda/emulator/primitives.h"
#include "tensor/dtype.h"
#define INGOT_DEVICE inline
#define INGOT_UNROLL
#define INGOT_HERE , ::ingot::kernels::emulator::Location here = ::ingot::kernels::emulator::Location::current()
#define INGOT_PASS_HERE , here
#endif

#include "kernels/cuda/params.h"

namespace ingot::kernels::cuda {

// Numbers of 16 bits, as bits.
struct Half {
  uint16_t bits;
  static constexpr uint32_t kLastOfExponent = 1 << 10;  // its lowest bit
};
struct BFloat16 {
  uint16_t bits;
  static constexpr uint32_t kLastOfExponent = 1 << 7;
};
struct SignedBytes {};  // four in a word
struct Index3 {
  uint32_t x, y, z;
};

inline constexpr uint32_t kWholeWarp = 0xffffffff;
inline constexpr float kInfinity = __builtin_inff();

}  // namespace ingot::kernels::cuda

#ifdef __CUDACC__
#include "kernels/cuda/arch_ptx.h"
#else
#include "kernels/cuda/arch_emulated.h"
#endif

namespace ingot::kernels::cuda {

INGOT_DEVICE int Lane() { return static_cast<int>(ThreadIndex().x % kWarpSize); }
INGOT_DEVICE int Warp() { return static_cast<int>(ThreadIndex().x / kWarpSize); }

// Between numbers of 16 bits and floats, to nearest even.
INGOT_DEVICE float ToFloat(float x) { return x; }
template <typename T>
INGOT_DEVICE T FromFloat(float x);
template <>
INGOT_DEVICE float FromFloat<float>(float x) {
  return x;
}
template <>
INGOT_DEVICE Half FromFloat<Half>(float x) {
  return FloatToHalf(x);
}
template <>
INGOT_DEVICE BFloat16 FromFloat<BFloat16>(float x) {
  return FloatToBFloat16(x);
}

template <typename T>
INGOT_DEVICE T Minimum(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
INGOT_DEVICE T Maximum(T a, T b) {
  return a < b ? b : a;
}

// Over the lanes of a warp, the same bits in all of them.
INGOT_DEVICE float WarpSum(float x INGOT_HERE) {
  INGOT_UNROLL
  for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) x += ShuffleXor(x, lanes, kWholeWarp INGOT_PASS_HERE);
  return x;
}
INGOT_DEVICE float WarpMaximum(float x INGOT_HERE) {
  INGOT_UNROLL
  for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) {
    x = Maximum(x, ShuffleXor(x, lanes, kWholeWarp INGOT_PASS_HERE));
  }
  return x;
}

}  // namespace ingot::kernels::cuda
