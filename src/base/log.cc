#include "base/log.h"

#include <fmt/chrono.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <cmath>
#include <string>

#include "base/env.h"
#include "base/json.h"

namespace ingot {
namespace {

std::atomic<bool> g_json{false}, g_level_named{false};

const char* LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
    case LogLevel::kOff:
      return "off";
  }
  return "?";
}

std::atomic<LogLevel>& Level() {
  static std::atomic<LogLevel> level = [] {
    const std::optional<std::string> name = GetEnv("INGOT_LOG_LEVEL");
    if (name) g_level_named = true;
    const Result<LogLevel> parsed = ParseLogLevel(name.value_or("warning"));
    if (!parsed) LogLine(LogLevel::kWarning, "INGOT_LOG_LEVEL: " + parsed.error().message());
    return parsed.value_or(LogLevel::kWarning);
  }();
  return level;
}

// "2026-01-31T12:34:56.789Z"
std::string Now() {
  using namespace std::chrono;
  const auto now = floor<milliseconds>(system_clock::now());
  const auto seconds = floor<std::chrono::seconds>(now);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(system_clock::to_time_t(seconds)),
                     (now - seconds).count());
}

std::string TextOf(const LogField& field) {
  return std::visit([](const auto& value) { return fmt::format("{}", value); }, field.value);
}

void AppendField(std::string& out, const LogField& field) {
  out += ',';
  AppendJsonString(out, field.name);
  out += ':';
  if (const auto* text = std::get_if<std::string>(&field.value)) return AppendJsonString(out, *text);
  // What is measured has no more to tell than three decimals.
  if (const auto* real = std::get_if<double>(&field.value))
    return AppendJsonNumber(out, std::round(*real * 1000) / 1000);
  out += TextOf(field);
}

// A line break in a message (which may quote input) must not forge a second line.
void AppendOneLine(std::string& out, std::string_view message) {
  for (const char c : message) {
    if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 && c != '\t') {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
}

}  // namespace

Result<LogLevel> ParseLogLevel(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const LogLevel level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError, LogLevel::kOff}) {
    if (lower == LevelName(level)) return level;
  }
  return InvalidArgument("log level \"{}\" is none of debug, info, warning, error, off", name);
}

void SetLogLevel(LogLevel level) {
  Level().store(level, std::memory_order_relaxed);
  g_level_named = true;
}
void SetDefaultLogLevel(LogLevel level) {
  std::atomic<LogLevel>& now = Level();
  if (!g_level_named) now.store(level, std::memory_order_relaxed);
}
LogLevel GetLogLevel() { return Level().load(std::memory_order_relaxed); }
void SetLogJson(bool json) { g_json.store(json, std::memory_order_relaxed); }
bool LogsJson() { return g_json.load(std::memory_order_relaxed); }

std::string TextOf(const LogFields& fields) {
  std::string text;
  for (const LogField& field : fields)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", field.name, TextOf(field));
  return text;
}

void LogLine(LogLevel level, std::string_view message, const LogFields& fields) {
  std::string line;
  if (LogsJson()) {
    line = fmt::format(R"({{"time":"{}","level":"{}","message":)", Now(), LevelName(level));
    AppendJsonString(line, message);
    for (const LogField& field : fields) AppendField(line, field);
    line += "}\n";
  } else {
    line = fmt::format("{} {} ", Now(), LevelName(level));
    AppendOneLine(line, message);
    line += '\n';
  }
  // One write call: lines of several threads (or processes) do not mix. A full or closed stderr is ignored.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace ingot
