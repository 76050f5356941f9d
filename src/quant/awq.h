// AWQ: Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration", MLSys 2024.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/input_stats.h"
#include "tensor/encoding.h"

namespace ingot::quant {

struct LinearWeight {
  const float* w;  // [rows, channels]
  int64_t rows;
};

struct InputScale {
  std::vector<float> scale;   // [channels]: W · diag(scale) is quantized, the inputs become x / scale
  float exponent = 0;         // 0: scale is all ones
  double error, plain_error;  // OutputError of rounding to nearest with `scale` and without, estimated from some rows
};

// scale = mean|x|^exponent, divided by sqrt(max · min), where the exponent is the one of 0, 1/20 … 19/20 that makes the
// error of the outputs of all `linears`, which share their input, smallest. Rows beyond 512 of a linear are sampled.
// pools: [channels] or empty. Inputs c with the same pools[c] in [0, channels) get the same scale, for the largest of
// their mean|x|: those that are one number of the layer before, as a head of V is for all the query heads that share
// it.
InputScale SearchScale(const ops::Host& host, std::span<const LinearWeight> linears, const InputStats& stats,
                       const Format& format, std::span<const int32_t> pools = {});

// w[n][c] *= scale[c].   w: [rows, scale.size()]
void ScaleWeights(std::span<const float> scale, int64_t rows, float* w);

// Rounds to nearest on grids that are clipped: for every row and group, the ends of the range that make the error of
// the row's output smallest. The error counts what the row's other groups do (twice around, group by group, starting
// from the plain grids), so it never exceeds that of RoundToNearest.   w: [rows, channels].   REQUIRES: CheckScheme is
// OK.
void RoundClipped(const ops::Host& host, const LinearWeight& linear, const InputStats& stats, const Format& format,
                  WeightRows* out);

}  // namespace ingot::quant
