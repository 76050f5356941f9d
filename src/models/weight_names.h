// How checkpoints name their tensors: one table per naming scheme, one row per tensor.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ingot::models {

// What a tensor is for. Norms are vectors, all others matrices that may have a bias.
enum class Role : uint8_t {
  kEmbedding,
  kFinalNorm,
  kLmHead,
  kAttentionNorm,
  kPostAttentionNorm,  // Gemma 2, 3
  kMlpNorm,
  kPostMlpNorm,  // Gemma 2, 3
  kQ,
  kK,
  kV,
  kQkv,  // Q, K and V in one
  kQNorm,
  kKNorm,
  kO,
  kGate,
  kUp,
  kGateUp,  // gate and up in one
  kDown,
  kRouter,
  kExpertGate,
  kExpertUp,
  kExpertGateUp,
  kExpertDown,
};

// In which order a tensor of several roles has their rows.
enum class RowLayout : uint8_t {
  kBelow,    // one role below the other
  kGrouped,  // per KV head: its query heads, its K, its V
};

// A row of a name table. "{}" is the layer, a second "{}" the expert. Where an expert's role has no second one, the
// tensor holds all experts: [experts, rows, cols].
struct TensorName {
  Role role;
  const char* pattern;
  const char* weight = ".weight";  // what follows the name of the matrix or norm
  const char* bias = ".bias";
  RowLayout layout = RowLayout::kBelow;

  bool is_stacked() const;
};

struct NameTable {
  // Where a role, or roles in one tensor, have several rows, a checkpoint has the tensors of one of them; new
  // checkpoints are written by the first.
  std::vector<TensorName> tensors;
  // What may come before all names but lm_head's, and before lm_head's. The first with an embedding holds.
  struct Prefix {
    const char* body;
    const char* head;
  };
  std::vector<Prefix> prefixes;
  // Tensors whose names contain one of these are no part of the text model, or follow from the configuration.
  std::vector<std::string_view> ignored;

  // The first row of a role whose tensors hold all experts, or do not; null: the scheme has none.
  const TensorName* Find(Role role, bool stacked = false) const;
};

extern const NameTable kLlamaNames;      // Hugging Face: Llama and most others, Phi-3's fused ones included
extern const NameTable kGemmaNames;      // four norms per layer
extern const NameTable kInternLm2Names;  // grouped wqkv, feed_forward.w1/w3/w2
extern const NameTable kMixtralNames;    // block_sparse_moe
extern const NameTable kGgufNames;

// "layers.{}.mlp.experts.{}.up_proj", 3, 7 → "layers.3.mlp.experts.7.up_proj"
std::string Numbered(std::string_view pattern, int64_t layer, int64_t expert = -1);

}  // namespace ingot::models
