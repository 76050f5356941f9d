#pragma once

#include <cstdint>

#include "quant/input_stats.h"

namespace ingot::quant {

// What an error of the weights does to the outputs: Σ over tokens of |D · x|² = tr(D · gram · Dᵀ).
// d: [rows, channels]. The same for every number of threads.
double OutputError(const ops::Host& host, const float* d, int64_t rows, const InputStats& stats);

}  // namespace ingot::quant
