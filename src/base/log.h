// Logs go to stderr: one line, time, level, message. stdout is for data.
#pragma once

#include <fmt/format.h>

#include <string_view>

#include "base/status.h"

namespace ingot {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

// "debug" | "info" | "warning" | "error" | "off", case-insensitive.
Result<LogLevel> ParseLogLevel(std::string_view name);
// From INGOT_LOG_LEVEL (default: warning); a program's flag may set it anew. Thread-safe.
void SetLogLevel(LogLevel level);
// For a program that has more to tell than others: changes nothing where the environment or a flag named a level.
void SetDefaultLogLevel(LogLevel level);
LogLevel GetLogLevel();
// One JSON object a line instead of text.
void SetLogJson(bool json);
// Writes one line. Thread-safe.
void LogLine(LogLevel level, std::string_view message);

template <typename... Args>
void Log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (level >= GetLogLevel()) LogLine(level, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ingot
