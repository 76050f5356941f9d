// What the model families differ in, as a table. Reading a configuration and binding weights are the same code for all;
// the forward pass knows only ModelSpec.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "models/weight_names.h"
#include "ops/transformer.h"

namespace ingot::models {

// A yes or no that a configuration may state under a key of its own; else `fallback` holds. No key: it is fixed.
struct FlagRule {
  const char* key = "";
  bool fallback = false;
};

enum class WindowRule : uint8_t {
  kNone,
  kAllLayers,       // Mistral, Mixtral, Phi-3: `sliding_window`, where it is a number, holds for every layer
  kIfEnabled,       // Qwen3-MoE: the same, but only with `use_sliding_window`
  kUpperIfEnabled,  // Qwen2, Qwen3: and only from layer `max_window_layers` up
  kAllButEveryNth,  // Gemma: `sliding_window` except every `sliding_window_pattern`-th layer
};

enum class MoeRule : uint8_t {
  kNone,
  kAllLayers,   // Mixtral
  kSparseStep,  // Qwen3-MoE: `decoder_sparse_step`, `mlp_only_layers`
};

// A number that the family's configuration class assumes for a key that config.json leaves out.
struct KeyDefault {
  std::string_view key;
  double value;
};

struct Family {
  const char* name;
  std::vector<std::string_view> model_types;  // config.json: model_type
  std::vector<std::string_view> gguf;         // GGUF: general.architecture
  std::vector<const NameTable*> names;        // of a Hugging Face checkpoint: one of these
  std::vector<KeyDefault> defaults = {};

  FlagRule qkv_bias = {}, o_bias = {}, mlp_bias = {}, router_bias = {}, expert_bias = {};
  FlagRule tied_embeddings = {"tie_word_embeddings", false};
  bool qk_norm = false;
  bool post_norms = false;
  bool norm_plus_one = false;
  bool scaled_embedding = false;       // by sqrt(hidden_size)
  bool query_pre_attn_scalar = false;  // the attention's scale is the square root of that key, not of head_dim
  bool softcaps = false;               // attn_logit_softcapping, final_logit_softcapping
  bool rope_per_layer_type = false;    // Gemma 3: sliding layers rotate by a table of their own
  WindowRule windows = WindowRule::kNone;
  MoeRule moe = MoeRule::kNone;
  const char* num_experts_key = "num_experts";
  FlagRule normalize_topk = {};
  const char* activation_key = "hidden_act";  // Gemma's own hidden_act is not what its model follows
  const char* activation = "silu";            // when the configuration names none

  // GGUF only.
  bool gguf_interleaved_rope = false;  // rows of Q and K are written so that neighbours rotate together
  int gguf_window_pattern = 0;         // kAllButEveryNth, when the file does not say
};

const std::vector<Family>& Families();
// REQUIRES: the name of a family (ModelSpec::family).
const Family& FamilyNamed(std::string_view name);
// nullptr if unknown.
const Family* FamilyOfModelType(std::string_view model_type);
const Family* FamilyOfGgufArchitecture(std::string_view architecture);
// "gemma2, gemma3, …" for messages.
std::string KnownModelTypes();
std::string KnownGgufArchitectures();

}  // namespace ingot::models
