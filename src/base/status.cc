#include "base/status.h"

namespace ingot {

const char* CodeName(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kInvalidArgument:
      return "invalid argument";
    case Code::kNotFound:
      return "not found";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kTooLong:
      return "too long";
    case Code::kResourceExhausted:
      return "resource exhausted";
    case Code::kQuotaExceeded:
      return "quota exceeded";
    case Code::kConflict:
      return "conflict";
    case Code::kCancelled:
      return "cancelled";
    case Code::kDeadlineExceeded:
      return "deadline exceeded";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kIo:
      return "i/o error";
    case Code::kInternal:
      return "internal error";
  }
  return "unknown";
}

std::string Status::ToString() const {
  return message_.empty() ? CodeName(code_) : fmt::format("{}: {}", CodeName(code_), message_);
}

Status Status::Annotate(std::string_view context) const {
  const bool says_it = message_.starts_with(context) && message_.size() > context.size() &&
                       (message_[context.size()] == ':' || message_[context.size()] == '/');
  return ok() || says_it ? *this : Status(code_, fmt::format("{}: {}", context, message_)).Of(field_);
}

Status Status::Of(std::string field) const {
  Status status = *this;
  status.field_ = std::move(field);
  return status;
}

}  // namespace ingot
