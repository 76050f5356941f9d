#include "line_reader.h"

#include <editline/readline.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <clocale>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "base/env.h"

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

// While it lives, Ctrl-C ends the editor's read() instead of the program.
class PromptGuard {
 public:
  PromptGuard() {
    interrupted_ = false;
    Handle(SIGINT, &before_, [](int) {
      interrupted_ = true;
      alarm(1);  // should it come just before the read() that it is to end
    });
    Handle(SIGALRM, nullptr, [](int) {});
  }
  ~PromptGuard() {
    alarm(0);
    sigaction(SIGINT, &before_, nullptr);
    signal(SIGALRM, SIG_DFL);
  }
  PromptGuard(const PromptGuard&) = delete;
  PromptGuard& operator=(const PromptGuard&) = delete;

  bool TakeInterrupt() const {
    alarm(0);
    return interrupted_.exchange(false);
  }

 private:
  static void Handle(int number, struct sigaction* before, void (*handler)(int)) {
    struct sigaction action{};  // without SA_RESTART: a read() returns
    action.sa_handler = handler;
    sigaction(number, &action, before);
  }
  struct sigaction before_{};
  static inline std::atomic<bool> interrupted_ = false;
};

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
  const PromptGuard guard;
  char* line = readline(prompt.c_str());
  while (line == nullptr && guard.TakeInterrupt()) {
    fmt::print("\n");
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
