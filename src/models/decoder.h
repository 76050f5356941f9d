// The decoder that every family is: embedding, layers of attention and MLP, norm, logits.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "models/bind.h"
#include "models/decoder_layers.h"
#include "models/model.h"
#include "models/weights.h"

namespace ingot::models {

class Decoder : public Model {
 public:
  static Result<std::unique_ptr<Model>> Load(std::shared_ptr<const formats::Checkpoint> checkpoint, ModelSpec spec,
                                             const LoadOptions& options, ops::Backend& backend);

  const ModelSpec& spec() const override { return spec_; }
  int64_t weight_bytes() const override;
  int64_t mapped_weight_bytes() const override { return bound_.mapped ? weight_bytes() : 0; }
  std::vector<WeightInfo> weights() const override { return bound_.infos; }
  int64_t ScratchBytes(const ops::Backend& backend, const ForwardLimits& limits) const override;
  Status Forward(const ops::Context& context, const ops::StepBatch& batch, std::span<const ops::KvView> kv,
                 const TensorView& logits, const LayerTap* tap) const override;

 private:
  explicit Decoder(ModelSpec spec);

  int64_t ProductBytes(const ops::Backend& backend, int64_t max_tokens, int64_t max_logits) const;

  const ModelSpec spec_;
  std::optional<DecoderLayers> layers_;
  std::vector<ops::KvPlace> kv_places_;  // [num_layers]
  BoundWeights bound_;
};

}  // namespace ingot::models
