// Lines from the user: edited and remembered at a terminal (libedit), plain elsewhere.
#pragma once

#include <optional>
#include <string>

namespace ingot::cli {

// History is kept in ${XDG_STATE_HOME:-~/.local/state}/ingot/history, 1,000 lines; INGOT_NO_HISTORY leaves it alone.
class LineReader {
 public:
  explicit LineReader(std::string prompt);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  bool interactive() const { return interactive_; }
  // One line, or what stands between two """; nullopt at the end of input.
  std::optional<std::string> ReadMessage();
  // One line, as the answer to `prompt`; it is not remembered.
  std::optional<std::string> ReadLine(const std::string& prompt);

 private:
  std::string prompt_, history_file_;
  bool interactive_;
};

}  // namespace ingot::cli
