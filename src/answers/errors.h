// Errors as clients read them.
#pragma once

#include <cstdint>
#include <string>

#include "answers/schema.h"
#include "base/status.h"

namespace ingot::answers {

inline constexpr const char* kTooManySessions = "too_many_sessions";

struct WireError {
  int status = 500;   // of HTTP
  std::string type;   // "invalid_request_error", …
  std::string code;   // "context_length_exceeded", …; null on the wire when empty
  std::string param;  // the field; null on the wire when empty
  std::string message;
  int retry_after_seconds = 1;  // of 429 and 503
  int64_t limit_requests = 0;   // of a full queue: how many may wait there; 0: not told
};

// The table that maps our codes to HTTP: invalid, unsupported → 400; too long → 400 context_length_exceeded; not found
// → 404; conflict → 409; full → 429; unavailable → 503; deadline → 504; the rest → InternalError.
WireError ToWireError(const Status& status, const std::string& request_id);
// With the field's own code, where it has one.
WireError ToWireError(const FieldError& error, const std::string& request_id);
// A fault of ours, 500: the cause goes to the log, and the client learns under which id.
WireError InternalError(const std::string& cause, const std::string& request_id);

// {"error": {message, type, param, code}}
std::string ErrorBody(const WireError& error);
const Schema& ErrorSchema();
// {"error": message}: ollama's and KServe's.
std::string FlatErrorBody(const WireError& error);
const Schema& FlatErrorSchema();

// How a route writes its errors.
struct ErrorStyle {
  std::string (*body)(const WireError&);
  const Schema& (*schema)();
};
inline constexpr ErrorStyle kOpenAiErrors = {ErrorBody, ErrorSchema};
inline constexpr ErrorStyle kFlatErrors = {FlatErrorBody, FlatErrorSchema};

}  // namespace ingot::answers
