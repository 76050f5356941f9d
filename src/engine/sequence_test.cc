#include "engine/sequence.h"

#include <gtest/gtest.h>

namespace ingot::engine {
namespace {

std::vector<int32_t> MaskedOf(const Sequence& sequence) {
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

}  // namespace
}  // namespace ingot::engine
