#include "llm/eval.h"

#include <gtest/gtest.h>

#include <cmath>

#include "llm/eval_windows.h"
#include "llm/test_llm.h"

namespace ingot::llm {
namespace {

std::string SomeText(size_t size) {
  std::string text(size, ' ');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i * i % 26);
  return text;
}

TEST(Perplexity, FollowsItsDefinition) {
  const FakeLlm fake = MakeFakeLlm();
  const std::string text = SomeText(3 * 64 + 20);
  int64_t reported = 0;
  const auto result =
      Perplexity(*fake.llm, text, {.window = 64, .progress = [&](int64_t done, int64_t) { reported = done; }});
  ASSERT_TRUE(result.has_value()) << result.error().ToString();
  EXPECT_EQ(reported, 3);
  EXPECT_EQ(result->num_scored, 3 * 31);
  EXPECT_EQ(result->num_tokens, 3 * 64);
  double sum = 0;
  for (size_t window = 0; window < 3; ++window) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < 64; ++i) ids.push_back(text[window * 64 + i]);
    ids[0] = ByteTokenizer::kBos;
    double window_sum = 0;
    ASSERT_TRUE(fake.llm
                    ->Score(ids, 0,
                            [&](int64_t position, const float* logits) {
                              const auto at = static_cast<size_t>(position);
                              if (at < 32 || at == 63) return;
                              double total = 0;
                              for (int32_t id = 0; id < ByteTokenizer::kVocab; ++id)
                                total += std::exp(static_cast<double>(logits[id]));
                              window_sum += std::log(total) - logits[ids[at + 1]];
                            })
                    .ok());
    EXPECT_NEAR(result->window_nll[window], window_sum, 1e-9);
    sum += window_sum;
  }
  EXPECT_NEAR(result->perplexity, std::exp(sum / (3 * 31)), 1e-9);
  EXPECT_GT(result->standard_error, 0.0);
}

TEST(Perplexity, TextIsTextUnlessSpecialTokensAreAskedFor) {
  const ByteTokenizer tokenizer;
  const std::string text = "ab</s>cd</s>";
  const auto plain = WindowsOf(tokenizer, Marked(text, false), 6).value();
  ASSERT_EQ(plain.size(), 2u);
  EXPECT_EQ(plain[0], (std::vector<int32_t>{ByteTokenizer::kBos, 'b', '<', '/', 's', '>'}));
  const auto parsed = WindowsOf(tokenizer, Marked(text, true), 6).value();
  ASSERT_EQ(parsed.size(), 1u);
  EXPECT_EQ(parsed[0], (std::vector<int32_t>{ByteTokenizer::kBos, 'b', ByteTokenizer::kEos, 'c', 'd', 257}));
  const FakeLlm fake = MakeFakeLlm();
  EXPECT_EQ(Perplexity(*fake.llm, text, {.window = 6})->num_tokens, 12);
  EXPECT_EQ(Perplexity(*fake.llm, text, {.window = 6, .parse_special = true})->num_tokens, 6);
}

TEST(Perplexity, RefusesWhatItCannotScore) {
  const FakeLlm fake = MakeFakeLlm();
  EXPECT_EQ(Perplexity(*fake.llm, "short", {}).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(Perplexity(*fake.llm, SomeText(2000), {.window = 513}).error().code(), Code::kTooLong);
  EXPECT_EQ(Perplexity(*fake.llm, SomeText(2000), {.window = 2}).error().code(), Code::kInvalidArgument);
}

TEST(Diff, AModelEqualsItself) {
  const FakeLlm a = MakeFakeLlm(), b = MakeFakeLlm();
  const auto result = Diff(*a.llm, *b.llm, SomeText(300), {.window = 64});
  ASSERT_TRUE(result.has_value()) << result.error().ToString();
  EXPECT_EQ(result->num_scored, 4 * 31);
  EXPECT_EQ(result->mean_kl, 0.0);
  EXPECT_EQ(result->top1_agreement, 1.0);
  EXPECT_EQ(result->perplexity_a, result->perplexity_b);
  EXPECT_EQ(result->layers.size(), 3u);
  EXPECT_FALSE(result->first_different_layer.has_value());
}

TEST(Diff, ShowsWhereModelsPart) {
  const FakeLlm a = MakeFakeLlm(), b = MakeFakeLlm();
  b.model->salt = 9;
  b.model->hidden_value = 2.0f;
  const auto result = Diff(*a.llm, *b.llm, SomeText(300), {.window = 64, .max_windows = 2});
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->num_scored, 2 * 31);
  EXPECT_GT(result->mean_kl, 0.5);
  EXPECT_GE(result->max_kl, result->mean_kl);
  EXPECT_LT(result->top1_agreement, 0.5);
  EXPECT_EQ(result->first_different_layer, -1);
  EXPECT_NEAR(result->layers[0].relative, 1.0, 1e-12);
}

}  // namespace
}  // namespace ingot::llm
