// What the layers of a decoder compute, for any holder of their weights: a whole model (Decoder) or one layer at a time
// (LayerRunner).
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "models/activations.h"
#include "models/model_spec.h"
#include "models/rope.h"
#include "models/weights.h"
#include "ops/backend.h"

namespace ingot::models {

// What is about to be multiplied by the weights of a layer.
enum class LinearInput : uint8_t {
  kQkv,     // [T, hidden_size]
  kO,       // [T, num_heads · head_dim]
  kRouter,  // [T, hidden_size] of a mixture: all tokens, before they go to their experts
  kGateUp,  // [rows, hidden_size] of the dense MLP or of one expert
  kDown     // [rows, intermediate_size], or moe_intermediate_size
};
// Sees the inputs of linears on their way, in the host's memory, and may change them. `expert` is -1 outside of
// experts.
using LinearTap = std::function<void(LinearInput input, int expert, float* x, int64_t rows)>;

// Immutable once made, so thread-safe; a step is one thread's.
class DecoderLayers {
 public:
  // session_len fixes dynamic NTK and LongRoPE frequencies; 0: spec.max_position. `spec` outlives it.
  static Result<DecoderLayers> Make(const ModelSpec& spec, int64_t session_len, ops::Backend& backend);

  // What the parts of one forward pass share.
  struct Step {
    const ops::Context& context;
    ops::Step batch;
    Activations a;
    const LinearTap* tap = nullptr;
  };

  // Takes the step's memory from context.scratch. `batch` and `kv` (one a group) outlive the step.
  Step Begin(const ops::Context& context, const ops::StepBatch& batch, std::span<const ops::KvView> kv) const;
  // hidden → hidden.
  void Run(const Step& step, int layer, const LayerWeights& weights, ops::KvPlace place) const;
  // The logits of the wanted rows: f32 [L, vocab_size].
  void Logits(const Step& step, const Tensor& final_norm, const ops::PackedWeight& head,
              const TensorView& logits) const;

 private:
  explicit DecoderLayers(const ModelSpec& spec) : spec_(&spec) {}
  void SelfAttention(const Step& step, int layer, const LayerWeights& w, ops::KvPlace place) const;  // normed → branch
  void Mlp(const Step& step, const LayerWeights& w) const;                                           // normed → branch
  void Mixture(const Step& step, const LayerWeights& w) const;                                       // normed → branch

  struct Rope {
    Tensor inv_freq;  // f64 [rotary_dim / 2]
    double factor;
  };
  const ModelSpec* spec_;
  std::vector<Rope> ropes_;  // as spec.ropes
};

// Scratch of the largest product of a layer with `max_tokens` rows.
int64_t LinearBytes(const ops::Backend& backend, const LayerWeights& layer, int64_t max_tokens);

}  // namespace ingot::models
