// ollama's /api/chat and /api/generate.
#include "answers/ollama.h"

#include <fmt/chrono.h>

#include <chrono>

#include "answers/routes.h"
#include "answers/wire.h"

namespace ingot::answers {
namespace {

int64_t Nanoseconds(double seconds) { return static_cast<int64_t>(seconds * 1e9); }

std::string LogprobsJson(const std::vector<llm::TokenInfo>& tokens) {
  const auto one = [](const llm::TokenLogprob& token) {
    return JsonObject().Add("token", token.bytes).Add("logprob", token.logprob).AddJson("bytes", BytesJson(token));
  };
  return JsonList(tokens, [&](const llm::TokenInfo& token) {
    const auto top = [&](const llm::TokenLogprob& other) { return one(other).Text(); };
    return one(token.chosen).AddJson("top_logprobs", JsonList(token.top, top)).Text();
  });
}

// What an answer's objects have in common.
struct OllamaHead {
  std::string model;  // as the request names it
  bool is_chat;
  JsonObject Object(const std::string& text) const {
    JsonObject json;
    json.Add("model", model).Add("created_at", OllamaTime(std::chrono::system_clock::now()));
    if (!is_chat) return json.Add("response", text);
    return json.AddJson("message", JsonObject().Add("role", "assistant").Add("content", text).Text());
  }
};

// A JSON object a line. No ping: clients take every line for an object.
class OllamaFormat : public Format {
 public:
  OllamaFormat(OllamaHead head, bool logprobs) : head_(std::move(head)), logprobs_(logprobs) {}
  const char* stream_type() const override { return kJsonLines; }
  const char* ping() const override { return ""; }
  std::string Piece(const Choice& choice, const llm::Event& event) override {
    std::string out;
    if (!event.text.empty() || (logprobs_ && !event.logprobs.empty())) {
      JsonObject json = head_.Object(event.text).Add("done", false);
      if (logprobs_) json.AddJson("logprobs", LogprobsJson(event.logprobs));
      out += json.Text() + "\n";
    }
    if (event.finish) out += Ended(head_.Object(""), choice, *event.finish).Text() + "\n";
    return out;
  }
  std::string End(const llm::Usage&) override { return ""; }
  std::string Failure(const WireError& error) override { return FlatErrorBody(error) + "\n"; }
  std::string Whole(const std::vector<Choice>& choices, const llm::Usage&) override {
    const llm::Choice& answer = choices[0].choice;
    JsonObject json = Ended(head_.Object(answer.text), choices[0], answer.finish);
    if (logprobs_) json.AddJson("logprobs", LogprobsJson(answer.logprobs));
    return json.Text();
  }

 private:
  static JsonObject Ended(JsonObject json, const Choice& choice, llm::FinishReason finish) {
    const llm::Timings& timings = choice.timings;
    return json.Add("done", true)
        .Add("done_reason", WireFinish(finish))
        .Add("total_duration", Nanoseconds(timings.queue_seconds + timings.prefill_seconds + timings.decode_seconds))
        .Add("load_duration", Nanoseconds(timings.queue_seconds))
        .Add("prompt_eval_count", choice.usage.prompt_tokens)
        .Add("prompt_eval_duration", Nanoseconds(timings.prefill_seconds))
        .Add("eval_count", choice.usage.completion_tokens)
        .Add("eval_duration", Nanoseconds(timings.decode_seconds));
  }

