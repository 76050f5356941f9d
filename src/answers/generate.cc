// /generate, as LMDeploy has it: a prompt or ids in, text and ids out.
#include "answers/routes.h"
#include "answers/wire.h"

namespace ingot::answers {
namespace {

class GenerateFormat : public Format {
 public:
  explicit GenerateFormat(bool with_logprobs) : with_logprobs_(with_logprobs) {}

  std::string Piece(const Choice&, const llm::Event& event) override {
    tokens_ += std::ssize(event.token_ids);
    if (event.text.empty() && event.token_ids.empty() && !event.finish) return "";
    const llm::Usage usage{.prompt_tokens = event.usage.prompt_tokens, .completion_tokens = tokens_};
    return "data: " + Json(event, event.finish, usage) + "\n\n";
  }
  std::string End(const llm::Usage&) override { return "data: [DONE]\n\n"; }
  std::string Whole(const std::vector<Choice>& choices, const llm::Usage& usage) override {
    return Json(choices[0].choice, choices[0].choice.finish, usage);
  }

 private:
  // `part`: an llm::Event or an llm::Choice.
  template <typename Part>
  std::string Json(const Part& part, std::optional<llm::FinishReason> finish, const llm::Usage& usage) const {
    JsonObject meta;
    meta.Add("prompt_tokens", usage.prompt_tokens).Add("completion_tokens", usage.completion_tokens);
    meta.AddJson("finish_reason", finish ? JsonObject().Add("type", WireFinish(*finish)).Text() : "null");
    if (with_logprobs_) {
      meta.AddJson("output_token_logprobs", JsonList(part.logprobs, [](const llm::TokenInfo& token) {
                     std::string logprob;
                     AppendJson(logprob, token.chosen.logprob);
                     return fmt::format("[{},{}]", logprob, token.chosen.id);
                   }));
    }
    return JsonObject()
        .Add("text", part.text)
        .AddJson("output_ids", JsonList(part.token_ids))
        .AddJson("meta_info", meta.Text())
        .Text();
  }

  const bool with_logprobs_;
  int64_t tokens_ = 0;
};

}  // namespace

Result<Prepared> ReadGenerate(const Fields& fields, const ServedModel& model, const Caller&) {
  llm::Request request;
  INGOT_RETURN_IF_ERROR(ReadParams(fields, model.llm, &request));
  request.prompt = fields.Text("prompt");
  request.token_ids = fields.Ids("input_ids");
  request.default_max_tokens = DefaultTokens(model.limits, kGenerateTokens);
  const bool with_logprobs = fields.Bool("return_logprob", false);
  if (with_logprobs) request.logprobs = 0;
  Prepared prepared{.format = std::make_unique<GenerateFormat>(with_logprobs), .stream = fields.Bool("stream", false)};
  prepared.question.prompt_field = request.prompt ? "prompt" : "input_ids";
  prepared.question.requests.push_back(std::move(request));
  return prepared;
}

}  // namespace ingot::answers
