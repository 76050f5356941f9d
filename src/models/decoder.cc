#include "models/decoder.h"

#include <algorithm>

#include "base/check.h"
#include "models/weights_cache.h"

namespace ingot::models {

Decoder::Decoder(ModelSpec spec) : spec_(std::move(spec)), kv_places_(static_cast<size_t>(spec_.num_layers)) {
  const std::vector<KvGroup> groups = KvGroupsOf(spec_);
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t i = 0; i < groups[g].layers.size(); ++i) {
      kv_places_[static_cast<size_t>(groups[g].layers[i])] = {static_cast<int>(g), static_cast<int>(i)};
    }
  }
}

Result<std::unique_ptr<Model>> Decoder::Load(std::shared_ptr<const formats::Checkpoint> checkpoint, ModelSpec spec,
                                             const LoadOptions& options, ops::Backend& backend) {
  INGOT_ASSIGN_OR_RETURN(const std::vector<RoleTensor> tensors, ReadRoles(*checkpoint, spec));
  std::unique_ptr<Decoder> decoder(new Decoder(std::move(spec)));
  INGOT_ASSIGN_OR_RETURN(decoder->layers_, DecoderLayers::Make(decoder->spec_, options.session_len, backend));
  const Status packed = LoadWeights(backend, options, *checkpoint, tensors, &decoder->bound_);
  if (!packed.ok()) return Error(packed.Annotate(checkpoint->path()));
  return std::unique_ptr<Model>(std::move(decoder));
}

int64_t Decoder::weight_bytes() const {
  int64_t sum = 0;
  for (const WeightInfo& info : bound_.infos) sum += info.bytes;
  return sum;
}

int64_t Decoder::ProductBytes(const ops::Backend& backend, int64_t max_tokens, int64_t max_logits) const {
  int64_t most = backend.LinearBytes(max_logits, {&bound_.weights.output(), 1});
  for (const LayerWeights& layer : bound_.weights.layers)
    most = std::max(most, LinearBytes(backend, layer, max_tokens));
  return most;
}

int64_t Decoder::ScratchBytes(const ops::Backend& backend, const ForwardLimits& limits) const {
  ScratchCount count;
  TakeActivations(spec_, {limits.step.max_tokens, limits.max_logits, backend.activation_dtype()}, count);
  std::vector<ops::KvLayout> groups;
  int64_t op = ProductBytes(backend, limits.step.max_tokens, limits.max_logits);
  for (const KvGroup& group : kv_groups()) {
    groups.push_back(KvLayoutFor(backend, group, ops::kKvTile, limits.kv_format));
    op = std::max(op, backend.AttentionBytes(limits.step, groups.back()));
  }
  return count.bytes() + backend.StepBytes(limits.step, groups) + op + 64;
}

Status Decoder::Forward(const ops::Context& context, const ops::StepBatch& batch, std::span<const ops::KvView> kv,
                        const TensorView& logits, const LayerTap* tap) const {
  INGOT_CHECK(!bound_.weights.embedding.is_outline());
  if (batch.num_tokens() == 0) return {};
  const auto show = [&](int layer, const TensorView& x) {
    if (tap != nullptr) (*tap)(layer, context.backend->ReadBack(x), batch.num_tokens());
  };
  const ops::Scratch::Mark mark(*context.scratch);
  const DecoderLayers::Step step = layers_->Begin(context, batch, kv);

  ops::Embed(context, step.batch, bound_.weights.embedding, spec_.embedding_scale, step.a.hidden);
  show(-1, step.a.hidden);
  for (int layer = 0; layer < spec_.num_layers; ++layer) {
    const auto i = static_cast<size_t>(layer);
    layers_->Run(step, layer, bound_.weights.layers[i], kv_places_[i]);
    show(layer, step.a.hidden);
  }
  if (tap != nullptr) {
    ops::RmsNorm(context, step.a.hidden, {bound_.weights.final_norm, spec_.norm_eps}, step.a.normed);
    show(spec_.num_layers, step.a.normed);
  }
  layers_->Logits(step, bound_.weights.final_norm, bound_.weights.output(), logits);
  return {};
}

}  // namespace ingot::models
