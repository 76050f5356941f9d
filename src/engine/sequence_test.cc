#include "engine/sequence.h"

#include <gtest/gtest.h>

namespace ingot::engine {
namespace {

std::vector<int32_t> MaskedOf(Sequence& sequence) {
  const auto masked = sequence.Masked();
  return {masked.begin(), masked.end()};
}

TEST(Sequence, EndsAreMaskedUntilThereAreMinTokens) {
  Sequence sequence{.tokens = {1, 2}, .prompt_length = 2};
  sequence.request.end_ids = {7, 9};
  sequence.request.min_tokens = 2;
  for (int answered = 0; answered < 2; ++answered) {
    EXPECT_EQ(MaskedOf(sequence), (std::vector<int32_t>{7, 9})) << answered;
    EXPECT_TRUE(sequence.NeedsLastToken());
    sequence.tokens.push_back(3);
  }
  EXPECT_EQ(MaskedOf(sequence), std::vector<int32_t>());
  EXPECT_FALSE(sequence.NeedsLastToken());
}

TEST(Sequence, ABadWordsLastTokenIsMaskedAfterItsOthersAndOnlyThere) {
  Sequence sequence{.tokens = {7, 8}, .prompt_length = 2};
  sequence.request.bad_words = {{7, 8, 9}, {8, 5}, {4}};
  const auto after = [&](int32_t token) {
    sequence.tokens.push_back(token);
    return MaskedOf(sequence);
  };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(MaskedOf(sequence), Ids{4});  // what the prompt says is no part of the answer
  EXPECT_EQ(after(8), (Ids{5, 4}));       // 7 8 | 8
  EXPECT_EQ(after(7), Ids{4});            // 8 7
  EXPECT_EQ(after(8), (Ids{9, 5, 4}));    // 8 7 8
  EXPECT_EQ(after(1), Ids{4});            // 7 8 1: one token further
  EXPECT_EQ(after(8), (Ids{5, 4}));       // 8 1 8
}

}  // namespace
}  // namespace ingot::engine