  const OllamaHead head_;
  const bool logprobs_;
};

// options, think, logprobs.
Status ReadCommon(const Fields& fields, const ServedModel& model, llm::Request* request) {
  const boost::json::value* given = fields.Find("options");
  boost::json::value options = given != nullptr ? *given : boost::json::object();
  const int64_t num_predict = Fields(options).Int("num_predict").value_or(0);
  if (num_predict > 0) options.get_object()["max_tokens"] = num_predict;
  INGOT_RETURN_IF_ERROR(ReadParams(Fields(options), model.llm, request));
  INGOT_RETURN_IF_ERROR(CheckPenaltyWindow(Fields(options), *request));
  request->default_max_tokens = DefaultTokens(model.limits, 0);
  if (const boost::json::value* think = fields.Find("think")) {
    if (think->is_string())
      return Status(Unsupported("think: how much is thought is not steered; true and false are taken")).Of("think");
    request->template_kwargs.emplace("enable_thinking", *think);
  }
  const int64_t top = fields.Int("top_logprobs").value_or(0);
  if (fields.Bool("logprobs", false)) {
    request->logprobs = top;
  } else if (top > 0) {
    return Status(InvalidArgument("top_logprobs needs logprobs: true")).Of("top_logprobs");
  }
  return {};
}

bool IsZero(const boost::json::value* keep_alive) {
  return keep_alive != nullptr &&
         (keep_alive->is_string() ? keep_alive->get_string() == "0" || keep_alive->get_string() == "0s"
                                  : keep_alive->to_number<double>() == 0);
}

OllamaHead HeadOf(const Fields& fields, const ServedModel& model, bool is_chat) {
  const std::string name = fields.Text("model").value_or("");
  return {name.empty() ? model.name : name, is_chat};
}

// A request that asks nothing: ollama loads its model then, or with keep_alive 0 lets go of it.
Result<Prepared> LoadOnly(const Fields& fields, const OllamaHead& head) {
  if (IsZero(fields.Find("keep_alive")))
    return Error(Status(Unsupported("keep_alive 0: the model stays until the server is stopped")).Of("keep_alive"));
  Prepared prepared{.stream = fields.Bool("stream", true)};
  prepared.at_once = head.Object("").Add("done", true).Add("done_reason", "load").Text();
  return prepared;
}

Prepared Ask(const Fields& fields, OllamaHead head, const char* prompt_field, llm::Request request) {
  const bool logprobs = request.logprobs.has_value();
  Prepared prepared{.format = std::make_unique<OllamaFormat>(std::move(head), logprobs),
                    .stream = fields.Bool("stream", true)};
  prepared.question = {.requests = {std::move(request)}, .prompt_field = prompt_field};
  return prepared;
}

}  // namespace

std::string OllamaTime(std::chrono::system_clock::time_point time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const auto rest = std::chrono::duration_cast<std::chrono::microseconds>(time - seconds);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)),
                     rest.count());
}

Result<Prepared> ReadOllamaChat(const Fields& fields, const ServedModel& model, const Caller&) {
  OllamaHead head = HeadOf(fields, model, /*is_chat=*/true);
  const boost::json::value& messages = *fields.Find("messages");
  if (messages.get_array().empty()) return LoadOnly(fields, head);
  llm::Request request;
  INGOT_RETURN_IF_ERROR(ReadCommon(fields, model, &request));
  INGOT_RETURN_IF_ERROR(ReadMessages(messages, "messages", model.llm, &request));
  return Ask(fields, std::move(head), "messages", std::move(request));
}

Result<Prepared> ReadOllamaGenerate(const Fields& fields, const ServedModel& model, const Caller&) {
  OllamaHead head = HeadOf(fields, model, /*is_chat=*/false);
  const std::string prompt = fields.Text("prompt").value_or(""), system = fields.Text("system").value_or("");
  if (prompt.empty()) return LoadOnly(fields, head);
  llm::Request request;
  INGOT_RETURN_IF_ERROR(ReadCommon(fields, model, &request));
  const bool raw = fields.Bool("raw", false);
  if (!raw && model.llm.chat_template() != nullptr) {
    if (!system.empty()) request.messages.push_back({{"role", "system"}, {"content", system}});
    request.messages.push_back({{"role", "user"}, {"content", prompt}});
    return Ask(fields, std::move(head), "prompt", std::move(request));
  }
  if (!system.empty()) {
    const char* why = raw ? "raw takes the prompt as it is" : "the model has no chat template to show it";
    return Error(Status(Unsupported("system: {}", why)).Of("system"));
  }
  request.prompt = prompt;
  return Ask(fields, std::move(head), "prompt", std::move(request));
}

}  // namespace ingot::answers
