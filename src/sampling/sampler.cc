#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ingot::sampling {
namespace {

using Weights = ops::TokenWeights;
using ops::UniformAt;
constexpr size_t kBlock = ops::kSumBlock;

// Inverse distribution function over the whole row, in the order of ids.
int32_t DrawFromAll(std::span<const float> logits, const Weights& weights, double uniform, Workspace& workspace) {
  std::vector<double>& sums = workspace.block_sums;
  sums.clear();
  const double total = SumOfBlocks(logits, weights, [&](double sum) { sums.push_back(sum); });
  // What rounding leaves over falls to the last block, and the last token in it, that has a weight.
  const double target = uniform * total;
  double before = 0.0, before_chosen = 0.0;
  size_t chosen = 0;
  for (size_t block = 0; block < sums.size(); before += sums[block++]) {
    if (sums[block] == 0.0) continue;
    chosen = block;
    before_chosen = before;
    if (before + sums[block] > target) break;
  }
  int32_t last = 0;
  for (size_t i = chosen * kBlock; i < std::min((chosen + 1) * kBlock, logits.size()); ++i) {
    const double weight = weights(logits[i]);
    if (weight == 0.0) continue;
    last = static_cast<int32_t>(i);
    before_chosen += weight;
    if (before_chosen > target) break;
  }
  return last;
}

// Cuts the sorted candidates to the shortest prefix whose weight reaches `wanted`; false when all of them do not.
bool CutAtMass(const Weights& weights, double wanted, std::vector<Candidate>* candidates) {
  double sum = 0.0;
  for (size_t i = 0; i < candidates->size(); ++i) {
    sum += weights((*candidates)[i].logit);
    if (sum < wanted) continue;
    candidates->resize(i + 1);
    return true;
  }
  return false;
}

double Mass(std::span<const Candidate> candidates, const Weights& weights) {
  double sum = 0.0;
  for (const Candidate& candidate : candidates) sum += weights(candidate.logit);
  return sum;
}

// Leaves in workspace.candidates, sorted, what top_k and top_p keep.
void KeepTop(std::span<const float> logits, const Params& params, const Weights& weights, Workspace& workspace) {
  std::vector<Candidate>& candidates = workspace.candidates;
  const auto size = static_cast<int64_t>(logits.size());
  if (params.top_k > 0 && params.top_k < size) {
    SelectTop(logits, params.top_k, &candidates);
    if (params.top_p < 1.0) CutAtMass(weights, params.top_p * Mass(candidates, weights), &candidates);
    return;
  }
  const double total = SumOfBlocks(logits, weights, [](double) {});
  // Most distributions reach p within few tokens; a flat one is sorted in whole.
  for (int64_t count = 128;; count *= 16) {
    SelectTop(logits, count, &candidates);
    if (CutAtMass(weights, params.top_p * total, &candidates) || count >= size) return;
  }
}

int32_t Draw(std::span<const float> logits, const Params& params, double max, uint64_t position, Workspace& workspace) {
  const double uniform = UniformAt(static_cast<uint64_t>(params.seed.value_or(0)), position);
  const bool keeps_all =
      (params.top_k <= 0 || params.top_k >= static_cast<int64_t>(logits.size())) && params.top_p >= 1.0;
  const Weights weights{max, params.temperature, params.min_p};
  if (keeps_all) return DrawFromAll(logits, weights, uniform, workspace);
  KeepTop(logits, params, {max, params.temperature, 0.0}, workspace);
  const std::vector<Candidate>& kept = workspace.candidates;
  const double target = uniform * Mass(kept, weights);
  double before = 0.0;
  size_t last = 0;
  for (size_t i = 0; i < kept.size(); ++i) {
    const double weight = weights(kept[i].logit);
    if (weight == 0.0) continue;
    last = i;
    before += weight;
    if (before > target) break;
  }
  return kept[last].id;
}

}  // namespace

float FiniteLogprob(double value) { return value >= kLowestLogprob ? static_cast<float>(value) : kLowestLogprob; }

