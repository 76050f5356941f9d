// Tokens that are found in the text before anything else happens to it.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/marked_text.h"

namespace ingot::tokenizer {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;      // matched in trusted text alone, and skipped when decoding
  bool normalized = false;   // matched after normalization
  bool lstrip = false;       // takes the white space before it too
  bool rstrip = false;       // and behind it
  bool single_word = false;  // not inside a word
};

// A part of a text: a token if id ≥ 0, else ordinary text.
struct TokenOrText {
  int32_t id;
  size_t begin, end;
};

// Finds the longest token at the leftmost place, again and again.
// Thread safety: const methods from any thread.
class AddedTokenMatcher {
 public:
  // `content` is what is looked for (the token's own, or that normalized). The first of equal ones counts.
  void Add(const AddedToken& token, std::string_view content);
  bool empty() const { return tokens_.empty(); }

  // The parts cover the text; none is empty. A special token is found only where all its bytes are trusted.
  std::vector<TokenOrText> Split(std::string_view text, std::span<const MarkedText::Span> trusted) const;

 private:
  // The longest token at `at`; specials only up to `trusted_end`. False if there is none.
  bool Match(std::string_view text, size_t at, size_t trusted_end, size_t& end, int32_t& index) const;

  std::vector<AddedToken> tokens_;
  bool begins_[256] = {};
  boost::unordered_flat_map<uint64_t, uint32_t> edges_;  // a trie: node << 8 | byte → node
  std::vector<int32_t> token_at_ = {-1};                 // by node: index in tokens_, or -1
};

}  // namespace ingot::tokenizer
