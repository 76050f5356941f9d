#include "server/interactive/interactive.h"

#include "base/json.h"
#include "server/answers/answer_exchange.h"
#include "server/answers/messages.h"
#include "server/answers/request_fields.h"
#include "server/openai/wire.h"

namespace ingot::server {
namespace {

struct Counts {
  int64_t session_id = -1, tokens = 0, input_tokens = 0, history_tokens = 0;
};

std::string Line(const std::string& text, const Counts& counts, std::optional<llm::FinishReason> finish) {
  std::string out = R"({"text":)";
  AppendJsonString(out, text);
  out += fmt::format(R"(,"tokens":{},"input_tokens":{},"history_tokens":{},"finish_reason":{},"session_id":{}}})",
                     counts.tokens, counts.input_tokens, counts.history_tokens,
                     finish ? fmt::format("\"{}\"", WireFinish(*finish)) : "null", counts.session_id);
  return out;
}

// A JSON object a line. The counts are known once the turn has been submitted, before any event.
class InteractiveFormat : public AnswerFormat {
 public:
  explicit InteractiveFormat(std::shared_ptr<Counts> counts) : counts_(std::move(counts)) {}
  const char* stream_type() const override { return kLines; }
  const char* ping() const override { return "\n"; }
  std::string Piece(const AnswerChoice&, const llm::Event& event) override {
    counts_->tokens += static_cast<int64_t>(event.token_ids.size());
    if (event.text.empty() && !event.finish) return "";
    return Line(event.text, *counts_, event.finish) + "\n";
  }
  std::string End(const llm::Usage&) override { return ""; }
  std::string Failure(const WireError& error) override { return ErrorBody(error) + "\n"; }
  std::string Whole(const std::vector<AnswerChoice>& choices, const llm::Usage& usage) override {
    counts_->tokens = usage.completion_tokens;
    return Line(choices[0].choice.text, *counts_, choices[0].choice.finish);
  }

 private:
  const std::shared_ptr<Counts> counts_;
};

// What is no turn: {cancel}, and forgetting with an empty prompt and no output. A stream of it is one line. True:
// answered.
bool AnswerCommand(const Fields& fields, llm::Sessions& sessions, const llm::SessionKey& key,
                   const std::shared_ptr<Exchange>& exchange) {
  const bool cancels = fields.Bool("cancel", false);
  const boost::json::value& prompt = *fields.Find("prompt");
  const bool forgets = !cancels && !fields.Bool("interactive_mode", false) && prompt.is_string() &&
                       prompt.get_string().empty() && fields.Int("request_output_len") == 0;
  if (!cancels && !forgets) return false;
  if (key.id < 0) {
    Refuse(*exchange, {"session_id", InvalidArgument("session_id -1 names no session").value()});
    return true;
  }
  const auto done = [exchange, id = key.id, stream = fields.Bool("stream", false)] {
    HttpResponse response{.body = Line("", {.session_id = id}, llm::FinishReason::kStop)};
    if (stream) {
      response.content_type = kLines;
      response.body += "\n";
    }
    exchange->Respond(std::move(response));
  };
  if (cancels) {
    sessions.Cancel(key, done);
    return true;
  }
  const Status status = sessions.Remove(key, [done](const llm::SessionInfo&) { done(); });
  if (status.code() == Code::kConflict) {
    Refuse(*exchange, {"session_id", status});
  } else if (!status.ok()) {
    done();  // there is none: all the better
  }
  return true;
}

}  // namespace

void Interactive(const ServerContext& context, llm::Sessions& sessions, const Schema& schema,
                 const std::shared_ptr<Exchange>& exchange) {
  const auto body = ReadBody(*exchange, schema);
  if (!body) return;
  const ServedModel* model = ModelOf(context, *exchange, *body);
  if (model == nullptr) return;
  const Fields fields(*body);
  const llm::SessionKey key{exchange->request().key_id, fields.Int("session_id").value_or(-1)};
  if (AnswerCommand(fields, sessions, key, exchange)) return;

  llm::TurnRequest turn;
  llm::Request& request = turn.request;
  if (auto error = ReadCommon(fields, model->llm, &request)) return Refuse(*exchange, *error);
  ReadTemplateKwargs(fields, &request);
  request.default_max_tokens = DefaultTokens(model->limits, 0);
  if (request.max_tokens == 0) {
    return Refuse(*exchange,
                  {"request_output_len", InvalidArgument("request_output_len is 0; at least 1 is answered").value()});
  }
  const boost::json::value& prompt = *fields.Find("prompt");
  if (prompt.is_array()) {
    if (auto error = ReadMessages(prompt, "prompt", model->llm, &request)) return Refuse(*exchange, *error);
  } else if (model->llm.chat_template() != nullptr) {
    request.messages = {{{"role", "user"}, {"content", prompt}}};
  } else {
    request.prompt = std::string(prompt.get_string());
  }
  turn.keep = fields.Bool("interactive_mode", false);
  turn.when_full = fields.Text("when_full") == "renew" ? llm::WhenFull::kRenew : llm::WhenFull::kRefuse;

  const auto counts = std::make_shared<Counts>();
  AnswerRequest answer{.requests = {request},
                       .submit = {},
                       .params = {"prompt"},
                       .stream = fields.Bool("stream", false),
                       .ping_seconds = context.answers.ping_seconds};
  answer.submit = [&sessions, key, turn, counts](const llm::Request&,
                                                 llm::EventFn on_event) -> Result<std::shared_ptr<llm::Handle>> {
    INGOT_ASSIGN_OR_RETURN(const llm::TurnHandle handle, sessions.Turn(key, turn, std::move(on_event)));
    counts->session_id = handle.session_id;
    counts->history_tokens = handle.history_tokens;
    counts->input_tokens = handle.input_tokens;
    return handle.handle;
  };
  Answer(model->llm, context.metrics, exchange, std::make_unique<InteractiveFormat>(counts), std::move(answer));
}

}  // namespace ingot::server
