#include "line_reader.h"

#include <editline/readline.h>
#include <unistd.h>

#include <clocale>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "base/env.h"
#include "common.h"

namespace ingot::cli {
namespace {

constexpr const char* kFence = "\"\"\"";
constexpr int kHistoryLines = 1000;

std::string HistoryFile() {
  if (GetEnv("INGOT_NO_HISTORY")) return "";
  std::filesystem::path folder;
  if (const auto state = GetEnv("XDG_STATE_HOME")) {
    folder = *state;
  } else if (const auto home = GetEnv("HOME")) {
    folder = std::filesystem::path(*home) / ".local/state";
  } else {
    return "";
  }
  std::error_code error;
  std::filesystem::create_directories(folder / "ingot", error);
  return error ? "" : (folder / "ingot/history").string();
}

}  // namespace

LineReader::LineReader(std::string prompt)
    : prompt_(std::move(prompt)), interactive_(isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1) {
  if (!interactive_) return;
  std::setlocale(LC_CTYPE, "");  // for the width of what is typed
  using_history();
  stifle_history(kHistoryLines);
  history_file_ = HistoryFile();
  if (!history_file_.empty()) read_history(history_file_.c_str());
}

LineReader::~LineReader() {
  if (interactive_ && !history_file_.empty()) write_history(history_file_.c_str());
}

std::optional<std::string> LineReader::ReadLine(const std::string& prompt) {
  if (!interactive_) {
    std::string line;
    if (!std::getline(std::cin, line)) return std::nullopt;
    return line;
  }
  // Ctrl-C drops the line that is being typed; only Ctrl-D ends the program.
  const InterruptGuard interrupt;
  char* line = readline(prompt.c_str());
  while (line == nullptr && interrupt.interrupted()) {
    fmt::print("\n");
    interrupt.Reset();
    line = readline(prompt.c_str());
  }
  if (line == nullptr) return std::nullopt;
  std::string text = line;
  std::free(line);
  return text;
}

std::optional<std::string> LineReader::ReadMessage() {
  auto line = ReadLine(prompt_);
  if (!line) return std::nullopt;
  if (line->starts_with(kFence)) {
    std::string text = line->substr(3);
    while (!text.ends_with(kFence)) {
      const auto next = ReadLine("… ");
      if (!next) break;
      text += (text.empty() ? "" : "\n") + *next;
    }
    if (text.ends_with(kFence)) text.resize(text.size() - 3);
    line = std::move(text);
  }
  if (interactive_ && !line->empty()) add_history(line->c_str());
  return line;
}

}  // namespace ingot::cli
