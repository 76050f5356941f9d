// /v1/chat/completions.
#include "answers/json_writers.h"
#include "answers/routes.h"

namespace ingot::answers {
namespace {

class ChatJson : public ChatFormat {
 public:
  using ChatFormat::ChatFormat;

  std::string Piece(const Choice& choice, const llm::Event& event) override {
    std::string out;
    if (choice.is_first)
      out += Chunk(event.index, JsonObject().Add("role", "assistant").Add("content", ""), nullptr, {});
    if (!event.text.empty() || !event.logprobs.empty() || (token_ids_ && !event.token_ids.empty()))
      out += Chunk(event.index, JsonObject().Add("content", event.text), &event, {});
    if (event.finish) out += Chunk(event.index, JsonObject(), nullptr, event.finish);
    return out;
  }

  std::string End(const llm::Usage& usage) override { return head_.End(kChatChunkObject, usage); }

  std::string Whole(const std::vector<Choice>& choices, const llm::Usage& usage) override {
    const std::string list = JsonList(choices, [&](const Choice& state) {
      const llm::Choice& choice = state.choice;
      JsonObject json;
      json.Add("index", state.index);
      json.AddJson("message", JsonObject().Add("role", "assistant").Add("content", choice.text).Text());
      json.AddJson("logprobs", ChatLogprobs(choice.logprobs));
      if (token_ids_) json.AddJson("token_ids", JsonList(choice.token_ids));
      return json.Add("finish_reason", WireFinish(choice.finish)).Text();
    });
    return head_.Object(kChatObject, list).AddJson("usage", UsageJson(usage)).Text();
  }

 private:
  // `event`: null where it brings no tokens.
  std::string Chunk(int index, const JsonObject& delta, const llm::Event* event,
                    std::optional<llm::FinishReason> finish) const {
    JsonObject choice;
    choice.Add("index", index).AddJson("delta", delta.Text());
    choice.AddJson("logprobs", event != nullptr ? ChatLogprobs(event->logprobs) : "null");
    if (token_ids_ && event != nullptr) choice.AddJson("token_ids", JsonList(event->token_ids));
    return head_.Chunk(kChatChunkObject, "[" + choice.Add("finish_reason", WireFinish(finish)).Text() + "]");
  }
};

}  // namespace

std::unique_ptr<Format> MakeChatJson(OpenAiHead head, bool token_ids) {
  return std::make_unique<ChatJson>(std::move(head), token_ids);
}

Result<Prepared> ReadChat(const Fields& fields, const ServedModel& model, const Caller& caller) {
  llm::Request request;
  INGOT_RETURN_IF_ERROR(ReadParams(fields, model.llm, &request));
  INGOT_RETURN_IF_ERROR(ReadTemplateOptions(fields, &request));
  INGOT_RETURN_IF_ERROR(ReadMessages(*fields.Find("messages"), "messages", model.llm, &request));
  const int64_t top = fields.Int("top_logprobs").value_or(0);
  if (fields.Bool("logprobs", false)) {
    request.logprobs = top;
  } else if (top > 0) {
    return Error(Status(InvalidArgument("top_logprobs needs logprobs: true")).Of("top_logprobs"));
  }
  request.default_max_tokens = DefaultTokens(model.limits, 0);
  OpenAiHead head{"chatcmpl-" + caller.request_id, model.name, model.fingerprint,
                  AsksForUsage(fields) || caller.always_include_usage};
  Prepared prepared{.format = caller.writers->Chat(std::move(head), fields.Bool("return_token_ids", false)),
                    .stream = fields.Bool("stream", false)};
  prepared.question = {.requests = {std::move(request)}, .prompt_field = "messages"};
  return prepared;
}

}  // namespace ingot::answers
