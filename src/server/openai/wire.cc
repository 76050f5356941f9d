#include "server/openai/wire.h"

#include "base/json.h"

namespace ingot::server {
namespace {

// {"token":…,"logprob":…,"bytes":[…]  (open)
void AppendToken(std::string& out, const llm::TokenLogprob& token) {
  out += R"({"token":)";
  AppendJsonString(out, token.bytes);
  out += R"(,"logprob":)";
  AppendJsonNumber(out, token.logprob);
  out += R"(,"bytes":[)";
  for (size_t i = 0; i < token.bytes.size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(static_cast<unsigned char>(token.bytes[i]));
  }
  out += ']';
}

}  // namespace

std::string AnswerHead::Open(std::string_view object) const {
  std::string out = R"({"id":)";
  AppendJsonString(out, id);
  out += fmt::format(R"(,"object":"{}","created":{},"model":)", object, created);
  AppendJsonString(out, model);
  out += R"(,"system_fingerprint":"ingot")";
  return out;
}

void AppendUsage(std::string& out, const llm::Usage& usage) {
  out += fmt::format(
      R"("usage":{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{}}},"completion_tokens_details":{{"reasoning_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}})",
      usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens + usage.completion_tokens, usage.cached_tokens);
}

void AppendChatLogprobs(std::string& out, const std::vector<llm::TokenInfo>& tokens) {
  if (tokens.empty()) {
    out += "null";
    return;
  }
  out += R"({"content":[)";
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += ',';
    AppendToken(out, tokens[i].chosen);
    out += R"(,"top_logprobs":[)";
    for (size_t j = 0; j < tokens[i].top.size(); ++j) {
      if (j > 0) out += ',';
      AppendToken(out, tokens[i].top[j]);
      out += '}';
    }
    out += "]}";
  }
  out += "]}";
}

void AppendIds(std::string& out, const std::vector<int32_t>& ids) { out += fmt::format("[{}]", fmt::join(ids, ",")); }

const char* WireFinish(llm::FinishReason reason) { return reason == llm::FinishReason::kLength ? "length" : "stop"; }

}  // namespace ingot::server
