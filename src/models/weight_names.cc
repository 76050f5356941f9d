#include "models/weight_names.h"

#include <algorithm>
#include <array>

namespace ingot::models {
namespace {

// Multimodal wrappers put the text model under a name of its own: before and after transformers 4.52.
const std::vector<NameTable::Prefix> kHuggingFacePrefixes = {
    {"model.", ""}, {"language_model.model.", "language_model."}, {"model.language_model.", ""}, {"", ""}};
// Frequencies that old Llama conversions stored, and the parts of multimodal models that are not text.
const std::vector<std::string_view> kHuggingFaceIgnored = {"rotary_emb.inv_freq", "vision_tower.",
                                                           "multi_modal_projector.", "vision_model."};

std::vector<TensorName> Join(std::vector<TensorName> a, const std::vector<TensorName>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// What Hugging Face's Llama, Gemma and Mixtral share.
const std::vector<TensorName> kLlamaAttention = {
    {Role::kEmbedding, "embed_tokens"},
    {Role::kFinalNorm, "norm"},
    {Role::kLmHead, "lm_head"},
    {Role::kAttentionNorm, "layers.{}.input_layernorm"},
    {Role::kQ, "layers.{}.self_attn.q_proj"},
    {Role::kK, "layers.{}.self_attn.k_proj"},
    {Role::kV, "layers.{}.self_attn.v_proj"},
    {Role::kQkv, "layers.{}.self_attn.qkv_proj"},
    {Role::kQNorm, "layers.{}.self_attn.q_norm"},
    {Role::kKNorm, "layers.{}.self_attn.k_norm"},
    {Role::kO, "layers.{}.self_attn.o_proj"},
};
const std::vector<TensorName> kLlamaMlp = {
    {Role::kGate, "layers.{}.mlp.gate_proj"},
    {Role::kUp, "layers.{}.mlp.up_proj"},
    {Role::kGateUp, "layers.{}.mlp.gate_up_proj"},
    {Role::kDown, "layers.{}.mlp.down_proj"},
};

}  // namespace

const NameTable kLlamaNames = {
    .tensors = Join(Join(kLlamaAttention, kLlamaMlp),
                    {
                        {Role::kMlpNorm, "layers.{}.post_attention_layernorm"},
                        {Role::kRouter, "layers.{}.mlp.gate"},
                        {Role::kExpertGate, "layers.{}.mlp.experts.{}.gate_proj"},
                        {Role::kExpertUp, "layers.{}.mlp.experts.{}.up_proj"},
                        {Role::kExpertDown, "layers.{}.mlp.experts.{}.down_proj"},
                        {Role::kExpertGateUp, "layers.{}.mlp.experts.gate_up_proj", "", "_bias"},
                        {Role::kExpertDown, "layers.{}.mlp.experts.down_proj", "", "_bias"},
                    }),
    .prefixes = kHuggingFacePrefixes,
    .ignored = kHuggingFaceIgnored,
};

const NameTable kGemmaNames = {
    .tensors = Join(Join(kLlamaAttention, kLlamaMlp),
                    {
                        {Role::kPostAttentionNorm, "layers.{}.post_attention_layernorm"},
                        {Role::kMlpNorm, "layers.{}.pre_feedforward_layernorm"},
                        {Role::kPostMlpNorm, "layers.{}.post_feedforward_layernorm"},
                    }),
    .prefixes = kHuggingFacePrefixes,
    .ignored = kHuggingFaceIgnored,
};

const NameTable kInternLm2Names = {
    .tensors =
        {
            {Role::kEmbedding, "tok_embeddings"},
            {Role::kFinalNorm, "norm"},
            {Role::kLmHead, "output"},
            {Role::kAttentionNorm, "layers.{}.attention_norm"},
            {Role::kMlpNorm, "layers.{}.ffn_norm"},
            {.role = Role::kQkv, .pattern = "layers.{}.attention.wqkv", .layout = RowLayout::kGrouped},
            {Role::kO, "layers.{}.attention.wo"},
            {Role::kGate, "layers.{}.feed_forward.w1"},
            {Role::kUp, "layers.{}.feed_forward.w3"},
            {Role::kDown, "layers.{}.feed_forward.w2"},
        },
    .prefixes = {{"model.", ""}},
    .ignored = kHuggingFaceIgnored,
};

const NameTable kMixtralNames = {
    .tensors = Join(kLlamaAttention,
                    {
                        {Role::kMlpNorm, "layers.{}.post_attention_layernorm"},
                        {Role::kRouter, "layers.{}.block_sparse_moe.gate"},
                        {Role::kExpertGate, "layers.{}.block_sparse_moe.experts.{}.w1"},
                        {Role::kExpertUp, "layers.{}.block_sparse_moe.experts.{}.w3"},
                        {Role::kExpertDown, "layers.{}.block_sparse_moe.experts.{}.w2"},
                    }),
    .prefixes = kHuggingFacePrefixes,
    .ignored = kHuggingFaceIgnored,
};

const NameTable kGgufNames = {
    .tensors =
        {
            {Role::kEmbedding, "token_embd"},
            {Role::kFinalNorm, "output_norm"},
            {Role::kLmHead, "output"},
            {Role::kAttentionNorm, "blk.{}.attn_norm"},
            {Role::kPostAttentionNorm, "blk.{}.post_attention_norm"},
            {Role::kMlpNorm, "blk.{}.ffn_norm"},
            {Role::kPostMlpNorm, "blk.{}.post_ffw_norm"},
            {Role::kQ, "blk.{}.attn_q"},
            {Role::kK, "blk.{}.attn_k"},
            {Role::kV, "blk.{}.attn_v"},
            {Role::kQkv, "blk.{}.attn_qkv"},
            {Role::kQNorm, "blk.{}.attn_q_norm"},
            {Role::kKNorm, "blk.{}.attn_k_norm"},
            {Role::kO, "blk.{}.attn_output"},
            {Role::kGate, "blk.{}.ffn_gate"},
            {Role::kUp, "blk.{}.ffn_up"},
            {Role::kGateUp, "blk.{}.ffn_up"},  // Phi-3: where there is no ffn_gate, ffn_up holds both
            {Role::kDown, "blk.{}.ffn_down"},
            {Role::kRouter, "blk.{}.ffn_gate_inp"},
            {Role::kExpertGate, "blk.{}.ffn_gate_exps"},
            {Role::kExpertUp, "blk.{}.ffn_up_exps"},
            {Role::kExpertDown, "blk.{}.ffn_down_exps"},
            {Role::kExpertGate, "blk.{}.ffn_gate.{}"},
            {Role::kExpertUp, "blk.{}.ffn_up.{}"},
            {Role::kExpertDown, "blk.{}.ffn_down.{}"},
        },
    .prefixes = {{"", ""}},
    .ignored = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight", "attn_rot_embd"},
};

bool TensorName::is_stacked() const {
  const bool of_expert = role >= Role::kExpertGate;
  return of_expert && std::string_view(pattern).find("{}") == std::string_view(pattern).rfind("{}");
}

const TensorName* NameTable::Find(Role role, bool stacked) const {
  const auto found = std::ranges::find_if(
      tensors, [&](const TensorName& name) { return name.role == role && name.is_stacked() == stacked; });
  return found == tensors.end() ? nullptr : &*found;
}

std::string Numbered(std::string_view pattern, int64_t layer, int64_t expert) {
  const std::array<int64_t, 2> numbers = {layer, expert};
  std::string name;
  size_t next = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '{' && next < numbers.size()) {
      name += std::to_string(numbers[next++]);
      ++i;  // the closing brace
    } else {
      name += pattern[i];
    }
  }
  return name;
}

}  // namespace ingot::models
