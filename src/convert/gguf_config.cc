#include <boost/json/object.hpp>
#include <boost/json/value_from.hpp>
#include <cmath>

#include "convert/model_config.h"
#include "convert/spec_difference.h"
#include "models/rope.h"
#include "models/spec_internal.h"

namespace ingot::convert {
namespace {

using models::ModelSpec;
using models::RopeSpec;

// general.file_type: what most of the weights are (llama.cpp's numbers).
uint32_t FileType(Encoding encoding) {
  switch (encoding) {
    case Encoding::kF32:
      return 0;
    case Encoding::kQ4_0:
      return 2;
    case Encoding::kQ4_1:
      return 3;
    case Encoding::kQ8_0:
      return 7;
    case Encoding::kBF16:
      return 32;
    default:
      return 1;  // F16
  }
}

class MetadataBuilder {
 public:
  MetadataBuilder(GgufConfig* config, std::string prefix) : config_(config), prefix_(std::move(prefix)) {}
  void U32(const std::string& key, int64_t value) { Add(key, static_cast<uint32_t>(value)); }
  void F32(const std::string& key, double value) { Add(key, static_cast<float>(value)); }
  void Text(const std::string& key, const std::string& value) { Add(key, value); }
  void Add(const std::string& key, formats::GgufValue value) {
    config_->metadata.emplace_back(prefix_ + key, std::move(value));
  }

