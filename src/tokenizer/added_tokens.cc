#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace ingot::tokenizer {
namespace {

// Where the character before `at` begins. REQUIRES: at > 0
size_t Before(std::string_view text, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && at - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

ClassMask ClassAt(std::string_view text, size_t at) {
  return ClassOf(DecodeUtf8(text.data() + at, text.data() + text.size()).code_point);
}

size_t SpacesBackward(std::string_view text, size_t at, size_t limit) {
  while (at > limit && (ClassAt(text, Before(text, at)) & kSpace)) at = Before(text, at);
  return std::max(at, limit);
}

size_t SpacesForward(std::string_view text, size_t at) {
  while (at < text.size()) {
    const auto [code_point, length] = DecodeUtf8(text.data() + at, text.data() + text.size());
    if (!(ClassOf(code_point) & kSpace)) break;
    at += length;
  }
  return at;
}

bool InsideWord(std::string_view text, size_t begin, size_t end) {
  return (begin > 0 && (ClassAt(text, Before(text, begin)) & kWord)) ||
         (end < text.size() && (ClassAt(text, end) & kWord));
}

}  // namespace

void AddedTokenMatcher::Add(const AddedToken& token, std::string_view content) {
  if (content.empty()) return;
  begins_[static_cast<unsigned char>(content[0])] = true;
  uint64_t node = 0;
  for (const char c : content) {
    const auto [it, inserted] =
        edges_.try_emplace(node << 8 | static_cast<unsigned char>(c), static_cast<uint32_t>(token_at_.size()));
    if (inserted) token_at_.push_back(-1);
    node = it->second;
  }
  if (token_at_[node] >= 0) return;
  token_at_[node] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

bool AddedTokenMatcher::Match(std::string_view text, size_t at, size_t trusted_end, size_t& end, int32_t& index) const {
  bool found = false;
  uint64_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto it = edges_.find(node << 8 | static_cast<unsigned char>(text[i]));
    if (it == edges_.end()) break;
    node = it->second;
    const int32_t token = token_at_[node];
    if (token < 0 || (tokens_[static_cast<size_t>(token)].special && i + 1 > trusted_end)) continue;
    found = true;
    end = i + 1;
    index = token;
  }
  return found;
}

std::vector<TokenOrText> AddedTokenMatcher::Split(std::string_view text,
                                                  std::span<const MarkedText::Span> trusted) const {
  std::vector<TokenOrText> parts;
  size_t done = 0;  // what parts cover
  size_t span = 0;
  for (size_t at = 0; at < text.size() && !tokens_.empty();) {
    if (!begins_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    while (span < trusted.size() && trusted[span].end <= at) ++span;
    const size_t trusted_end = span < trusted.size() && trusted[span].begin <= at ? trusted[span].end : 0;
    size_t end = 0;
    int32_t index = 0;
    if (!Match(text, at, trusted_end, end, index)) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    size_t begin = at;
    at = end;
    if (token.single_word && InsideWord(text, begin, end)) continue;
    if (token.lstrip) begin = SpacesBackward(text, begin, std::min(done, begin));
    if (token.rstrip) end = SpacesForward(text, end);
    if (done < begin) parts.push_back({-1, done, begin});
    parts.push_back({token.id, begin, end});
    done = std::max(done, end);
  }
  if (done < text.size()) parts.push_back({-1, done, text.size()});
  return parts;
}

}  // namespace ingot::tokenizer
