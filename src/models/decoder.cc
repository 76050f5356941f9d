#include "models/decoder.h"

#include <algorithm>

#include "base/check.h"
#include "ops/transformer.h"

namespace ingot::models {
namespace {

TensorView View(float* data, int64_t rows, int64_t cols) {
  return {.data = data, .dtype = DType::kF32, .shape = {rows, cols}};
}

const float* DataOrNull(const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }

}  // namespace

Decoder::Decoder(ModelSpec spec) : spec_(std::move(spec)), kv_places_(static_cast<size_t>(spec_.num_layers)) {
  const std::vector<KvGroup> groups = KvGroupsOf(spec_);
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t i = 0; i < groups[g].layers.size(); ++i) {
      kv_places_[static_cast<size_t>(groups[g].layers[i])] = {static_cast<int>(g), static_cast<int>(i)};
    }
  }
}

Result<std::unique_ptr<Model>> Decoder::Load(std::shared_ptr<const formats::Checkpoint> checkpoint,
                                             const LoadOptions& options, ThreadPool& pool) {
  INGOT_ASSIGN_OR_RETURN(ModelSpec spec, ReadModelSpec(*checkpoint));
  const Family& family = FamilyNamed(spec.family);
  std::unique_ptr<Decoder> decoder(new Decoder(std::move(spec)));
  Binder binder(*checkpoint, decoder->spec_, family);
  if (Status status = binder.Bind(&decoder->weights_); !status.ok()) return Error(status.Annotate(checkpoint->path()));
  const ops::Context context{.pool = &pool, .scratch = nullptr, .compute = options.compute};
  if (Status status = binder.Pack(context, options, &decoder->infos_); !status.ok()) {
    return Error(status.Annotate(checkpoint->path()));
  }
  for (const RopeSpec& rope : decoder->spec_.ropes) {
    decoder->ropes_.push_back(
        MakeRopeFrequencies(rope, decoder->spec_.rotary_dim, decoder->spec_.max_position, options.session_len));
  }
  return std::unique_ptr<Model>(std::move(decoder));
}

int64_t Decoder::weight_bytes() const {
  int64_t sum = 0;
  for (const WeightInfo& info : infos_) sum += info.bytes;
  return sum;
}

int64_t Decoder::LinearScratch(int64_t max_tokens, int64_t max_logits) const {
  int64_t most = ops::LinearScratchBytes(max_logits, weights_.output());
  for (const LayerWeights& layer : weights_.layers) {
    for (const FusedLinear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down, &layer.router}) {
      most = std::max(most, linear->ScratchBytes(max_tokens));
    }
    for (const auto* experts : {&layer.expert_gate_up, &layer.expert_down}) {
      // An expert may be chosen by all tokens, but by each only once.
      for (const FusedLinear& linear : *experts) most = std::max(most, linear.ScratchBytes(max_tokens));
    }
  }
  return most;
}

int64_t Decoder::ScratchBytes(const ops::Context& context, const ForwardLimits& limits) const {
  ScratchCount count;
  TakeActivations(spec_, limits.max_tokens, limits.max_logits, count);
  const ops::KvLayout layout = KvLayoutFor({}, ops::kKvTile, limits.kv_format);  // tiles are alike in all layers
  const int64_t tiles = ops::StepTilesScratchBytes(layout, limits.max_tokens, limits.max_seqs);
  const int64_t attention =
      ops::AttentionScratchBytes(context, limits.max_tokens, spec_.num_heads, spec_.head_dim, limits.max_context);
  return count.bytes() + tiles + std::max(attention, LinearScratch(limits.max_tokens, limits.max_logits)) + 64;
}

void Decoder::CheckBatch(const StepBatch& batch, std::span<const ops::KvView> kv) const {
  const auto tokens = static_cast<size_t>(batch.num_tokens());
  INGOT_CHECK(batch.positions.size() == tokens);
  INGOT_CHECK(!batch.cu_seqlens.empty() && batch.cu_seqlens.front() == 0);
  INGOT_CHECK(batch.cu_seqlens.back() == static_cast<int32_t>(tokens));
  INGOT_CHECK(batch.logits_rows.empty() || batch.logits_rows.back() < static_cast<int32_t>(tokens));
  INGOT_CHECK(batch.groups.size() == kv.size());
  int layers = 0;
  for (size_t g = 0; g < kv.size(); ++g) {
    const KvGroupBatch& group = batch.groups[g];
    INGOT_CHECK(group.slots.size() == tokens);
    INGOT_CHECK(static_cast<int64_t>(group.block_tables.size()) >= batch.num_seqs() * group.block_table_stride);
    INGOT_CHECK(kv[g].layout.num_kv_heads == spec_.num_kv_heads && kv[g].layout.head_dim == spec_.head_dim);
    INGOT_CHECK(kv[g].layout.format == kv[0].layout.format);
    layers += kv[g].layout.num_layers;
    if (kv[g].layout.format != ops::KvFormat::kI4) continue;
    INGOT_CHECK(std::ssize(batch.tail_slots) == batch.num_seqs());
    for (const int32_t slot : batch.tail_slots) INGOT_CHECK(slot >= 0 && slot < kv[g].num_tails);
  }
  INGOT_CHECK(layers == spec_.num_layers);
}

