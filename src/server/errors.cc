#include "server/errors.h"

#include "base/json.h"
#include "base/log.h"

namespace ingot::server {
namespace {

void AppendStringOrNull(std::string& out, const std::string& text) {
  if (text.empty()) {
    out += "null";
  } else {
    AppendJsonString(out, text);
  }
}

}  // namespace

WireError InternalError(const std::string& cause, const std::string& request_id) {
  Log(LogLevel::kError, "request {} failed: {}", request_id, cause);
  return {500, "server_error", "internal_error", "",
          fmt::format("internal error; the server's log has the cause, under request {}", request_id)};
}

WireError ToWireError(const FieldError& error, const std::string& request_id) {
  WireError wire = ToWireError(error.status, request_id, error.param);
  if (!error.code.empty()) wire.code = error.code;
  return wire;
}

WireError ToWireError(const Status& status, const std::string& request_id, std::string param) {
  const std::string& message = status.message();
  switch (status.code()) {
    case Code::kInvalidArgument:
      return {400, "invalid_request_error", "invalid_value", std::move(param), message};
    case Code::kTooLong:
      return {400, "invalid_request_error", "context_length_exceeded", std::move(param), message};
    case Code::kUnsupported:
      return {400, "not_supported_error", "not_supported", std::move(param), message};
    case Code::kNotFound:
      return {404, "not_found_error", "not_found", std::move(param), message};
    case Code::kConflict:
      return {409, "conflict_error", "conflict", std::move(param), message};
    case Code::kResourceExhausted:
      return {429, "rate_limit_error", "queue_full", std::move(param), message};
    case Code::kQuotaExceeded:
      return {429, "rate_limit_error", kTooManySessions, std::move(param), message};
    case Code::kCancelled:
      return {499, "cancelled_error", "cancelled", std::move(param), message};
    case Code::kUnavailable:
      return {503, "unavailable_error", "overloaded_error", std::move(param), message};
    case Code::kDeadlineExceeded:
      return {504, "timeout_error", "deadline_exceeded", std::move(param), message};
    case Code::kOk:
    case Code::kCorrupt:
    case Code::kIo:
    case Code::kInternal:
      break;
  }
  return InternalError(status.ToString(), request_id);
}

std::string ErrorBody(const WireError& error) {
  std::string body = R"({"error":{"message":)";
  AppendJsonString(body, error.message);
  body += R"(,"type":)";
  AppendJsonString(body, error.type);
  body += R"(,"param":)";
  AppendStringOrNull(body, error.param);
  body += R"(,"code":)";
  AppendStringOrNull(body, error.code);
  body += "}}";
  return body;
}

HttpResponse ErrorResponse(const WireError& error) {
  HttpResponse response{.status = error.status, .body = ErrorBody(error)};
  // What waiting does not help is not to be tried again: clients would, of themselves.
  if (error.status == 504 || error.code == kTooManySessions) {
    response.headers.emplace_back("x-should-retry", "false");
  } else if (error.status == 429 || error.status == 503) {
    const std::string seconds = std::to_string(error.retry_after_seconds);
    response.headers.emplace_back("Retry-After", seconds);
    if (error.limit_requests > 0) {
      response.headers.emplace_back("x-ratelimit-limit-requests", std::to_string(error.limit_requests));
      response.headers.emplace_back("x-ratelimit-remaining-requests", "0");
      response.headers.emplace_back("x-ratelimit-reset-requests", seconds + "s");
    }
  }
  return response;
}

}  // namespace ingot::server
