// What an OpenAI server says, as plain values: chat and completions, streamed, of any server that speaks so.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/http_client.h"

namespace ingot::client {

// Where an OpenAI server is, and how to be let in. "http://host:8000" and "http://host:8000/v1" are the same server.
struct OpenAiServer {
  std::string base_url;
  std::string api_key;  // "": none is sent
  Headers headers;      // beside those
  std::string ca_file;
  bool insecure = false;
  double timeout_seconds = 600;  // of silence
};
Result<std::unique_ptr<HttpClient>> Connect(const OpenAiServer& server);

// Errors of what follows name the field that is at fault where one is: "url" (no answer from there), "ca_file" (its
// certificate is not trusted), "api_key" (401 and 403).

// The names at /v1/models.
Result<std::vector<std::string>> ListModels(HttpClient& client);

// A piece of an answer.
struct AnswerPiece {
  std::string text, reasoning;
  std::string finish_reason;  // with the last piece of a choice; "" before
};

struct ReportedUsage {
  int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
};

struct AnswerEnd {
  // ok: the answer came whole. Else the server's message, or why there is no answer: kIo when the stream broke off.
  Status status;
  int http_status = 0;             // 0: no answer at all
  double retry_after_seconds = 0;  // of a 429 or 503 that says so
  std::optional<ReportedUsage> usage;
};

struct AnswerHandlers {
  std::function<void(const AnswerPiece&)> on_piece;  // may be empty
  std::function<void(const AnswerEnd&)> on_end;      // exactly once
};

// POSTs a body to /v1/chat/completions or /v1/completions and reads what comes: a stream of server-sent events, or one
// JSON object where the server does not stream. Pieces of all choices come in one row.
std::shared_ptr<HttpCall> StartAnswer(HttpClient& client, std::string path, std::string body, AnswerHandlers handlers);

}  // namespace ingot::client
