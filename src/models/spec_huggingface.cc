// config.json → ModelSpec. Keys of transformers 4 (rope_theta, rope_scaling, rope_local_base_freq) and 5
// (rope_parameters, layer_types).
#include <cmath>

#include "models/spec_internal.h"
#include "tensor/dtype.h"

namespace ingot::models {
namespace {

// Reads keys of one configuration with the defaults of its family. A key that is null counts as left out, but without
// the family's default.
class ConfigReader {
 public:
  // `outer`: the whole of config.json, where `config` is the part for text.
  ConfigReader(const JsonView& outer, const JsonView& config, const Family& family)
      : outer_(outer), config_(config), family_(family) {}

  const JsonView& outer() const { return outer_; }
  const JsonView& config() const { return config_; }
  const Family& family() const { return family_; }

  std::optional<double> Default(std::string_view key) const {
    for (const KeyDefault& entry : family_.defaults) {
      if (entry.key == key) return entry.value;
    }
    return std::nullopt;
  }
  Result<int64_t> Int(std::string_view key, Range range, std::optional<int64_t> fallback = std::nullopt) const {
    if (const auto value = Default(key); value && !IsNull(key)) fallback = static_cast<int64_t>(*value);
    return ReadInt(config_, key, range, fallback);
  }
  Result<double> Double(std::string_view key, double low, double high, std::optional<double> fallback) const {
    if (const auto value = Default(key); value && !IsNull(key)) fallback = value;
    return ReadDouble(config_, key, low, high, fallback);
  }
  Result<bool> Flag(const FlagRule& rule) const {
    if (rule.key[0] == '\0') return rule.fallback;
    return config_.Bool(rule.key, rule.fallback);
  }
  bool IsNull(std::string_view key) const {
    const auto* object = config_.value().if_object();
    const auto* member = object ? object->if_contains(key) : nullptr;
    return member && member->is_null();
  }