void Decoder::Forward(const ops::Context& context, const StepBatch& batch, std::span<const ops::KvView> kv,
                      float* logits, const LayerTap* tap) const {
  CheckBatch(batch, kv);
  const int64_t num_tokens = batch.num_tokens();
  if (num_tokens == 0) return;
  const ops::Scratch::Mark mark(*context.scratch);
  const auto num_logits = static_cast<int64_t>(batch.logits_rows.size());
  const ops::StepTilesParams tiles{batch.positions, batch.cu_seqlens, batch.tail_slots};
  const Step step{.context = context,
                  .batch = batch,
                  .kv = kv,
                  .a = TakeActivations(spec_, num_tokens, num_logits, *context.scratch),
                  .tiles = ops::PlanStepTiles(*context.scratch, kv[0].layout, tiles),
                  .num_tokens = num_tokens};
  const Activations& a = step.a;
  const TensorView hidden = View(a.hidden, num_tokens, spec_.hidden_size);

  ComputeAngles(step);
  ops::Embed(context, batch.token_ids, weights_.embedding, spec_.embedding_scale, hidden);
  if (tap) (*tap)(-1, a.hidden, num_tokens);
  for (int layer = 0; layer < spec_.num_layers; ++layer) {
    RunLayer(step, layer);
    if (tap) (*tap)(layer, a.hidden, num_tokens);
  }
  if (tap) {
    const TensorView normed = View(a.normed, num_tokens, spec_.hidden_size);
    ops::RmsNorm(context, hidden, {weights_.final_norm.data(), spec_.norm_eps}, normed);
    (*tap)(spec_.num_layers, a.normed, num_tokens);
  }
  Logits(step, logits);
}

void Decoder::ComputeAngles(const Step& step) const {
  const int64_t plane = step.num_tokens * (spec_.rotary_dim / 2);
  for (size_t i = 0; i < ropes_.size(); ++i) {
    const int64_t offset = static_cast<int64_t>(i) * plane;
    ops::RopeAngles(step.context, step.batch.positions, {ropes_[i].inv_freq, ropes_[i].factor}, step.a.cos + offset,
                    step.a.sin + offset);
  }
}

void Decoder::RunLayer(const Step& step, int layer) const {
  const ops::Context& context = step.context;
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const float eps = spec_.norm_eps;
  const TensorView hidden = View(step.a.hidden, step.num_tokens, spec_.hidden_size);
  const TensorView normed = View(step.a.normed, step.num_tokens, spec_.hidden_size);
  const TensorView branch = View(step.a.branch, step.num_tokens, spec_.hidden_size);

  ops::RmsNorm(context, hidden, {w.attention_norm.data(), eps}, normed);
  SelfAttention(step, layer);
  if (spec_.post_norms) ops::RmsNorm(context, branch, {w.post_attention_norm.data(), eps}, branch);

  ops::AddRmsNorm(context, branch, hidden, {w.mlp_norm.data(), eps}, normed);
  spec_.layers[static_cast<size_t>(layer)].moe ? Mixture(step, layer) : Mlp(step, layer);
  if (spec_.post_norms) ops::RmsNorm(context, branch, {w.post_mlp_norm.data(), eps}, branch);

  ops::Add(context, branch, hidden);
}

void Decoder::SelfAttention(const Step& step, int layer) const {
  const Activations& a = step.a;
  const StepBatch& batch = step.batch;
  const LayerSpec& s = spec_.layers[static_cast<size_t>(layer)];
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const int64_t q_dim = int64_t{spec_.num_heads} * spec_.head_dim;
  const int64_t kv_dim = int64_t{spec_.num_kv_heads} * spec_.head_dim;
  const int64_t angles = std::max(s.rope, 0) * step.num_tokens * (spec_.rotary_dim / 2);

  const KvPlace place = kv_places_[static_cast<size_t>(layer)];
  const KvGroupBatch& where = batch.groups[static_cast<size_t>(place.group)];
  const ops::KvView& kv = step.kv[static_cast<size_t>(place.group)];
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
  w.o.Apply(step.context, a.narrow, step.num_tokens, a.branch);
}

void Decoder::Mlp(const Step& step, int layer) const {
  const Activations& a = step.a;
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  w.gate_up.Apply(step.context, a.normed, step.num_tokens, a.wide);
  ops::ActMul(step.context, View(a.wide, step.num_tokens, 2 * spec_.intermediate_size), spec_.activation,
              View(a.narrow, step.num_tokens, spec_.intermediate_size));
  w.down.Apply(step.context, a.narrow, step.num_tokens, a.branch);
}

void Decoder::Logits(const Step& step, float* logits) const {
  const auto rows = static_cast<int64_t>(step.batch.logits_rows.size());
  if (rows == 0) return;
  const TensorView hidden = View(step.a.hidden, step.num_tokens, spec_.hidden_size);
  const TensorView last = View(step.a.last, rows, spec_.hidden_size);
  const TensorView normed = View(step.a.last_norm, rows, spec_.hidden_size);
  const TensorView out = View(logits, rows, spec_.vocab_size);
  ops::GatherRows(step.context, hidden, step.batch.logits_rows, last);
  ops::RmsNorm(step.context, last, {weights_.final_norm.data(), spec_.norm_eps}, normed);
  ops::Linear(step.context, normed, weights_.output(), nullptr, out);
  if (spec_.logit_softcap > 0.0f) ops::Softcap(step.context, out, spec_.logit_softcap);
}

}  // namespace ingot::models
