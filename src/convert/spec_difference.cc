#include "convert/spec_difference.h"

#include <algorithm>
#include <cmath>

#include "models/rope.h"

namespace ingot::convert {
namespace {

using models::LayerSpec;
using models::ModelSpec;

// Numbers pass through float32 metadata.
bool Near(double a, double b) { return std::abs(a - b) <= 1e-6 * std::max(std::abs(a), std::abs(b)); }

struct Field {
  template <typename T>
  Field(const char* field_name, T source_value, T written_value)
      : name(field_name), source(static_cast<double>(source_value)), written(static_cast<double>(written_value)) {}
  const char* name;
  double source, written;
};

bool HasDenseLayer(const ModelSpec& spec) {
  return std::ranges::any_of(spec.layers, [](const LayerSpec& layer) { return !layer.moe; });
}

Status CheckNumbers(const ModelSpec& a, const ModelSpec& b, const char* form) {
  const Field fields[] = {
      {"vocab_size", a.vocab_size, b.vocab_size},
      {"hidden_size", a.hidden_size, b.hidden_size},
      {"intermediate_size", HasDenseLayer(a) ? a.intermediate_size : 0, HasDenseLayer(a) ? b.intermediate_size : 0},
      {"num_hidden_layers", a.num_layers, b.num_layers},
      {"num_attention_heads", a.heads().num_heads, b.heads().num_heads},
      {"num_key_value_heads", a.heads().num_kv_heads, b.heads().num_kv_heads},
      {"head_dim", a.heads().head_dim, b.heads().head_dim},
      {"rotary dimension", a.rotary_dim, b.rotary_dim},
      {"max_position_embeddings", a.max_position, b.max_position},
      {"rms_norm_eps", a.norm_eps, b.norm_eps},
      {"activation", a.activation, b.activation},
      {"bias of Q, K and V", a.qkv_bias, b.qkv_bias},
      {"bias of the attention's output", a.o_bias, b.o_bias},
      {"bias of the MLP", a.mlp_bias, b.mlp_bias},
      {"bias of the router", a.router_bias, b.router_bias},
      {"bias of the experts", a.expert_bias, b.expert_bias},
      {"norm of Q and K", a.qk_norm, b.qk_norm},
      {"norms behind attention and MLP", a.post_norms, b.post_norms},
      {"tie_word_embeddings", a.tied_embeddings, b.tied_embeddings},
      {"scale of the attention", a.attention_scale, b.attention_scale},
      {"attn_logit_softcapping", a.attention_softcap, b.attention_softcap},
      {"final_logit_softcapping", a.logit_softcap, b.logit_softcap},
      {"number of experts", a.num_experts, b.num_experts},
      {"num_experts_per_tok", a.experts_per_token, b.experts_per_token},
      {"moe_intermediate_size", a.moe_intermediate_size, b.moe_intermediate_size},
      {"norm_topk_prob", a.num_experts > 0 && a.normalize_topk, a.num_experts > 0 && b.normalize_topk}};
  for (const Field& field : fields) {
    if (!Near(field.source, field.written))
      return Unsupported("{} cannot say this model's {}: {} would become {}", form, field.name, field.source,
                         field.written);
  }
  return {};
}

// At the shortest and at the longest context: what is between follows from them.
bool SameRotation(const ModelSpec& a, const LayerSpec& from, const ModelSpec& b, const LayerSpec& to) {
  if (from.rope < 0 || to.rope < 0) return from.rope == to.rope;
  for (const int64_t length : {int64_t{1}, a.max_position}) {
    const auto source =
        models::MakeRopeFrequencies(a.ropes[static_cast<size_t>(from.rope)], a.rotary_dim, a.max_position, length);
    const auto written =
        models::MakeRopeFrequencies(b.ropes[static_cast<size_t>(to.rope)], b.rotary_dim, b.max_position, length);
    if (!Near(source.factor, written.factor)) return false;
    if (!std::equal(source.inv_freq.begin(), source.inv_freq.end(), written.inv_freq.begin(), written.inv_freq.end(),
                    Near))
      return false;
  }
  return true;
}

}  // namespace

Status CheckSameModel(const ModelSpec& source, const ModelSpec& written, const char* form) {
  INGOT_RETURN_IF_ERROR(CheckNumbers(source, written, form));
  for (size_t i = 0; i < source.layers.size(); ++i) {
    const LayerSpec& from = source.layers[i];
    const LayerSpec& to = written.layers[i];
    if (from.window != to.window)
      return Unsupported("{} cannot say this model's sliding windows: layer {}'s of {} would become {}", form, i,
                         from.window, to.window);
    if (from.moe != to.moe)
      return Unsupported("{} cannot say this model's layers without experts, such as layer {}", form, i);
    if (!SameRotation(source, from, written, to))
      return Unsupported("{} cannot say this model's rotary frequencies (layer {})", form, i);
  }
  return {};
}

}  // namespace ingot::convert
