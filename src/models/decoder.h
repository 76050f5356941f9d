// The decoder that every family is: embedding, layers of attention and MLP, norm, logits.
#pragma once

#include <memory>
#include <vector>

#include "models/activations.h"
#include "models/bind.h"
#include "models/model.h"
#include "models/rope.h"
#include "models/weights.h"
#include "ops/step_tiles.h"

namespace ingot::models {

class Decoder : public Model {
 public:
  static Result<std::unique_ptr<Model>> Load(std::shared_ptr<const formats::Checkpoint> checkpoint,
                                             const LoadOptions& options, ThreadPool& pool);

  const ModelSpec& spec() const override { return spec_; }
  int64_t weight_bytes() const override;
  std::vector<WeightInfo> weights() const override { return infos_; }
  int64_t ScratchBytes(const ops::Context& context, const ForwardLimits& limits) const override;
  void Forward(const ops::Context& context, const StepBatch& batch, std::span<const ops::KvView> kv, float* logits,
               const LayerTap* tap) const override;

 private:
  // What the parts of one forward pass share.
  struct Step {
    const ops::Context& context;
    const StepBatch& batch;
    std::span<const ops::KvView> kv;  // one a group
    Activations a;
    ops::StepTiles tiles;
    int64_t num_tokens;
  };

  // Where a layer's cache is.
  struct KvPlace {
    int group = 0, layer = 0;  // among the group's layers
  };
  explicit Decoder(ModelSpec spec);

  void CheckBatch(const StepBatch& batch, std::span<const ops::KvView> kv) const;
  void ComputeAngles(const Step& step) const;
  void RunLayer(const Step& step, int layer) const;
  void SelfAttention(const Step& step, int layer) const;  // normed → branch
  void Mlp(const Step& step, int layer) const;            // normed → branch
  void Mixture(const Step& step, int layer) const;        // normed → branch
  void SortByExpert(const Step& step) const;
  void Logits(const Step& step, float* logits) const;
  int64_t LinearScratch(int64_t max_tokens, int64_t max_logits) const;

  const ModelSpec spec_;
  std::vector<KvPlace> kv_places_;  // [num_layers]
  Weights weights_;
  std::vector<RopeFrequencies> ropes_;  // as spec_.ropes
  std::vector<WeightInfo> infos_;
};

}  // namespace ingot::models
