// Regular expressions of tokenizer files: Oniguruma's dialect (with Ruby's syntax, which `tokenizers` uses), run by
// PCRE2.
//
// PCRE2's Unicode is older than that of `tokenizers`, and its compiled form too small for our classes spelled out. So
// the sets of characters that a pattern names (\p{L}, \s, a, [^x]) cut Unicode into at most 250 kinds of characters
// that it cannot tell apart; text is matched as a string of kinds, one byte each, and sets become sets of bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/unicode.h"

namespace ingot::tokenizer {

// A pattern taken apart: `text` is PCRE2 syntax with "\1<index>\2" wherever one character of sets[index] is meant.
struct ParsedPattern {
  std::string text;
  std::vector<CodePointSet> sets;  // distinct; [0] is the line feed
};
Result<ParsedPattern> ParsePattern(std::string_view pattern);

// A literal, with what is special in a pattern escaped.
std::string EscapePattern(std::string_view literal);

using ByteSpan = std::pair<size_t, size_t>;  // begin, end

// Thread safety: const methods from any thread.
class Regex {
 public:
  static Result<std::unique_ptr<Regex>> Compile(std::string_view pattern);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  // Appends the matches of at least one byte, in order. Work is bounded: a search that would take too long ends the
  // list. A byte that is not UTF-8 counts as U+FFFD.
  void FindAll(std::string_view text, std::vector<ByteSpan>& matches) const;

 private:
  struct Compiled;
  explicit Regex(std::unique_ptr<Compiled> compiled);
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace ingot::tokenizer