 private:
  const JsonView& outer_;
  const JsonView& config_;
  const Family& family_;
};

Status ReadSizes(const ConfigReader& reader, ModelSpec* spec) {
  INGOT_ASSIGN_OR_RETURN(spec->vocab_size, reader.Int("vocab_size", kVocabSize));
  INGOT_ASSIGN_OR_RETURN(spec->hidden_size, reader.Int("hidden_size", kHiddenSize));
  INGOT_ASSIGN_OR_RETURN(spec->intermediate_size, reader.Int("intermediate_size", kIntermediateSize));
  INGOT_ASSIGN_OR_RETURN(const int64_t layers, reader.Int("num_hidden_layers", kNumLayers));
  INGOT_ASSIGN_OR_RETURN(const int64_t heads, reader.Int("num_attention_heads", kNumHeads));
  INGOT_ASSIGN_OR_RETURN(const int64_t kv_heads, reader.Int("num_key_value_heads", kNumHeads, heads));
  std::optional<int64_t> head_dim;
  if (spec->hidden_size % heads == 0) head_dim = spec->hidden_size / heads;
  if (!head_dim && !reader.config().Find("head_dim") && !reader.Default("head_dim")) {
    return InvalidArgument("{}: hidden_size {} is not a multiple of num_attention_heads {}, and there is no head_dim",
                           reader.config().path(), spec->hidden_size, heads);
  }
  INGOT_ASSIGN_OR_RETURN(const int64_t dim, reader.Int("head_dim", kHeadDim, head_dim));
  if (dim < kHeadDim.low || dim > kHeadDim.high) {
    return InvalidArgument("{}: head_dim {} is outside {}…{}", reader.config().path(), dim, kHeadDim.low,
                           kHeadDim.high);
  }
  spec->num_layers = static_cast<int>(layers);
  const LayerSpec layer = {.num_heads = static_cast<int>(heads),
                           .num_kv_heads = static_cast<int>(kv_heads),
                           .head_dim = static_cast<int>(dim),
                           .value_head_dim = static_cast<int>(dim)};
  spec->layers.assign(static_cast<size_t>(layers), layer);
  INGOT_ASSIGN_OR_RETURN(spec->max_position, reader.Int("max_position_embeddings", kMaxPosition));
  INGOT_ASSIGN_OR_RETURN(const double eps, reader.Double("rms_norm_eps", 0.0, 1.0, 1e-6));
  spec->norm_eps = static_cast<float>(eps);
  return Status();
}

Status ReadFlags(const ConfigReader& reader, ModelSpec* spec) {
  const Family& family = reader.family();
  INGOT_ASSIGN_OR_RETURN(spec->qkv_bias, reader.Flag(family.qkv_bias));
  INGOT_ASSIGN_OR_RETURN(spec->o_bias, reader.Flag(family.o_bias));
  INGOT_ASSIGN_OR_RETURN(spec->mlp_bias, reader.Flag(family.mlp_bias));
  INGOT_ASSIGN_OR_RETURN(spec->router_bias, reader.Flag(family.router_bias));
  INGOT_ASSIGN_OR_RETURN(spec->expert_bias, reader.Flag(family.expert_bias));
  INGOT_ASSIGN_OR_RETURN(spec->tied_embeddings, reader.Flag(family.tied_embeddings));
  spec->qk_norm = family.qk_norm;
  spec->post_norms = family.post_norms;
  spec->norm_plus_one = family.norm_plus_one;
  INGOT_ASSIGN_OR_RETURN(spec->activation, ReadActivation(reader.config(), family.activation_key, family.activation));
  return Status();
}

// Gemma multiplies embeddings by sqrt(hidden_size) rounded to the type of the weights: 55.5 for 3072 in bfloat16.
Result<float> EmbeddingScale(const ConfigReader& reader, int64_t hidden_size) {
  const float scale = std::sqrt(static_cast<float>(hidden_size));
  std::string dtype = "float32";
  for (const JsonView* view : {&reader.outer(), &reader.config()}) {
    INGOT_ASSIGN_OR_RETURN(dtype, view->String("torch_dtype", dtype));
    INGOT_ASSIGN_OR_RETURN(dtype, view->String("dtype", dtype));
  }
  if (dtype == "bfloat16") return BF16ToF32(F32ToBF16(scale));
  if (dtype == "float16") return F16ToF32(F32ToF16(scale));
  return scale;
}

Status ReadScales(const ConfigReader& reader, ModelSpec* spec) {
  const Family& family = reader.family();
  if (family.scaled_embedding) {
    INGOT_ASSIGN_OR_RETURN(spec->embedding_scale, EmbeddingScale(reader, spec->hidden_size));
  }
  double scalar = spec->heads().head_dim;
  if (family.query_pre_attn_scalar) {
    INGOT_ASSIGN_OR_RETURN(scalar, reader.Double("query_pre_attn_scalar", 1e-3, 1e6, std::nullopt));
  }
  spec->attention_scale = static_cast<float>(1.0 / std::sqrt(scalar));
  if (!family.softcaps) return Status();
  for (const auto& [key, cap] : {std::pair("attn_logit_softcapping", &spec->attention_softcap),
                                 std::pair("final_logit_softcapping", &spec->logit_softcap)}) {
    INGOT_ASSIGN_OR_RETURN(const double value, reader.Double(key, 0.0, 1e6, 0.0));
    *cap = static_cast<float>(value);
  }
  return Status();
}

// The window of the layers that slide; 0 if none does.
Result<int> ReadWindow(const ConfigReader& reader) {
  const WindowRule rule = reader.family().windows;
  if (rule == WindowRule::kNone) return 0;
  if (rule == WindowRule::kIfEnabled || rule == WindowRule::kUpperIfEnabled) {
    INGOT_ASSIGN_OR_RETURN(const bool enabled, reader.config().Bool("use_sliding_window", false));
    if (!enabled) return 0;
  }
  if (reader.IsNull("sliding_window")) return 0;
  if (!reader.config().Find("sliding_window") && !reader.Default("sliding_window")) return 0;
  INGOT_ASSIGN_OR_RETURN(const int64_t window, reader.Int("sliding_window", kWindow));
  return static_cast<int>(window);
}

Result<bool> SlidesByRule(const ConfigReader& reader, int layer) {
  switch (reader.family().windows) {
    case WindowRule::kNone:
      return false;
    case WindowRule::kAllLayers:
    case WindowRule::kIfEnabled:
      return true;
    case WindowRule::kUpperIfEnabled: {
      INGOT_ASSIGN_OR_RETURN(const int64_t first, reader.Int("max_window_layers", {0, 1 << 20}));
      return layer >= first;
    }
    case WindowRule::kAllButEveryNth: {
      INGOT_ASSIGN_OR_RETURN(const int64_t pattern, reader.Int("sliding_window_pattern", kNumLayers));
      return (layer + 1) % pattern != 0;
    }
  }
  return false;
}

Status ReadWindows(const ConfigReader& reader, ModelSpec* spec) {
  INGOT_ASSIGN_OR_RETURN(const int window, ReadWindow(reader));
  const auto types = reader.config().Find("layer_types");
  if (types) {
    INGOT_ASSIGN_OR_RETURN(const auto* array, types->AsArray());
    if (array->size() != static_cast<size_t>(spec->num_layers)) {
      return InvalidArgument("{} has {} entries, num_hidden_layers is {}", types->path(), array->size(),
                             spec->num_layers);
    }
  }
  for (int i = 0; i < spec->num_layers; ++i) {
    bool slides = false;
    if (types) {
      INGOT_ASSIGN_OR_RETURN(const std::string type, types->At(static_cast<size_t>(i)).AsString());
      if (type != "full_attention" && type != "sliding_attention") {
        return Unsupported("{}[{}] \"{}\" is not known; known are full_attention, sliding_attention", types->path(), i,
                           type);
      }
      slides = type == "sliding_attention";
      if (slides && window == 0) return InvalidArgument("{}[{}] slides, but there is no window", types->path(), i);
    } else {
      INGOT_ASSIGN_OR_RETURN(slides, SlidesByRule(reader, i));
    }
    spec->layers[static_cast<size_t>(i)].window = slides ? window : 0;
  }
  return Status();
}

Status ReadRopes(const ConfigReader& reader, ModelSpec* spec) {
  const JsonView& config = reader.config();
  INGOT_ASSIGN_OR_RETURN(const auto full, RopeEntry(config, "full_attention"));
  const double theta = reader.Default("rope_theta").value_or(10000.0);
  INGOT_ASSIGN_OR_RETURN(const RopeSpec global, ReadRope(config, full, theta, spec->max_position));
  spec->ropes.push_back(global);
  INGOT_ASSIGN_OR_RETURN(double partial, ReadDouble(config, "partial_rotary_factor", 0.0, 1.0, 1.0));
  if (full) {
    INGOT_ASSIGN_OR_RETURN(partial, ReadDouble(*full, "partial_rotary_factor", 0.0, 1.0, partial));
  }
  spec->rotary_dim = static_cast<int>(spec->heads().head_dim * partial);
  if (!reader.family().rope_per_layer_type) return Status();

  // Sliding layers: an entry of their own in rope_parameters, or rope_local_base_freq without any scaling.
  RopeSpec local;
  const auto parameters = config.Find("rope_parameters");
  const auto sliding = parameters ? parameters->Find("sliding_attention") : std::nullopt;
  const double local_theta = reader.Default("rope_local_base_freq").value_or(theta);
  if (sliding) {
    INGOT_ASSIGN_OR_RETURN(local, ReadRope(*sliding, sliding, local_theta, spec->max_position));
  } else {
    INGOT_ASSIGN_OR_RETURN(local.theta, ReadDouble(config, "rope_local_base_freq", 1.0 + 1e-9, 1e15, local_theta));
    local.original_max_position = spec->max_position;
  }
  spec->ropes.push_back(local);
  for (LayerSpec& layer : spec->layers) layer.rope = layer.window > 0 ? 1 : 0;
  return Status();
}

// The layers that `mlp_only_layers` names have a dense MLP.
Status ReadDenseLayers(const JsonView& config, ModelSpec* spec) {
  const auto list = config.Find("mlp_only_layers");
  if (!list) return Status();
  INGOT_ASSIGN_OR_RETURN(const auto* array, list->AsArray());
  for (size_t i = 0; i < array->size(); ++i) {
    INGOT_ASSIGN_OR_RETURN(const int64_t layer, list->At(i).AsInt());
    if (layer >= 0 && layer < spec->num_layers) spec->layers[static_cast<size_t>(layer)].moe = false;
  }
  return Status();
}

Status ReadExperts(const ConfigReader& reader, ModelSpec* spec) {
  const Family& family = reader.family();
  if (family.moe == MoeRule::kNone) return Status();
  // Checkpoints of transformers 5 may use the other name of the key.
  const char* key = reader.config().Find(family.num_experts_key) ? family.num_experts_key : "num_local_experts";
  INGOT_ASSIGN_OR_RETURN(const int64_t experts, reader.Int(key, kNumExperts));
  INGOT_ASSIGN_OR_RETURN(const int64_t chosen, reader.Int("num_experts_per_tok", kExpertsPerToken));
  spec->num_experts = static_cast<int>(experts);
  spec->experts_per_token = static_cast<int>(chosen);
  INGOT_ASSIGN_OR_RETURN(spec->normalize_topk, reader.Flag(family.normalize_topk));
  INGOT_ASSIGN_OR_RETURN(spec->moe_intermediate_size,
                         ReadInt(reader.config(), "moe_intermediate_size", kIntermediateSize, spec->intermediate_size));
  int64_t step = 1;
  if (family.moe == MoeRule::kSparseStep) {
    INGOT_ASSIGN_OR_RETURN(step, reader.Int("decoder_sparse_step", kNumLayers));
  }
  for (int i = 0; i < spec->num_layers; ++i) spec->layers[static_cast<size_t>(i)].moe = (i + 1) % step == 0;
  return family.moe == MoeRule::kSparseStep ? ReadDenseLayers(reader.config(), spec) : Status();
}

Result<const Family*> ReadFamily(const JsonView& config) {
  INGOT_ASSIGN_OR_RETURN(const std::string model_type, config.String("model_type"));
  const Family* family = FamilyOfModelType(model_type);
  if (family) return family;
  return Unsupported("{}: model_type \"{}\" is not known; known are {}", config.path(), model_type, KnownModelTypes());
}

}  // namespace

Result<ModelSpec> ReadHuggingFaceSpec(const boost::json::value& config) {
  const JsonView outer(config, "config.json");
  INGOT_ASSIGN_OR_RETURN(const Family* family, ReadFamily(outer));
  JsonView view = outer;
  if (const auto text = outer.Find("text_config")) {  // Gemma3ForConditionalGeneration
    INGOT_ASSIGN_OR_RETURN([[maybe_unused]] const auto* object, text->AsObject());
    view = *text;
  }
  const ConfigReader reader(outer, view, *family);
  ModelSpec spec;
  spec.family = family->name;
  INGOT_RETURN_IF_ERROR(ReadSizes(reader, &spec));
  INGOT_RETURN_IF_ERROR(ReadFlags(reader, &spec));
  INGOT_RETURN_IF_ERROR(ReadScales(reader, &spec));
  INGOT_RETURN_IF_ERROR(ReadWindows(reader, &spec));
  INGOT_RETURN_IF_ERROR(ReadRopes(reader, &spec));
  INGOT_RETURN_IF_ERROR(ReadExperts(reader, &spec));
  INGOT_RETURN_IF_ERROR(CheckSpec(spec));
  return spec;
}

}  // namespace ingot::models
