#include "answers/wire.h"

namespace ingot::answers {
namespace {

JsonObject TokenJson(const llm::TokenLogprob& token) {
  return JsonObject().Add("token", token.bytes).Add("logprob", token.logprob).AddJson("bytes", BytesJson(token));
}

}  // namespace

std::string BytesJson(const llm::TokenLogprob& token) {
  return JsonList(token.bytes, [](char c) { return std::to_string(static_cast<unsigned char>(c)); });
}

JsonObject OpenAiHead::Object(std::string_view object, std::string_view choices) const {
  return JsonObject()
      .Add("id", id)
      .Add("object", object)
      .Add("created", created)
      .Add("model", model)
      .Add("system_fingerprint", fingerprint)
      .AddJson("choices", choices);
}

std::string OpenAiHead::Chunk(std::string_view object, std::string_view choices) const {
  JsonObject json = Object(object, choices);
  if (include_usage) json.Add("usage", nullptr);
  return "data: " + json.Text() + "\n\n";
}

std::string OpenAiHead::End(std::string_view object, const llm::Usage& usage) const {
  if (!include_usage) return "data: [DONE]\n\n";
  return "data: " + Object(object, "[]").AddJson("usage", UsageJson(usage)).Text() + "\n\ndata: [DONE]\n\n";
}

bool AsksForUsage(const Fields& fields) {
  const auto* options = fields.Find("stream_options");
  return options != nullptr && Fields(*options).Bool("include_usage", false);
}

std::string UsageJson(const llm::Usage& usage) {
  return JsonObject()
      .Add("prompt_tokens", usage.prompt_tokens)
      .Add("completion_tokens", usage.completion_tokens)
      .Add("total_tokens", usage.prompt_tokens + usage.completion_tokens)
      .AddJson("prompt_tokens_details", JsonObject().Add("cached_tokens", usage.cached_tokens).Text())
      .AddJson("completion_tokens_details", JsonObject()
                                                .Add("reasoning_tokens", 0)
                                                .Add("accepted_prediction_tokens", 0)
                                                .Add("rejected_prediction_tokens", 0)
                                                .Text())
      .Text();
}

std::string ChatLogprobs(const std::vector<llm::TokenInfo>& tokens) {
  if (tokens.empty()) return "null";
  const std::string list = JsonList(tokens, [](const llm::TokenInfo& token) {
    const auto top = [](const llm::TokenLogprob& one) { return TokenJson(one).Text(); };
    return TokenJson(token.chosen).AddJson("top_logprobs", JsonList(token.top, top)).Text();
  });
  return JsonObject().AddJson("content", list).Text();
}

const char* WireFinish(llm::FinishReason reason) { return reason == llm::FinishReason::kLength ? "length" : "stop"; }

}  // namespace ingot::answers
