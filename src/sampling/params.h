// How the next token is chosen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace ingot::sampling {

inline constexpr int kMaxLogprobs = 20;
inline constexpr size_t kMaxLogitBiases = 1024;

// The sampling parameters of a request. Their ranges are in llm/params.cc; here they are taken as checked.
struct Params {
  double temperature = 1.0;  // 0: greedy
  int64_t top_k = 0;         // 0 or -1: all
  double top_p = 1.0;
  double min_p = 0.0;               // of the most likely token's probability
  double repetition_penalty = 1.0;  // over prompt and answer
  double presence_penalty = 0.0;    // over the answer
  double frequency_penalty = 0.0;   // over the answer, times the count
  std::optional<int64_t> seed;      // nullopt or -1: llm draws a fresh one
  int num_logprobs = -1;            // alternatives beside the chosen token; -1: no logprobs at all

  bool greedy() const { return temperature == 0.0; }
  bool penalizes() const { return repetition_penalty != 1.0 || presence_penalty != 0.0 || frequency_penalty != 0.0; }
};

// What is added to the logit of a token.
struct LogitBias {
  int32_t id;
  float value;
  bool operator==(const LogitBias&) const = default;
};

}  // namespace ingot::sampling
