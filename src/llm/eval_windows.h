// What Perplexity and Diff share: windows of a text, and log-softmax.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "llm/llm.h"

namespace ingot::llm {

// The windows of EvalOptions. kInvalidArgument when the text is shorter than one, kTooLong when a window exceeds the
// context.
Result<std::vector<std::vector<int32_t>>> WindowsOf(const Llm& llm, std::string_view text, int64_t window);

// log Σ exp(logits), in double.
double LogSumExp(const float* logits, int64_t vocab_size);

}  // namespace ingot::llm
