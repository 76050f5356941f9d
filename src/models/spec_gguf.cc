// GGUF metadata → ModelSpec. Keys are "<architecture>.<name>"; what they leave out follows llama.cpp, whose files these
// are.
#include <cmath>

#include "models/spec_internal.h"

namespace ingot::models {
namespace {

// Reads "<architecture>.<name>" of the metadata.
class MetadataReader {
 public:
  MetadataReader(const JsonView& metadata, const Family& family, std::string prefix)
      : metadata_(metadata), family_(family), prefix_(std::move(prefix)) {}

  const Family& family() const { return family_; }
  std::string Key(std::string_view name) const { return prefix_ + std::string(name); }
  std::optional<JsonView> Find(std::string_view name) const { return metadata_.Find(Key(name)); }
  Result<int64_t> Int(std::string_view name, Range range, std::optional<int64_t> fallback = std::nullopt) const {
    return ReadInt(metadata_, Key(name), range, fallback);
  }
  Result<double> Double(std::string_view name, double low, double high,
                        std::optional<double> fallback = std::nullopt) const {
    return ReadDouble(metadata_, Key(name), low, high, fallback);
  }
  Result<std::string> String(std::string_view name, std::string_view fallback) const {
    return metadata_.String(Key(name), fallback);
  }
  // Some writers give one number per layer; Ingot needs them to be equal.
  Result<int64_t> SameInt(std::string_view name, Range range, std::optional<int64_t> fallback = std::nullopt) const;

