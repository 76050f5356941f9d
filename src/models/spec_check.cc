#include <cmath>

#include "models/spec_internal.h"

namespace ingot::models {

Result<int64_t> ReadInt(const JsonView& view, std::string_view key, Range range, std::optional<int64_t> fallback) {
  if (!view.Find(key) && fallback) return *fallback;
  INGOT_ASSIGN_OR_RETURN(const int64_t value, view.Int(key));
  if (value < range.low || value > range.high) {
    return InvalidArgument("{}: {} {} is outside {}…{}", view.path(), key, value, range.low, range.high);
  }
  return value;
}

Result<double> ReadDouble(const JsonView& view, std::string_view key, double low, double high,
                          std::optional<double> fallback) {
  if (!view.Find(key) && fallback) return *fallback;
  INGOT_ASSIGN_OR_RETURN(const double value, view.Double(key));
  if (!(value >= low && value <= high)) {
    return InvalidArgument("{}: {} {} is outside {}…{}", view.path(), key, value, low, high);
  }
  return value;
}

Result<ops::Activation> ReadActivation(const JsonView& view, std::string_view key, std::string_view fallback) {
  INGOT_ASSIGN_OR_RETURN(const std::string name, view.String(key, fallback));
  if (name == "silu" || name == "swish") return ops::Activation::kSilu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") return ops::Activation::kGeluTanh;
  if (name == "gelu") return ops::Activation::kGelu;
  return Unsupported("{}: {} \"{}\" is not known; known are silu, gelu, gelu_pytorch_tanh", view.path(), key, name);
}

Status CheckRope(const RopeSpec& rope, int rotary_dim) {
  const bool has_length = rope.kind == RopeSpec::Kind::kLongRope || rope.kind == RopeSpec::Kind::kYarn;
  if (has_length && rope.original_max_position < 2) {
    return InvalidArgument("rope: original_max_position_embeddings {} is below 2", rope.original_max_position);
  }
  if (rope.kind != RopeSpec::Kind::kLongRope) return Status();
  const auto half = static_cast<size_t>(rotary_dim / 2);
  for (const auto* factors : {&rope.short_factor, &rope.long_factor}) {
    if (factors->size() != half) {
      return InvalidArgument("rope: {} factors where the rotary dimension {} needs {}", factors->size(), rotary_dim,
                             half);
    }
    for (double factor : *factors) {
      if (!(factor > 1e-6 && factor < 1e9)) return InvalidArgument("rope: factor {} is outside 1e-6…1e9", factor);
    }
  }
  return Status();
}

namespace {

Status CheckAttention(const LayerSpec& layer) {
  if (layer.attention == LayerSpec::Attention::kLatent) return Unsupported("latent attention (MLA) is not supported");
  if (layer.attention == LayerSpec::Attention::kLinear) return Unsupported("linear attention is not supported");
  if (layer.sinks) return Unsupported("attention sinks are not supported");
  if (layer.num_heads % layer.num_kv_heads != 0) {
    return InvalidArgument("num_attention_heads {} is not a multiple of num_key_value_heads {}", layer.num_heads,
                           layer.num_kv_heads);
  }
  if (layer.head_dim % 2 != 0) return InvalidArgument("head_dim {} is odd; rotation needs pairs", layer.head_dim);
  if (layer.value_head_dim == layer.head_dim) return {};
  return Unsupported("heads of {} numbers for keys and {} for values are not supported; both must be equal",
                     layer.head_dim, layer.value_head_dim);
}

// What one set of buffers and one rotary dimension serve.
bool HaveSameHeads(const LayerSpec& a, const LayerSpec& b) {
  return a.num_heads == b.num_heads && a.num_kv_heads == b.num_kv_heads && a.head_dim == b.head_dim;
}

}  // namespace

Status CheckSpec(const ModelSpec& spec) {
  const LayerSpec& heads = spec.heads();
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    INGOT_RETURN_IF_ERROR(CheckAttention(layer));
    if (HaveSameHeads(layer, heads)) continue;
    return Unsupported("layer {} has {} heads / {} KV heads of {}, others {} / {} of {}: all must be equal", i,
                       layer.num_heads, layer.num_kv_heads, layer.head_dim, heads.num_heads, heads.num_kv_heads,
                       heads.head_dim);
  }
  if (spec.rotary_dim < 2 || spec.rotary_dim > heads.head_dim || spec.rotary_dim % 2 != 0) {
    return InvalidArgument("rotary dimension {} is not an even number in 2…{} (head_dim)", spec.rotary_dim,
                           heads.head_dim);
  }
  if (spec.experts_per_token > spec.num_experts) {
    return InvalidArgument("num_experts_per_tok {} is above the number of experts {}", spec.experts_per_token,
                           spec.num_experts);
  }
  for (const RopeSpec& rope : spec.ropes) INGOT_RETURN_IF_ERROR(CheckRope(rope, spec.rotary_dim));
  for (const LayerSpec& layer : spec.layers) {
    INGOT_CHECK(layer.rope < static_cast<int>(spec.ropes.size()));
    INGOT_CHECK(!layer.moe || spec.num_experts > 0);
  }
  return Status();
}

}  // namespace ingot::models
