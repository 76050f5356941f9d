// /v1/chat/interactive: LMDeploy's stateful chat.
#include "answers/routes.h"
#include "answers/wire.h"

namespace ingot::answers {
namespace {

struct Counts {
  int64_t session_id = -1, tokens = 0, input_tokens = 0, history_tokens = 0;
};

std::string Line(const std::string& text, const Counts& counts, std::optional<llm::FinishReason> finish) {
  return JsonObject()
      .Add("text", text)
      .Add("tokens", counts.tokens)
      .Add("input_tokens", counts.input_tokens)
      .Add("history_tokens", counts.history_tokens)
      .Add("finish_reason", WireFinish(finish))
      .Add("session_id", counts.session_id)
      .Text();
}

// A JSON object a line. The counts are known once the turn has been submitted, before any event.
class InteractiveFormat : public Format {
 public:
  explicit InteractiveFormat(std::shared_ptr<Counts> counts) : counts_(std::move(counts)) {}
  const char* stream_type() const override { return kJsonLines; }
  const char* ping() const override { return "\n"; }
  std::string Piece(const Choice&, const llm::Event& event) override {
    counts_->tokens += std::ssize(event.token_ids);
    if (event.text.empty() && !event.finish) return "";
    return Line(event.text, *counts_, event.finish) + "\n";
  }
  std::string End(const llm::Usage&) override { return ""; }
  std::string Failure(const WireError& error) override { return ErrorBody(error) + "\n"; }
  std::string Whole(const std::vector<Choice>& choices, const llm::Usage& usage) override {
    counts_->tokens = usage.completion_tokens;
    return Line(choices[0].choice.text, *counts_, choices[0].choice.finish);
  }

 private:
  const std::shared_ptr<Counts> counts_;
};

}  // namespace

std::string EmptyTurn(int64_t session_id) { return Line("", {.session_id = session_id}, llm::FinishReason::kStop); }

Result<Prepared> ReadTurn(const Fields& fields, const ServedModel& model, llm::Sessions& sessions,
                          const llm::SessionKey& key) {
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

  const auto counts = std::make_shared<Counts>();
  Prepared prepared{.format = std::make_unique<InteractiveFormat>(counts), .stream = fields.Bool("stream", false)};
  prepared.question.requests = {request};
  prepared.question.submit = [&sessions, key, turn, counts](
                                 const llm::Request& one,
                                 llm::EventFn on_event) -> Result<std::shared_ptr<llm::Handle>> {
    llm::TurnRequest now = turn;
    now.request = one;
    INGOT_ASSIGN_OR_RETURN(const llm::TurnHandle handle, sessions.Turn(key, now, std::move(on_event)));
    counts->session_id = handle.session_id;
    counts->history_tokens = handle.history_tokens;
    counts->input_tokens = handle.input_tokens;
    return handle.handle;
  };
  return prepared;
}

}  // namespace ingot::answers
