// Finds stop strings in text that comes in pieces.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ingot::llm {

// Thread safety: none.
// The match is the one that is complete first, byte by byte (of several that end at the same byte, the longest), so it
// does not depend on how the text is cut into pieces. Text is held back while it may be the beginning of a stop string.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);  // none of them empty

  struct Result {
    std::string text;             // what may go out now; on a match all up to the stop string
    std::optional<size_t> match;  // index of the stop string; nothing may be pushed after
  };
  Result Push(std::string_view piece);
  // What is still held back.
  std::string Finish();
  const std::string& stop(size_t index) const { return patterns_[index].text; }

 private:
  // Knuth, Morris, Pratt: `matched` bytes at the end of the text so far are the longest beginning of `text`.
  struct Pattern {
    std::string text;
    std::vector<size_t> border;  // [text.size()] longest proper beginning of text[0, i] that is also its end
    size_t matched = 0;
    void Advance(char c);
  };
  std::vector<Pattern> patterns_;
  std::string held_;
};

}  // namespace ingot::llm
