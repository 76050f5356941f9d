#include "sampling/device_draw.h"

#include <cmath>

namespace ingot::sampling {

static_assert(kMaxLogprobs == ops::kMaxTopLogprobs);

bool DescribeDraw(const SampleInputs& inputs, int64_t vocab_size, std::vector<ops::LogitEdit>* edits,
                  ops::DrawRow* row) {
  const int64_t num_seen = inputs.history != nullptr ? inputs.history->num_seen() : 0;
  const int64_t most = std::ssize(inputs.bias) + num_seen + std::ssize(inputs.masked);
  if (inputs.allowed != nullptr || std::ssize(*edits) + most > ops::kMaxLogitEdits) return false;
  const auto end = [&] { return static_cast<int32_t>(edits->size()); };
  row->begin = end();
  for (const LogitBias& bias : inputs.bias) edits->push_back({.id = bias.id, .bias = bias.value});
  row->end_of_bias = end();
  if (inputs.history != nullptr) {
    inputs.history->ForEach([&](int32_t id, int32_t count) { edits->push_back({.id = id, .count = count}); });
  }
  row->end_of_seen = end();
  for (const int32_t id : inputs.masked) {
    if (id >= 0 && id < vocab_size) edits->push_back({.id = id});
  }
  row->end_of_masked = end();

  const Params& params = *inputs.params;
  row->num_top = params.num_logprobs;
  row->seed = static_cast<uint64_t>(params.seed.value_or(0));
  row->position = inputs.position;
  row->top_k = params.top_k;
  row->temperature = params.temperature;
  row->top_p = params.top_p;
  row->min_p = params.min_p;
  row->penalties = PenaltiesOf(params);
  return true;
}

Outcome ReadDraw(const ops::DrawResult& draw, Sampled* result) {
  if (draw.outcome != Outcome::kOk) return draw.outcome;
  *result = {.id = draw.id};
  if (draw.sum == 0.0) return Outcome::kOk;  // no logprobs
  const double log_sum = draw.max + std::log(draw.sum);
  result->logprob = FiniteLogprob(draw.raw - log_sum);
  result->num_top = draw.num_top;
  for (size_t i = 0; i < static_cast<size_t>(draw.num_top); ++i) {
    result->top[i] = {draw.top[i].id, FiniteLogprob(draw.top[i].logit - log_sum)};
  }
  return Outcome::kOk;
}

}  // namespace ingot::sampling