 private:
  GgufConfig* config_;
  const std::string prefix_;
};

std::vector<float> ToFloats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

// A frequency table as the divisors of the plain one.
std::vector<float> Divisors(const RopeSpec& rope, const ModelSpec& spec) {
  const auto plain =
      models::MakeRopeFrequencies({.theta = rope.theta}, spec.rotary_dim, spec.max_position, spec.max_position)
          .inv_freq;
  const auto actual = models::MakeRopeFrequencies(rope, spec.rotary_dim, spec.max_position, spec.max_position).inv_freq;
  std::vector<float> divisors;
  for (size_t i = 0; i < plain.size(); ++i) divisors.push_back(static_cast<float>(plain[i] / actual[i]));
  return divisors;
}

Status AddRope(const ModelSpec& spec, MetadataBuilder& metadata, GgufConfig* config) {
  const RopeSpec& rope = spec.ropes.front();
  metadata.F32("rope.freq_base", rope.theta);
  metadata.U32("rope.dimension_count", spec.rotary_dim);
  if (spec.ropes.size() > 1) metadata.F32("rope.freq_base_swa", spec.ropes[1].theta);
  switch (rope.kind) {
    case RopeSpec::Kind::kDefault:
      return {};
    case RopeSpec::Kind::kLinear:
      metadata.Text("rope.scaling.type", "linear");
      metadata.F32("rope.scaling.factor", rope.factor);
      return {};
    case RopeSpec::Kind::kDynamicNtk:
      // Up to the trained length dynamic NTK with this factor is plain rotation.
      if (rope.factor != 1.0)
        return Unsupported("rope_scaling dynamic with factor {}: GGUF has no key for it", rope.factor);
      config->notices.push_back(fmt::format(
          "beyond {} tokens the model stretches its rotation (dynamic NTK), which GGUF cannot say", spec.max_position));
      return {};
    case RopeSpec::Kind::kLlama3:
      config->rope_factors.emplace_back("rope_freqs.weight", Divisors(rope, spec));
      return {};
    case RopeSpec::Kind::kYarn: {
      metadata.Text("rope.scaling.type", "yarn");
      metadata.F32("rope.scaling.factor", rope.factor);
      metadata.U32("rope.scaling.original_context_length", rope.original_max_position);
      metadata.F32("rope.scaling.yarn_beta_fast", rope.beta_fast);
      metadata.F32("rope.scaling.yarn_beta_slow", rope.beta_slow);
      // llama.cpp multiplies this by YaRN's own 1 + 0.1 ln(factor).
      const double factor =
          models::MakeRopeFrequencies(rope, spec.rotary_dim, spec.max_position, spec.max_position).factor;
      const double own = 1.0 + 0.1 * std::log(rope.factor);
      if (std::abs(factor / own - 1) > 1e-6) metadata.F32("rope.scaling.attn_factor", factor / own);
      return {};
    }
    case RopeSpec::Kind::kLongRope:
      break;
  }
  const bool is_one_table = rope.short_factor == rope.long_factor;
  if (is_one_table && rope.attention_factor == 1.0) {
    config->rope_factors.emplace_back("rope_freqs.weight", ToFloats(rope.short_factor));
    return {};
  }
  metadata.U32("rope.scaling.original_context_length", rope.original_max_position);
  metadata.F32("rope.scaling.attn_factor",
               models::MakeRopeFrequencies(rope, spec.rotary_dim, spec.max_position, spec.max_position).factor);
  config->rope_factors.emplace_back("rope_factors_long.weight", ToFloats(rope.long_factor));
  config->rope_factors.emplace_back("rope_factors_short.weight", ToFloats(rope.short_factor));
  return {};
}

// llama.cpp knows the scale of Gemma's published models by their sizes.
void AddScale(const ModelSpec& spec, MetadataBuilder& metadata, GgufConfig* config) {
  const auto is = [&](double scalar) { return std::abs(spec.attention_scale * std::sqrt(scalar) - 1) <= 1e-5; };
  if (is(spec.heads().head_dim)) return;
  metadata.F32("attention.scale", spec.attention_scale);
  const bool is_gemma_27b = spec.num_layers == 46 || spec.num_layers == 62;
  if (!is_gemma_27b || !is(static_cast<double>(spec.hidden_size) / spec.heads().num_heads))
    config->notices.push_back(
        fmt::format("llama.cpp does not read this model's scale of the attention ({})", spec.attention_scale));
}

void AddWindows(const ModelSpec& spec, MetadataBuilder& metadata, GgufConfig* config) {
  int window = 0;
  std::vector<bool> slides;
  bool all = true;
  for (const models::LayerSpec& layer : spec.layers) {
    window = std::max(window, layer.window);
    slides.push_back(layer.window > 0);
    all = all && layer.window > 0;
  }
  if (window == 0) return;
  metadata.U32("attention.sliding_window", window);
  if (!all) metadata.Add("attention.sliding_window_pattern", slides);
  if (all && spec.max_position > window)
    config->notices.push_back(fmt::format(
        "llama.cpp has no sliding windows for this architecture: there, contexts above {} tokens differ", window));
}

boost::json::value ToJson(const formats::GgufValue& value) {
  return std::visit(
      [](const auto& held) {
        if constexpr (std::is_same_v<std::decay_t<decltype(held)>, uint32_t>) {
          return boost::json::value(int64_t{held});
        } else {
          return boost::json::value_from(held);
        }
      },
      value);
}

// Reads the metadata as a loader will, and compares.
Status CheckWritten(const GgufConfig& config, const ModelSpec& spec) {
  boost::json::object metadata;
  for (const auto& [key, value] : config.metadata) metadata[key] = ToJson(value);
  models::GgufTensors tensors{.vocab_size = spec.vocab_size,
                              .lm_head = !spec.tied_embeddings,
                              .qkv_bias = spec.qkv_bias,
                              .o_bias = spec.o_bias,
                              .mlp_bias = spec.mlp_bias};
  for (const auto& [name, factors] : config.rope_factors) {
    auto& table = name.find("long") != std::string::npos    ? tensors.rope_factors_long
                  : name.find("short") != std::string::npos ? tensors.rope_factors_short
                                                            : tensors.rope_freqs;
    table = factors;
  }
  INGOT_ASSIGN_OR_RETURN(const ModelSpec written, models::ReadGgufSpec(metadata, tensors));
  return CheckSameModel(spec, written, "GGUF");
}

}  // namespace

Result<GgufConfig> MakeGgufConfig(const ModelSpec& spec, const std::string& architecture, const std::string& name,
                                  Encoding encoding) {
  GgufConfig config;
  MetadataBuilder general(&config, "general.");
  general.Text("architecture", architecture);
  general.Text("name", name);
  general.U32("file_type", FileType(encoding));
  general.U32("quantization_version", 2);

  MetadataBuilder metadata(&config, architecture + ".");
  metadata.U32("block_count", spec.num_layers);
  metadata.U32("context_length", spec.max_position);
  metadata.U32("embedding_length", spec.hidden_size);
  metadata.U32("feed_forward_length", spec.num_experts > 0 && spec.intermediate_size <= 1 ? spec.moe_intermediate_size
                                                                                          : spec.intermediate_size);
  metadata.U32("attention.head_count", spec.heads().num_heads);
  metadata.U32("attention.head_count_kv", spec.heads().num_kv_heads);
  metadata.U32("attention.key_length", spec.heads().head_dim);
  metadata.U32("attention.value_length", spec.heads().value_head_dim);
  metadata.F32("attention.layer_norm_rms_epsilon", spec.norm_eps);
  metadata.U32("vocab_size", spec.vocab_size);
  AddScale(spec, metadata, &config);
  if (spec.attention_softcap > 0) metadata.F32("attn_logit_softcapping", spec.attention_softcap);
  if (spec.logit_softcap > 0) metadata.F32("final_logit_softcapping", spec.logit_softcap);
  if (spec.num_experts > 0) {
    metadata.U32("expert_count", spec.num_experts);
    metadata.U32("expert_used_count", spec.experts_per_token);
    metadata.U32("expert_feed_forward_length", spec.moe_intermediate_size);
  }
  AddWindows(spec, metadata, &config);
  INGOT_RETURN_IF_ERROR(AddRope(spec, metadata, &config));
  INGOT_RETURN_IF_ERROR(CheckWritten(config, spec));
  return config;
}

}  // namespace ingot::convert
