// Denormals: an instruction that meets or makes one takes a hundred cycles.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

// While it lives, arithmetic takes denormal operands and results as zero, as tiles do anyway.
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

}  // namespace
}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
