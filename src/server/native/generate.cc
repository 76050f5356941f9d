#include "server/native/generate.h"

#include "base/json.h"
#include "server/answers/answer_exchange.h"
#include "server/answers/request_fields.h"
#include "server/openai/wire.h"

namespace ingot::server {
namespace {

class GenerateFormat : public AnswerFormat {
 public:
  explicit GenerateFormat(bool with_logprobs) : with_logprobs_(with_logprobs) {}

  std::string Piece(const AnswerChoice&, const llm::Event& event) override {
    tokens_ += static_cast<int64_t>(event.token_ids.size());
    if (event.text.empty() && event.token_ids.empty() && !event.finish) return "";
    const llm::Usage usage{.prompt_tokens = event.usage.prompt_tokens, .completion_tokens = tokens_};
    return "data: " + Object({event.text, &event.token_ids, &event.logprobs, event.finish}, usage) + "\n\n";
  }
  std::string End(const llm::Usage&) override { return "data: [DONE]\n\n"; }
  std::string Whole(const std::vector<AnswerChoice>& choices, const llm::Usage& usage) override {
    const llm::Choice& choice = choices[0].choice;
    return Object({choice.text, &choice.token_ids, &choice.logprobs, choice.finish}, usage);
  }

 private:
  struct Part {
    const std::string& text;
    const std::vector<int32_t>* ids;
    const std::vector<llm::TokenInfo>* logprobs;
    std::optional<llm::FinishReason> finish;
  };
  std::string Object(const Part& part, const llm::Usage& usage) const {
    std::string out = R"({"text":)";
    AppendJsonString(out, part.text);
    out += R"(,"output_ids":)";
    AppendIds(out, *part.ids);
    out += fmt::format(R"(,"meta_info":{{"prompt_tokens":{},"completion_tokens":{},"finish_reason":)",
                       usage.prompt_tokens, usage.completion_tokens);
    out += part.finish ? fmt::format(R"({{"type":"{}"}})", WireFinish(*part.finish)) : "null";
    if (with_logprobs_) {
      out += R"(,"output_token_logprobs":[)";
      for (size_t i = 0; i < part.logprobs->size(); ++i) {
        out += i > 0 ? ",[" : "[";
        AppendJsonNumber(out, (*part.logprobs)[i].chosen.logprob);
        out += fmt::format(",{}]", (*part.logprobs)[i].chosen.id);
      }
      out += ']';
    }
    return out + "}}";
  }

  const bool with_logprobs_;
  int64_t tokens_ = 0;
};

}  // namespace

void Generate(const ServerContext& context, const Schema& schema, const std::shared_ptr<Exchange>& exchange) {
  const auto body = ReadBody(*exchange, schema);
  if (!body) return;
  const ServedModel* model = ModelOf(context, *exchange, *body);
  if (model == nullptr) return;
  const Fields fields(*body);
  llm::Request request;
  if (auto error = ReadCommon(fields, model->llm, &request)) return Refuse(*exchange, *error);
  request.prompt = fields.Text("prompt");
  request.token_ids = fields.Ids("input_ids");
  request.default_max_tokens = DefaultTokens(model->limits, kGenerateTokens);
  const char* param = request.prompt ? "prompt" : "input_ids";
  const bool with_logprobs = fields.Bool("return_logprob", false);
  if (with_logprobs) request.logprobs = 0;
  Answer(model->llm, context.metrics, exchange, std::make_unique<GenerateFormat>(with_logprobs),
         {.requests = {std::move(request)},
          .params = {param},
          .stream = fields.Bool("stream", false),
          .ping_seconds = context.answers.ping_seconds});
}

}  // namespace ingot::server
