// The memory of one forward pass, in one place: what is taken and what is counted beforehand are the same code.
#pragma once

#include <algorithm>
#include <cstdint>

#include "models/model_spec.h"
#include "ops/linear.h"

namespace ingot::models {

// T tokens, L rows of logits. `wide` and `narrow` serve attention first, then the MLP. Activations but where it says
// f32.
struct Activations {
  TensorView hidden;               // f32 [T, hidden_size] the residual stream
  TensorView normed;               // [T, hidden_size]
  TensorView branch;               // [T, hidden_size] what attention or the MLP adds to it
  TensorView qkv, gate_up;         // [T, QKV] and [T, 2 · intermediate_size], one memory
  TensorView attended, activated;  // [T, num_heads · head_dim] and [T, intermediate_size], one memory
  TensorView cos, sin;             // f32 [ropes · T, rotary_dim / 2]
  TensorView last;                 // f32 [L, hidden_size] hidden states of the wanted rows
  TensorView last_norm;            // [L, hidden_size]

  // Mixtures only.  R = T · experts_per_token rows, sorted by expert
  TensorView router_logits;  // f32 [T, num_experts]
  ops::Routing routing;
  TensorView expert_in;         // [R, hidden_size]
  TensorView expert_gate_up;    // [R, 2 · moe_intermediate_size]
  TensorView expert_activated;  // [R, moe_intermediate_size]
  TensorView expert_out;        // [R, hidden_size]
};

// Stands in for ops::Scratch and only counts.
class ScratchCount {
 public:
  TensorView Take(DType dtype, Shape shape) {
    bytes_ += (shape.NumElements() * static_cast<int64_t>(SizeOf(dtype)) + 63) / 64 * 64;
    return {.dtype = dtype, .shape = shape};
  }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

struct ActivationSizes {
  int64_t num_tokens, num_logits;
  DType dtype;  // Backend::activation_dtype
};
template <typename ScratchLike>
Activations TakeActivations(const ModelSpec& spec, const ActivationSizes& sizes, ScratchLike& scratch) {
  constexpr DType kF32 = DType::kF32, kI32 = DType::kI32;
  const int64_t t = sizes.num_tokens, h = spec.hidden_size, half = spec.rotary_dim / 2;
  const auto num_ropes = static_cast<int64_t>(spec.ropes.size());
  const bool has_dense = std::ranges::any_of(spec.layers, [](const LayerSpec& layer) { return !layer.moe; });
  const int64_t inner = has_dense ? spec.intermediate_size : 0;
  const int64_t qkv = spec.heads().qkv_rows(), attended = spec.heads().attended();
  Activations a{};
  a.hidden = scratch.Take(kF32, {t, h});
  a.normed = scratch.Take(sizes.dtype, {t, h});
  a.branch = scratch.Take(sizes.dtype, {t, h});
  const TensorView wide = scratch.Take(sizes.dtype, {t, std::max(qkv, 2 * inner)});
  a.qkv = wide.As({t, qkv});
  a.gate_up = wide.As({t, 2 * inner});
  const TensorView narrow = scratch.Take(sizes.dtype, {t, std::max(attended, inner)});
  a.attended = narrow.As({t, attended});
  a.activated = narrow.As({t, inner});
  a.cos = scratch.Take(kF32, {num_ropes * t, half});
  a.sin = scratch.Take(kF32, {num_ropes * t, half});
  a.last = scratch.Take(kF32, {sizes.num_logits, h});
  a.last_norm = scratch.Take(sizes.dtype, {sizes.num_logits, h});
  if (spec.num_experts == 0) return a;
  const int64_t k = spec.experts_per_token, rows = t * k, experts = spec.num_experts;
  const int64_t moe_inner = spec.moe_intermediate_size;
  a.router_logits = scratch.Take(kF32, {t, experts});
  a.routing = {.ids = scratch.Take(kI32, {t, k}),
               .weights = scratch.Take(kF32, {t, k}),
               .row_of = scratch.Take(kI32, {t, k}),
               .token_of = scratch.Take(kI32, {rows}),
               .expert_begin = scratch.Take(kI32, {experts + 1})};
  a.expert_in = scratch.Take(sizes.dtype, {rows, h});
  a.expert_gate_up = scratch.Take(sizes.dtype, {rows, 2 * moe_inner});
  a.expert_activated = scratch.Take(sizes.dtype, {rows, moe_inner});
  a.expert_out = scratch.Take(sizes.dtype, {rows, h});
  return a;
}

}  // namespace ingot::models
