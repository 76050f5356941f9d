// Answers of `ingot chat` by an OpenAI server.
#include <boost/json/serialize.hpp>
#include <chrono>

#include "chat_backend.h"

namespace ingot::cli {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

constexpr double kLookSeconds = 0.02;  // how often Ctrl-C is looked for: a signal handler can only set a flag

class RemoteBackend : public ChatBackend {
 public:
  RemoteBackend(std::unique_ptr<client::HttpClient> http, std::string model, std::string url, ServerFlags server)
      : http_(std::move(http)), model_(std::move(model)), url_(std::move(url)), server_(std::move(server)) {}

  std::string name() const override { return fmt::format("{} at {}", model_, url_); }

  // The server knows its ranges and says so when it answers.
  Status Use(const boost::json::object& params) override {
    params_ = params;
    return {};
  }

  boost::json::value ValueOf(const llm::Param& param) const override {
    const boost::json::value* value = params_.if_contains(param.name);
    return value == nullptr ? nullptr : *value;
  }

  Result<ChatAnswer> Answer(const boost::json::array& messages, const InterruptGuard& interrupt,
                            const ChatTextFn& on_text) override {
    Running running;
    ChatAnswer& answer = running.answer;
    const auto begin = Clock::now();
    auto first = begin, last = begin;
    const auto call = client::StartAnswer(*http_, "/v1/chat/completions", Body(messages),
                                          {.on_piece =
                                               [&](const client::AnswerPiece& piece) {
                                                 if (!piece.finish_reason.empty()) answer.finish = piece.finish_reason;
                                                 if (piece.text.empty() && piece.reasoning.empty()) return;
                                                 last = Clock::now();
                                                 if (running.num_pieces++ == 0) first = last;
                                                 if (!piece.reasoning.empty()) on_text(piece.reasoning, true);
                                                 if (!piece.text.empty()) on_text(piece.text, false);
                                                 answer.text += piece.text;
                                               },
                                           .on_end =
                                               [&](const client::AnswerEnd& end) {
                                                 running.end = end;
                                                 running.done = true;
                                               }});
    WatchForInterrupt(running, interrupt, *call);
    http_->Run();
    const bool cancelled = running.end.status.code() == Code::kCancelled;
    if (!running.end.status.ok() && !cancelled) return Error(WithAdvice(running.end.status, server_));
    if (cancelled) answer.finish = "cancelled";
    answer.prefill_seconds = Seconds(begin, first);
    answer.decode_seconds = Seconds(first, last);
    // A server that does not report it is assumed to send one token at a time.
    answer.usage.completion_tokens = running.num_pieces;
    if (running.end.usage) {
      answer.usage = {.prompt_tokens = running.end.usage->prompt_tokens,
                      .completion_tokens = running.end.usage->completion_tokens,
                      .cached_tokens = running.end.usage->cached_tokens};
    }
    return answer;
  }

 private:
  struct Running {
    ChatAnswer answer;
    client::AnswerEnd end;
    int64_t num_pieces = 0;
    bool done = false;
  };

  std::string Body(const boost::json::array& messages) const {
    boost::json::object body = params_;
    body["model"] = model_;
    body["messages"] = messages;
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
    return boost::json::serialize(body);
  }

  void WatchForInterrupt(Running& running, const InterruptGuard& interrupt, client::HttpCall& call) {
    http_->After(kLookSeconds, [this, &running, &interrupt, &call] {
      if (running.done) return;
      if (interrupt.interrupted()) return call.Cancel();
      WatchForInterrupt(running, interrupt, call);
    });
  }

  const std::unique_ptr<client::HttpClient> http_;
  const std::string model_, url_;
  const ServerFlags server_;
  boost::json::object params_;
};

}  // namespace

Result<std::unique_ptr<ChatBackend>> ConnectChatServer(const std::string& url, const ServerFlags& server) {
  INGOT_ASSIGN_OR_RETURN(auto http, ConnectServer(url, server));
  INGOT_ASSIGN_OR_RETURN(std::string model, ChooseModel(*http, server));
  return std::make_unique<RemoteBackend>(std::move(http), std::move(model), url, server);
}

}  // namespace ingot::cli
