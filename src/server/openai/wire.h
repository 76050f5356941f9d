// Parts of OpenAI's answers.
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "llm/llm.h"

namespace ingot::server {

// {"id":…,"object":…,"created":…,"model":…,"system_fingerprint":…  (open)
struct AnswerHead {
  std::string id, model;
  std::time_t created;
  std::string Open(std::string_view object) const;
};

// "usage":{…}
void AppendUsage(std::string& out, const llm::Usage& usage);
// {"content":[{token, logprob, bytes, top_logprobs}]}; null without tokens
void AppendChatLogprobs(std::string& out, const std::vector<llm::TokenInfo>& tokens);
// [1,2,3]
void AppendIds(std::string& out, const std::vector<int32_t>& ids);
// "stop" or "length": what OpenAI's clients know. An answer that was cut short by a cancel is nothing they could go on
// from.
const char* WireFinish(llm::FinishReason reason);

}  // namespace ingot::server
