// The weights of a decoder, packed.
#pragma once

#include <vector>

#include "ops/linear.h"

namespace ingot::models {

struct LayerWeights {
  Tensor attention_norm, mlp_norm;            // f32 [hidden_size]
  Tensor post_attention_norm, post_mlp_norm;  // f32 [hidden_size], or empty without post_norms
  Tensor q_norm, k_norm;                      // f32 [head_dim], or empty without qk_norm
  ops::FusedLinear qkv;                       // Q, K and V, one below the other
  ops::FusedLinear o;
  ops::FusedLinear gate_up, down;  // of a dense MLP

  ops::FusedLinear router;                       // of a mixture: [num_experts, hidden_size]
  std::vector<ops::FusedLinear> expert_gate_up;  // [num_experts]
  std::vector<ops::FusedLinear> expert_down;     // [num_experts]
};

struct Weights {
  ops::PackedWeight embedding;  // [vocab_size, hidden_size]
  ops::PackedWeight lm_head;    // the same; empty when tied to the embedding
  Tensor final_norm;            // f32 [hidden_size]
  std::vector<LayerWeights> layers;

  const ops::PackedWeight& output() const { return lm_head.empty() ? embedding : lm_head; }
};

}  // namespace ingot::models
