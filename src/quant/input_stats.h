// What quantization asks of the inputs of a linear layer. Errors of its outputs follow from these alone: for an error D
// of the weights, Σ over tokens of |D · x|² = tr(D · gram · Dᵀ). So activations are run once, whatever is tried after.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/backend.h"

namespace ingot::quant {

// Sums over tokens; x is the input of a token, f32 [channels].
struct InputStats {
  int64_t channels = 0, tokens = 0;
  std::vector<float> gram;     // [channels, channels]   Σ x · xᵀ, both triangles; empty after AccumulateSizes
  std::vector<float> abs_sum;  // [channels]             Σ |x|
  std::vector<float> abs_max;  // [channels]             max |x|
};

// Adds the tokens of x.   x: [rows, channels]. An empty `stats` takes its size from `channels`.
void Accumulate(const ops::Host& host, const float* x, int64_t rows, int64_t channels, InputStats* stats);

// The same without the Gram matrix, which takes most of the time and memory.
void AccumulateSizes(const float* x, int64_t rows, int64_t channels, InputStats* stats);

// Adds the tokens of `from`.   REQUIRES: the same channels.
void Merge(const InputStats& from, InputStats* into);

// As if each token had been x / scale.   scale: [channels], positive
void DivideInputs(std::span<const float> scale, InputStats* stats);

// kInvalidArgument when there is no token, or a number is not finite.
Status CheckStats(const InputStats& stats);

}  // namespace ingot::quant
