#include "models/decoder.h"

#include <algorithm>

#include "base/check.h"
#include "models/bind.h"
#include "ops/transformer.h"

namespace ingot::models {
namespace {

TensorView View(float* data, int64_t rows, int64_t cols) {
  return {.data = data, .dtype = DType::kF32, .shape = {rows, cols}};
}

}  // namespace

Decoder::Decoder(ModelSpec spec, int64_t session_len)
    : spec_(std::move(spec)), layers_(spec_, session_len), kv_places_(static_cast<size_t>(spec_.num_layers)) {
  const std::vector<KvGroup> groups = KvGroupsOf(spec_);
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t i = 0; i < groups[g].layers.size(); ++i) {
      kv_places_[static_cast<size_t>(groups[g].layers[i])] = {static_cast<int>(g), static_cast<int>(i)};
    }
  }
}

Result<std::unique_ptr<Model>> Decoder::Load(std::shared_ptr<const formats::Checkpoint> checkpoint, ModelSpec spec,
                                             const LoadOptions& options, ThreadPool& pool) {
  INGOT_ASSIGN_OR_RETURN(const std::vector<RoleTensor> tensors, ReadRoles(*checkpoint, spec));
  std::unique_ptr<Decoder> decoder(new Decoder(std::move(spec), options.session_len));
  const ops::Context context{.pool = &pool, .scratch = nullptr, .compute = options.compute};
  const Status packed = PackWeights(context, options, tensors, &decoder->weights_, &decoder->infos_);
  if (!packed.ok()) return Error(packed.Annotate(checkpoint->path()));
  return std::unique_ptr<Model>(std::move(decoder));
}

int64_t Decoder::weight_bytes() const {
  int64_t sum = 0;
  for (const WeightInfo& info : infos_) sum += info.bytes;
  return sum;
}

int64_t Decoder::ProductScratch(int64_t max_tokens, int64_t max_logits) const {
  int64_t most = ops::LinearScratchBytes(max_logits, weights_.output());
  for (const LayerWeights& layer : weights_.layers) most = std::max(most, LinearScratchBytes(layer, max_tokens));
  return most;
}

int64_t Decoder::ScratchBytes(const ops::Context& context, const ForwardLimits& limits) const {
  ScratchCount count;
  TakeActivations(spec_, limits.max_tokens, limits.max_logits, count);
  const ops::KvLayout layout = KvLayoutFor({}, ops::kKvTile, limits.kv_format);  // tiles are alike in all layers
  const int64_t tiles = ops::StepTilesScratchBytes(layout, limits.max_tokens, limits.max_seqs);
  const int64_t attention =
      ops::AttentionScratchBytes(context, limits.max_tokens, spec_.num_heads, spec_.head_dim, limits.max_context);
  return count.bytes() + tiles + std::max(attention, ProductScratch(limits.max_tokens, limits.max_logits)) + 64;
}

void Decoder::CheckBatch(const StepBatch& batch, std::span<const ops::KvView> kv) const {
  INGOT_CHECK(weights_.embedding.data() != nullptr);  // no outline
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
  if (batch.num_tokens() == 0) return;
  const ops::Scratch::Mark mark(*context.scratch);
  const DecoderLayers::Step step = layers_.Begin(context, batch, kv);
  const Activations& a = step.a;
  const int64_t num_tokens = step.num_tokens;
  const TensorView hidden = View(a.hidden, num_tokens, spec_.hidden_size);

  ops::Embed(context, {batch.token_ids, batch.drawn_tokens}, weights_.embedding, spec_.embedding_scale, hidden);
  if (tap) (*tap)(-1, a.hidden, num_tokens);
  for (int layer = 0; layer < spec_.num_layers; ++layer) {
    const auto i = static_cast<size_t>(layer);
    layers_.Run(step, layer, weights_.layers[i], kv_places_[i]);
    if (tap) (*tap)(layer, a.hidden, num_tokens);
  }
  if (tap) {
    const TensorView normed = View(a.normed, num_tokens, spec_.hidden_size);
    ops::RmsNorm(context, hidden, {weights_.final_norm.data(), spec_.norm_eps}, normed);
    (*tap)(spec_.num_layers, a.normed, num_tokens);
  }
  layers_.Logits(step, weights_.final_norm, weights_.output(), logits);
}

}  // namespace ingot::models
