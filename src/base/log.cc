#include "base/log.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstring>
#include <string>

#include "base/env.h"
#include "base/json.h"
#include "base/log_file.h"
#include "base/mutex.h"

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

// How long a line waits for the reader of a pipe; after one that was lost, no line waits until the reader is back.
constexpr int kPatienceMs = 100;

// Where lines go.
class Sink {
 public:
  Status Open(const std::string& path) {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0) return Io("{}: {}", path, std::strerror(errno));
    const MutexLock lock(mutex_);
    if (fd_ != STDERR_FILENO) close(fd_);
    fd_ = fd;
    path_ = path;
    torn_ = false;
    return {};
  }
  std::string path() {
    const MutexLock lock(mutex_);
    return path_;
  }

  void Write(std::string line) {
    const MutexLock lock(mutex_);
    if (lost_ > 0) line = (torn_ ? "\n" : "") + LostLine() + line;
    for (std::string_view rest = line; !rest.empty();) {
      // A pipe whose reader does not read would block the thread that serves everybody; so much fits where it is
      // ready. A shorter line is one write, so that lines of several processes do not mix.
      pollfd state{.fd = fd_, .events = POLLOUT, .revents = 0};
      const bool is_ready = poll(&state, 1, lost_ > 0 ? 0 : kPatienceMs) != 0;
      const ssize_t written = is_ready ? write(fd_, rest.data(), std::min<size_t>(rest.size(), PIPE_BUF)) : 0;
      if (written <= 0) {
        ++lost_;
        torn_ |= rest.size() < line.size();  // a full disk took a part of it
        return;
      }
      rest.remove_prefix(static_cast<size_t>(written));
    }
    lost_ = 0;
    torn_ = false;
  }

 private:
  std::string LostLine() const INGOT_REQUIRES(mutex_);

  Mutex mutex_;
  int fd_ INGOT_GUARDED_BY(mutex_) = STDERR_FILENO;
  std::string path_ INGOT_GUARDED_BY(mutex_);   // "": stderr
  int64_t lost_ INGOT_GUARDED_BY(mutex_) = 0;   // lines, since the last that was written
  bool torn_ INGOT_GUARDED_BY(mutex_) = false;  // the last line is not whole
};

Sink& GetSink() {
  static auto* const sink = new Sink;  // never destroyed: threads may log until the end
  return *sink;
}

std::string FormatLine(LogLevel level, std::string_view message, const LogFields& fields) {
  std::string line;
  if (LogsJson()) {
    line = fmt::format(R"({{"time":"{}","level":"{}","message":)", Now(), LevelName(level));
    AppendJsonString(line, message);
    for (const LogField& field : fields) AppendField(line, field);
    return line + "}\n";
  }
  line = fmt::format("{} {} ", Now(), LevelName(level));
  AppendOneLine(line, message);
  return line + '\n';
}

std::string Sink::LostLine() const {
  const std::string message = fmt::format("{} line{} of the log could not be written", lost_, lost_ == 1 ? "" : "s");
  return FormatLine(LogLevel::kWarning, message, {});
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

Status SetLogFile(const std::string& path) { return GetSink().Open(path); }
Status ReopenLogFile() {
  const std::string path = GetSink().path();
  return path.empty() ? Status() : GetSink().Open(path);
}

void LogLine(LogLevel level, std::string_view message, const LogFields& fields) {
  GetSink().Write(FormatLine(level, message, fields));
}

}  // namespace ingot
