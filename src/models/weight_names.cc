#include "models/weight_names.h"

#include <array>

namespace ingot::models {
namespace {

// Multimodal wrappers put the text model under a name of its own: before and after transformers 4.52.
const std::vector<NameTable::Prefix> kHuggingFacePrefixes = {
    {"model.", ""}, {"language_model.model.", "language_model."}, {"model.language_model.", ""}, {"", ""}};
// Frequencies that old Llama conversions stored, and the parts of multimodal models that are not text.
const std::vector<std::string_view> kHuggingFaceIgnored = {"rotary_emb.inv_freq", "vision_tower.",
                                                           "multi_modal_projector.", "vision_model."};

}  // namespace

const NameTable kLlamaNames = {
    .embedding = "embed_tokens",
    .final_norm = "norm",
    .lm_head = "lm_head",
    .attention_norm = "layers.{}.input_layernorm",
    .mlp_norm = "layers.{}.post_attention_layernorm",
    .q = "layers.{}.self_attn.q_proj",
    .k = "layers.{}.self_attn.k_proj",
    .v = "layers.{}.self_attn.v_proj",
    .qkv = "layers.{}.self_attn.qkv_proj",
    .q_norm = "layers.{}.self_attn.q_norm",
    .k_norm = "layers.{}.self_attn.k_norm",
    .o = "layers.{}.self_attn.o_proj",
    .gate = "layers.{}.mlp.gate_proj",
    .up = "layers.{}.mlp.up_proj",
    .gate_up = "layers.{}.mlp.gate_up_proj",
    .down = "layers.{}.mlp.down_proj",
    .router = "layers.{}.mlp.gate",
    .expert_gate = "layers.{}.mlp.experts.{}.gate_proj",
    .expert_up = "layers.{}.mlp.experts.{}.up_proj",
    .expert_down = "layers.{}.mlp.experts.{}.down_proj",
    .experts_gate_up = "layers.{}.mlp.experts.gate_up_proj",
    .experts_down = "layers.{}.mlp.experts.down_proj",
    .experts_have_suffix = false,
    .prefixes = kHuggingFacePrefixes,
    .ignored = kHuggingFaceIgnored,
};

const NameTable kGemmaNames = {
    .embedding = "embed_tokens",
    .final_norm = "norm",
    .lm_head = "lm_head",
    .attention_norm = "layers.{}.input_layernorm",
    .post_attention_norm = "layers.{}.post_attention_layernorm",
    .mlp_norm = "layers.{}.pre_feedforward_layernorm",
    .post_mlp_norm = "layers.{}.post_feedforward_layernorm",
    .q = "layers.{}.self_attn.q_proj",
    .k = "layers.{}.self_attn.k_proj",
    .v = "layers.{}.self_attn.v_proj",
    .q_norm = "layers.{}.self_attn.q_norm",
    .k_norm = "layers.{}.self_attn.k_norm",
    .o = "layers.{}.self_attn.o_proj",
    .gate = "layers.{}.mlp.gate_proj",
    .up = "layers.{}.mlp.up_proj",
    .down = "layers.{}.mlp.down_proj",
    .prefixes = kHuggingFacePrefixes,
    .ignored = kHuggingFaceIgnored,
};

const NameTable kInternLm2Names = {
    .embedding = "tok_embeddings",
    .final_norm = "norm",
    .lm_head = "output",
    .attention_norm = "layers.{}.attention_norm",
    .mlp_norm = "layers.{}.ffn_norm",
    .qkv_grouped = "layers.{}.attention.wqkv",
    .o = "layers.{}.attention.wo",
    .gate = "layers.{}.feed_forward.w1",
    .up = "layers.{}.feed_forward.w3",
    .down = "layers.{}.feed_forward.w2",
    .prefixes = {{"model.", ""}},
    .ignored = kHuggingFaceIgnored,
};

const NameTable kMixtralNames = {
    .embedding = "embed_tokens",
    .final_norm = "norm",
    .lm_head = "lm_head",
    .attention_norm = "layers.{}.input_layernorm",
    .mlp_norm = "layers.{}.post_attention_layernorm",
    .q = "layers.{}.self_attn.q_proj",
    .k = "layers.{}.self_attn.k_proj",
    .v = "layers.{}.self_attn.v_proj",
    .o = "layers.{}.self_attn.o_proj",
    .down = nullptr,
    .router = "layers.{}.block_sparse_moe.gate",
    .expert_gate = "layers.{}.block_sparse_moe.experts.{}.w1",
    .expert_up = "layers.{}.block_sparse_moe.experts.{}.w3",
    .expert_down = "layers.{}.block_sparse_moe.experts.{}.w2",
    .prefixes = kHuggingFacePrefixes,
    .ignored = kHuggingFaceIgnored,
};

const NameTable kGgufNames = {
    .embedding = "token_embd",
    .final_norm = "output_norm",
    .lm_head = "output",
    .attention_norm = "blk.{}.attn_norm",
    .post_attention_norm = "blk.{}.post_attention_norm",
    .mlp_norm = "blk.{}.ffn_norm",
    .post_mlp_norm = "blk.{}.post_ffw_norm",
    .q = "blk.{}.attn_q",
    .k = "blk.{}.attn_k",
    .v = "blk.{}.attn_v",
    .qkv = "blk.{}.attn_qkv",
    .q_norm = "blk.{}.attn_q_norm",
    .k_norm = "blk.{}.attn_k_norm",
    .o = "blk.{}.attn_output",
    .gate = "blk.{}.ffn_gate",
    .up = "blk.{}.ffn_up",
    .gate_up = "blk.{}.ffn_up",  // Phi-3: where there is no ffn_gate, ffn_up holds both
    .down = "blk.{}.ffn_down",
    .router = "blk.{}.ffn_gate_inp",
    .expert_gate = "blk.{}.ffn_gate.{}",
    .expert_up = "blk.{}.ffn_up.{}",
    .expert_down = "blk.{}.ffn_down.{}",
    .experts_gate = "blk.{}.ffn_gate_exps",
    .experts_up = "blk.{}.ffn_up_exps",
    .experts_down = "blk.{}.ffn_down_exps",
    .prefixes = {{"", ""}},
    .ignored = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight", "attn_rot_embd"},
};

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
