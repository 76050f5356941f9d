// Passes over a row of logits. Orders are total (ties: lower id first) and sums run in a fixed order, so a row's result
// is a function of the row.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/sampling.h"

namespace ingot::sampling {

struct Candidate {
  float logit;
  int32_t id;
};
// Descending logits, ties by ascending id.
inline bool Before(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

struct RowMax {
  float value;   // -inf for a row of -inf
  bool invalid;  // a NaN or +inf is there
};
RowMax FindMax(std::span<const float> logits);
// The lowest id whose logit is `value`. REQUIRES: there is one.
int32_t FindFirst(std::span<const float> logits, float value);

// Replaces *out by the k first candidates in order (all of them when k is larger). Partial selection; allocates nothing
// once out's capacity is logits.size().
void SelectTop(std::span<const float> logits, int64_t k, std::vector<Candidate>* out);

// Of a block of a row, at most ops::kSumBlock logits, in the order that a device has too (kernels/sampling.h).
double SumOfBlock(std::span<const float> logits, const ops::TokenWeights& weights);
// Of the whole row, block by block; calls on_block(sum) for each.
template <typename OnBlock>
double SumOfBlocks(std::span<const float> logits, const ops::TokenWeights& weights, OnBlock on_block) {
  constexpr size_t kBlock = ops::kSumBlock;
  double total = 0.0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const double sum = SumOfBlock(logits.subspan(begin, std::min(kBlock, logits.size() - begin)), weights);
    on_block(sum);
    total += sum;
  }
  return total;
}
// Σ exp(logit - max). REQUIRES: max is the row's, and finite.
double SumOfExps(std::span<const float> logits, float max);

}  // namespace ingot::sampling
