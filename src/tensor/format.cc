#include "tensor/format.h"

#include <fmt/format.h>

namespace ingot {
namespace {

const char* ZeroName(Format::Zero zero) {
  switch (zero) {
    case Format::Zero::kMidpoint:
      return "midpoint";
    case Format::Zero::kInteger:
      return "zero";
    case Format::Zero::kMin:
      return "min";
  }
  return "unknown";
}

const char* ScaleName(Format::Scale scale) {
  switch (scale) {
    case Format::Scale::kF16:
      return "f16";
    case Format::Scale::kF32:
      return "f32";
    case Format::Scale::kSuper:
      return "super";
    case Format::Scale::kE8M0:
      return "e8m0";
  }
  return "unknown";
}

}  // namespace

std::string Format::ToString() const {
  if (!quantized()) return DTypeName(dense);
  const std::string group = group_size == 0 ? "channel" : fmt::format("g{}", group_size);
  const char* origin = codebook == Codebook::kNone ? ZeroName(zero) : InfoOf(codebook).name;
  return fmt::format("{}-bit {} {} {}", bits, group, origin, ScaleName(scale));
}

}  // namespace ingot
