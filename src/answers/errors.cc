#include "answers/errors.h"

#include "base/json_writer.h"
#include "base/log.h"

namespace ingot::answers {

WireError InternalError(const std::string& cause, const std::string& request_id) {
  Log(LogLevel::kError, "request {} failed: {}", request_id, cause);
  return {500, "server_error", "internal_error", "",
          fmt::format("internal error; the server's log has the cause, under request {}", request_id)};
}

WireError ToWireError(const FieldError& error, const std::string& request_id) {
  WireError wire = ToWireError(error.status.Of(error.param), request_id);
  if (!error.code.empty()) wire.code = error.code;
  return wire;
}

WireError ToWireError(const Status& status, const std::string& request_id) {
  const std::string &message = status.message(), &param = status.field();
  switch (status.code()) {
    case Code::kInvalidArgument:
      return {400, "invalid_request_error", "invalid_value", param, message};
    case Code::kTooLong:
      return {400, "invalid_request_error", "context_length_exceeded", param, message};
    case Code::kUnsupported:
      return {400, "not_supported_error", "not_supported", param, message};
    case Code::kNotFound:
      return {404, "not_found_error", "not_found", param, message};
    case Code::kConflict:
      return {409, "conflict_error", "conflict", param, message};
    case Code::kResourceExhausted:
      return {429, "rate_limit_error", "queue_full", param, message};
    case Code::kQuotaExceeded:
      return {429, "rate_limit_error", kTooManySessions, param, message};
    case Code::kCancelled:
      return {499, "cancelled_error", "cancelled", param, message};
    case Code::kUnavailable:
      return {503, "unavailable_error", "overloaded_error", param, message};
    case Code::kDeadlineExceeded:
      return {504, "timeout_error", "deadline_exceeded", param, message};
    case Code::kOk:
    case Code::kCorrupt:
    case Code::kIo:
    case Code::kInternal:
      break;
  }
  return InternalError(status.ToString(), request_id);
}

std::string ErrorBody(const WireError& error) {
  const auto or_null = [](const std::string& text) { return text.empty() ? std::nullopt : std::optional(text); };
  return JsonObject()
      .AddJson("error", JsonObject()
                            .Add("message", error.message)
                            .Add("type", error.type)
                            .Add("param", or_null(error.param))
                            .Add("code", or_null(error.code))
                            .Text())
      .Text();
}

const Schema& ErrorSchema() {
  static const Schema schema = Object({{"error",
                                        Object({{"message", String(0, 1 << 16), true},
                                                {"type", String(1, 64), true},
                                                {"param", String(0, 1 << 10).Nullable(), true},
                                                {"code", String(0, 64).Nullable(), true}}),
                                        true}})
                                   .Named("Error");
  return schema;
}

std::string FlatErrorBody(const WireError& error) { return JsonObject().Add("error", error.message).Text(); }

const Schema& FlatErrorSchema() {
  static const Schema schema = Object({{"error", String(0, 1 << 16), true}}).Named("OllamaError");
  return schema;
}

}  // namespace ingot::answers
