// Products that share their input and whose outputs lie side by side: Q, K and V; gate and up.
#pragma once

#include <vector>

#include "ops/linear.h"

namespace ingot::models {

// y = x · [W0; W1; …]ᵀ + bias. One matrix, unless the checkpoint stores its parts in different formats.
struct FusedLinear {
  std::vector<ops::PackedWeight> parts;
  std::vector<float> bias;  // [out_features], or empty

  int64_t in_features() const { return parts.empty() ? 0 : parts[0].in_features(); }
  int64_t out_features() const;
  // x: [rows, in_features], y: [rows, out_features].
  void Apply(const ops::Context& context, const float* x, int64_t rows, float* y) const;
  int64_t ScratchBytes(int64_t rows) const;
};

}  // namespace ingot::models
