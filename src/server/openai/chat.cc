#include "server/openai/chat.h"

#include "base/json.h"
#include "server/answers/answer_exchange.h"
#include "server/answers/messages.h"
#include "server/answers/request_fields.h"
#include "server/openai/wire.h"

namespace ingot::server {
namespace {

class ChatFormat : public AnswerFormat {
 public:
  struct Options {
    bool include_usage = false, token_ids = false;
  };
  ChatFormat(AnswerHead head, Options options) : head_(std::move(head)), options_(options) {}

  std::string Piece(const AnswerChoice& choice, const llm::Event& event) override {
    std::string out;
    if (choice.is_first) out += Chunk(event.index, R"("role":"assistant","content":"")", nullptr, "null");
    if (!event.text.empty() || !event.logprobs.empty() || (options_.token_ids && !event.token_ids.empty())) {
      std::string delta = R"("content":)";
      AppendJsonString(delta, event.text);
      out += Chunk(event.index, delta, &event, "null");
    }
    if (event.finish) out += Chunk(event.index, "", nullptr, fmt::format("\"{}\"", WireFinish(*event.finish)));
    return out;
  }

  std::string End(const llm::Usage& usage) override {
    std::string out;
    if (options_.include_usage) {
      out = "data: " + head_.Open("chat.completion.chunk") + R"(,"choices":[],)";
      AppendUsage(out, usage);
      out += "}\n\n";
    }
    return out + "data: [DONE]\n\n";
  }

  std::string Whole(const std::vector<AnswerChoice>& choices, const llm::Usage& usage) override {
    std::string out = head_.Open("chat.completion") + R"(,"choices":[)";
    for (const AnswerChoice& state : choices) {
      const llm::Choice& choice = state.choice;
      if (state.index > 0) out += ',';
      out += fmt::format(R"({{"index":{},"message":{{"role":"assistant","content":)", state.index);
      AppendJsonString(out, choice.text);
      out += R"(},"logprobs":)";
      AppendChatLogprobs(out, choice.logprobs);
      if (options_.token_ids) {
        out += R"(,"token_ids":)";
        AppendIds(out, choice.token_ids);
      }
      out += fmt::format(R"(,"finish_reason":"{}"}})", WireFinish(choice.finish));
    }
    out += "],";
    AppendUsage(out, usage);
    return out + "}";
  }

 private:
  // data: {…,"choices":[{"index":…,"delta":{<delta>},"logprobs":…,"finish_reason":…}]}
  std::string Chunk(int index, const std::string& delta, const llm::Event* event, const std::string& finish) const {
    std::string out = "data: " + head_.Open("chat.completion.chunk");
    out += fmt::format(R"(,"choices":[{{"index":{},"delta":{{{}}},"logprobs":)", index, delta);
    AppendChatLogprobs(out, event != nullptr ? event->logprobs : std::vector<llm::TokenInfo>());
    if (options_.token_ids && event != nullptr) {
      out += R"(,"token_ids":)";
      AppendIds(out, event->token_ids);
    }
    out += R"(,"finish_reason":)" + finish + "}]";
    if (options_.include_usage) out += R"(,"usage":null)";
    return out + "}\n\n";
  }

  const AnswerHead head_;
  const Options options_;
};

std::optional<FieldError> ReadLogprobs(const Fields& fields, llm::Request* request) {
  const int64_t top = fields.Int("top_logprobs").value_or(0);
  if (fields.Bool("logprobs", false)) {
    request->logprobs = static_cast<int>(top);
  } else if (top > 0) {
    return FieldError{"top_logprobs", InvalidArgument("top_logprobs needs logprobs: true").value()};
  }
  return std::nullopt;
}

}  // namespace

tl::expected<llm::Request, FieldError> ReadChatRequest(const boost::json::value& body, const ServedModel& model) {
  const Fields fields(body);
  llm::Request request;
  if (auto error = ReadCommon(fields, model.llm, &request)) return tl::unexpected(*std::move(error));
  if (auto error = ReadTemplateOptions(fields, &request)) return tl::unexpected(*std::move(error));
  if (auto error = ReadMessages(*fields.Find("messages"), "messages", model.llm, &request)) {
    return tl::unexpected(*std::move(error));
  }
  if (auto error = ReadLogprobs(fields, &request)) return tl::unexpected(*std::move(error));
  request.default_max_tokens = DefaultTokens(model.limits, 0);
  return request;
}

void ChatCompletions(const ServerContext& context, const Schema& schema, const std::shared_ptr<Exchange>& exchange) {
  const auto body = ReadBody(*exchange, schema);
  if (!body) return;
  const ServedModel* model = ModelOf(context, *exchange, *body);
  if (model == nullptr) return;
  auto request = ReadChatRequest(*body, *model);
  if (!request) return Refuse(*exchange, request.error());
  const Fields fields(*body);
  const auto* options = fields.Find("stream_options");
  const bool asks_for_usage = options != nullptr && Fields(*options).Bool("include_usage", false);
  AnswerHead head{"chatcmpl-" + exchange->request().request_id, model->name, std::time(nullptr)};
  auto format = std::make_unique<ChatFormat>(
      std::move(head), ChatFormat::Options{.include_usage = asks_for_usage || context.answers.always_include_usage,
                                           .token_ids = fields.Bool("return_token_ids", false)});
  Answer(model->llm, context.metrics, exchange, std::move(format),
         {.requests = {*std::move(request)},
          .params = {"messages"},
          .stream = fields.Bool("stream", false),
          .ping_seconds = context.answers.ping_seconds});
}

}  // namespace ingot::server
