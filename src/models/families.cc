#include "models/families.h"

#include "base/check.h"

namespace ingot::models {
namespace {

// Gemma's configurations are often written without the keys that equal their class's defaults.
const std::vector<KeyDefault> kGemma2Defaults = {{"vocab_size", 256000},
                                                 {"hidden_size", 2304},
                                                 {"intermediate_size", 9216},
                                                 {"num_hidden_layers", 26},
                                                 {"num_attention_heads", 8},
                                                 {"num_key_value_heads", 4},
                                                 {"head_dim", 256},
                                                 {"query_pre_attn_scalar", 256},
                                                 {"sliding_window", 4096},
                                                 {"final_logit_softcapping", 30},
                                                 {"attn_logit_softcapping", 50},
                                                 {"sliding_window_pattern", 2},
                                                 {"max_position_embeddings", 8192},
                                                 {"rms_norm_eps", 1e-6}};
const std::vector<KeyDefault> kGemma3Defaults = {{"vocab_size", 262208},
                                                 {"hidden_size", 2304},
                                                 {"intermediate_size", 9216},
                                                 {"num_hidden_layers", 26},
                                                 {"num_attention_heads", 8},
                                                 {"num_key_value_heads", 4},
                                                 {"head_dim", 256},
                                                 {"query_pre_attn_scalar", 256},
                                                 {"sliding_window", 4096},
                                                 {"rope_theta", 1e6},
                                                 {"rope_local_base_freq", 1e4},
                                                 {"sliding_window_pattern", 6},
                                                 {"max_position_embeddings", 131072},
                                                 {"rms_norm_eps", 1e-6}};

std::vector<Family> LlamaFamilies() {
  return {
      {.name = "llama",
       .model_types = {"llama"},
       .gguf = {"llama"},
       .names = {&kLlamaNames},
       .qkv_bias = {"attention_bias"},
       .o_bias = {"attention_bias"},
       .mlp_bias = {"mlp_bias"},
       .gguf_interleaved_rope = true},
      {.name = "mistral",
       .model_types = {"mistral"},
       .gguf = {},  // written as "llama"
       .names = {&kLlamaNames},
       .defaults = {{"sliding_window", 4096}, {"num_key_value_heads", 8}},
       .windows = WindowRule::kAllLayers},
      {.name = "phi3",
       .model_types = {"phi3"},
       .gguf = {"phi3"},
       .names = {&kLlamaNames},
       .windows = WindowRule::kAllLayers},
  };
}

std::vector<Family> QwenFamilies() {
  return {
      {.name = "qwen2",
       .model_types = {"qwen2"},
       .gguf = {"qwen2"},
       .names = {&kLlamaNames},
       .defaults = {{"sliding_window", 4096}, {"max_window_layers", 28}},
       .qkv_bias = {.fallback = true},
       .windows = WindowRule::kUpperIfEnabled},
      {.name = "qwen3",
       .model_types = {"qwen3"},
       .gguf = {"qwen3"},
       .names = {&kLlamaNames},
       .defaults = {{"head_dim", 128}, {"sliding_window", 4096}, {"max_window_layers", 28}},
       .qkv_bias = {"attention_bias"},
       .o_bias = {"attention_bias"},
       .qk_norm = true,
       .windows = WindowRule::kUpperIfEnabled},
  };
}

std::vector<Family> InternLmFamilies() {
  return {
      {.name = "internlm",
       .model_types = {"internlm"},
       .gguf = {},
       .names = {&kLlamaNames},
       .qkv_bias = {"bias", true},
       .o_bias = {"bias", true}},
      {.name = "internlm2",
       .model_types = {"internlm2"},
       .gguf = {"internlm2"},
       .names = {&kInternLm2Names},
       .qkv_bias = {"bias", true},
       .o_bias = {"bias", true},
       .gguf_interleaved_rope = true},
      {.name = "internlm3",
       .model_types = {"internlm3"},
       .gguf = {},  // written as "llama"
       .names = {&kLlamaNames},
       .defaults = {{"head_dim", 128}},
       .qkv_bias = {"qkv_bias"},
       .o_bias = {"bias"},
       .mlp_bias = {"bias"}},
  };
}

std::vector<Family> GemmaFamilies() {
  return {
      {.name = "gemma2",
       .model_types = {"gemma2"},
       .gguf = {"gemma2"},
       .names = {&kGemmaNames},
       .defaults = kGemma2Defaults,
       .qkv_bias = {"attention_bias"},
       .o_bias = {"attention_bias"},
       .tied_embeddings = {"tie_word_embeddings", true},
       .post_norms = true,
       .norm_plus_one = true,
       .scaled_embedding = true,
       .query_pre_attn_scalar = true,
       .softcaps = true,
       .windows = WindowRule::kAllButEveryNth,
       .activation_key = "hidden_activation",
       .activation = "gelu_pytorch_tanh",
       .gguf_window_pattern = 2},
      {.name = "gemma3",
       .model_types = {"gemma3", "gemma3_text"},
       .gguf = {"gemma3"},
       .names = {&kGemmaNames},
       .defaults = kGemma3Defaults,
       .qkv_bias = {"attention_bias"},
       .o_bias = {"attention_bias"},
       .tied_embeddings = {"tie_word_embeddings", true},
       .qk_norm = true,
       .post_norms = true,
       .norm_plus_one = true,
       .scaled_embedding = true,
       .query_pre_attn_scalar = true,
       .softcaps = true,
       .rope_per_layer_type = true,
       .windows = WindowRule::kAllButEveryNth,
       .activation_key = "hidden_activation",
       .activation = "gelu_pytorch_tanh",
       .gguf_window_pattern = 6},
  };
}

std::vector<Family> MixtureFamilies() {
  return {
      {.name = "mixtral",
       .model_types = {"mixtral"},
       .gguf = {},  // written as "llama" with experts
       .names = {&kMixtralNames, &kLlamaNames},
       .defaults = {{"num_key_value_heads", 8}, {"num_experts_per_tok", 2}, {"rope_theta", 1e6}},
       .windows = WindowRule::kAllLayers,
       .moe = MoeRule::kAllLayers,
       .num_experts_key = "num_local_experts",
       .normalize_topk = {.fallback = true}},
      {.name = "qwen3_moe",
       .model_types = {"qwen3_moe"},
       .gguf = {"qwen3moe"},
       .names = {&kLlamaNames},
       .defaults = {{"sliding_window", 4096}, {"num_experts_per_tok", 8}, {"decoder_sparse_step", 1}},
       .qkv_bias = {"attention_bias"},
       .o_bias = {"attention_bias"},
       .qk_norm = true,
       .windows = WindowRule::kIfEnabled,
       .moe = MoeRule::kSparseStep,
       .normalize_topk = {"norm_topk_prob"}},
  };
}

std::vector<Family> AllFamilies() {
  std::vector<Family> all;
  for (const auto& group : {LlamaFamilies(), QwenFamilies(), InternLmFamilies(), GemmaFamilies(), MixtureFamilies()}) {
    all.insert(all.end(), group.begin(), group.end());
  }
  return all;
}

using NameList = std::vector<std::string_view> Family::*;

const Family* Find(NameList list, std::string_view name) {
  for (const Family& family : Families()) {
    for (std::string_view known : family.*list) {
      if (known == name) return &family;
    }
  }
  return nullptr;
}

std::string Join(NameList list) {
  std::string joined;
  for (const Family& family : Families()) {
    for (std::string_view known : family.*list) {
      if (!joined.empty()) joined += ", ";
      joined += known;
    }
  }
  return joined;
}

}  // namespace

const std::vector<Family>& Families() {
  static const auto* const families = new std::vector<Family>(AllFamilies());
  return *families;
}

const Family& FamilyNamed(std::string_view name) {
  for (const Family& family : Families()) {
    if (family.name == name) return family;
  }
  INGOT_CHECK(false);
}

const Family* FamilyOfModelType(std::string_view model_type) { return Find(&Family::model_types, model_type); }
const Family* FamilyOfGgufArchitecture(std::string_view architecture) { return Find(&Family::gguf, architecture); }
std::string KnownModelTypes() { return Join(&Family::model_types); }
std::string KnownGgufArchitectures() { return Join(&Family::gguf); }

}  // namespace ingot::models
