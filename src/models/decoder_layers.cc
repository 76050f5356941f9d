#include "models/decoder_layers.h"

#include <algorithm>

#include "ops/transformer.h"

namespace ingot::models {
namespace {

TensorView View(float* data, int64_t rows, int64_t cols) {
  return {.data = data, .dtype = DType::kF32, .shape = {rows, cols}};
}

const float* DataOrNull(const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }

void Tap(const DecoderLayers::Step& step, LinearInput input, float* x) {
  if (step.tap) (*step.tap)(input, -1, x, step.num_tokens);
}

}  // namespace

DecoderLayers::DecoderLayers(const ModelSpec& spec, int64_t session_len) : spec_(spec) {
  for (const RopeSpec& rope : spec.ropes) {
    ropes_.push_back(MakeRopeFrequencies(rope, spec.rotary_dim, spec.max_position, session_len));
  }
}

DecoderLayers::Step DecoderLayers::Begin(const ops::Context& context, const StepBatch& batch,
                                         std::span<const ops::KvView> kv) const {
  const ops::StepTilesParams tiles{batch.positions, batch.cu_seqlens, batch.tail_slots};
  Step step{.context = context,
            .batch = batch,
            .kv = kv,
            .a = TakeActivations(spec_, batch.num_tokens(), std::ssize(batch.logits_rows), *context.scratch),
            .tiles = ops::PlanStepTiles(*context.scratch, kv[0].layout, tiles),
            .num_tokens = batch.num_tokens()};
  ComputeAngles(step);
  return step;
}

int64_t LinearScratchBytes(const LayerWeights& layer, int64_t max_tokens) {
  int64_t most = 0;
  for (const FusedLinear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down, &layer.router}) {
    most = std::max(most, linear->ScratchBytes(max_tokens));
  }
  for (const auto* experts : {&layer.expert_gate_up, &layer.expert_down}) {
    // An expert may be chosen by all tokens, but by each only once.
    for (const FusedLinear& linear : *experts) most = std::max(most, linear.ScratchBytes(max_tokens));
  }
  return most;
}

void DecoderLayers::ComputeAngles(const Step& step) const {
  const int64_t plane = step.num_tokens * (spec_.rotary_dim / 2);
  for (size_t i = 0; i < ropes_.size(); ++i) {
    const int64_t offset = static_cast<int64_t>(i) * plane;
    ops::RopeAngles(step.context, step.batch.positions, {ropes_[i].inv_freq, ropes_[i].factor}, step.a.cos + offset,
                    step.a.sin + offset);
  }
}

void DecoderLayers::Run(const Step& step, int layer, const LayerWeights& w, KvPlace place) const {
  const ops::Context& context = step.context;
  const float eps = spec_.norm_eps;
  const TensorView hidden = View(step.a.hidden, step.num_tokens, spec_.hidden_size);
  const TensorView normed = View(step.a.normed, step.num_tokens, spec_.hidden_size);
  const TensorView branch = View(step.a.branch, step.num_tokens, spec_.hidden_size);

  ops::RmsNorm(context, hidden, {w.attention_norm.data(), eps}, normed);
  SelfAttention(step, layer, w, place);
  if (spec_.post_norms) ops::RmsNorm(context, branch, {w.post_attention_norm.data(), eps}, branch);

  ops::AddRmsNorm(context, branch, hidden, {w.mlp_norm.data(), eps}, normed);
  spec_.layers[static_cast<size_t>(layer)].moe ? Mixture(step, w) : Mlp(step, w);
  if (spec_.post_norms) ops::RmsNorm(context, branch, {w.post_mlp_norm.data(), eps}, branch);

  ops::Add(context, branch, hidden);
}