Workspace::Workspace(int64_t vocab_size) {
  candidates.reserve(static_cast<size_t>(vocab_size));
  block_sums.reserve(static_cast<size_t>(vocab_size) / kBlock + 1);
  unbiased.reserve(kMaxLogitBiases);
  allowed.resize(MaskWords(vocab_size));
}

namespace {

void TellTop(std::span<const float> logits, int num_top, double log_sum, Workspace& workspace, Sampled* result) {
  if (num_top <= 0) return;
  SelectTop(logits, num_top, &workspace.candidates);
  for (const Candidate& candidate : workspace.candidates) {
    result->top[static_cast<size_t>(result->num_top++)] = {candidate.id, FiniteLogprob(candidate.logit - log_sum)};
  }
}

void KeepAllowed(std::span<float> logits, const TokenMask& mask, std::span<uint32_t> allowed) {
  mask.FillAllowed(allowed);
  for (size_t id = 0; id < logits.size(); ++id) {
    if ((allowed[id / 32] >> (id % 32) & 1) == 0) logits[id] = -std::numeric_limits<float>::infinity();
  }
}

// Bias, penalties, mask. False: nothing changed.
bool ChangeLogits(std::span<float> logits, const SampleInputs& inputs, Workspace& workspace) {
  workspace.unbiased.clear();
  for (const LogitBias& bias : inputs.bias) {
    float& logit = logits[static_cast<size_t>(bias.id)];
    workspace.unbiased.push_back(logit);
    logit += bias.value;
  }
  if (inputs.history != nullptr) inputs.history->Penalize(*inputs.params, logits);
  for (const int32_t id : inputs.masked) {
    if (id >= 0 && static_cast<size_t>(id) < logits.size()) {
      logits[static_cast<size_t>(id)] = -std::numeric_limits<float>::infinity();
    }
  }
  if (inputs.allowed != nullptr) KeepAllowed(logits, *inputs.allowed, workspace.allowed);
  return !inputs.bias.empty() || inputs.history != nullptr || !inputs.masked.empty() || inputs.allowed != nullptr;
}

// What logits[id] was before ChangeLogits.
float RawLogit(std::span<const float> logits, int32_t id, const SampleInputs& inputs, const Workspace& workspace) {
  for (size_t i = 0; i < inputs.bias.size(); ++i) {
    if (inputs.bias[i].id == id) return workspace.unbiased[i];
  }
  return inputs.history != nullptr ? inputs.history->RawLogit(id, logits) : logits[static_cast<size_t>(id)];
}

}  // namespace

Outcome Sample(std::span<float> logits, const SampleInputs& inputs, Workspace& workspace, Sampled* result) {
  const Params& params = *inputs.params;
  RowMax max = FindMax(logits);
  if (max.invalid) return Outcome::kNotANumber;
  if (max.value == -std::numeric_limits<float>::infinity()) return Outcome::kNoToken;

  *result = {};
  const double log_sum = params.num_logprobs >= 0 ? max.value + std::log(SumOfExps(logits, max.value)) : 0.0;
  TellTop(logits, params.num_logprobs, log_sum, workspace, result);

  if (ChangeLogits(logits, inputs, workspace)) max = FindMax(logits);
  if (max.value == -std::numeric_limits<float>::infinity()) return Outcome::kNoToken;

  result->id =
      params.greedy() ? FindFirst(logits, max.value) : Draw(logits, params, max.value, inputs.position, workspace);
  if (params.num_logprobs >= 0) {
    result->logprob = FiniteLogprob(RawLogit(logits, result->id, inputs, workspace) - log_sum);
  }
  return Outcome::kOk;
}

Outcome Describe(std::span<const float> logits, int32_t id, int num_top, Workspace& workspace, Sampled* result) {
  const RowMax max = FindMax(logits);
  if (max.invalid) return Outcome::kNotANumber;
  if (max.value == -std::numeric_limits<float>::infinity()) return Outcome::kNoToken;
  *result = {.id = id};
  const double log_sum = max.value + std::log(SumOfExps(logits, max.value));
  TellTop(logits, num_top, log_sum, workspace, result);
  result->logprob = FiniteLogprob(logits[static_cast<size_t>(id)] - log_sum);
  return Outcome::kOk;
}

}  // namespace ingot::sampling
