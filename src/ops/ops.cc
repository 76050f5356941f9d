// The public calls: shapes are checked here, once, and nowhere below.
#include <algorithm>

#include "ops/backend.h"
#include "ops/match.h"

namespace ingot::ops {
namespace {

constexpr DType kF32 = DType::kF32, kI32 = DType::kI32;

// Blocks, slots and tails that the backend is about to read and write without looking.
void CheckGroup(const StepBatch& batch, const KvGroupBatch& group, const KvView& kv) {
  INGOT_CHECK(std::ssize(group.kv_slots) == batch.num_tokens());
  INGOT_CHECK(std::ssize(group.block_tables) >= batch.num_seqs() * group.block_table_stride);
  const int64_t num_slots = int64_t{kv.num_blocks} * kv.layout.block_len;
  for (const int32_t slot : group.kv_slots) INGOT_CHECK(slot >= 0 && slot < num_slots);
  INGOT_CHECK(kv.layout.block_len % kKvTile == 0);
  INGOT_CHECK(kv.layout.num_kv_heads > 0 && kv.layout.num_heads % kv.layout.num_kv_heads == 0);
  if (kv.layout.format != KvFormat::kI4) return;
  INGOT_CHECK(std::ssize(batch.tail_slots) == batch.num_seqs());
  for (const int32_t slot : batch.tail_slots) INGOT_CHECK(slot >= 0 && slot < kv.num_tails);
}

void MatchQkv(const Matcher& match, const Step& step, const TensorView& qkv, KvPlace place) {
  INGOT_CHECK(place.group >= 0 && place.group < std::ssize(step.kv));
  const KvLayout& layout = step.kv[static_cast<size_t>(place.group)].layout;
  INGOT_CHECK(place.layer >= 0 && place.layer < layout.num_layers);
  Dim tokens = step.num_tokens, width = int64_t{layout.num_heads + 2 * layout.num_kv_heads} * layout.head_dim;
  match.Activations(qkv, {&tokens, &width});
}

}  // namespace

int64_t FusedLinear::out_features() const {
  int64_t sum = 0;
  for (const PackedWeight& part : parts) sum += part.out_features();
  return sum;
}

Step BeginStep(const Context& context, const StepBatch& batch, std::span<const KvView> kv) {
  const int64_t num_tokens = batch.num_tokens();
  INGOT_CHECK(std::ssize(batch.positions) == num_tokens);
  INGOT_CHECK(!batch.cu_seqlens.empty() && batch.cu_seqlens.front() == 0 && batch.cu_seqlens.back() == num_tokens);
  INGOT_CHECK(batch.logits_rows.empty() || batch.logits_rows.back() < num_tokens);
  for (size_t s = 0; s + 1 < batch.cu_seqlens.size(); ++s) {
    const auto begin = static_cast<size_t>(batch.cu_seqlens[s]), end = static_cast<size_t>(batch.cu_seqlens[s + 1]);
    for (size_t t = begin; t < end; ++t) {
      INGOT_CHECK(batch.positions[t] == batch.positions[begin] + static_cast<int32_t>(t - begin));
      INGOT_CHECK(batch.positions[t] < batch.max_context);
    }
  }
  INGOT_CHECK(batch.groups.size() == kv.size());
  for (size_t g = 0; g < kv.size(); ++g) CheckGroup(batch, batch.groups[g], kv[g]);
  return context.backend->BeginStep(context, batch, kv);
}

void Embed(const Context& context, const Step& step, const PackedWeight& table, float scale, const TensorView& y) {
  const Matcher match(context);
  Dim tokens = step.num_tokens, hidden = table.in_features();
  match(step.token_ids, kI32, {&tokens});
  match(y, kF32, {&tokens, &hidden});
  context.backend->Embed(context, step, table, scale, y);
}

void Linear(const Context& context, const TensorView& x, const FusedLinear& weight, const TensorView& y) {
  const Matcher match(context);
  Dim rows, in = weight.in_features(), out = weight.out_features();
  match.Activations(x, {&rows, &in});
  match.Activations(y, {&rows, &out});
  if (!weight.bias.empty()) match(weight.bias.view(), kF32, {&out});
  if (*rows > 0 && *out > 0) context.backend->Linear(context, x, weight.parts, weight.bias.view(), y);
}

void Linear(const Context& context, const TensorView& x, const PackedWeight& weight, const TensorView& y) {
  const Matcher match(context);
  Dim rows, in = weight.in_features(), out = weight.out_features();
  match.Activations(x, {&rows, &in});
  match.Activations(y, {&rows, &out});
  if (*rows > 0 && *out > 0) context.backend->Linear(context, x, {&weight, 1}, {}, y);
}

void ExpertLinear(const Context& context, const TensorView& x, const Routing& routing,
                  std::span<const FusedLinear> experts, const TensorView& y) {
  const Matcher match(context);
  INGOT_CHECK(!experts.empty());
  Dim rows, in = experts[0].in_features(), out = experts[0].out_features(), begins = std::ssize(experts) + 1;
  match(routing.token_of, kI32, {&rows});
  match(routing.expert_begin, kI32, {&begins});
  match.Activations(x, {&rows, &in});
  match.Activations(y, {&rows, &out});
  context.backend->ExpertLinear(context, x, routing, experts, y);
}

void RmsNorm(const Context& context, const TensorView& x, const NormWeight& norm, const TensorView& y) {
  const Matcher match(context);
  Dim tokens, hidden;
  match.Activations(x, {&tokens, &hidden});
  match.Activations(y, {&tokens, &hidden});
  match(norm.weight.view(), kF32, {&hidden});
  context.backend->RmsNorm(context, x, norm, y);
}

void AddRmsNorm(const Context& context, const TensorView& x, const TensorView& residual, const NormWeight& norm,
                const TensorView& y) {
  const Matcher match(context);
  Dim tokens, hidden;
  match.Activations(x, {&tokens, &hidden});
  match(residual, kF32, {&tokens, &hidden});
  match.Activations(y, {&tokens, &hidden});
  match(norm.weight.view(), kF32, {&hidden});
  context.backend->AddRmsNorm(context, x, residual, norm, y);
}

void Add(const Context& context, const TensorView& x, const TensorView& y) {
  const Matcher match(context);
  Dim tokens, hidden;
  match.Activations(x, {&tokens, &hidden});
  match(y, kF32, {&tokens, &hidden});
  context.backend->Add(context, x, y);
}

void ActMul(const Context& context, const TensorView& gate_up, Activation activation, const TensorView& y) {
  const Matcher match(context);
  Dim rows, inner;
  match.Activations(y, {&rows, &inner});
  Dim both = 2 * *inner;
  match.Activations(gate_up, {&rows, &both});
  context.backend->ActMul(context, gate_up, activation, y);
}

void Softcap(const Context& context, const TensorView& x, float cap) {
  const Matcher match(context);
  Dim rows, cols;
  match(x, kF32, {&rows, &cols});
  INGOT_CHECK(cap > 0);
  context.backend->Softcap(context, x, cap);
}

void RopeAngles(const Context& context, const TensorView& positions, const RopeTable& table, const TensorView& cos,
                const TensorView& sin) {
  const Matcher match(context);
  Dim tokens, half;
  match(positions, kI32, {&tokens});
  match(table.inv_freq.view(), DType::kF64, {&half});
  match(cos, kF32, {&tokens, &half});
  match(sin, kF32, {&tokens, &half});
  context.backend->RopeAngles(context, positions, table, cos, sin);
}

void RopeKvWrite(const Context& context, const Step& step, const RopeKvWriteParams& params) {
  const Matcher match(context);
  MatchQkv(match, step, params.qkv, params.place);
  Dim tokens = step.num_tokens, half, head = step.kv[static_cast<size_t>(params.place.group)].layout.head_dim;
  if (!params.cos.empty()) {
    match(params.cos, kF32, {&tokens, &half});
    match(params.sin, kF32, {&tokens, &half});
    INGOT_CHECK(2 * *half <= *head);
  }
  if (!params.q_norm.empty()) match(params.q_norm, kF32, {&head});
  if (!params.k_norm.empty()) match(params.k_norm, kF32, {&head});
  context.backend->RopeKvWrite(context, step, params);
}

void Attention(const Context& context, const Step& step, const AttentionParams& params) {
  const Matcher match(context);
  MatchQkv(match, step, params.qkv, params.place);
  const KvLayout& layout = step.kv[static_cast<size_t>(params.place.group)].layout;
  Dim tokens = step.num_tokens, width = int64_t{layout.num_heads} * layout.head_dim;
  match.Activations(params.out, {&tokens, &width});
  if (step.num_tokens > 0) context.backend->Attention(context, step, params);
}

void Route(const Context& context, const TensorView& router_logits, RouteRule rule, const Routing& routing) {
  const Matcher match(context);
  Dim tokens, experts, k = rule.k;
  match(router_logits, kF32, {&tokens, &experts});
  INGOT_CHECK(rule.k >= 1 && rule.k <= *experts);
  Dim rows = *tokens * rule.k, begins = *experts + 1;
  match(routing.ids, kI32, {&tokens, &k});
  match(routing.weights, kF32, {&tokens, &k});
  match(routing.row_of, kI32, {&tokens, &k});
  match(routing.token_of, kI32, {&rows});
  match(routing.expert_begin, kI32, {&begins});
  context.backend->Route(context, router_logits, rule, routing);
}

void CombineExperts(const Context& context, const TensorView& x, const Routing& routing, const TensorView& y) {
  const Matcher match(context);
  Dim rows, tokens, k, hidden;
  match(routing.token_of, kI32, {&rows});
  match(routing.row_of, kI32, {&tokens, &k});
  match(routing.weights, kF32, {&tokens, &k});
  match.Activations(x, {&rows, &hidden});
  match.Activations(y, {&tokens, &hidden});
  context.backend->CombineExperts(context, x, routing, y);
}

void GatherRows(const Context& context, const TensorView& x, const TensorView& rows, const TensorView& y) {
  const Matcher match(context);
  Dim from, count, width;
  match.Activations(x, {&from, &width});
  match(rows, kI32, {&count});
  match(y, x.dtype, {&count, &width});
  context.backend->GatherRows(context, x, rows, y);
}

}  // namespace ingot::ops
