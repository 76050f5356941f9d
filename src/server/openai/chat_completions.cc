#include "server/openai/chat_completions.h"

#include <mutex>

#include "base/json.h"
#include "base/log.h"
#include "server/openai/chat_request.h"

namespace ingot::server {
namespace {

void AppendTokenLogprob(std::string& out, const llm::TokenLogprob& token) {
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

// {"content":[{token, logprob, bytes, top_logprobs}]}
void AppendLogprobs(std::string& out, const std::vector<llm::TokenInfo>& tokens) {
  out += R"({"content":[)";
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += ',';
    AppendTokenLogprob(out, tokens[i].chosen);
    out += R"(,"top_logprobs":[)";
    for (size_t j = 0; j < tokens[i].top.size(); ++j) {
      if (j > 0) out += ',';
      AppendTokenLogprob(out, tokens[i].top[j]);
      out += '}';
    }
    out += "]}";
  }
  out += "]}";
}

void AppendUsage(std::string& out, const llm::Usage& usage) {
  out += fmt::format(
      R"("usage":{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{}}}}})",
      usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens + usage.completion_tokens, usage.cached_tokens);
}

// One request on its way: collects events, and writes them as they come (streamed) or at the end.
// Thread safety: events come from one thread at a time; the handler's thread joins in through mutex_.
class ChatExchange {
 public:
  ChatExchange(const ServedModel& served, std::shared_ptr<Exchange> exchange, ChatRequest chat)
      : served_(served),
        exchange_(std::move(exchange)),
        chat_(std::move(chat)),
        choices_(static_cast<size_t>(chat_.request.n)) {
    id_ = "chatcmpl-" + exchange_->request().request_id;
    created_ = std::time(nullptr);
  }

  const llm::Request& request() const { return chat_.request; }

  // The request was accepted: the answer will be a 200.
  void Accepted() {
    std::lock_guard lock(mutex_);
    StartStreamLocked();
  }

  void OnEvent(const llm::Event& event) {
    std::lock_guard lock(mutex_);
    StartStreamLocked();
    if (event.finish == llm::FinishReason::kError) return FailLocked(event.error);
    if (event.finish) CountLocked(event);
    if (chat_.stream) {
      StreamLocked(event);
    } else {
      CollectLocked(event);
    }
    if (num_finished_ == choices_.size() && !failed_) FinishLocked();
  }

 private:
  struct ChoiceState {
    llm::Choice choice;  // not streamed
    bool role_sent = false;
  };

  void StartStreamLocked() {
    if (!chat_.stream || started_) return;
    started_ = true;
    exchange_->StartStream({.content_type = "text/event-stream; charset=utf-8",
                            .headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}});
  }

  void CountLocked(const llm::Event& event) {
    ++num_finished_;
    usage_.prompt_tokens = event.usage.prompt_tokens;
    usage_.cached_tokens = std::max(usage_.cached_tokens, event.usage.cached_tokens);
    usage_.completion_tokens += event.usage.completion_tokens;
  }

  void FailLocked(const Status& status) {
    if (failed_) return;
    failed_ = true;
    if (!chat_.stream) return exchange_->Respond(ErrorResponse(ToWireError(status)));
    // Closed without [DONE]: the client must not take what came for a whole answer.
    exchange_->Send("data: " + ErrorBody(ToWireError(status)) + "\n\n");
    exchange_->Finish();
  }

  std::string HeadOf(std::string_view object) const {
    std::string out = R"({"id":)";
    AppendJsonString(out, id_);
    out += fmt::format(R"(,"object":"{}","created":{},"model":)", object, created_);
    AppendJsonString(out, served_.model_name);
    out += R"(,"system_fingerprint":"ingot")";
    return out;
  }

  // data: {…,"choices":[{"index":…,"delta":{<delta>},"logprobs":…,"finish_reason":…}]}
  void SendChunkLocked(int index, const std::string& delta, const std::vector<llm::TokenInfo>* logprobs,
                       const char* finish) {
    std::string out = "data: " + HeadOf("chat.completion.chunk");
    out += fmt::format(R"(,"choices":[{{"index":{},"delta":{{{}}},"logprobs":)", index, delta);
    if (logprobs != nullptr && !logprobs->empty()) {
      AppendLogprobs(out, *logprobs);
    } else {
      out += "null";
    }
    out += R"(,"finish_reason":)";
    out += finish == nullptr ? "null" : fmt::format("\"{}\"", finish);
    out += "}]";
    if (chat_.include_usage) out += R"(,"usage":null)";
    out += "}\n\n";
    exchange_->Send(std::move(out));
  }

