#include "quant/round_to_nearest.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "tensor/dtype.h"

namespace ingot::quant {
namespace {

// The number that is kept for `value`; one whose inverse is finite, or 0.
float Held(const Format& format, float value) {
  if (format.scale == Format::Scale::kF32) return std::fabs(value) < std::numeric_limits<float>::min() ? 0 : value;
  constexpr float kMaxF16 = 65504;
  return F16ToF32(F32ToF16(std::clamp(value, -kMaxF16, kMaxF16)));
}

float InverseOrZero(float scale) { return scale == 0 ? 0 : 1 / scale; }

}  // namespace

Status CheckScheme(const Format& format, int64_t cols) {
  if (format.bits < 2 || format.bits > 8) return InvalidArgument("{} bits: 2 to 8 are possible", format.bits);
  if (format.scale == Format::Scale::kSuper) return Unsupported("weights cannot be written with scales of scales");
  const int group = format.group_size;
  if (group != 0 && group != 16 && group != 32 && group != 64 && group != 128) {
    return InvalidArgument("groups of {}: 16, 32, 64, 128 or one for the row (-1) are possible", group);
  }
  if (group != 0 && cols % group != 0) {
    return InvalidArgument("{} inputs are no multiple of the group size {}: take a smaller group", cols, group);
  }
  return {};
}

Status CheckWeights(const float* w, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(w[i])) return InvalidArgument("weight {} is {}: only finite ones can be quantized", i, w[i]);
  }
  return {};
}

Grid FitGrid(const Format& format, float low, float high) {
  const auto levels = static_cast<float>((1 << format.bits) - 1);
  const auto half = static_cast<float>(1 << (format.bits - 1));
  switch (format.zero) {
    case Format::Zero::kMidpoint: {
      const float extreme = std::fabs(high) > std::fabs(low) ? high : low;
      return {Held(format, format.bits == 8 ? std::fabs(extreme) / (half - 1) : extreme / -half), half};
    }
    case Format::Zero::kInteger: {
      const auto lowest = static_cast<float>(format.min_zero);
      high = std::max(high, 0.0f);
      low = std::min({low, 0.0f, -high * lowest / (levels - lowest)});
      const float scale = Held(format, (high - low) / levels);
      return {scale, std::clamp(std::nearbyint(-low * InverseOrZero(scale)), lowest, levels)};
    }
    case Format::Zero::kMin:
      return {Held(format, (high - low) / levels), Held(format, low)};
  }
  return {};
}

void RoundToNearest(const float* w, int64_t rows, int64_t cols, const Format& format, WeightRows* out) {
  out->format = format;
  out->rows = rows;
  out->cols = cols;
  SizeToFormat(out);
  const int64_t group = format.group_size == 0 ? cols : format.group_size;
  INGOT_CHECK(cols == 0 || cols % group == 0);
  for (size_t g = 0; g < out->scale.size(); ++g) {
    const float* first = w + static_cast<int64_t>(g) * group;
    const auto [low, high] = std::minmax_element(first, first + group);
    const Grid grid = FitGrid(format, *low, *high);
    out->scale[g] = grid.scale;
    if (!out->zero.empty()) out->zero[g] = grid.zero;
  }
  RoundToGrids(w, out);
}

void RoundToGrids(const float* w, WeightRows* out) {
  const Format& format = out->format;
  const int64_t group = format.group_size == 0 ? out->cols : format.group_size;
  const auto levels = static_cast<float>((1 << format.bits) - 1);
  for (size_t g = 0; g < out->scale.size(); ++g) {
    const float inverse = InverseOrZero(out->scale[g]);
    const float zero =
        format.zero == Format::Zero::kMidpoint ? static_cast<float>(1 << (format.bits - 1)) : out->zero[g];
    const bool minimum = format.zero == Format::Zero::kMin;
    const float origin = minimum ? zero : 0, shift = minimum ? 0 : zero;
    const float* from = w + static_cast<int64_t>(g) * group;
    uint8_t* codes = out->codes.data() + static_cast<int64_t>(g) * group;
    for (int64_t i = 0; i < group; ++i) {
      const float code = std::nearbyint((from[i] - origin) * inverse + shift);
      codes[i] = static_cast<uint8_t>(std::min(std::max(code, 0.0f), levels));
    }
  }
}

}  // namespace ingot::quant
