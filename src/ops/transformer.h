// The ops of a decoder layer between its matrix products. All activations are f32; every output row depends on its own
// token and on the KV cache alone.
#pragma once

#include <cstdint>
#include <span>

#include "ops/context.h"
#include "ops/kv_view.h"
#include "ops/step_tiles.h"

namespace ingot::ops {

struct NormWeight {
  const float* weight;  // [H]
  float eps;
};
// y[t] = x[t] / sqrt(mean(x[t]²) + eps) · weight.   x, y: [T, H] (may be the same), weight: [H]. (Gemma's 1 + w is
// folded in at load.)
void RmsNorm(const Context& context, const TensorView& x, NormWeight norm, const TensorView& y);
// residual[t] += x[t];  y[t] = RmsNorm(residual[t]).
void AddRmsNorm(const Context& context, const TensorView& x, const TensorView& residual, NormWeight norm,
                const TensorView& y);
// y += x
void Add(const Context& context, const TensorView& x, const TensorView& y);

using Activation = kernels::Activation;  // kSilu, kGeluTanh, kGelu
// y[t][i] = act(gate_up[t][i]) · gate_up[t][I + i].   gate_up: [T, 2·I], y: [T, I].
void ActMul(const Context& context, const TensorView& gate_up, Activation activation, const TensorView& y);
// x = cap · tanh(x / cap)
void Softcap(const Context& context, const TensorView& x, float cap);

struct RopeTable {
  std::span<const double> inv_freq;  // [rotary_dim / 2]
  double factor;
};
// cos[t][i] = factor · cos(positions[t] · inv_freq[i]), sin alike.   cos, sin: [T, inv_freq.size()]. Once a step, in
// double.
void RopeAngles(const Context& context, std::span<const int32_t> positions, const RopeTable& table, float* cos,
                float* sin);

struct RopeKvWriteParams {
  float* q;            // [T, num_heads, head_dim], row stride qkv_stride; rotated in place
  float* k;            // [T, num_kv_heads, head_dim], the same stride; rotated in place
  const float* v;      // [T, num_kv_heads, head_dim], the same stride
  int64_t qkv_stride;  // floats between tokens
  int64_t num_tokens;
  int num_heads;
  const float* cos;  // [T, rotary_dim / 2]; pairs are (i, i + rotary_dim / 2)
  const float* sin;
  int rotary_dim;       // <= head_dim; the rest passes through
  const float* q_norm;  // [head_dim] RMSNorm per head before rotation, or null
  const float* k_norm;
  float norm_eps;
  const int32_t* slots;  // [T] where K and V of each token go
  KvView kv;
  int layer;
  const StepTiles* tiles = nullptr;  // kI4
};
// Head norms, rotary embedding, and the write of K and V into the cache.
void RopeKvWrite(const Context& context, const RopeKvWriteParams& params);

struct AttentionParams {
  const float* q;  // [T, num_heads, head_dim], row stride q_stride
  int64_t q_stride;
  float* out;  // [T, num_heads, head_dim], contiguous
  int num_heads;
  const int32_t* positions;   // [T]
  const int32_t* cu_seqlens;  // [num_seqs + 1]: tokens of sequence s are [cu_seqlens[s], cu_seqlens[s + 1])
  int num_seqs;
  const int32_t* block_tables;  // [num_seqs, block_table_stride]
  int64_t block_table_stride;
  KvView kv;
  int layer;
  float scale;
  float softcap;                     // 0: none
  int window;                        // a query at p sees (p - window, p]; 0: all of [0, p]
  const StepTiles* tiles = nullptr;  // kI4
};
// Softmax attention over the cache, which already holds the batch's own tokens. Positions are cut at multiples of 512
// (split-K); parts are merged in order, so a query's bits do not depend on its batch or its chunk.
void Attention(const Context& context, const AttentionParams& params);
int64_t AttentionScratchBytes(const Context& context, int64_t max_tokens, int num_heads, int head_dim,
                              int64_t max_context);

struct RouteRule {
  int k;           // experts a token
  bool normalize;  // softmax over the chosen k, else over all
};
// Mixture of experts. router_logits: [T, E]. Per token the k largest logits (ties: lower index), rank order; weights
// are softmax over all experts, or (normalize) over the chosen k.   ids, weights: [T, k]
void RouteTopK(const Context& context, const TensorView& router_logits, RouteRule rule, int32_t* ids, float* weights);
// y[t] = Σ_rank weights[t][rank] · expert_out[row_of[t · k + rank]], in rank order.   expert_out: [T·k, H], y: [T, H]
struct CombineParams {
  const float* expert_out;  // [T·k, H]
  const int32_t* row_of;    // [T, k]
  const float* weights;     // [T, k]
  int64_t num_tokens, hidden_size;
  int k;
  float* y;  // [T, H]
};
void CombineExperts(const Context& context, const CombineParams& params);
// y[i] = x[rows[i]].   x: [T, H], y: [rows.size(), H]
void GatherRows(const Context& context, const TensorView& x, std::span<const int32_t> rows, const TensorView& y);

}  // namespace ingot::ops
