// A model's shape as data. A family is a way of filling this in (families.h), never a branch in the forward pass.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "ops/transformer.h"

namespace ingot::models {

struct RopeSpec {
  enum class Kind : uint8_t { kDefault, kLinear, kDynamicNtk, kLlama3, kYarn, kLongRope };
  Kind kind = Kind::kDefault;
  double theta = 10000.0;
  double factor = 1.0;
  int64_t original_max_position = 0;  // llama3, yarn, longrope, dynamic: the length it was trained at
  double low_freq_factor = 1.0, high_freq_factor = 4.0;            // llama3
  double beta_fast = 32.0, beta_slow = 1.0;                        // yarn
  std::optional<double> attention_factor, mscale, mscale_all_dim;  // yarn, longrope
  bool truncate = true;                                            // yarn: round the correction range
  std::vector<double> short_factor, long_factor;                   // longrope; GGUF's rope_freqs as divisors
  bool operator==(const RopeSpec&) const = default;
};

// What a layer is. CheckSpec refuses by name what no kernel computes.
struct LayerSpec {
  // Scores over a cache of keys and values; over one latent vector per token (MLA); a state instead of a cache.
  enum class Attention : uint8_t { kSoftmax, kLatent, kLinear };
  Attention attention = Attention::kSoftmax;
  int num_heads = 0, num_kv_heads = 0;
  int head_dim = 0;        // of Q and K
  int value_head_dim = 0;  // of V, and so of what O multiplies
  bool sinks = false;      // each head's softmax has a term that no token has
  int conv_kernel = 0;     // kLinear: tokens that a convolution over Q, K and V sees; 0: none
  int window = 0;          // 0: full attention
  int rope = 0;            // index into ModelSpec::ropes; -1: no positions (NoPE)
  bool moe = false;
  bool operator==(const LayerSpec&) const = default;

  int64_t q_rows() const { return int64_t{num_heads} * head_dim; }
  int64_t k_rows() const { return int64_t{num_kv_heads} * head_dim; }
  int64_t v_rows() const { return int64_t{num_kv_heads} * value_head_dim; }
  int64_t qkv_rows() const { return q_rows() + k_rows() + v_rows(); }
  int64_t attended() const { return int64_t{num_heads} * value_head_dim; }  // what O multiplies
  // Of kLinear, for a sequence: a matrix a head, and the last inputs of the convolution; in f32. 0 where tokens are
  // cached.
  int64_t state_bytes() const {
    if (attention != Attention::kLinear) return 0;
    const int64_t inputs = conv_kernel > 1 ? (conv_kernel - 1) * (q_rows() + k_rows() + v_rows()) : 0;
    return (int64_t{num_heads} * head_dim * value_head_dim + inputs) * static_cast<int64_t>(sizeof(float));
  }
};

struct ModelSpec {
  std::string family;  // "llama", "qwen3", "gemma3", …
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0;
  int num_layers = 0, rotary_dim = 0;
  int64_t max_position = 0;  // max_position_embeddings
  float norm_eps = 1e-6f;
  ops::Activation activation = ops::Activation::kSilu;
  bool qkv_bias = false, o_bias = false, mlp_bias = false, router_bias = false, expert_bias = false;
  bool qk_norm = false;        // RMSNorm per head of Q and K before rotation
  bool post_norms = false;     // Gemma 2/3: norms after attention and after the MLP too
  bool norm_plus_one = false;  // checkpoint holds w - 1 (Gemma, Hugging Face): folded in at load
  bool tied_embeddings = false;
  float embedding_scale = 1.0f;                          // Gemma: sqrt(hidden_size), rounded as the reference does
  float attention_scale = 0.0f;                          // of q·k
  float attention_softcap = 0.0f, logit_softcap = 0.0f;  // 0: none
  int num_experts = 0, experts_per_token = 0;
  int64_t moe_intermediate_size = 0;
  bool normalize_topk = false;
  std::vector<RopeSpec> ropes;
  std::vector<LayerSpec> layers;  // [num_layers]

  // The heads of every layer: CheckSpec requires them to be equal.
  const LayerSpec& heads() const { return layers.front(); }
};

}  // namespace ingot::models
