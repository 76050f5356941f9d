// The ranges of a group's grid that searches try.
#pragma once

#include <algorithm>
#include <cmath>
#include <iterator>

#include "tensor/format.h"

namespace ingot::quant {

struct Range {
  float low, high;
};

// What is cut off one end of a range, as a share of it. Widening by a little also moves the grid to a better place.
inline constexpr float kCuts[] = {-0.025f, 0, 0.025f, 0.05f, 0.075f, 0.1f, 0.125f, 0.15f, 0.2f, 0.25f};
// Of a symmetric grid, the share of the extreme. -1/7 lets the end of 7 steps reach the extreme.
inline constexpr float kSymmetricCuts[] = {-1.0f / 7, -0.07f, 0, 0.05f, 0.1f, 0.15f, 0.2f, 0.25f, 0.3f, 0.4f};
inline constexpr int kTries = std::size(kCuts);
static_assert(std::size(kSymmetricCuts) == kTries);

// Ranges are tried along two lines: cuts from above, then from below; of a symmetric grid, the end with one step more
// on the side of the extreme, then on the other.
inline Range TryRange(const Format& format, Range whole, Range now, int line, int index) {
  if (format.zero == Format::Zero::kMidpoint) {
    const float extreme = std::fabs(whole.high) > std::fabs(whole.low) ? whole.high : whole.low;
    return {0, (line == 0 ? extreme : -extreme) * (1 - kSymmetricCuts[index])};
  }
  if (format.zero == Format::Zero::kInteger) whole = {std::min(whole.low, 0.0f), std::max(whole.high, 0.0f)};
  const float cut = kCuts[index] * (whole.high - whole.low);
  return line == 0 ? Range{now.low, whole.high - cut} : Range{whole.low + cut, now.high};
}

}  // namespace ingot::quant
