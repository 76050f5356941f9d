// Errors as values. Input errors travel as Status or Result<T>; INGOT_CHECK (check.h) is for our own bugs.
#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace ingot {

enum class Code {
  kOk,
  kInvalidArgument,    // a value the caller gave is out of its range, or of the wrong kind
  kNotFound,           // no such file, model, route, tensor
  kCorrupt,            // a file's bytes contradict themselves or its format
  kUnsupported,        // well-formed, but Ingot cannot do it
  kTooLong,            // prompt + answer exceed the context
  kResourceExhausted,  // memory, blocks, slots or queue are full
  kQuotaExceeded,      // as many are kept as an option allows: waiting does not help
  kConflict,           // the thing is in use
  kCancelled,
  kDeadlineExceeded,
  kUnavailable,  // loading, draining or stopped
  kIo,           // the operating system said no
  kInternal,     // a bug of ours that could be contained
};

const char* CodeName(Code code);

class Status;
using Error = tl::unexpected<Status>;

// An outcome without a value. OK costs an empty string.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  Status(const Error& error);  // NOLINT: lets `return InvalidArgument(…)` serve Status and Result<T> alike
  Status(Error&& error);       // NOLINT

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  // "corrupt: model.gguf: …"
  std::string ToString() const;
  // The field of the caller's request that is at fault, in the callee's terms; "" where none is, or which is not known.
  const std::string& field() const { return field_; }
  // The same with `context: ` before the message; a message that begins with that path stays as it is.
  Status Annotate(std::string_view context) const;
  // The same, of that field.
  Status Of(std::string field) const;

  bool operator==(const Status&) const = default;

 private:
  Code code_ = Code::kOk;
  std::string message_, field_;
};

inline Status::Status(const Error& error) : Status(error.value()) {}
inline Status::Status(Error&& error) : Status(std::move(error.value())) {}

template <typename T>
using Result = tl::expected<T, Status>;

// `return InvalidArgument("temperature {} is outside 0…2", t);` in a function that returns Status or Result<T>.
#define INGOT_DEFINE_ERROR(Name)                                                           \
  template <typename... Args>                                                              \
  Error Name(fmt::format_string<Args...> format, Args&&... args) {                         \
    return Error(Status(Code::k##Name, fmt::format(format, std::forward<Args>(args)...))); \
  }
INGOT_DEFINE_ERROR(InvalidArgument)
INGOT_DEFINE_ERROR(NotFound)
INGOT_DEFINE_ERROR(Corrupt)
INGOT_DEFINE_ERROR(Unsupported)
INGOT_DEFINE_ERROR(TooLong)
INGOT_DEFINE_ERROR(ResourceExhausted)
INGOT_DEFINE_ERROR(QuotaExceeded)
INGOT_DEFINE_ERROR(Conflict)
INGOT_DEFINE_ERROR(Cancelled)
INGOT_DEFINE_ERROR(DeadlineExceeded)
INGOT_DEFINE_ERROR(Unavailable)
INGOT_DEFINE_ERROR(Io)
INGOT_DEFINE_ERROR(Internal)
#undef INGOT_DEFINE_ERROR

#define INGOT_CONCAT_(a, b) a##b
#define INGOT_CONCAT(a, b) INGOT_CONCAT_(a, b)

#define INGOT_RETURN_IF_ERROR(expr)                                           \
  do {                                                                        \
    ::ingot::Status ingot_status_ = (expr);                                   \
    if (!ingot_status_.ok()) return ::ingot::Error(std::move(ingot_status_)); \
  } while (false)

// INGOT_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
#define INGOT_ASSIGN_OR_RETURN(lhs, expr) INGOT_ASSIGN_OR_RETURN_(INGOT_CONCAT(ingot_result_, __LINE__), lhs, expr)
#define INGOT_ASSIGN_OR_RETURN_(result, lhs, expr)               \
  auto result = (expr);                                          \
  if (!result) return ::ingot::Error(std::move(result).error()); \
  lhs = *std::move(result)

}  // namespace ingot
