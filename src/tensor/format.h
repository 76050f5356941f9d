// How the elements of a weight matrix are stored: one descriptor for every quantization scheme.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/dtype.h"

namespace ingot {

// A weight of bits <= 8 stands for, with code q unsigned in [0, 2^bits) and groups of group_size along the inputs:
//   Zero::kMidpoint  w = scale · (q - 2^(bits-1))      Q4_0, Q5_0, Q8_0, Q6_K, symmetric GPTQ
//   Zero::kInteger   w = scale · (q - zero)            AWQ, asymmetric GPTQ; zero in [min_zero, 2^bits)
//   Zero::kMin       w = scale · q + min               Q4_1, Q5_1, Q4_K, Q5_K
// where scale (and min) per group is a number of `scale` kind:
//   Scale::kF16, kF32      that number
//   Scale::kSuper          super[256 inputs] · code, super in f16, code in [-128, 255]: the products need 19 bits,
//                          so the two factors are kept (Q4_K, Q5_K: u6 codes; Q6_K: s8 codes)
struct Format {
  enum class Zero : uint8_t { kMidpoint, kInteger, kMin };
  enum class Scale : uint8_t { kF16, kF32, kSuper };

  int bits = 32;              // 2…8, 16 or 32
  DType dense = DType::kF32;  // for bits 16 and 32: kF16, kBF16 or kF32
  int group_size = 0;         // 16, 32, 64, 128; 0: one group for the whole row
  Zero zero = Zero::kMidpoint;
  Scale scale = Scale::kF16;
  int min_zero = 0;  // the lowest zero that may be written (kInteger); what is read has 0 here

  bool quantized() const { return bits <= 8; }
  bool operator==(const Format&) const = default;
  std::string ToString() const;  // "4-bit g32 min f16", "bf16", …

  static Format Dense(DType dtype) { return {.bits = dtype == DType::kF32 ? 32 : 16, .dense = dtype}; }
};

inline constexpr int kSuperBlock = 256;  // inputs that share one super scale (GGML's K-quants)

}  // namespace ingot
