// Rotary frequencies. Everything that depends on the length of the context is fixed once, at load.
#pragma once

#include <vector>

#include "models/model_spec.h"

namespace ingot::models {

struct RopeFrequencies {
  std::vector<double> inv_freq;  // [rotary_dim / 2]
  double factor = 1.0;           // of cos and sin
};

// session_len: the longest context that will be used; dynamic NTK stretches for it, LongRoPE chooses its table by it.
// REQUIRES: CheckSpec passed; rotary_dim is even and >= 2.
RopeFrequencies MakeRopeFrequencies(const RopeSpec& rope, int rotary_dim, int64_t max_position, int64_t session_len);

}  // namespace ingot::models
