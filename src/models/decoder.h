// The decoder that every family is: embedding, layers of attention and MLP, norm, logits.
#pragma once

#include <memory>
#include <vector>

#include "models/decoder_layers.h"
#include "models/model.h"
#include "models/weights.h"

namespace ingot::models {

class Decoder : public Model {
 public:
  static Result<std::unique_ptr<Model>> Load(std::shared_ptr<const formats::Checkpoint> checkpoint, ModelSpec spec,
                                             const LoadOptions& options, ThreadPool& pool);

  const ModelSpec& spec() const override { return spec_; }
  int64_t weight_bytes() const override;
  std::vector<WeightInfo> weights() const override { return infos_; }
  int64_t ScratchBytes(const ops::Context& context, const ForwardLimits& limits) const override;
  void Forward(const ops::Context& context, const StepBatch& batch, std::span<const ops::KvView> kv, float* logits,
               const LayerTap* tap) const override;

 private:
  Decoder(ModelSpec spec, int64_t session_len);

  void CheckBatch(const StepBatch& batch, std::span<const ops::KvView> kv) const;
  int64_t ProductScratch(int64_t max_tokens, int64_t max_logits) const;

  const ModelSpec spec_;
  const DecoderLayers layers_;
  std::vector<DecoderLayers::KvPlace> kv_places_;  // [num_layers]
  Weights weights_;
  std::vector<WeightInfo> infos_;
};

}  // namespace ingot::models
