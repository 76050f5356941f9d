// The memory of one forward pass, in one place: what is taken and what is counted beforehand are the same code.
#pragma once

#include <algorithm>
#include <cstdint>

#include "models/model_spec.h"

namespace ingot::models {

// T tokens, L rows of logits. `wide` and `narrow` serve attention first, then the MLP.
struct Activations {
  float* hidden;     // [T, hidden_size] the residual stream
  float* normed;     // [T, hidden_size]
  float* branch;     // [T, hidden_size] what attention or the MLP adds to it
  float* wide;       // [T, QKV] or [T, 2 · intermediate_size]
  float* narrow;     // [T, num_heads · head_dim] or [T, intermediate_size]
  float* cos;        // [ropes, T, rotary_dim / 2]
  float* sin;        // alike
  float* last;       // [L, hidden_size] hidden states of the wanted rows
  float* last_norm;  // [L, hidden_size]

  // Mixtures only.  R = T · experts_per_token rows, sorted by expert
  float* router_logits;   // [T, num_experts]
  float* expert_weights;  // [T, experts_per_token]
  int32_t* expert_ids;    // [T, experts_per_token]
  int32_t* row_of;        // [T, experts_per_token] where the token's row of that rank lies
  int32_t* token_of;      // [R]
  int32_t* expert_begin;  // [num_experts + 1]
  float* expert_in;       // [R, hidden_size]
  float* expert_wide;     // [R, 2 · moe_intermediate_size]
  float* expert_narrow;   // [R, moe_intermediate_size]
  float* expert_out;      // [R, hidden_size]
};

// Stands in for ops::Scratch and only counts.
class ScratchCount {
 public:
  template <typename T>
  T* Take(int64_t count) {
    bytes_ += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return nullptr;
  }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

inline int64_t QkvDim(const ModelSpec& spec) {
  return (int64_t{spec.num_heads} + 2 * int64_t{spec.num_kv_heads}) * spec.head_dim;
}

template <typename ScratchLike>
Activations TakeActivations(const ModelSpec& spec, int64_t num_tokens, int64_t num_logits, ScratchLike& scratch) {
  const int64_t t = num_tokens, h = spec.hidden_size;
  const int64_t angles = static_cast<int64_t>(spec.ropes.size()) * t * (spec.rotary_dim / 2);
  const bool mixture = spec.num_experts > 0;
  bool dense = false;
  for (const LayerSpec& layer : spec.layers) dense |= !layer.moe;
  const int64_t inner = dense ? spec.intermediate_size : 0;
  Activations a{};
  a.hidden = scratch.template Take<float>(t * h);
  a.normed = scratch.template Take<float>(t * h);
  a.branch = scratch.template Take<float>(t * h);
  a.wide = scratch.template Take<float>(t * std::max(QkvDim(spec), 2 * inner));
  a.narrow = scratch.template Take<float>(t * std::max(int64_t{spec.num_heads} * spec.head_dim, inner));
  a.cos = scratch.template Take<float>(angles);
  a.sin = scratch.template Take<float>(angles);
  a.last = scratch.template Take<float>(num_logits * h);
  a.last_norm = scratch.template Take<float>(num_logits * h);
  if (!mixture) return a;
  const int64_t k = spec.experts_per_token, rows = t * k;
  a.router_logits = scratch.template Take<float>(t * spec.num_experts);
  a.expert_weights = scratch.template Take<float>(rows);
  a.expert_ids = scratch.template Take<int32_t>(rows);
  a.row_of = scratch.template Take<int32_t>(rows);
  a.token_of = scratch.template Take<int32_t>(rows);
  a.expert_begin = scratch.template Take<int32_t>(spec.num_experts + 1);
  a.expert_in = scratch.template Take<float>(rows * h);
  a.expert_wide = scratch.template Take<float>(rows * 2 * spec.moe_intermediate_size);
  a.expert_narrow = scratch.template Take<float>(rows * spec.moe_intermediate_size);
  a.expert_out = scratch.template Take<float>(rows * h);
  return a;
}

}  // namespace ingot::models
