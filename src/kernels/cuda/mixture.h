// Mixtures of experts.
#pragma once

#include "kernels/cuda/rows.h"

namespace ingot::kernels::cuda {

// The k experts of a token with the largest logits, ties to the lower index, in rank order, and their weights. A thread
// does a token.   grid: (ceil(tokens / kRowThreads)), threads: kRowThreads
INGOT_DEVICE void Route(const RouteParams& p) {
  const int64_t token = ElementIndex();
  if (token >= p.tokens) return;
  const float* const logits = p.logits + token * p.experts;
  int32_t* const ids = p.ids + token * p.k;
  float* const weights = p.weights + token * p.k;
  for (int rank = 0; rank < p.k; ++rank) {
    int32_t best = -1;
    for (int32_t e = 0; e < p.experts; ++e) {
      bool taken = false;
      for (int before = 0; before < rank; ++before) taken = taken || ids[before] == e;
      if (!taken && (best < 0 || logits[e] > logits[best])) best = e;
    }
    ids[rank] = best;
    weights[rank] = Exp(logits[best] - logits[ids[0]]);
  }
  float sum = 0;
  if (p.normalize) {
    for (int rank = 0; rank < p.k; ++rank) sum += weights[rank];
  } else {
    for (int e = 0; e < p.experts; ++e) sum += Exp(logits[e] - logits[ids[0]]);
  }
  for (int rank = 0; rank < p.k; ++rank) weights[rank] = Divide(weights[rank], sum);
}

// Rows by expert, an expert's by token. A thread counts, and then places, what one expert gets.
// grid: (1), threads: kMaxExperts + 1, shared memory: kSortSharedBytes
INGOT_DEVICE void SortExperts(const SortExpertsParams& p) {
  SharedMemory shared;
  int32_t* const begin = shared.Take<int32_t>(kMaxExperts + 1);
  const auto expert = static_cast<int32_t>(ThreadIndex().x);
  int32_t count = 0;
  if (expert < p.experts) {
    for (int32_t i = 0; i < p.rows; ++i) count += p.ids[i] == expert ? 1 : 0;
  }
  begin[expert < kMaxExperts ? expert + 1 : 0] = count;  // the last thread, which has no expert, writes the 0
  SyncThreads();
  if (expert == 0) {
    for (int e = 0; e < p.experts; ++e) begin[e + 1] += begin[e];
  }
  SyncThreads();
  if (expert >= p.experts) return;
  p.expert_begin[expert] = begin[expert];
  if (expert == p.experts - 1) p.expert_begin[p.experts] = begin[p.experts];
  int32_t row = begin[expert];
  for (int32_t i = 0; i < p.rows; ++i) {
    if (p.ids[i] != expert) continue;
    p.row_of[i] = row;
    p.token_of[row++] = i / p.k;
  }
}

// grid: (ceil(count / kRowThreads)), threads: kRowThreads
template <typename T>
INGOT_DEVICE void CombineExperts(const CombineExpertsParams& p) {
  const int64_t i = ElementIndex();
  if (i >= p.count) return;
  const int64_t token = i / p.n;
  float sum = 0;
  for (int rank = 0; rank < p.k; ++rank) {
    const int64_t row = p.row_of[token * p.k + rank];
    sum = Fma(p.weights[token * p.k + rank], ToFloat(static_cast<const T*>(p.x)[row * p.n + i % p.n]), sum);
  }
  static_cast<T*>(p.y)[i] = FromFloat<T>(sum);
}

}  // namespace ingot::kernels::cuda
