// Element types.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingot {

enum class DType : uint8_t { kF32, kF16, kBF16, kF64, kI64, kI32, kI16, kI8, kU8, kBool };

constexpr size_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16:
      return 2;
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
      return 1;
  }
  return 0;
}
const char* DTypeName(DType dtype);  // "f32", "f16", "bf16", …

// IEEE half and bfloat16 as bits; conversions round to nearest even, NaN stays NaN. Scalar, exact, for every ISA the
// same.
float F16ToF32(uint16_t bits);
uint16_t F32ToF16(float value);
float BF16ToF32(uint16_t bits);
uint16_t F32ToBF16(float value);

}  // namespace ingot
