// /v1/chat/interactive: LMDeploy's stateful chat.
#include "answers/json_writers.h"
#include "answers/routes.h"

namespace ingot::answers {
namespace {

std::string TurnJson(const std::string& text, const TurnCounts& counts, std::optional<llm::FinishReason> finish) {
  return JsonObject()
      .Add("text", text)
      .Add("tokens", counts.tokens)
      .Add("input_tokens", counts.input_tokens)
      .Add("history_tokens", counts.history_tokens)
      .Add("finish_reason", WireFinish(finish))
      .Add("session_id", counts.session_id)
      .Text();
}

// A JSON object a line.
class TurnLines : public TurnFormat {
 public:
  using TurnFormat::TurnFormat;
  const char* stream_type() const override { return kJsonLines; }
  const char* ping() const override { return "\n"; }
  std::string Failure(const WireError& error) override { return ErrorBody(error) + "\n"; }

 protected:
  std::string WritePiece(const std::string& text, const TurnCounts& counts,
                         std::optional<llm::FinishReason> finish) override {
    return TurnJson(text, counts, finish) + "\n";
  }
  std::string WriteWhole(const std::string& text, const TurnCounts& counts, llm::FinishReason finish) override {
    return TurnJson(text, counts, finish);
  }
};

}  // namespace

std::string TurnFormat::Piece(const Choice&, const llm::Event& event) {
  counts_->tokens += std::ssize(event.token_ids);
  if (event.text.empty() && !event.finish) return "";
  return WritePiece(event.text, *counts_, event.finish);
}

std::string TurnFormat::Whole(const std::vector<Choice>& choices, const llm::Usage& usage) {
  counts_->tokens = usage.completion_tokens;
  return WriteWhole(choices[0].choice.text, *counts_, choices[0].choice.finish);
}

std::unique_ptr<Format> MakeTurnLines(std::shared_ptr<TurnCounts> counts) {
  return std::make_unique<TurnLines>(std::move(counts));
}
std::string EmptyTurnJson(int64_t session_id, bool stream) {
  return TurnJson("", {.session_id = session_id}, llm::FinishReason::kStop) + (stream ? "\n" : "");
}

Result<Prepared> ReadTurn(const Fields& fields, const ServedModel& model, const SessionTurn& session,
                          const Caller& caller) {
  llm::TurnRequest turn;
  llm::Request& request = turn.request;
  INGOT_RETURN_IF_ERROR(ReadParams(fields, model.llm, &request));
  ReadTemplateKwargs(fields, &request);
  request.default_max_tokens = DefaultTokens(model.limits, 0);
  if (request.max_tokens == 0) {
    return Error(Status(InvalidArgument("request_output_len is 0; at least 1 is answered")).Of("request_output_len"));
  }
  const boost::json::value& prompt = *fields.Find("prompt");
  if (prompt.is_array() || model.llm.chat_template() != nullptr) {
    INGOT_RETURN_IF_ERROR(ReadMessages(prompt, "prompt", model.llm, &request));
  } else {
    request.prompt = std::string(prompt.get_string());
  }
  turn.keep = fields.Bool("interactive_mode", false);
  turn.when_full = fields.Text("when_full") == "renew" ? llm::WhenFull::kRenew : llm::WhenFull::kRefuse;

  const auto counts = std::make_shared<TurnCounts>();
  Prepared prepared{.format = caller.writers->Turn(counts), .stream = fields.Bool("stream", false)};
  prepared.question.requests = {request};
  prepared.question.submit = [session, turn, counts](const llm::Request& one,
                                                     llm::EventFn on_event) -> Result<std::shared_ptr<llm::Handle>> {
    llm::TurnRequest now = turn;
    now.request = one;
    INGOT_ASSIGN_OR_RETURN(const llm::TurnHandle handle, session.sessions.Turn(session.key, now, std::move(on_event)));
    counts->session_id = handle.session_id;
    counts->history_tokens = handle.history_tokens;
    counts->input_tokens = handle.input_tokens;
    return handle.handle;
  };
  return prepared;
}

}  // namespace ingot::answers
