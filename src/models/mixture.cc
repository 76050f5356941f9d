// Mixture of experts: each token goes through the few experts that its router prefers.
#include <algorithm>

#include "models/decoder_layers.h"
#include "ops/transformer.h"

namespace ingot::models {
namespace {

TensorView View(float* data, int64_t rows, int64_t cols) {
  return {.data = data, .dtype = DType::kF32, .shape = {rows, cols}};
}

}  // namespace

// A counting sort of (token, rank) by expert: rows of an expert lie together, tokens ascending. What an expert makes of
// a row does not depend on the rows beside it, so the order serves speed alone.
void DecoderLayers::SortByExpert(const Step& step) const {
  const Activations& a = step.a;
  const int64_t k = spec_.experts_per_token, rows = step.num_tokens * k;
  std::fill_n(a.expert_begin, spec_.num_experts + 1, 0);
  for (int64_t i = 0; i < rows; ++i) ++a.expert_begin[a.expert_ids[i] + 1];
  for (int e = 0; e < spec_.num_experts; ++e) a.expert_begin[e + 1] += a.expert_begin[e];
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t row = a.expert_begin[a.expert_ids[i]]++;
    a.row_of[i] = row;
    a.token_of[row] = static_cast<int32_t>(i / k);
  }
  // Each begin has moved to its end, which is the next one's begin.
  std::copy_backward(a.expert_begin, a.expert_begin + spec_.num_experts, a.expert_begin + spec_.num_experts + 1);
  a.expert_begin[0] = 0;
}

void DecoderLayers::Mixture(const Step& step, const LayerWeights& w) const {
  const Activations& a = step.a;
  const int64_t t = step.num_tokens, h = spec_.hidden_size, inner = spec_.moe_intermediate_size;
  const int64_t rows = t * spec_.experts_per_token;

  const auto tap = [&](LinearInput input, int expert, float* x, int64_t count) {
    if (step.tap) (*step.tap)(input, expert, x, count);
  };
  tap(LinearInput::kRouter, -1, a.normed, t);
  w.router.Apply(step.context, a.normed, t, a.router_logits);
  ops::RouteTopK(step.context, View(a.router_logits, t, spec_.num_experts),
                 {spec_.experts_per_token, spec_.normalize_topk}, a.expert_ids, a.expert_weights);
  SortByExpert(step);
  ops::GatherRows(step.context, View(a.normed, t, h), {a.token_of, static_cast<size_t>(rows)},
                  View(a.expert_in, rows, h));
  for (int e = 0; e < spec_.num_experts; ++e) {
    const int64_t begin = a.expert_begin[e], count = a.expert_begin[e + 1] - begin;
    if (count == 0) continue;
    const auto expert = static_cast<size_t>(e);
    float* const wide = a.expert_wide + begin * 2 * inner;
    float* const narrow = a.expert_narrow + begin * inner;
    tap(LinearInput::kGateUp, e, a.expert_in + begin * h, count);
    w.expert_gate_up[expert].Apply(step.context, a.expert_in + begin * h, count, wide);
    ops::ActMul(step.context, View(wide, count, 2 * inner), spec_.activation, View(narrow, count, inner));
    tap(LinearInput::kDown, e, narrow, count);
    w.expert_down[expert].Apply(step.context, narrow, count, a.expert_out + begin * h);
  }
  ops::CombineExperts(step.context, {.expert_out = a.expert_out,
                                     .row_of = a.row_of,
                                     .weights = a.expert_weights,
                                     .num_tokens = t,
                                     .hidden_size = h,
                                     .k = spec_.experts_per_token,
                                     .y = a.branch});
}

}  // namespace ingot::models