void DecoderLayers::SelfAttention(const Step& step, int layer, const LayerWeights& w, KvPlace place) const {
  const Activations& a = step.a;
  const StepBatch& batch = step.batch;
  const LayerSpec& s = spec_.layers[static_cast<size_t>(layer)];
  const int64_t q_dim = int64_t{spec_.num_heads} * spec_.head_dim;
  const int64_t kv_dim = int64_t{spec_.num_kv_heads} * spec_.head_dim;
  const int64_t angles = std::max(s.rope, 0) * step.num_tokens * (spec_.rotary_dim / 2);

  const KvGroupBatch& where = batch.groups[static_cast<size_t>(place.group)];
  const ops::KvView& kv = step.kv[static_cast<size_t>(place.group)];
  Tap(step, LinearInput::kQkv, a.normed);
  w.qkv.Apply(step.context, a.normed, step.num_tokens, a.wide);
  ops::RopeKvWrite(step.context, {.q = a.wide,
                                  .k = a.wide + q_dim,
                                  .v = a.wide + q_dim + kv_dim,
                                  .qkv_stride = QkvDim(spec_),
                                  .num_tokens = step.num_tokens,
                                  .num_heads = spec_.num_heads,
                                  .cos = a.cos + angles,
                                  .sin = a.sin + angles,
                                  .rotary_dim = s.rope < 0 ? 0 : spec_.rotary_dim,
                                  .q_norm = DataOrNull(w.q_norm),
                                  .k_norm = DataOrNull(w.k_norm),
                                  .norm_eps = spec_.norm_eps,
                                  .slots = where.slots.data(),
                                  .kv = kv,
                                  .layer = place.layer,
                                  .tiles = &step.tiles});
  ops::Attention(step.context, {.q = a.wide,
                                .q_stride = QkvDim(spec_),
                                .out = a.narrow,
                                .num_heads = spec_.num_heads,
                                .positions = batch.positions.data(),
                                .cu_seqlens = batch.cu_seqlens.data(),
                                .num_seqs = static_cast<int>(batch.num_seqs()),
                                .block_tables = where.block_tables.data(),
                                .block_table_stride = where.block_table_stride,
                                .kv = kv,
                                .layer = place.layer,
                                .scale = spec_.attention_scale,
                                .softcap = spec_.attention_softcap,
                                .window = s.window,
                                .tiles = &step.tiles});
  Tap(step, LinearInput::kO, a.narrow);
  w.o.Apply(step.context, a.narrow, step.num_tokens, a.branch);
}

void DecoderLayers::Mlp(const Step& step, const LayerWeights& w) const {
  const Activations& a = step.a;
  Tap(step, LinearInput::kGateUp, a.normed);
  w.gate_up.Apply(step.context, a.normed, step.num_tokens, a.wide);
  ops::ActMul(step.context, View(a.wide, step.num_tokens, 2 * spec_.intermediate_size), spec_.activation,
              View(a.narrow, step.num_tokens, spec_.intermediate_size));
  Tap(step, LinearInput::kDown, a.narrow);
  w.down.Apply(step.context, a.narrow, step.num_tokens, a.branch);
}

void DecoderLayers::Logits(const Step& step, const std::vector<float>& final_norm, const ops::PackedWeight& head,
                           float* logits) const {
  const auto rows = static_cast<int64_t>(step.batch.logits_rows.size());
  if (rows == 0) return;
  const TensorView hidden = View(step.a.hidden, step.num_tokens, spec_.hidden_size);
  const TensorView last = View(step.a.last, rows, spec_.hidden_size);
  const TensorView normed = View(step.a.last_norm, rows, spec_.hidden_size);
  const TensorView out = View(logits, rows, spec_.vocab_size);
  ops::GatherRows(step.context, hidden, step.batch.logits_rows, last);
  ops::RmsNorm(step.context, last, {final_norm.data(), spec_.norm_eps}, normed);
  ops::Linear(step.context, normed, head, nullptr, out);
  if (spec_.logit_softcap > 0.0f) ops::Softcap(step.context, out, spec_.logit_softcap);
}

}  // namespace ingot::models
