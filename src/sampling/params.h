// How a request wants its next token chosen.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace ingot::sampling {

inline constexpr int kMaxLogprobs = 20;
inline constexpr size_t kMaxLogitBiases = 1024;
inline constexpr double kMaxTemperature = 2.0;
// Beyond these a penalized logit could leave the range of a float.
inline constexpr double kMinRepetitionPenalty = 0.01, kMaxRepetitionPenalty = 100.0;

struct Params {
  double temperature = 1.0;         // 0: greedy
  int64_t top_k = 0;                // 0 or -1: all
  double top_p = 1.0;               // (0, 1]
  double min_p = 0.0;               // [0, 1]: of the most likely token's probability
  double repetition_penalty = 1.0;  // over prompt and answer
  double presence_penalty = 0.0;    // over the answer
  double frequency_penalty = 0.0;   // over the answer, times the count
  uint64_t seed = 0;
  int num_logprobs = -1;  // alternatives beside the chosen token; -1: no logprobs at all

  bool greedy() const { return temperature == 0.0; }
  bool penalizes() const { return repetition_penalty != 1.0 || presence_penalty != 0.0 || frequency_penalty != 0.0; }
};

// kInvalidArgument names the first field out of range, its value and the range.
Status Validate(const Params& params);

}  // namespace ingot::sampling