 private:
  const JsonView& metadata_;
  const Family& family_;
  const std::string prefix_;
};

Result<int64_t> MetadataReader::SameInt(std::string_view name, Range range, std::optional<int64_t> fallback) const {
  const auto view = Find(name);
  if (!view || !view->value().is_array()) return Int(name, range, fallback);
  INGOT_ASSIGN_OR_RETURN(const auto* array, view->AsArray());
  if (array->empty()) return InvalidArgument("{} is empty", view->path());
  INGOT_ASSIGN_OR_RETURN(const int64_t first, view->At(0).AsInt());
  for (size_t i = 1; i < array->size(); ++i) {
    INGOT_ASSIGN_OR_RETURN(const int64_t value, view->At(i).AsInt());
    if (value != first) return Unsupported("{} differs between layers: {} and {}", view->path(), first, value);
  }
  if (first < range.low || first > range.high) {
    return InvalidArgument("{} {} is outside {}…{}", view->path(), first, range.low, range.high);
  }
  return first;
}

Status ReadSizes(const MetadataReader& reader, const GgufTensors& tensors, ModelSpec* spec) {
  spec->vocab_size = tensors.vocab_size;
  INGOT_ASSIGN_OR_RETURN(spec->hidden_size, reader.Int("embedding_length", kHiddenSize));
  INGOT_ASSIGN_OR_RETURN(const int64_t layers, reader.Int("block_count", kNumLayers));
  INGOT_ASSIGN_OR_RETURN(const int64_t heads, reader.SameInt("attention.head_count", kNumHeads));
  INGOT_ASSIGN_OR_RETURN(const int64_t kv_heads, reader.SameInt("attention.head_count_kv", kNumHeads, heads));
  std::optional<int64_t> head_dim;
  if (spec->hidden_size % heads == 0) head_dim = spec->hidden_size / heads;
  INGOT_ASSIGN_OR_RETURN(const int64_t key_length, reader.Int("attention.key_length", kHeadDim, head_dim));
  INGOT_ASSIGN_OR_RETURN(const int64_t value_length, reader.Int("attention.value_length", kHeadDim, key_length));
  if (key_length < kHeadDim.low || key_length > kHeadDim.high) {
    return InvalidArgument("{} {} is outside {}…{}", reader.Key("attention.key_length"), key_length, kHeadDim.low,
                           kHeadDim.high);
  }
  INGOT_ASSIGN_OR_RETURN(const int64_t rotary,
                         reader.Int("rope.dimension_count", {kHeadDim.low, key_length}, key_length));
  spec->num_layers = static_cast<int>(layers);
  const LayerSpec layer = {.num_heads = static_cast<int>(heads),
                           .num_kv_heads = static_cast<int>(kv_heads),
                           .head_dim = static_cast<int>(key_length),
                           .value_head_dim = static_cast<int>(value_length)};
  spec->layers.assign(static_cast<size_t>(layers), layer);
  spec->rotary_dim = static_cast<int>(rotary);
  INGOT_ASSIGN_OR_RETURN(spec->max_position, reader.Int("context_length", kMaxPosition));
  INGOT_ASSIGN_OR_RETURN(const double eps, reader.Double("attention.layer_norm_rms_epsilon", 0.0, 1.0, 1e-5));
  spec->norm_eps = static_cast<float>(eps);
  return Status();
}

Status ReadFlags(const MetadataReader& reader, const GgufTensors& tensors, ModelSpec* spec) {
  const Family& family = reader.family();
  spec->qkv_bias = tensors.qkv_bias;
  spec->o_bias = tensors.o_bias;
  spec->mlp_bias = tensors.mlp_bias;
  spec->router_bias = tensors.router_bias;
  spec->expert_bias = tensors.expert_bias;
  spec->tied_embeddings = !tensors.lm_head;
  spec->qk_norm = family.qk_norm;
  spec->post_norms = family.post_norms;
  spec->norm_plus_one = false;  // the writer has added the one
  spec->activation = family.scaled_embedding ? ops::Activation::kGeluTanh : ops::Activation::kSilu;
  if (family.scaled_embedding) spec->embedding_scale = std::sqrt(static_cast<float>(spec->hidden_size));
  if (family.softcaps) {
    const bool gemma2 = family.gguf_window_pattern == 2;
    INGOT_ASSIGN_OR_RETURN(const double attention,
                           reader.Double("attn_logit_softcapping", 0.0, 1e6, gemma2 ? 50.0 : 0.0));
    INGOT_ASSIGN_OR_RETURN(const double logits,
                           reader.Double("final_logit_softcapping", 0.0, 1e6, gemma2 ? 30.0 : 0.0));
    spec->attention_softcap = static_cast<float>(attention);
    spec->logit_softcap = static_cast<float>(logits);
  }
  // The 27B models of Gemma 2 (46 layers) and 3 (62 layers) divide by hidden_size / num_heads; files have no key for
  // it.
  const bool by_hidden = family.query_pre_attn_scalar && (spec->num_layers == 46 || spec->num_layers == 62);
  const LayerSpec& heads = spec->heads();
  const double scalar = by_hidden ? static_cast<double>(spec->hidden_size) / heads.num_heads : heads.head_dim;
  INGOT_ASSIGN_OR_RETURN(const double scale, reader.Double("attention.scale", 0.0, 1e6, 1.0 / std::sqrt(scalar)));
  spec->attention_scale = static_cast<float>(scale > 0.0 ? scale : 1.0 / std::sqrt(scalar));
  return Status();
}

// Whether a layer slides: by the file's pattern (every n-th is full, or a flag per layer), else by the family's.
Result<bool> Slides(const MetadataReader& reader, int layer) {
  const auto pattern = reader.Find("attention.sliding_window_pattern");
  if (pattern && pattern->value().is_array()) {
    INGOT_ASSIGN_OR_RETURN(const auto* array, pattern->AsArray());
    if (static_cast<size_t>(layer) >= array->size()) {
      return InvalidArgument("{} has {} entries, fewer than there are layers", pattern->path(), array->size());
    }
    return pattern->At(static_cast<size_t>(layer)).AsBool();
  }
  const int fallback = reader.family().gguf_window_pattern;
  INGOT_ASSIGN_OR_RETURN(const int64_t every,
                         reader.Int("attention.sliding_window_pattern", {0, kNumLayers.high}, fallback));
  return every == 0 || (layer + 1) % every != 0;
}

Status ReadWindows(const MetadataReader& reader, ModelSpec* spec) {
  // Qwen's files name a window that its models do not use.
  const WindowRule rule = reader.family().windows;
  if (rule == WindowRule::kUpperIfEnabled || rule == WindowRule::kIfEnabled) return Status();
  INGOT_ASSIGN_OR_RETURN(const int64_t window, reader.Int("attention.sliding_window", {0, kWindow.high},
                                                          rule == WindowRule::kAllButEveryNth ? 4096 : 0));
  if (window == 0) return Status();
  for (int i = 0; i < spec->num_layers; ++i) {
    INGOT_ASSIGN_OR_RETURN(const bool slides, Slides(reader, i));
    if (slides) spec->layers[static_cast<size_t>(i)].window = static_cast<int>(window);
  }
  return Status();
}

Result<RopeSpec::Kind> ReadKind(const MetadataReader& reader) {
  INGOT_ASSIGN_OR_RETURN(const std::string type, reader.String("rope.scaling.type", "none"));
  if (type == "none") return RopeSpec::Kind::kDefault;
  if (type == "linear") return RopeSpec::Kind::kLinear;
  if (type == "yarn") return RopeSpec::Kind::kYarn;
  if (type == "longrope") return RopeSpec::Kind::kLongRope;
  return Unsupported("{} \"{}\" is not known; known are none, linear, yarn, longrope", reader.Key("rope.scaling.type"),
                     type);
}

// The tables that files hold as tensors: divisors of the frequencies.
void TakeFactorTensors(const GgufTensors& tensors, RopeSpec* rope) {
  if (!tensors.rope_factors_short.empty() && !tensors.rope_factors_long.empty()) {
    rope->kind = RopeSpec::Kind::kLongRope;
    rope->short_factor.assign(tensors.rope_factors_short.begin(), tensors.rope_factors_short.end());
    rope->long_factor.assign(tensors.rope_factors_long.begin(), tensors.rope_factors_long.end());
  } else if (!tensors.rope_freqs.empty() && rope->kind == RopeSpec::Kind::kDefault) {
    rope->kind = RopeSpec::Kind::kLongRope;  // Llama 3.1: one table for all lengths, and no factor on the scores
    rope->short_factor.assign(tensors.rope_freqs.begin(), tensors.rope_freqs.end());
    rope->long_factor = rope->short_factor;
    rope->attention_factor = 1.0;
  }
}

Status ReadRopes(const MetadataReader& reader, const GgufTensors& tensors, ModelSpec* spec) {
  RopeSpec rope;
  INGOT_ASSIGN_OR_RETURN(rope.kind, ReadKind(reader));
  INGOT_ASSIGN_OR_RETURN(rope.theta, reader.Double("rope.freq_base", 1.0 + 1e-9, 1e15, 10000.0));
  INGOT_ASSIGN_OR_RETURN(rope.original_max_position, reader.Int("rope.scaling.original_context_length",
                                                                {2, kMaxPosition.high}, spec->max_position));
  double factor = 1.0;
  INGOT_ASSIGN_OR_RETURN(factor, reader.Double("rope.scale_linear", 0.0, 1e6, 1.0));  // old files
  if (factor > 0.0 && factor != 1.0 && rope.kind == RopeSpec::Kind::kDefault) rope.kind = RopeSpec::Kind::kLinear;
  INGOT_ASSIGN_OR_RETURN(factor, reader.Double("rope.scaling.factor", 0.0, 1e6, factor));
  if (factor > 0.0) rope.factor = factor;
  INGOT_ASSIGN_OR_RETURN(const double attention_factor, reader.Double("rope.scaling.attn_factor", 0.0, 1e6, 0.0));
  TakeFactorTensors(tensors, &rope);
  if (rope.kind == RopeSpec::Kind::kLongRope) {
    const auto original = static_cast<double>(rope.original_max_position);
    if (!reader.Find("rope.scaling.factor")) rope.factor = static_cast<double>(spec->max_position) / original;
    if (attention_factor > 0.0) rope.attention_factor = attention_factor;
  }
  if (rope.kind == RopeSpec::Kind::kYarn) {
    // llama.cpp multiplies attn_factor by YaRN's own.
    if (attention_factor > 0.0) rope.attention_factor = attention_factor * (1.0 + 0.1 * std::log(rope.factor));
    INGOT_ASSIGN_OR_RETURN(rope.beta_fast, reader.Double("rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32.0));
    INGOT_ASSIGN_OR_RETURN(rope.beta_slow, reader.Double("rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1.0));
  }
  spec->ropes.push_back(rope);
  if (!reader.family().rope_per_layer_type) return Status();
  RopeSpec local;
  INGOT_ASSIGN_OR_RETURN(local.theta, reader.Double("rope.freq_base_swa", 1.0 + 1e-9, 1e15, 10000.0));
  local.original_max_position = spec->max_position;
  spec->ropes.push_back(local);
  for (LayerSpec& layer : spec->layers) layer.rope = layer.window > 0 ? 1 : 0;
  return Status();
}

Status ReadExperts(const MetadataReader& reader, ModelSpec* spec) {
  INGOT_ASSIGN_OR_RETURN(const int64_t experts, reader.Int("expert_count", {0, kNumExperts.high}, 0));
  const bool mixture = experts > 0;
  std::optional<int64_t> no_dense;  // files of mixtures may leave out the size of a dense MLP
  if (mixture) no_dense = 1;
  INGOT_ASSIGN_OR_RETURN(spec->intermediate_size, reader.SameInt("feed_forward_length", kIntermediateSize, no_dense));
  if (!mixture) return Status();
  INGOT_ASSIGN_OR_RETURN(const int64_t chosen, reader.Int("expert_used_count", kExpertsPerToken));
  INGOT_ASSIGN_OR_RETURN(spec->moe_intermediate_size,
                         reader.Int("expert_feed_forward_length", kIntermediateSize, spec->intermediate_size));
  spec->num_experts = static_cast<int>(experts);
  spec->experts_per_token = static_cast<int>(chosen);
  spec->normalize_topk = true;
  for (LayerSpec& layer : spec->layers) layer.moe = true;
  return Status();
}

}  // namespace

Result<ModelSpec> ReadGgufSpec(const boost::json::value& metadata, const GgufTensors& tensors) {
  const JsonView view(metadata, "GGUF metadata");
  INGOT_ASSIGN_OR_RETURN(const std::string architecture, view.String("general.architecture"));
  const Family* family = FamilyOfGgufArchitecture(architecture);
  if (!family) {
    return Unsupported("general.architecture \"{}\" is not known; known are {}", architecture,
                       KnownGgufArchitectures());
  }
  const MetadataReader reader(view, *family, architecture + ".");
  ModelSpec spec;
  spec.family = family->name;
  INGOT_RETURN_IF_ERROR(ReadSizes(reader, tensors, &spec));
  INGOT_RETURN_IF_ERROR(ReadFlags(reader, tensors, &spec));
  INGOT_RETURN_IF_ERROR(ReadWindows(reader, &spec));
  INGOT_RETURN_IF_ERROR(ReadRopes(reader, tensors, &spec));
  INGOT_RETURN_IF_ERROR(ReadExperts(reader, &spec));
  INGOT_RETURN_IF_ERROR(CheckSpec(spec));
  return spec;
}

}  // namespace ingot::models
