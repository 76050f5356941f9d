#include <algorithm>
#include <charconv>
#include <cmath>

#include "convert/model_config.h"
#include "convert/spec_difference.h"
#include "models/rope.h"
#include "models/spec_internal.h"

namespace ingot::convert {
namespace {

using models::ModelSpec;
using models::RopeSpec;

struct ArchitectureName {
  const char* family;
  const char* architecture;
};
constexpr ArchitectureName kArchitectures[] = {
    {"llama", "LlamaForCausalLM"}, {"mistral", "MistralForCausalLM"}, {"qwen2", "Qwen2ForCausalLM"},
    {"qwen3", "Qwen3ForCausalLM"}, {"gemma2", "Gemma2ForCausalLM"},   {"gemma3", "Gemma3ForCausalLM"},
    {"phi3", "Phi3ForCausalLM"},   {"mixtral", "MixtralForCausalLM"}, {"qwen3_moe", "Qwen3MoeForCausalLM"}};

// 1e-05 rather than 9.999999747378752e-06: the shortest decimal that is this float.
double Shortest(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  double shortest = value;
  std::from_chars(text, end, shortest);
  return shortest;
}

// transformers takes whole numbers alone for some keys, and the float that is read back is not exactly one.
boost::json::value WholeIfNear(double value) {
  const double whole = std::round(value);
  return std::abs(value - whole) <= 1e-5 * value ? boost::json::value(static_cast<int64_t>(whole))
                                                 : boost::json::value(value);
}

boost::json::array ToJson(const std::vector<double>& numbers) {
  return boost::json::array(numbers.begin(), numbers.end());
}

// Llama 3.1 and its kin keep their stretched frequencies in GGUF as a table of divisors. The published parameters whose
// table this is.
std::optional<RopeSpec> RecognizeLlama3(const RopeSpec& rope, int rotary_dim) {
  if (rope.short_factor != rope.long_factor || rope.attention_factor != 1.0) return std::nullopt;
  for (const double factor : {8.0, 32.0, 4.0, 16.0}) {
    RopeSpec guess{
        .kind = RopeSpec::Kind::kLlama3, .theta = rope.theta, .factor = factor, .original_max_position = 8192};
    const auto stretched = models::MakeRopeFrequencies(guess, rotary_dim, 131072, 131072).inv_freq;
    const auto plain = models::MakeRopeFrequencies({.theta = rope.theta}, rotary_dim, 131072, 131072).inv_freq;
    bool same = rope.short_factor.size() == plain.size();
    for (size_t i = 0; same && i < plain.size(); ++i)
      same = std::abs(plain[i] / stretched[i] / rope.short_factor[i] - 1) < 1e-4;
    if (same) return guess;
  }
  return std::nullopt;
}

void AddLlama3(const RopeSpec& rope, boost::json::object* out) {
  (*out)["rope_type"] = "llama3";
  (*out)["factor"] = rope.factor;
  (*out)["low_freq_factor"] = rope.low_freq_factor;
  (*out)["high_freq_factor"] = rope.high_freq_factor;
  (*out)["original_max_position_embeddings"] = rope.original_max_position;
}

void AddYarn(const RopeSpec& rope, boost::json::object* out) {
  (*out)["rope_type"] = "yarn";
  (*out)["factor"] = rope.factor;
  (*out)["original_max_position_embeddings"] = rope.original_max_position;
  (*out)["beta_fast"] = rope.beta_fast;
  (*out)["beta_slow"] = rope.beta_slow;
  if (!rope.truncate) (*out)["truncate"] = false;
  if (rope.mscale) (*out)["mscale"] = *rope.mscale;
  if (rope.mscale_all_dim) (*out)["mscale_all_dim"] = *rope.mscale_all_dim;
  if (rope.attention_factor) (*out)["attention_factor"] = *rope.attention_factor;
}

// An entry of rope_parameters, without rope_theta. Any other table of divisors is LongRoPE with one table for both
// lengths, which transformers reads for every family.
boost::json::object RopeScaling(const RopeSpec& rope, int rotary_dim) {
  boost::json::object out;
  switch (rope.kind) {
    case RopeSpec::Kind::kDefault:
      out["rope_type"] = "default";
      return out;
    case RopeSpec::Kind::kLinear:
    case RopeSpec::Kind::kDynamicNtk:
      out["rope_type"] = rope.kind == RopeSpec::Kind::kLinear ? "linear" : "dynamic";
      out["factor"] = rope.factor;
      return out;
    case RopeSpec::Kind::kLlama3:
      AddLlama3(rope, &out);
      return out;
    case RopeSpec::Kind::kYarn:
      AddYarn(rope, &out);
      return out;
    case RopeSpec::Kind::kLongRope:
      break;
  }
  if (const auto llama3 = RecognizeLlama3(rope, rotary_dim)) {
    AddLlama3(*llama3, &out);
    return out;
  }
  out["rope_type"] = "longrope";
  out["short_factor"] = ToJson(rope.short_factor);
  out["long_factor"] = ToJson(rope.long_factor);
  out["original_max_position_embeddings"] = rope.original_max_position;
  if (rope.attention_factor) out["attention_factor"] = *rope.attention_factor;
  return out;
}

void AddRopes(const ModelSpec& spec, boost::json::object* config) {
  const RopeSpec& rope = spec.ropes.front();
  boost::json::object scaling = RopeScaling(rope, spec.rotary_dim);
  (*config)["rope_theta"] = rope.theta;
  const bool is_default = scaling.at("rope_type") == "default";
  if (!is_default) (*config)["rope_scaling"] = scaling;
  if (rope.kind == RopeSpec::Kind::kLongRope && scaling.at("rope_type") == "longrope") {
    (*config)["original_max_position_embeddings"] = rope.original_max_position;
  }
  scaling["rope_theta"] = rope.theta;
  if (spec.rotary_dim != spec.heads().head_dim) {
    const double factor = static_cast<double>(spec.rotary_dim) / spec.heads().head_dim;
    (*config)["partial_rotary_factor"] = factor;
    scaling["partial_rotary_factor"] = factor;
  }
  if (spec.ropes.size() == 1) {
    (*config)["rope_parameters"] = std::move(scaling);
    return;
  }
  boost::json::object local = RopeScaling(spec.ropes[1], spec.rotary_dim);
  local["rope_theta"] = spec.ropes[1].theta;
  (*config)["rope_local_base_freq"] = spec.ropes[1].theta;
  (*config)["rope_parameters"] = {{"full_attention", std::move(scaling)}, {"sliding_attention", std::move(local)}};
}

void AddWindows(const ModelSpec& spec, const models::Family& family, boost::json::object* config) {
  int window = 0;
  boost::json::array types;
  for (const models::LayerSpec& layer : spec.layers) {
    window = std::max(window, layer.window);
    types.push_back(layer.window > 0 ? "sliding_attention" : "full_attention");
  }
  if (family.windows == models::WindowRule::kNone) return;
  (*config)["sliding_window"] = window > 0 ? boost::json::value(window) : boost::json::value(nullptr);
  if (family.windows == models::WindowRule::kAllLayers) return;
  (*config)["layer_types"] = std::move(types);
  if (family.windows != models::WindowRule::kAllButEveryNth) (*config)["use_sliding_window"] = window > 0;
}

void AddExperts(const ModelSpec& spec, const models::Family& family, boost::json::object* config) {
  if (spec.num_experts == 0) return;
  (*config)[family.num_experts_key] = spec.num_experts;
  (*config)["num_experts_per_tok"] = spec.experts_per_token;
  if (family.moe == models::MoeRule::kAllLayers) {
    (*config)["intermediate_size"] = spec.moe_intermediate_size;
    return;
  }
  (*config)["moe_intermediate_size"] = spec.moe_intermediate_size;
  (*config)[family.normalize_topk.key] = spec.normalize_topk;
  (*config)["decoder_sparse_step"] = 1;
  boost::json::array dense;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    if (!spec.layers[i].moe) dense.push_back(static_cast<int64_t>(i));
  }
  (*config)["mlp_only_layers"] = std::move(dense);
}

void AddFlag(const models::FlagRule& rule, bool value, boost::json::object* config) {
  if (rule.key[0] != '\0') (*config)[rule.key] = value;
}

}  // namespace

