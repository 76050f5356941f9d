// Errors on the wire, as OpenAI's clients read them: {"error": {message, type, param, code}}.
#pragma once

#include <string>

#include "base/status.h"
#include "server/http.h"

namespace ingot::server {

inline constexpr const char* kTooManySessions = "too_many_sessions";

struct WireError {
  int status = 500;
  std::string type;   // "invalid_request_error", …
  std::string code;   // "context_length_exceeded", …; null on the wire when empty
  std::string param;  // the field; null on the wire when empty
  std::string message;
};

// The table that maps our codes to HTTP: invalid, corrupt, unsupported → 400; too long → 400 context_length_exceeded;
// not found → 404; conflict → 409; full → 429 with Retry-After; unavailable → 503; deadline → 504; the rest → 500 with
// an opaque message (the cause goes to the log).
WireError ToWireError(const Status& status, std::string param = "");

// {"error":{…}} without the frame of HTTP: for events of a stream.
std::string ErrorBody(const WireError& error);
HttpResponse ErrorResponse(const WireError& error);

}  // namespace ingot::server
