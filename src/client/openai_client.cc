#include "client/openai_client.h"

#include <boost/json/serialize.hpp>
#include <charconv>

#include "base/json.h"
#include "client/sse_parser.h"

namespace ingot::client {
namespace {

constexpr size_t kMaxBody = size_t{16} << 20;  // of an answer that is not streamed

// {"error":{"message":…}}, or {"message":…}, or {"detail":…}; else the beginning of the body.
std::string MessageOf(std::string_view body) {
  if (const auto json = ParseJson(body, "answer")) {
    const JsonView view(*json, "");
    const auto error = view.Find("error");
    for (const auto& holder : {error, std::optional<JsonView>(view)}) {
      for (const char* name : {"message", "detail"}) {
        if (!holder) continue;
        if (const auto text = holder->String(name, ""); text && !text->empty()) return *text;
      }
    }
    if (error && error->value().is_string()) return std::string(error->value().get_string());
  }
  return std::string(body.substr(0, body.find_first_of("\r\n")).substr(0, 200));
}

// Whether it says that the prompt does not fit.
bool IsTooLong(std::string_view body) {
  const auto json = ParseJson(body, "answer");
  const auto error = json ? JsonView(*json, "").Find("error") : std::nullopt;
  return error && error->String("code", "").value_or("") == "context_length_exceeded";
}

Status StatusOf(int http_status, const std::string& message) {
  const std::string text =
      message.empty() ? fmt::format("HTTP {}", http_status) : fmt::format("HTTP {}: {}", http_status, message);
  switch (http_status) {
    case 404:
      return {Code::kNotFound, text};
    case 408:
    case 504:
      return {Code::kDeadlineExceeded, text};
    case 409:
      return {Code::kConflict, text};
    case 429:
      return {Code::kResourceExhausted, text};
    case 401:  // the server refuses us
    case 403:
      return Status(Code::kUnavailable, text).Of("api_key");
    case 503:
      return {Code::kUnavailable, text};
    default:
      return {http_status >= 500 ? Code::kInternal : Code::kInvalidArgument, text};
  }
}

std::string TextOf(const JsonView& object, const char* name) { return object.String(name, "").value_or(""); }

class AnswerReader {
 public:
  explicit AnswerReader(AnswerHandlers handlers)
      : handlers_(std::move(handlers)), events_([this](const SseEvent& event) { TakeEvent(event); }) {}

  void Head(const ResponseHead& head) {
    end_.http_status = head.status;
    const std::string_view retry = head.Header("Retry-After");
    std::from_chars(retry.data(), retry.data() + retry.size(), end_.retry_after_seconds);
    streams_ = head.status == 200 && head.Header("Content-Type").starts_with("text/event-stream");
  }
  void Data(std::string_view data) {
    if (streams_) {
      const Status fed = events_.Feed(data);  // an event may set failure_ meanwhile
      if (failure_.ok()) failure_ = fed;
    } else if (body_.size() + data.size() <= kMaxBody) {
      body_ += data;
    } else {
      failure_ = ResourceExhausted("the answer exceeds {} bytes", kMaxBody);
    }
  }
  void End(const Status& status) {
    if (!streams_ && status.ok() && failure_.ok()) TakeWhole();
    if (failure_.ok() && !status.ok() && !done_) failure_ = status;
    if (failure_.ok() && streams_ && !done_) failure_ = Io("the stream ended before the answer did");
    end_.status = failure_;
    const auto on_end = std::exchange(handlers_, {}).on_end;
    on_end(end_);
  }

 private:
  void TakeWhole() {
    if (end_.http_status != 200) {
      failure_ = StatusOf(end_.http_status, MessageOf(body_));
      if (IsTooLong(body_)) failure_ = Status(Code::kTooLong, failure_.message());
    } else if (const auto json = ParseJson(body_, "the server's answer"); !json) {
      failure_ = json.error();
    } else {
      TakeObject(JsonView(*json, "the server's answer"));
    }
  }

