// What Perplexity and Diff share: windows of a text, and log-softmax.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "llm/llm.h"

namespace ingot::llm {

// The windows of EvalOptions. kInvalidArgument when the text is shorter than one, kTooLong when a window exceeds the
// context of `llm`.
Result<std::vector<std::vector<int32_t>>> WindowsOf(const tokenizer::Tokenizer& tokenizer, std::string_view text,
                                                    int64_t window);
Result<std::vector<std::vector<int32_t>>> WindowsOf(const Llm& llm, std::string_view text, int64_t window);

// log Σ exp(logits), in double.
double LogSumExp(const float* logits, int64_t vocab_size);

// What models a and b make of one position.
struct PositionDifference {
  double kl;            // KL(a ‖ b) in nats
  double nll_a, nll_b;  // of the token that came
  bool agree;           // on the most likely token
};
// a, b: [vocab_size] logits
PositionDifference Compare(const float* a, const float* b, int64_t vocab_size, int32_t next);

}  // namespace ingot::llm
