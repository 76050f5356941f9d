// Weights to codes of 2 to 8 bits, group by group along the inputs (tensor/format.h).
#pragma once

#include <cstdint>

#include "base/status.h"
#include "tensor/encoding.h"

namespace ingot::quant {

// kInvalidArgument unless `format` can be written and its groups divide `cols`: 2 to 8 bits, groups of 16, 32, 64 or
// 128 or one for the row, scales in f16 or f32.
Status CheckScheme(const Format& format, int64_t cols);

// kInvalidArgument when a weight is infinite or NaN. All else here takes finite ones.
Status CheckWeights(const float* w, int64_t count);

// What the codes of a group stand for (Format's zero: the midpoint, an integer or a minimum).
struct Grid {
  float scale, zero;
};

// The plain grid of a group whose weights lie in [low, high]; scale (and minimum) as the format can hold them.
//   kMidpoint  scale = extreme / -2^(bits-1), the extreme being whichever of low and high is larger, with its sign (as
//              in Q4_0); with 8 bits max(|low|, |high|) / 127
//   kInteger   scale = (max(high, 0) - min(low, 0)) / (2^bits - 1), zero the nearest code for 0; where that would be
//              below format.min_zero, low is lowered until it is that
//   kMin       scale = (high - low) / (2^bits - 1), min = low
Grid FitGrid(const Format& format, float low, float high);

// Every weight to the nearest of its group's plain grid.   w: [rows, cols].   REQUIRES: CheckScheme is OK.
void RoundToNearest(const float* w, int64_t rows, int64_t cols, const Format& format, WeightRows* out);

// The same with the grids that `out` has: format, rows, cols, scale and zero are given, codes are filled.
void RoundToGrids(const float* w, WeightRows* out);

}  // namespace ingot::quant
