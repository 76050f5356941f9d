// How answers end: what is held back comes out, and no end comes too early or too late.
#include <gtest/gtest.h>

#include "llm/test_llm.h"

namespace ingot::llm {
namespace {

// Letters alone, so that tokens are characters.
Request Letters(int64_t max_tokens) {
  Request request = {.prompt = "letters", .max_tokens = max_tokens};
  request.sampling.seed = 1;
  request.ignore_eos = true;
  for (char c = 'a'; c <= 'z'; ++c) request.logit_bias.push_back({c, 50});
  return request;
}

TEST(Llm, WhatMayHaveBecomeAStopStringComesOutWhenTheAnswerEnds) {
  const FakeLlm fake = MakeFakeLlm();
  Request request = Letters(12);
  const std::string whole = fake.llm->Generate(request)->choices[0].text;
  ASSERT_EQ(whole.size(), 12u);
  request.stop = {whole.substr(8) + "!"};
  const Choice cut_off = fake.llm->Generate(request)->choices[0];
  EXPECT_EQ(cut_off.text, whole);
  EXPECT_EQ(cut_off.finish, FinishReason::kLength);
  // The same where an end token ends it.
  request.ignore_eos = false;
  request.min_tokens = 12;
  request.max_tokens = 20;
  request.logit_bias.push_back({ByteTokenizer::kEos, 100});
  const Choice ended = fake.llm->Generate(request)->choices[0];
  EXPECT_EQ(ended.text, whole);
  EXPECT_EQ(ended.finish, FinishReason::kStop);
  EXPECT_EQ(ended.stop_reason, "");
  // And of half a character, what stands for it.
  Request half = Letters(3);
  half.logit_bias = {{0xE2, 100}};
  EXPECT_EQ(fake.llm->Generate(half)->choices[0].text, fake.llm->tokenizer().Decode(std::vector<int32_t>(3, 0xE2)));
}

TEST(Llm, AnAnswerMayEndRightAfterMinTokens) {
  const FakeLlm fake = MakeFakeLlm();
  for (const int64_t min_tokens : {0, 1, 2, 7}) {
    Request request = Letters(20);
    request.ignore_eos = false;
    request.min_tokens = min_tokens;
    request.logit_bias.push_back({ByteTokenizer::kEos, 100});
    const Choice choice = fake.llm->Generate(request)->choices[0];
    EXPECT_EQ(choice.text.size(), static_cast<size_t>(min_tokens));
    EXPECT_EQ(choice.token_ids.size(), static_cast<size_t>(min_tokens) + 1);
    EXPECT_EQ(choice.token_ids.back(), ByteTokenizer::kEos);
  }
}

}  // namespace
}  // namespace ingot::llm