  void TakeEvent(const SseEvent& event) {
    if (done_ || !failure_.ok()) return;
    if (event.data == "[DONE]") {
      done_ = true;
      return;
    }
    const auto json = ParseJson(event.data, "an event of the stream");
    if (json) {
      TakeObject(JsonView(*json, "an event of the stream"));
    } else {
      failure_ = json.error();
    }
  }

  void TakeObject(const JsonView& object) {
    if (object.Find("error")) {
      failure_ = Status(Code::kInternal, MessageOf(boost::json::serialize(object.value())));
      return;
    }
    TakeUsage(object);
    const auto choices = object.Find("choices");
    if (!choices || !choices->value().is_array()) return;
    for (size_t i = 0; i < choices->value().get_array().size(); ++i) TakeChoice(choices->At(i));
  }

  void TakeChoice(const JsonView& choice) {
    AnswerPiece piece{.text = TextOf(choice, "text"), .finish_reason = TextOf(choice, "finish_reason")};
    for (const char* name : {"delta", "message"}) {
      const auto message = choice.Find(name);
      if (!message) continue;
      piece.text += TextOf(*message, "content");
      piece.reasoning += TextOf(*message, "reasoning_content");
      if (piece.reasoning.empty()) piece.reasoning = TextOf(*message, "reasoning");
    }
    if (handlers_.on_piece) handlers_.on_piece(piece);
  }

  void TakeUsage(const JsonView& object) {
    const auto usage = object.Find("usage");
    if (!usage) return;
    ReportedUsage reported{.prompt_tokens = usage->Int("prompt_tokens", 0).value_or(0),
                           .completion_tokens = usage->Int("completion_tokens", 0).value_or(0)};
    if (const auto details = usage->Find("prompt_tokens_details"))
      reported.cached_tokens = details->Int("cached_tokens", 0).value_or(0);
    end_.usage = reported;
  }

  AnswerHandlers handlers_;
  SseParser events_;
  AnswerEnd end_;
  std::string body_;
  Status failure_;
  bool streams_ = false, done_ = false;
};

}  // namespace

Result<std::unique_ptr<HttpClient>> Connect(const OpenAiServer& server) {
  HttpClientOptions options{.headers = server.headers,
                            .silence_timeout_seconds = server.timeout_seconds,
                            .ca_file = server.ca_file,
                            .insecure = server.insecure};
  INGOT_ASSIGN_OR_RETURN(options.url, ParseUrl(server.base_url));
  if (options.url.path.ends_with("/v1")) options.url.path.resize(options.url.path.size() - 3);
  if (!server.api_key.empty()) options.headers.emplace_back("Authorization", "Bearer " + server.api_key);
  return HttpClient::Make(options);
}

Result<std::vector<std::string>> ListModels(HttpClient& client) {
  INGOT_ASSIGN_OR_RETURN(const WholeResponse response, Fetch(client, {.path = "/v1/models"}));
  if (response.head.status != 200) return Error(StatusOf(response.head.status, MessageOf(response.body)));
  INGOT_ASSIGN_OR_RETURN(const auto json, ParseJson(response.body, "/v1/models"));
  INGOT_ASSIGN_OR_RETURN(const JsonView data, JsonView(json, "/v1/models").Get("data"));
  INGOT_ASSIGN_OR_RETURN(const auto* list, data.AsArray());
  std::vector<std::string> names;
  for (size_t i = 0; i < list->size(); ++i) {
    INGOT_ASSIGN_OR_RETURN(std::string name, data.At(i).String("id"));
    names.push_back(std::move(name));
  }
  return names;
}

std::shared_ptr<HttpCall> StartAnswer(HttpClient& client, std::string path, std::string body, AnswerHandlers handlers) {
  const auto reader = std::make_shared<AnswerReader>(std::move(handlers));
  return client.Send(
      {.method = "POST", .path = std::move(path), .content_type = "application/json", .body = std::move(body)},
      {.on_head = [reader](const ResponseHead& head) { reader->Head(head); },
       .on_data = [reader](std::string_view data) { reader->Data(data); },
       .on_end = [reader](const Status& status) { reader->End(status); }});
}

}  // namespace ingot::client
