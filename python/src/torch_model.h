// Models that transformers computes: ingot/torch_engine.py brings them, and is all that knows torch.
#pragma once

#include <nanobind/nanobind.h>

#include "llm/pytorch.h"

namespace ingot::python {

// From now on `load` loads the models of the PyTorch engine: what ingot.torch_engine.load is. It is called without the
// GIL being held, from any thread.
void SetTorchLoader(nanobind::callable load);

// A model's forward pass, handed to Python step by step: the one place where a thread of the engine takes the GIL.
class TorchModel : public models::Model {
 public:
  // `runner`: an ingot.torch_engine.Runner.   REQUIRES: the GIL
  TorchModel(nanobind::object runner, std::string fingerprint);
  ~TorchModel() override;

  const models::ModelSpec& spec() const override { return spec_; }
  int64_t weight_bytes() const override { return weight_bytes_; }
  std::vector<models::WeightInfo> weights() const override { return {}; }
  // Of each layer its keys, [block_len, num_kv_heads, head_dim], then its values; in the model's numbers, whatever
  // `format` says.
  ops::KvLayout KvLayoutFor(const ops::Backend& backend, const models::KvGroup& group, int block_len,
                            ops::KvFormat format) const override;
  // torch has an allocator of its own: what it takes is estimated, and kept free for it by not being touched.
  int64_t ScratchBytes(const ops::Backend& backend, const models::ForwardLimits& limits) const override;
  // A pass that fails is logged, with Python's traceback.
  Status Forward(const ops::Context& context, const ops::StepBatch& batch, std::span<const ops::KvView> kv,
                 const TensorView& logits, const models::LayerTap* tap) const override;

 private:
  void Run(const ops::StepBatch& batch, std::span<const ops::KvView> kv, const TensorView& logits,
           const models::LayerTap* tap) const;

  nanobind::object runner_;
  models::ModelSpec spec_;
  int64_t weight_bytes_ = 0, token_bytes_ = 0, context_bytes_ = 0;
  ops::KvFormat kv_format_ = ops::KvFormat::kF32;
};

}  // namespace ingot::python
