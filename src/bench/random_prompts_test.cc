#include "bench/random_prompts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace ingot::bench {
namespace {

// Letters and spaces that merge, so that text cut at random comes back as other tokens; one special token.
std::unique_ptr<tokenizer::Tokenizer> Make() {
  GgufVocabulary gguf;
  gguf.model = "gpt2";
  gguf.pre = "gpt-2";
  for (char c = 'a'; c <= 'h'; ++c) gguf.tokens.emplace_back(1, c);
  gguf.tokens.emplace_back("Ġ");
  for (const auto& [left, right] :
       {std::pair("a", "b"), std::pair("ab", "c"), std::pair("Ġ", "d"), std::pair("e", "e")}) {
    gguf.merges.push_back(std::string(left) + " " + right);
    gguf.tokens.push_back(std::string(left) + right);
  }
  gguf.token_types.assign(gguf.tokens.size(), 1);
  gguf.tokens.emplace_back("<end>");
  gguf.token_types.push_back(3);
  gguf.eos_id = static_cast<int64_t>(gguf.tokens.size()) - 1;
  Vocabulary vocabulary;
  vocabulary.gguf = gguf;
  auto tokenizer = tokenizer::Tokenizer::Create(vocabulary);
  EXPECT_TRUE(tokenizer) << tokenizer.error().ToString();
  return tokenizer ? *std::move(tokenizer) : nullptr;
}

TEST(RandomPrompts, IdsAreOrdinary) {
  const auto tokenizer = Make();
  const auto ids = OrdinaryIds(*tokenizer);
  EXPECT_EQ(static_cast<int32_t>(ids.size()), tokenizer->vocab_size() - 1);
  RandomPrompts prompts(1);
  const auto drawn = prompts.Ids(ids, 5000);
  EXPECT_EQ(drawn.size(), 5000u);
  EXPECT_EQ(std::set<int32_t>(drawn.begin(), drawn.end()), std::set<int32_t>(ids.begin(), ids.end()));
}

TEST(RandomPrompts, LengthsKeepToTheirRange) {
  RandomPrompts prompts(2);
  std::set<int64_t> lengths;
  for (int i = 0; i < 2000; ++i) lengths.insert(prompts.Length(100, 0.1));
  EXPECT_EQ(*lengths.begin(), 90);
  EXPECT_EQ(*lengths.rbegin(), 110);
  EXPECT_EQ(lengths.size(), 21u);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(prompts.Length(128, 0), 128);
    EXPECT_GE(prompts.Length(1, 1), 1);
    EXPECT_LE(prompts.Length(1, 1), 2);
  }
}

TEST(RandomPrompts, TextHasTheLength) {
  const auto tokenizer = Make();
  const auto ids = OrdinaryIds(*tokenizer);
  RandomPrompts prompts(3);
  int exact = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string text = prompts.Text(*tokenizer, ids, 50);
    const auto count = static_cast<int64_t>(tokenizer->Encode(text, {.add_special_tokens = false}).size());
    EXPECT_LE(std::abs(count - 50), 2) << text;
    exact += count == 50 ? 1 : 0;
  }
  EXPECT_GE(exact, 190);
}

TEST(RandomPrompts, WordsAndSeeds) {
  RandomPrompts one(4), same(4), other(5);
  const std::string words = one.Words(10);
  EXPECT_EQ(std::ranges::count(words, ' '), 9);
  EXPECT_EQ(words, same.Words(10));
  EXPECT_NE(words, other.Words(10));
  EXPECT_EQ(one.Words(0), "");
}

}  // namespace
}  // namespace ingot::bench
