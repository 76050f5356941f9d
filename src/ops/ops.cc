// The public calls: shapes are checked here, once, and nowhere below.
#include <algorithm>

#include "ops/backend.h"
#include "ops/match.h"
#include "ops/profile.h"

namespace ingot::ops {
namespace {

constexpr DType kF32 = DType::kF32, kI32 = DType::kI32;

// Blocks, slots and tails that the backend is about to read and write without looking.
void CheckGroup(const StepBatch& batch, const KvGroupBatch& group, const KvView& kv) {
  INGOT_CHECK(std::ssize(group.kv_slots) == batch.num_tokens());
  INGOT_CHECK(std::ssize(group.block_tables) >= batch.num_seqs() * group.block_table_stride);
  const int64_t num_slots = int64_t{kv.num_blocks} * kv.layout.block_len;
  const int32_t least = batch.is_padded ? kNoSlot : 0;
  for (const int32_t slot : group.kv_slots) INGOT_CHECK(slot >= least && slot < num_slots);
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

double Bytes(std::initializer_list<const TensorView*> views) {
  double bytes = 0;
  for (const TensorView* view : views) bytes += static_cast<double>(view->bytes());
  return bytes;
}

OpWork Rowwise(const char* op, const Dim& rows, std::initializer_list<const TensorView*> operands) {
  return {.op = op, .rows = *rows, .bytes = Bytes(operands)};
}

OpWork Product(const TensorView& x, std::span<const PackedWeight> parts, const TensorView& y) {
  OpWork work{.op = "linear",
              .rows = x.shape[0],
              .bytes = Bytes({&x, &y}),
              .out_features = y.shape[1],
              .in_features = x.shape[1]};
  for (const PackedWeight& part : parts) {
    work.bytes += static_cast<double>(part.bytes());
    work.bits = std::max(work.bits, part.format().bits);
  }
  work.products = static_cast<double>(work.rows) * static_cast<double>(work.out_features * work.in_features);
  return work;
}

// Of the experts' products a row takes part in one; of their weights, those of as many experts as there are rows at
// most are read.
OpWork ExpertProduct(const TensorView& x, std::span<const FusedLinear> experts, const TensorView& y) {
  OpWork work = Product(x, {}, y);
  work.op = "expert_linear";
  const double read = std::min(1.0, static_cast<double>(work.rows) / static_cast<double>(experts.size()));
  for (const FusedLinear& expert : experts) {
    const OpWork one = Product(x, expert.parts, y);
    work.bits = std::max(work.bits, one.bits);
    work.bytes += read * (one.bytes - Bytes({&x, &y}));
  }
  return work;
}

OpWork AttentionWork(const Context& context, const Step& step, const AttentionParams& params) {
  OpWork work{.op = "attention", .rows = step.num_tokens, .bytes = 0};
  if (context.profile == nullptr) return work;
  const KvLayout& layout = step.kv[static_cast<size_t>(params.place.group)].layout;
  const Profile::Seen seen = context.profile->seen(params.place.group);
  const double token_bytes = static_cast<double>(layout.block_bytes) / layout.block_len / layout.num_layers;
  work.bytes = seen.positions * token_bytes + Bytes({&params.out}) * 2;  // queries are as many as outputs
  work.products = 2 * seen.pairs * layout.num_heads * layout.head_dim;
  return work;
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
  if (context.profile != nullptr) context.profile->BeginStep(batch, kv);
  const Timed timed(context.profile, {.op = "begin_step", .rows = num_tokens, .bytes = 0});
  return context.backend->BeginStep(context, batch, kv);
}

void Embed(const Context& context, const Step& step, const PackedWeight& table, float scale, const TensorView& y) {
  const Matcher match(context);
  Dim tokens = step.num_tokens, hidden = table.in_features();
  match(step.token_ids, kI32, {&tokens});
  match(y, kF32, {&tokens, &hidden});
  const Timed timed(context.profile, Rowwise("embed", tokens, {&y}));
  context.backend->Embed(context, step, table, scale, y);
}

void Linear(const Context& context, const TensorView& x, const FusedLinear& weight, const TensorView& y) {
  const Matcher match(context);
  Dim rows, in = weight.in_features(), out = weight.out_features();
  match.Activations(x, {&rows, &in});
  match.Activations(y, {&rows, &out});
  if (!weight.bias.empty()) match(weight.bias.view(), kF32, {&out});
  const Timed timed(context.profile, Product(x, weight.parts, y));
  if (*rows > 0 && *out > 0) context.backend->Linear(context, x, weight.parts, weight.bias.view(), y);
}

void Linear(const Context& context, const TensorView& x, const PackedWeight& weight, const TensorView& y) {
  const Matcher match(context);
  Dim rows, in = weight.in_features(), out = weight.out_features();
  match.Activations(x, {&rows, &in});
  match.Activations(y, {&rows, &out});
  const Timed timed(context.profile, Product(x, {&weight, 1}, y));
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
  const Timed timed(context.profile, ExpertProduct(x, experts, y));
  context.backend->ExpertLinear(context, x, routing, experts, y);
}

void RmsNorm(const Context& context, const TensorView& x, const NormWeight& norm, const TensorView& y) {
  const Matcher match(context);
  Dim tokens, hidden;
  match.Activations(x, {&tokens, &hidden});
  match.Activations(y, {&tokens, &hidden});
  match(norm.weight.view(), kF32, {&hidden});
  const Timed timed(context.profile, Rowwise("rms_norm", tokens, {&x, &y}));
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
  const Timed timed(context.profile, Rowwise("add_rms_norm", tokens, {&x, &residual, &residual, &y}));
  context.backend->AddRmsNorm(context, x, residual, norm, y);
}

void Add(const Context& context, const TensorView& x, const TensorView& y) {
  const Matcher match(context);
  Dim tokens, hidden;
  match.Activations(x, {&tokens, &hidden});
  match(y, kF32, {&tokens, &hidden});
  const Timed timed(context.profile, Rowwise("add", tokens, {&x, &y, &y}));
  context.backend->Add(context, x, y);
}

void ActMul(const Context& context, const TensorView& gate_up, Activation activation, const TensorView& y) {
  const Matcher match(context);
  Dim rows, inner;
  match.Activations(y, {&rows, &inner});
  Dim both = 2 * *inner;
  match.Activations(gate_up, {&rows, &both});
  const Timed timed(context.profile, Rowwise("act_mul", rows, {&gate_up, &y}));
  context.backend->ActMul(context, gate_up, activation, y);
}

void Softcap(const Context& context, const TensorView& x, float cap) {
  const Matcher match(context);
  Dim rows, cols;
  match(x, kF32, {&rows, &cols});
  INGOT_CHECK(cap > 0);
  const Timed timed(context.profile, Rowwise("softcap", rows, {&x, &x}));
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
  const Timed timed(context.profile, Rowwise("rope_angles", tokens, {&cos, &sin}));
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
  const Timed timed(context.profile, Rowwise("rope_kv_write", tokens, {&params.qkv, &params.qkv}));
  context.backend->RopeKvWrite(context, step, params);
}

void Attention(const Context& context, const Step& step, const AttentionParams& params) {
  const Matcher match(context);
  MatchQkv(match, step, params.qkv, params.place);
  const KvLayout& layout = step.kv[static_cast<size_t>(params.place.group)].layout;
  Dim tokens = step.num_tokens, width = int64_t{layout.num_heads} * layout.head_dim;
  match.Activations(params.out, {&tokens, &width});
  const Timed timed(context.profile, AttentionWork(context, step, params));
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
  const Timed timed(context.profile, Rowwise("route", tokens, {&router_logits}));
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
  const Timed timed(context.profile, Rowwise("combine_experts", tokens, {&x, &y}));
  context.backend->CombineExperts(context, x, routing, y);
}

void GatherRows(const Context& context, const TensorView& x, const TensorView& rows, const TensorView& y) {
  const Matcher match(context);
  Dim from, count, width;
  match.Activations(x, {&from, &width});
  match(rows, kI32, {&count});
  match(y, x.dtype, {&count, &width});
  const Timed timed(context.profile, Rowwise("gather_rows", count, {&y, &y}));
  context.backend->GatherRows(context, x, rows, y);
}

}  // namespace ingot::ops
