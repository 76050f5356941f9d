// Parts of OpenAI's answers.
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "answers/fields.h"
#include "base/json_writer.h"

namespace ingot::answers {

// What chat and completions begin with, and how their streams end.
struct OpenAiHead {
  std::string id, model, fingerprint;
  bool include_usage;  // in streams
  std::time_t created = std::time(nullptr);
  // {"id":…,"object":…,"created":…,"model":…,"system_fingerprint":…,"choices":…}
  JsonObject Object(std::string_view object, std::string_view choices) const;
  // An event of a stream.
  std::string Chunk(std::string_view object, std::string_view choices) const;
  std::string End(std::string_view object, const llm::Usage& usage) const;
};

// Whether a stream is to tell the usage.
bool AsksForUsage(const Fields& fields);
std::string UsageJson(const llm::Usage& usage);
// {"content":[{token, logprob, bytes, top_logprobs}]}; null without tokens
std::string ChatLogprobs(const std::vector<llm::TokenInfo>& tokens);
// [1,2]: a token's bytes, which may be half a character.
std::string BytesJson(const llm::TokenLogprob& token);
// "stop" or "length": what OpenAI's clients know. An answer that was cut short by a cancel is nothing they could go on
// from.
const char* WireFinish(llm::FinishReason reason);
inline std::optional<std::string> WireFinish(std::optional<llm::FinishReason> reason) {
  return reason ? std::optional<std::string>(WireFinish(*reason)) : std::nullopt;
}

}  // namespace ingot::answers
