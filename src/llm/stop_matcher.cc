#include "llm/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace ingot::llm {

StopMatcher::StopMatcher(std::vector<std::string> stops) {
  for (std::string& stop : stops) {
    INGOT_CHECK(!stop.empty());
    Pattern pattern{.text = std::move(stop), .border = {}};
    pattern.border.resize(pattern.text.size());
    size_t border = 0;
    for (size_t i = 1; i < pattern.text.size(); ++i) {
      while (border > 0 && pattern.text[i] != pattern.text[border]) border = pattern.border[border - 1];
      if (pattern.text[i] == pattern.text[border]) ++border;
      pattern.border[i] = border;
    }
    patterns_.push_back(std::move(pattern));
  }
}

void StopMatcher::Pattern::Advance(char c) {
  while (matched > 0 && c != text[matched]) matched = border[matched - 1];
  if (c == text[matched]) ++matched;
}

StopMatcher::Result StopMatcher::Push(std::string_view piece) {
  Result result;
  size_t longest = 0;
  for (size_t i = 0; i < piece.size() && !result.match; ++i) {
    held_.push_back(piece[i]);
    longest = 0;
    for (size_t p = 0; p < patterns_.size(); ++p) {
      patterns_[p].Advance(piece[i]);
      const bool complete = patterns_[p].matched == patterns_[p].text.size();
      if (complete && (!result.match || patterns_[p].matched > patterns_[*result.match].matched)) result.match = p;
      longest = std::max(longest, patterns_[p].matched);
    }
  }
  if (piece.empty()) return result;
  // On a match the stop string is all that remains held; else its longest beginning.
  if (result.match) longest = patterns_[*result.match].matched;
  result.text = held_.substr(0, held_.size() - longest);
  held_.erase(0, held_.size() - longest);
  return result;
}

std::string StopMatcher::Finish() { return std::exchange(held_, {}); }

}  // namespace ingot::llm
