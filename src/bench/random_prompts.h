// Prompts of a wanted length that mean nothing, drawn from a seed.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace ingot::bench {

// The ids of [0, vocab_size) that stand for text and are no special tokens.
std::vector<int32_t> OrdinaryIds(const tokenizer::Tokenizer& tokenizer);

// The same seed and the same calls give the same prompts.
class RandomPrompts {
 public:
  explicit RandomPrompts(uint64_t seed) : random_(seed) {}

  // Between length * (1 - range_ratio) and length * (1 + range_ratio), rounded, all alike; at least 1. As vLLM means
  // it. REQUIRES: 0 <= range_ratio <= 1.
  int64_t Length(int64_t length, double range_ratio);
  // `count` of `ids`.
  std::vector<int32_t> Ids(const std::vector<int32_t>& ids, int64_t count);
  // Text that encodes to `count` tokens, special ones not counted, or nearly so: what is cut at random does not always
  // come back as it was, so it is cut and added to for a few rounds.
  std::string Text(const tokenizer::Tokenizer& tokenizer, const std::vector<int32_t>& ids, int64_t count);
  // So many English words that most vocabularies have as one token each.
  std::string Words(int64_t count);

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  std::mt19937_64 random_;
};

}  // namespace ingot::bench
