#include "llm/bad_words.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace ingot::llm {
namespace {

void KeepEnd(size_t size, std::string* text) {
  if (text->size() > size) text->erase(0, text->size() - size);
}

}  // namespace

TokenTexts::TokenTexts(const tokenizer::Tokenizer& tokenizer) {
  const auto size = static_cast<size_t>(tokenizer.vocab_size());
  std::vector<std::string> of_ids(size);
  is_special_.resize(size);
  for (size_t id = 0; id < size; ++id) {
    of_ids[id] = tokenizer.TokenBytes(static_cast<int32_t>(id));
    is_special_[id] = tokenizer.IsSpecial(static_cast<int32_t>(id));
  }
  ids_.resize(size);
  std::iota(ids_.begin(), ids_.end(), 0);
  const auto text_of = [&](int32_t id) -> const std::string& { return of_ids[static_cast<size_t>(id)]; };
  std::ranges::sort(ids_, {}, [&](int32_t id) { return std::pair(std::string_view(text_of(id)), id); });
  places_.resize(size);
  for (size_t place = 0; place < size; ++place) {
    const std::string& text = text_of(ids_[place]);
    places_[static_cast<size_t>(ids_[place])] = static_cast<uint32_t>(place);
    begins_.push_back(texts_.size());
    texts_ += text;
    longest_ = std::max(longest_, text.size());
  }
  begins_.push_back(texts_.size());
}

std::string_view TokenTexts::TextAt(size_t place) const {
  return std::string_view(texts_).substr(begins_[place], begins_[place + 1] - begins_[place]);
}

std::string_view TokenTexts::TextOf(int32_t id) const {
  return id >= 0 && id < vocab_size() ? TextAt(places_[static_cast<size_t>(id)]) : std::string_view();
}

std::span<const int32_t> TokenTexts::BeginningWith(std::string_view text) const {
  // Of texts cut to its length, those equal to it follow those before it.
  const auto cut = [&](const int32_t& id) { return TextOf(id).substr(0, text.size()); };
  const auto found = std::ranges::equal_range(ids_, text, {}, cut);
  return {found.begin(), found.end()};
}

std::vector<int32_t> TokenTexts::Containing(std::string_view text) const {
  INGOT_CHECK(!text.empty());
  std::vector<int32_t> ids;
  for (size_t at = 0; at < texts_.size();) {
    const void* found = memmem(texts_.data() + at, texts_.size() - at, text.data(), text.size());
    if (found == nullptr) break;
    at = static_cast<size_t>(static_cast<const char*>(found) - texts_.data());
    const auto place = static_cast<size_t>(std::ranges::upper_bound(begins_, at) - begins_.begin()) - 1;
    const bool is_within_one = at + text.size() <= begins_[place + 1];
    if (is_within_one) ids.push_back(ids_[place]);
    at = is_within_one ? begins_[place + 1] : at + 1;
  }
  return ids;
}

BadWords::BadWords(std::vector<std::string> words, const TokenTexts& texts, SilentTokens silent)
    : words_(std::move(words)), texts_(texts), silent_(std::move(silent)) {
  std::ranges::sort(silent_.ids);
  anywhere_.assign(sampling::MaskWords(texts.vocab_size()), ~0u);
  for (size_t w = 0; w < words_.size(); ++w) {
    const std::string_view word = words_[w];
    Clear(texts.Containing(word), anywhere_);
    const size_t first = word.size() > texts.longest() ? word.size() - texts.longest() : 1;
    for (size_t written = first; written < word.size(); ++written) {
      const auto ids = texts.BeginningWith(word.substr(written));
      if (!ids.empty()) rests_.push_back({.word = w, .written = written, .ids = ids});
    }
    most_tail_ = std::max(most_tail_, word.size() - 1);
  }
}

void BadWords::Clear(std::span<const int32_t> ids, std::span<uint32_t> allowed) const {
  for (const int32_t id : ids) {
    const auto at = static_cast<size_t>(id) / 32;
    if (at < allowed.size() && !IsSilent(id)) allowed[at] &= ~(1u << (id % 32));
  }
}

void BadWords::Mask(std::string_view tail, std::span<uint32_t> allowed) const {
  for (size_t i = 0; i < std::min(anywhere_.size(), allowed.size()); ++i) allowed[i] &= anywhere_[i];
  for (const auto& [word, written, ids] : rests_) {
    if (tail.ends_with(std::string_view(words_[word]).substr(0, written))) Clear(ids, allowed);
  }
}

BadWordsMask::BadWordsMask(std::shared_ptr<const BadWords> words, std::shared_ptr<sampling::TokenMask> other,
                           int64_t max_tokens)
    : words_(std::move(words)), other_(std::move(other)) {
  accepted_.reserve(static_cast<size_t>(max_tokens));  // a step allocates nothing
  tail_.reserve(words_->most_tail() + words_->longest_token());
}

void BadWordsMask::FillAllowed(std::span<uint32_t> allowed) const {
  if (other_) {
    other_->FillAllowed(allowed);
  } else {
    std::ranges::fill(allowed, ~0u);
  }
  words_->Mask(tail_, allowed);
}

bool BadWordsMask::Accept(int32_t id) {
  if (other_ && !other_->Accept(id)) return false;
  accepted_.push_back(id);
  tail_ += words_->TextOf(id);
  KeepEnd(words_->most_tail(), &tail_);
  return true;
}

void BadWordsMask::Rollback(int count) {
  if (other_) other_->Rollback(count);
  accepted_.resize(accepted_.size() - static_cast<size_t>(count));
  tail_.clear();
  for (auto id = accepted_.rbegin(); id != accepted_.rend() && tail_.size() < words_->most_tail(); ++id)
    tail_.insert(0, words_->TextOf(*id));
  KeepEnd(words_->most_tail(), &tail_);
}

}  // namespace ingot::llm