const models::Family& HuggingFaceFamily(const ModelSpec& spec) {
  const bool is_llama_like = spec.family == "llama" || spec.family.starts_with("internlm");
  if (!is_llama_like) return models::FamilyNamed(spec.family);
  if (spec.num_experts > 0) return models::FamilyNamed("mixtral");
  if (spec.qkv_bias && !spec.o_bias && !spec.mlp_bias) return models::FamilyNamed("qwen2");
  const bool slides = std::ranges::any_of(spec.layers, [](const auto& layer) { return layer.window > 0; });
  return models::FamilyNamed(slides ? "mistral" : "llama");
}

const models::Family& GgufFamily(const ModelSpec& spec, std::string* architecture) {
  const models::Family& own = models::FamilyNamed(spec.family);
  const models::Family& family = own.gguf.empty() ? models::FamilyNamed("llama") : own;
  *architecture = family.gguf.front();
  return family;
}

Result<boost::json::object> HuggingFaceConfig(const ModelSpec& spec, const models::Family& family,
                                              const std::string& dtype) {
  boost::json::object config;
  for (const auto& [name, architecture] : kArchitectures) {
    if (family.name == std::string_view(name)) config["architectures"] = boost::json::array{architecture};
  }
  const bool is_text_of_gemma3 = family.name == std::string_view("gemma3");
  config["model_type"] = is_text_of_gemma3 ? "gemma3_text" : family.model_types.front();
  config["vocab_size"] = spec.vocab_size;
  config["hidden_size"] = spec.hidden_size;
  // Mixtures in GGUF need not say it.
  config["intermediate_size"] = spec.intermediate_size > 1 ? spec.intermediate_size : spec.moe_intermediate_size;
  config["num_hidden_layers"] = spec.num_layers;
  config["num_attention_heads"] = spec.heads().num_heads;
  config["num_key_value_heads"] = spec.heads().num_kv_heads;
  config["head_dim"] = spec.heads().head_dim;
  config["max_position_embeddings"] = spec.max_position;
  config["rms_norm_eps"] = Shortest(spec.norm_eps);
  const char* activation = spec.activation == ops::Activation::kSilu   ? "silu"
                           : spec.activation == ops::Activation::kGelu ? "gelu"
                                                                       : "gelu_pytorch_tanh";
  config["hidden_act"] = activation;
  config[family.activation_key] = activation;
  config["torch_dtype"] = dtype;
  config["dtype"] = dtype;
  config["use_cache"] = true;
  AddFlag(family.tied_embeddings, spec.tied_embeddings, &config);
  AddFlag(family.o_bias, spec.o_bias, &config);
  AddFlag(family.qkv_bias, spec.qkv_bias, &config);
  AddFlag(family.mlp_bias, spec.mlp_bias, &config);
  if (family.softcaps) {
    const auto cap = [](float value) {
      return value > 0 ? boost::json::value(Shortest(value)) : boost::json::value(nullptr);
    };
    config["attn_logit_softcapping"] = cap(spec.attention_softcap);
    config["final_logit_softcapping"] = cap(spec.logit_softcap);
  }
  if (family.query_pre_attn_scalar)
    config["query_pre_attn_scalar"] = WholeIfNear(1.0 / (double{spec.attention_scale} * spec.attention_scale));
  AddWindows(spec, family, &config);
  AddExperts(spec, family, &config);
  AddRopes(spec, &config);
  INGOT_ASSIGN_OR_RETURN(const ModelSpec written, models::ReadHuggingFaceSpec(config));
  INGOT_RETURN_IF_ERROR(CheckSameModel(spec, written, "config.json"));
  return config;
}

}  // namespace ingot::convert
