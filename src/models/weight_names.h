// How checkpoints name their tensors: one table per naming scheme. "{}" is the layer, a second "{}" the expert;
// ".weight" or ".bias" follows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ingot::models {

// A null name: the scheme has no such tensor. Where several forms are listed, a checkpoint holds one of them.
struct NameTable {
  const char* embedding;
  const char* final_norm;
  const char* lm_head;

  const char* attention_norm;
  const char* post_attention_norm = nullptr;  // Gemma 2, 3
  const char* mlp_norm;
  const char* post_mlp_norm = nullptr;  // Gemma 2, 3

  // Q, K and V as three matrices, or one below the other, or in groups of (query heads, K, V) per KV head.
  const char* q = nullptr;
  const char* k = nullptr;
  const char* v = nullptr;
  const char* qkv = nullptr;
  const char* qkv_grouped = nullptr;
  const char* q_norm = nullptr;
  const char* k_norm = nullptr;
  const char* o;

  // Gate and up as two matrices, or one below the other.
  const char* gate = nullptr;
  const char* up = nullptr;
  const char* gate_up = nullptr;
  const char* down;

  // Mixture of experts: a matrix per expert, or all experts in one 3-D tensor [experts, rows, cols].
  const char* router = nullptr;
  const char* expert_gate = nullptr;
  const char* expert_up = nullptr;
  const char* expert_down = nullptr;
  const char* experts_gate = nullptr;
  const char* experts_up = nullptr;
  const char* experts_gate_up = nullptr;
  const char* experts_down = nullptr;
  bool experts_have_suffix = true;  // ".weight" follows the names of the 3-D tensors

  // What may lie before all names but lm_head's, and before lm_head's. The first with an embedding holds.
  struct Prefix {
    const char* body;
    const char* head;
  };
  std::vector<Prefix> prefixes;
  // Tensors whose names contain one of these are no part of the text model, or follow from the configuration.
  std::vector<std::string_view> ignored;
};

extern const NameTable kLlamaNames;      // Hugging Face: Llama and most others, Phi-3's fused ones included
extern const NameTable kGemmaNames;      // four norms per layer
extern const NameTable kInternLm2Names;  // grouped wqkv, feed_forward.w1/w3/w2
extern const NameTable kMixtralNames;    // block_sparse_moe
extern const NameTable kGgufNames;

// "layers.{}.mlp.experts.{}.up_proj", 3, 7 → "layers.3.mlp.experts.7.up_proj"
std::string Numbered(std::string_view pattern, int64_t layer, int64_t expert = -1);

}  // namespace ingot::models