  void StreamLocked(const llm::Event& event) {
    if (failed_) return;
    ChoiceState& state = choices_[static_cast<size_t>(event.index)];
    if (!state.role_sent) {
      state.role_sent = true;
      SendChunkLocked(event.index, R"("role":"assistant","content":"")", nullptr, nullptr);
    }
    if (!event.text.empty() || !event.logprobs.empty()) {
      std::string delta = R"("content":)";
      AppendJsonString(delta, event.text);
      SendChunkLocked(event.index, delta, &event.logprobs, nullptr);
    }
    if (event.finish) SendChunkLocked(event.index, "", nullptr, WireFinish(*event.finish));
  }

  void CollectLocked(const llm::Event& event) {
    llm::Choice& choice = choices_[static_cast<size_t>(event.index)].choice;
    choice.text += event.text;
    choice.logprobs.insert(choice.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
    if (event.finish) choice.finish = *event.finish;
  }

  void FinishLocked() {
    if (!chat_.stream) return exchange_->Respond({.body = WholeBodyLocked()});
    if (chat_.include_usage) {
      std::string out = "data: " + HeadOf("chat.completion.chunk") + R"(,"choices":[],)";
      AppendUsage(out, usage_);
      exchange_->Send(out + "}\n\n");
    }
    exchange_->Send("data: [DONE]\n\n");
    exchange_->Finish();
  }

  std::string WholeBodyLocked() const {
    std::string out = HeadOf("chat.completion") + R"(,"choices":[)";
    for (size_t i = 0; i < choices_.size(); ++i) {
      const llm::Choice& choice = choices_[i].choice;
      if (i > 0) out += ',';
      out += fmt::format(R"({{"index":{},"message":{{"role":"assistant","content":)", i);
      AppendJsonString(out, choice.text);
      out += R"(},"logprobs":)";
      if (chat_.request.logprobs) {
        AppendLogprobs(out, choice.logprobs);
      } else {
        out += "null";
      }
      out += fmt::format(R"(,"finish_reason":"{}"}})", WireFinish(choice.finish));
    }
    out += "],";
    AppendUsage(out, usage_);
    out += '}';
    return out;
  }

  // OpenAI's clients know stop and length; an answer that was cut short by a cancel is nothing they could continue
  // from.
  static const char* WireFinish(llm::FinishReason reason) {
    return reason == llm::FinishReason::kLength ? "length" : "stop";
  }

  const ServedModel& served_;
  const std::shared_ptr<Exchange> exchange_;
  const ChatRequest chat_;
  std::string id_;
  std::time_t created_;

  std::mutex mutex_;  // guards what follows
  std::vector<ChoiceState> choices_;
  size_t num_finished_ = 0;
  llm::Usage usage_;
  bool started_ = false, failed_ = false;
};

bool IsJson(std::string_view content_type) {
  return content_type.empty() || content_type.find("json") != std::string_view::npos;
}

}  // namespace

WireError UnknownModel(const ServedModel& served, const std::string& asked) {
  return {404, "not_found_error", "model_not_found", "model",
          fmt::format("model '{}' is not served here; this server has '{}'", asked, served.model_name)};
}

void ChatCompletions(const ServedModel& served, const std::shared_ptr<Exchange>& exchange) {
  const HttpRequest& http = exchange->request();
  if (!IsJson(http.Header("Content-Type"))) {
    return exchange->Respond(
        ErrorResponse({415, "invalid_request_error", "unsupported_media_type", "",
                       fmt::format("Content-Type is '{}'; send application/json", http.Header("Content-Type"))}));
  }
  if (const std::string_view encoding = http.Header("Content-Encoding"); !encoding.empty() && encoding != "identity") {
    return exchange->Respond(
        ErrorResponse({415, "invalid_request_error", "unsupported_content_encoding", "",
                       fmt::format("Content-Encoding is '{}'; send the body as it is", encoding)}));
  }
  auto chat = ParseChatRequest(http.body, served.llm.default_sampling());
  if (!chat) return exchange->Respond(ErrorResponse(ToWireError(chat.error().status, chat.error().param)));
  if (!chat->model.empty() && chat->model != served.model_name)
    return exchange->Respond(ErrorResponse(UnknownModel(served, chat->model)));

  const auto state = std::make_shared<ChatExchange>(served, exchange, *std::move(chat));
  auto handle = served.llm.Submit(state->request(), [state](const llm::Event& event) { state->OnEvent(event); });
  if (!handle) {
    const bool is_too_long = handle.error().code() == Code::kTooLong;
    return exchange->Respond(ErrorResponse(ToWireError(handle.error(), is_too_long ? "messages" : "")));
  }
  state->Accepted();
  exchange->OnClose([handle = *handle] { handle->Cancel(); });
}

}  // namespace ingot::server
