// The {"pattern": {"String": …}} or {"Regex": …} of tokenizer.json.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "tokenizer/regex.h"
#include "tokenizer/splitters.h"

namespace ingot::tokenizer {

// A literal, a regular expression, or a hand-written function in the place of one.
// Thread safety: const methods from any thread.
class Pattern {
 public:
  static Pattern Literal(std::string literal);
  static Pattern Function(MatchFunction function);
  static Result<Pattern> OfRegex(std::string_view regex);  // a function where there is one

  // Appends the matches in order; they do not overlap, and none is empty.
  void FindAll(std::string_view text, std::vector<ByteSpan>& matches) const;
  MatchFunction function() const { return function_; }  // or nullptr

 private:
  std::string literal_;
  MatchFunction function_ = nullptr;
  std::unique_ptr<Regex> regex_;
};

Result<Pattern> ParsePattern(const JsonView& json);  // its member "pattern"

}  // namespace ingot::tokenizer
