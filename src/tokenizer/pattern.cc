#include "tokenizer/pattern.h"

#include "text/utf8.h"

namespace ingot::tokenizer {

Pattern Pattern::Literal(std::string literal) {
  Pattern pattern;
  pattern.literal_ = std::move(literal);
  return pattern;
}

Pattern Pattern::Function(MatchFunction function) {
  Pattern pattern;
  pattern.function_ = function;
  return pattern;
}

Result<Pattern> Pattern::OfRegex(std::string_view regex) {
  Pattern pattern;
  pattern.function_ = FindSplitter(regex);
  if (pattern.function_ == nullptr) {
    INGOT_ASSIGN_OR_RETURN(pattern.regex_, Regex::Compile(regex));
  }
  return pattern;
}

void Pattern::FindAll(std::string_view text, std::vector<ByteSpan>& matches) const {
  if (regex_ != nullptr) return regex_->FindAll(text, matches);
  if (function_ != nullptr) {
    for (size_t at = 0; at < text.size();) {
      const size_t end = function_(text, at);
      if (end > at) matches.emplace_back(at, end);
      at = end > at ? end : at + DecodeUtf8(text.data() + at, text.data() + text.size()).length;
    }
    return;
  }
  if (literal_.empty()) return;
  for (size_t at = text.find(literal_); at != std::string_view::npos; at = text.find(literal_, at + literal_.size())) {
    matches.emplace_back(at, at + literal_.size());
  }
}

Result<Pattern> ParsePattern(const JsonView& json) {
  INGOT_ASSIGN_OR_RETURN(const JsonView pattern, json.Get("pattern"));
  if (pattern.Find("String")) {
    INGOT_ASSIGN_OR_RETURN(std::string literal, pattern.String("String"));
    return Pattern::Literal(std::move(literal));
  }
  INGOT_ASSIGN_OR_RETURN(const std::string regex, pattern.String("Regex"));
  Result<Pattern> result = Pattern::OfRegex(regex);
  if (!result) return Error(result.error().Annotate(pattern.path()));
  return result;
}

}  // namespace ingot::tokenizer
