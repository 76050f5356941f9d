// Numbers of the GGUF format.
#pragma once

#include <cstdint>

namespace ingot::formats {

enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12
};

inline constexpr int64_t kGgufAlignment = 32;  // where general.alignment says nothing else
inline constexpr uint32_t kGgufMaxDims = 4;

}  // namespace ingot::formats
