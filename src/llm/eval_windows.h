// What Perplexity and Diff share: windows of a text, and log-softmax.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "llm/llm.h"
#include "text/marked_text.h"

namespace ingot::llm {

// What a text is made of: nothing but text, or special tokens where it spells them.
inline MarkedText Marked(std::string_view text, bool parse_special) {
  return parse_special ? MarkedText::Trusted(std::string(text)) : MarkedText::Untrusted(std::string(text));
}

// The windows of EvalOptions. kInvalidArgument when the text is shorter than one, kTooLong when a window exceeds the
// context of `llm`.
Result<std::vector<std::vector<int32_t>>> WindowsOf(const tokenizer::Tokenizer& tokenizer, const MarkedText& text,
                                                    int64_t window);
Result<std::vector<std::vector<int32_t>>> WindowsOf(const Llm& llm, const MarkedText& text, int64_t window);

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
