// Logs go to stderr: one line, time, level, message. stdout is for data.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"

namespace ingot {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

// "debug" | "info" | "warning" | "error" | "off", case-insensitive.
Result<LogLevel> ParseLogLevel(std::string_view name);
// From INGOT_LOG_LEVEL (default: warning); a program's flag may change it. Thread-safe.
void SetLogLevel(LogLevel level);
// For a program that has more to tell than others: changes nothing where the environment or a flag named a level.
void SetDefaultLogLevel(LogLevel level);
LogLevel GetLogLevel();
// One JSON object a line instead of text.
void SetLogJson(bool json);
bool LogsJson();

// What machines are to find in a line without reading its message.
struct LogField {
  std::string name;
  std::variant<bool, int64_t, double, std::string> value;
};
using LogFields = std::vector<LogField>;
// "status=200 id=a1"
std::string TextOf(const LogFields& fields);

// Writes one line; JSON has the fields beside the message. Thread-safe.
void LogLine(LogLevel level, std::string_view message, const LogFields& fields = {});

template <typename... Args>
void Log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (level >= GetLogLevel()) LogLine(level, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ingot
