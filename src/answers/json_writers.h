// Answers as JSON, for HTTP. Internal to this folder: others use JsonWriters().
#pragma once

#include "answers/writers.h"

namespace ingot::answers {

std::unique_ptr<Format> MakeChatJson(OpenAiHead head, bool token_ids);
std::unique_ptr<Format> MakeCompletionJson(OpenAiHead head, const tokenizer::Tokenizer& tokenizer,
                                           CompletionOptions options);
std::unique_ptr<Format> MakeTurnLines(std::shared_ptr<TurnCounts> counts);
std::string EmptyTurnJson(int64_t session_id, bool stream);

}  // namespace ingot::answers
