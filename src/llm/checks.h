// What a request may ask for, looked at before anything runs.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "llm/llm.h"

namespace ingot::llm {

// kInvalidArgument names the field, its value and the range.
Status CheckLoadOptions(const LoadOptions& options);
Status CheckRequest(const Request& request, int64_t vocab_size);

// How many tokens an answer may have: what was asked for, or what the context leaves. kTooLong with both counts.
Result<int64_t> AnswerLength(const Request& request, int64_t prompt_tokens, int64_t session_len);

}  // namespace ingot::llm
