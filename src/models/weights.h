// The weights of a decoder, packed.
#pragma once

#include <vector>

#include "models/fused_linear.h"
#include "ops/linear.h"

namespace ingot::models {

struct LayerWeights {
  std::vector<float> attention_norm, mlp_norm;            // [hidden_size]
  std::vector<float> post_attention_norm, post_mlp_norm;  // [hidden_size], or empty without post_norms
  std::vector<float> q_norm, k_norm;                      // [head_dim], or empty without qk_norm
  FusedLinear qkv;                                        // Q, K and V, one below the other
  FusedLinear o;
  FusedLinear gate_up, down;  // of a dense MLP

  FusedLinear router;                       // of a mixture: [num_experts, hidden_size]
  std::vector<FusedLinear> expert_gate_up;  // [num_experts]
  std::vector<FusedLinear> expert_down;     // [num_experts]
};

struct Weights {
  ops::PackedWeight embedding;  // [vocab_size, hidden_size]
  ops::PackedWeight lm_head;    // the same; empty when tied to the embedding
  std::vector<float> final_norm;
  std::vector<LayerWeights> layers;

  const ops::PackedWeight& output() const { return lm_head.empty() ? embedding : lm_head; }
};

}  // namespace ingot::models
