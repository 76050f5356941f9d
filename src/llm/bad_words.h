// Keeps texts out of answers, whichever tokens would write them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sampling/token_mask.h"
#include "tokenizer/tokenizer.h"

namespace ingot::llm {

// What the tokens of a vocabulary write, sorted, and which are special. Thread safety: const methods from any thread at
// once.
class TokenTexts {
 public:
  explicit TokenTexts(const tokenizer::Tokenizer& tokenizer);

  // Ids in [0, vocab_size()) alone write something.
  int32_t vocab_size() const { return static_cast<int32_t>(places_.size()); }
  std::string_view TextOf(int32_t id) const;
  std::span<const int32_t> BeginningWith(std::string_view text) const;
  std::vector<int32_t> Containing(std::string_view text) const;  // `text` is not empty
  size_t longest() const { return longest_; }
  bool IsSpecial(int32_t id) const { return id >= 0 && id < vocab_size() && is_special_[static_cast<size_t>(id)]; }

 private:
  std::string_view TextAt(size_t place) const;

  std::string texts_;             // one after the other, sorted
  std::vector<size_t> begins_;    // [vocab_size + 1] where each begins in `texts_`
  std::vector<int32_t> ids_;      // [vocab_size] whose text it is
  std::vector<uint32_t> places_;  // [vocab_size] where in that order the text of an id is
  std::vector<bool> is_special_;  // [vocab_size]
  size_t longest_ = 0;
};

// Tokens that leave no text in the answer; they are always allowed.
struct SilentTokens {
  bool special = false;
  std::vector<int32_t> ids = {};  // others, as those that end it
};

// The texts that a request's answers must not contain, and the tokens that would complete them. Thread safety: as
// above.
class BadWords {
 public:
  // `texts` outlives this.
  BadWords(std::vector<std::string> words, const TokenTexts& texts, SilentTokens silent);

  // Clears the bits of tokens that complete a word after an answer that ends in `tail`.
  void Mask(std::string_view tail, std::span<uint32_t> allowed) const;
  // What the token adds to the answer.
  std::string_view TextOf(int32_t id) const { return IsSilent(id) ? std::string_view() : texts_.TextOf(id); }
  size_t most_tail() const { return most_tail_; }  // bytes of an answer's end that matter
  size_t longest_token() const { return texts_.longest(); }

 private:
  // After an answer that ends with the first `written` bytes of a word, these tokens complete it.
  struct Rest {
    size_t word, written;
    std::span<const int32_t> ids;  // of texts_
  };
  bool IsSilent(int32_t id) const {
    return (silent_.special && texts_.IsSpecial(id)) || std::ranges::binary_search(silent_.ids, id);
  }
  void Clear(std::span<const int32_t> ids, std::span<uint32_t> allowed) const;

  const std::vector<std::string> words_;
  const TokenTexts& texts_;
  SilentTokens silent_;             // ids sorted
  std::vector<uint32_t> anywhere_;  // bits of the tokens that contain no word
  std::vector<Rest> rests_;
  size_t most_tail_ = 0;
};

// Of one answer: refuses the tokens that would complete a bad word, and those that another mask refuses.
class BadWordsMask : public sampling::TokenMask {
 public:
  // `other` may be null. `max_tokens`: of the answer.
  BadWordsMask(std::shared_ptr<const BadWords> words, std::shared_ptr<sampling::TokenMask> other, int64_t max_tokens);

  void FillAllowed(std::span<uint32_t> allowed) const override;
  bool Accept(int32_t id) override;
  void Rollback(int count) override;

 private:
  const std::shared_ptr<const BadWords> words_;
  const std::shared_ptr<sampling::TokenMask> other_;
  std::vector<int32_t> accepted_;
  std::string tail_;  // of the answer's text, the bytes that matter
};

}  // namespace ingot::llm
