// Passes over a row of logits. Orders are total (ties: lower id first) and sums run in a fixed order, so a row's result
// is a function of the row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

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

// log Σ exp(logit), in double. REQUIRES: max is the row's, and finite.
double LogSumExp(std::span<const float> logits, float max);

}  // namespace ingot::sampling
