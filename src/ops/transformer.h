// The ops of a decoder layer between its matrix products. Every output row depends on its own token and on the KV cache
// alone. "Activations" are of the backend's activation dtype (f32 on a CPU), the residual stream is f32.
#pragma once

#include <cstdint>

#include "kernels/elementwise.h"
#include "ops/context.h"
#include "ops/linear.h"
#include "ops/step_batch.h"

namespace ingot::ops {

// Checks the batch against the cache's groups, plans what the ops below need of it, and uploads that. Takes
// Backend::StepBytes of scratch. `batch` and `kv` outlive the step.
Step BeginStep(const Context& context, const StepBatch& batch, std::span<const KvView> kv);

// y[i] = scale · W[id of token i].   ids in [0, N), y: f32 [T, K].
void Embed(const Context& context, const Step& step, const PackedWeight& table, float scale, const TensorView& y);

struct NormWeight {
  const Tensor& weight;  // f32 [H]
  float eps;
};
// y[t] = x[t] / sqrt(mean(x[t]²) + eps) · weight.   x: [T, H] activations or f32, y: [T, H] activations (may be x).
// (Gemma's 1 + w is folded in at load.)
void RmsNorm(const Context& context, const TensorView& x, const NormWeight& norm, const TensorView& y);
// residual[t] += x[t];  y[t] = RmsNorm(residual[t]).   residual: f32 [T, H]
void AddRmsNorm(const Context& context, const TensorView& x, const TensorView& residual, const NormWeight& norm,
                const TensorView& y);
// y += x.   x: activations, y: f32
void Add(const Context& context, const TensorView& x, const TensorView& y);

using Activation = kernels::Activation;  // kSilu, kGeluTanh, kGelu
// y[t][i] = act(gate_up[t][i]) · gate_up[t][I + i].   gate_up: [T, 2·I], y: [T, I].
void ActMul(const Context& context, const TensorView& gate_up, Activation activation, const TensorView& y);
// x = cap · tanh(x / cap).   x: f32
void Softcap(const Context& context, const TensorView& x, float cap);

struct RopeTable {
  const Tensor& inv_freq;  // f64 [rotary_dim / 2]
  double factor;
};
// cos[t][i] = factor · cos(positions[t] · inv_freq[i]), sin alike.   cos, sin: f32 [T, rotary_dim / 2]. Once a step, in
// double.
void RopeAngles(const Context& context, const TensorView& positions, const RopeTable& table, const TensorView& cos,
                const TensorView& sin);

// Where the cache of a layer is.
struct KvPlace {
  int group = 0;  // of Step::kv
  int layer = 0;  // among the group's layers
};

struct RopeKvWriteParams {
  TensorView qkv;       // [T, (num_heads + 2 · num_kv_heads) · head_dim]: Q and K are rotated in place
  TensorView cos, sin;  // f32 [T, rotary_dim / 2], pairs are (i, i + rotary_dim / 2), the rest passes through; empty:
                        // no rotation
  TensorView q_norm, k_norm;  // f32 [head_dim]: RMSNorm per head before rotation; or empty
  float norm_eps = 0;
  KvPlace place;
};
// Head norms, rotary embedding, and the write of K and V into the cache.
void RopeKvWrite(const Context& context, const Step& step, const RopeKvWriteParams& params);

struct AttentionParams {
  TensorView qkv;  // as RopeKvWrite left it
  TensorView out;  // [T, num_heads · head_dim]
  KvPlace place;
  float scale;
  float softcap;  // 0: none
};
// Softmax attention over the cache, which already holds the batch's own tokens. Positions are cut at multiples of 512
// (split-K); parts are merged in order, so a query's bits do not depend on its batch or its chunk. Scratch:
// Backend::AttentionBytes.
void Attention(const Context& context, const Step& step, const AttentionParams& params);

struct RouteRule {
  int k;           // experts a token
  bool normalize;  // softmax over the chosen k, else over all
};
// Mixture of experts. router_logits: f32 [T, E]. Per token the k largest logits (ties: lower index), rank order;
// weights are softmax over all experts, or (normalize) over the chosen k. Rows are sorted by expert, an expert's by
// token.
void Route(const Context& context, const TensorView& router_logits, RouteRule rule, const Routing& routing);
// y[t] = Σ_rank weights[t][rank] · x[row_of[t][rank]], in rank order.   x: [R, H], y: [T, H]
void CombineExperts(const Context& context, const TensorView& x, const Routing& routing, const TensorView& y);
// y[i] = x[rows[i]].   x: [T, H], rows: i32 [L], y: [L, H] of x's dtype
void GatherRows(const Context& context, const TensorView& x, const TensorView& rows, const TensorView& y);

}  // namespace ingot::ops
