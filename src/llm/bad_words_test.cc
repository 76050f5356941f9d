#include "llm/bad_words.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "llm/test_llm.h"

namespace ingot::llm {
namespace {

// Tokens that write one to four letters of two, so that a text has many tokenizations; the last one is special.
class PairTokenizer : public ByteTokenizer {
 public:
  PairTokenizer() {
    for (size_t length = 1; length <= 4; ++length) {
      for (size_t bits = 0; bits < size_t{1} << length; ++bits) {
        std::string text;
        for (size_t i = 0; i < length; ++i) text += (bits >> i & 1) == 0 ? 'a' : 'b';
        texts_.push_back(std::move(text));
      }
    }
    texts_.emplace_back("<ab>");
  }
  std::string TokenBytes(int32_t id) const override { return texts_[static_cast<size_t>(id)]; }
  int32_t vocab_size() const override { return static_cast<int32_t>(texts_.size()); }
  bool IsSpecial(int32_t id) const override { return id == vocab_size() - 1; }

 private:
  std::vector<std::string> texts_;
};

std::vector<int32_t> AllowedBy(const sampling::TokenMask& mask, int32_t vocab_size) {
  std::vector<uint32_t> bits(sampling::MaskWords(vocab_size));
  mask.FillAllowed(bits);
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < vocab_size; ++id) {
    if ((bits[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) ids.push_back(id);
  }
  return ids;
}

TEST(TokenTexts, FindsTokensByTheirBeginningAndWhatTheyContain) {
  const PairTokenizer tokenizer;
  const TokenTexts texts(tokenizer);
  EXPECT_EQ(texts.longest(), 4u);
  for (const char* text : {"a", "b", "ba", "abb", "bbbb", "aaaab", "<"}) {
    std::vector<int32_t> beginning, containing;
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      EXPECT_EQ(texts.TextOf(id), tokenizer.TokenBytes(id));
      if (tokenizer.TokenBytes(id).starts_with(text)) beginning.push_back(id);
      if (tokenizer.TokenBytes(id).find(text) != std::string::npos) containing.push_back(id);
    }
    const auto found = texts.BeginningWith(text);
    std::vector<int32_t> sorted(found.begin(), found.end()), contain = texts.Containing(text);
    std::ranges::sort(sorted);
    std::ranges::sort(contain);
    EXPECT_EQ(sorted, beginning) << text;
    EXPECT_EQ(contain, containing) << text;
  }
}

// Allowed is exactly what leaves the answer without every word, whatever was taken back before.
TEST(BadWords, RefuseExactlyTheTokensThatCompleteOne) {
  const PairTokenizer tokenizer;
  const TokenTexts texts(tokenizer);
  std::mt19937_64 random(5);
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  size_t refused = 0;
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> words(1 + below(3));
    for (std::string& word : words) {
      for (size_t length = 2 + below(8); word.size() < length;) word += below(2) == 0 ? 'a' : 'b';
    }
    BadWordsMask mask(std::make_shared<const BadWords>(words, texts, SilentTokens()), nullptr, 100);
    std::vector<std::string> answer = {""};  // after each token
    for (int step = 0; step < 40; ++step) {
      const std::vector<int32_t> allowed = AllowedBy(mask, tokenizer.vocab_size());
      for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
        const std::string next = answer.back() + tokenizer.TokenBytes(id);
        const bool completes =
            std::ranges::any_of(words, [&](const std::string& word) { return next.find(word) != std::string::npos; });
        ASSERT_EQ(std::ranges::binary_search(allowed, id), !completes) << answer.back() << " + " << id;
        refused += completes ? 1 : 0;
      }
      if (allowed.empty()) break;
      const int32_t id = allowed[below(allowed.size())];
      ASSERT_TRUE(mask.Accept(id));
      answer.push_back(answer.back() + tokenizer.TokenBytes(id));
      const size_t back = below(4) == 0 ? below(std::min<size_t>(answer.size(), 4)) : 0;
      mask.Rollback(static_cast<int>(back));
      answer.resize(answer.size() - back);
    }
  }
  EXPECT_GT(refused, 1000u);
}

TEST(BadWords, TokensThatLeaveNoTextAreAllowedAndChangeNothing) {
  const PairTokenizer tokenizer;
  const TokenTexts texts(tokenizer);
  const int32_t special = tokenizer.vocab_size() - 1;
  const int32_t a = 0, b = 1;
  for (const SilentTokens& silent : {SilentTokens{.ids = {0x7fffffff, special}}, SilentTokens{.special = true}}) {
    BadWordsMask mask(std::make_shared<const BadWords>(std::vector<std::string>{"ab"}, texts, silent), nullptr, 10);
    for (const int32_t id : {special, a, special}) ASSERT_TRUE(mask.Accept(id));
    const std::vector<int32_t> allowed = AllowedBy(mask, tokenizer.vocab_size());
    EXPECT_TRUE(std::ranges::binary_search(allowed, special));
    EXPECT_TRUE(std::ranges::binary_search(allowed, a));
    EXPECT_FALSE(std::ranges::binary_search(allowed, b));  // a<ab>b reads ab
  }
}

// What a mask of its own and the words both allow; ids past the tokenizer's vocabulary write nothing.
TEST(BadWords, AddToAnotherMask) {
  class Even : public sampling::TokenMask {
   public:
    void FillAllowed(std::span<uint32_t> allowed) const override { std::ranges::fill(allowed, 0x55555555u); }
    bool Accept(int32_t id) override { return id % 2 == 0; }
    void Rollback(int count) override { taken_back += count; }
    int taken_back = 0;
  };
  const PairTokenizer tokenizer;
  const TokenTexts texts(tokenizer);
  const auto even = std::make_shared<Even>();
  BadWordsMask mask(std::make_shared<const BadWords>(std::vector<std::string>{"b"}, texts, SilentTokens()), even, 10);
  const std::vector<int32_t> allowed = AllowedBy(mask, 100);
  for (int32_t id = 0; id < 100; ++id) {
    EXPECT_EQ(std::ranges::binary_search(allowed, id),
              id % 2 == 0 && (id >= tokenizer.vocab_size() || tokenizer.TokenBytes(id).find("b") == std::string::npos))
        << id;
  }
  EXPECT_TRUE(mask.Accept(0));
  EXPECT_FALSE(mask.Accept(1));
  mask.Rollback(1);
  EXPECT_EQ(even->taken_back, 1);
}

TEST(BadWords, LeaveTheEndOfAnAnswerAllowed) {
  const FakeLlm fake = MakeFakeLlm();
  Request request{.prompt = "hello", .max_tokens = 5};
  for (int c = 0; c < 256; ++c) request.bad_words.emplace_back(1, static_cast<char>(c));
  request.skip_special_tokens = false;  // </s> contains s, and leaves no text as it ends the answer
  const auto answer = fake.llm->Generate(request);
  ASSERT_TRUE(answer.has_value()) << answer.error().ToString();
  EXPECT_EQ(answer->choices[0].text, "");
  EXPECT_EQ(answer->choices[0].finish, FinishReason::kStop);
}

}  // namespace
}  // namespace ingot::llm
