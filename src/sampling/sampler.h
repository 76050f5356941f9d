// From a row of logits to a token.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "sampling/history.h"
#include "sampling/params.h"
#include "sampling/select.h"
#include "sampling/token_mask.h"

namespace ingot::sampling {

// What JSON cannot carry becomes this: log 0.
inline constexpr float kLowestLogprob = -9999.0f;

struct Logprob {
  int32_t id = 0;
  float value = 0.0f;
};

struct Sampled {
  int32_t id = 0;
  float logprob = 0.0f;  // of the raw logits, where asked for
  int num_top = 0;
  std::array<Logprob, kMaxLogprobs> top;  // [num_top], descending
};

using Outcome = ops::DrawOutcome;

// What JSON can carry of it.
float FiniteLogprob(double value);

// Scratch of one thread, for rows of vocab_size.
class Workspace {
 public:
  explicit Workspace(int64_t vocab_size);
  std::vector<Candidate> candidates;  // capacity vocab_size
  std::vector<double> block_sums;     // capacity of one a block of the row
  std::vector<float> unbiased;        // capacity kMaxLogitBiases
  std::vector<uint32_t> allowed;      // [MaskWords(vocab_size)]
};

struct SampleInputs {
  const Params* params;                // within their ranges
  History* history;                    // null where params->penalizes() is false
  std::span<const LogitBias> bias;     // ids of the row, each once; at most kMaxLogitBiases
  std::span<const int32_t> masked;     // ids that must not be drawn now (end tokens before min_tokens)
  uint64_t position;                   // of the token that is drawn, in its sequence
  const TokenMask* allowed = nullptr;  // null: all tokens
};

// Logprobs are taken of the raw logits; then, in this order: bias, penalties, mask, temperature, the cuts, the draw.
// top_k keeps exactly k (ties: lower ids). top_p keeps the shortest prefix, in descending order, whose share of what
// top_k kept reaches p. temperature 0 takes the largest logit after mask and penalties (ties: lowest id). The result
// depends on the arguments alone; `logits` ([vocab_size]) is used up. Allocates nothing.
Outcome Sample(std::span<float> logits, const SampleInputs& inputs, Workspace& workspace, Sampled* result);

// The logprob of a token that is given, and of the num_top likeliest. `logits` stay as they are.
Outcome Describe(std::span<const float> logits, int32_t id, int num_top, Workspace& workspace, Sampled* result);

}  // namespace ingot::sampling
