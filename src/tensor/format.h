// How the elements of a weight matrix are stored: one descriptor for every quantization scheme.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "tensor/dtype.h"

namespace ingot {

// A weight of bits <= 8 stands for, with code q unsigned in [0, 2^bits) and groups of group_size along the inputs:
//   Zero::kMidpoint  w = scale · (q - 2^(bits-1))      Q4_0, Q5_0, Q8_0, Q3_K, Q6_K, symmetric GPTQ
//   Zero::kInteger   w = scale · (q - zero)            AWQ, asymmetric GPTQ; zero in [min_zero, 2^bits)
//   Zero::kMin       w = scale · q + min               Q4_1, Q5_1, Q2_K, Q4_K, Q5_K
//   a codebook       w = scale · codebook[q]           IQ4_NL, IQ3_S, MXFP4, …; bits is 4 and zero says nothing
// where scale (and min) per group is a number of `scale` kind:
//   Scale::kF16, kF32      that number
//   Scale::kSuper          super[256 inputs] · code · unit, super in f16, code in [-128, 255], unit the codebook's (1
//                          without): the products need 19 bits, so the factors are kept (K-quants, I-quants)
//   Scale::kE8M0           2^(code - 128), code in [0, 255]: the shared exponent of MXFP4 less one, since the integers
//                          of its codebook are twice its values
struct Format {
  enum class Zero : uint8_t { kMidpoint, kInteger, kMin };
  enum class Scale : uint8_t { kF16, kF32, kSuper, kE8M0 };
  enum class Codebook : uint8_t { kNone, kIq4, kFp4, kIq3Xxs, kIq3S, kIq2, kIq1 };

  int bits = 32;              // 2…8, 16 or 32
  DType dense = DType::kF32;  // for bits 16 and 32: kF16, kBF16 or kF32
  int group_size = 0;         // 16, 32, 64, 128, 256; 0: one group for the whole row
  Zero zero = Zero::kMidpoint;
  Scale scale = Scale::kF16;
  Codebook codebook = Codebook::kNone;
  int min_zero = 0;  // the lowest zero that may be written (kInteger); what is read has 0 here

  bool quantized() const { return bits <= 8; }
  bool operator==(const Format&) const = default;
  std::string ToString() const;  // "4-bit g32 min f16", "bf16", …

  static constexpr Format Dense(DType dtype) { return {.bits = dtype == DType::kF32 ? 32 : 16, .dense = dtype}; }
};

inline constexpr int kSuperBlock = 256;  // inputs that share one super scale (GGML's K-quants and I-quants)

// What 4-bit codes stand for.
struct CodebookInfo {
  const char* name;
  float unit;                     // a power of two, in scales of Scale::kSuper
  std::array<int8_t, 16> values;  // 0 where no code is
};
const CodebookInfo& InfoOf(Format::Codebook codebook);  // REQUIRES: not kNone

}  // namespace ingot
