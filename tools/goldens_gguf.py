"""Goldens in GGUF: the same tiny models as llama.cpp's converter would write them, in several types; the logits are of
the weights that those types stand for."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from transformers import AutoConfig, AutoModelForCausalLM

import goldens_common
from goldens_common import gain_of, logits_of, prompt_of, randomize, write_reference
from make_random_gguf import random_rows

LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "mlp.experts.down_proj": "ffn_down_exps",
    "input_layernorm": "attn_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
OTHER_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
PERMUTED = {"llama", "internlm2"}

# Every dimension that is multiplied over is a multiple of 32, as the types want it.
BASE = goldens_common.BASE | dict(hidden_size=32, intermediate_size=64)
EVEN = BASE | dict(num_attention_heads=4, head_dim=16)  # hidden / heads = 8
WIDE = BASE | dict(hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=8, num_key_value_heads=2, head_dim=32)
LONG_FACTORS = dict(short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[1.0, 1.5, 2.5, 4.0])

# name → (GGUF architecture, class of the configuration, its values, types by part of the name, "" for the rest)
MODELS = {
    "gguf_llama_q4_1": ("llama", "llama", EVEN, {"": Type.Q4_1, "output.": Type.Q8_0, "token_embd": Type.F16}),
    "gguf_llama_q4_0": ("llama", "llama", EVEN | dict(tie_word_embeddings=True, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}), {"": Type.Q4_0, "token_embd": Type.Q8_0}),
    "gguf_llama_q5": ("llama", "llama", EVEN, {"": Type.Q5_0, "attn_k": Type.Q5_1, "attn_output": Type.Q5_1, "ffn_down": Type.Q5_1, "token_embd": Type.BF16}),
    "gguf_llama3_q8_0": (
        "llama",
        "llama",
        EVEN | dict(rope_parameters={"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}),
        {"": Type.Q8_0},
    ),
    "gguf_llama_k": (
        "llama",
        "llama",
        WIDE,
        {"": Type.Q4_K, "attn_v": Type.Q6_K, "ffn_down": Type.Q6_K, "ffn_up": Type.Q5_K, "attn_output": Type.Q5_K, "output.": Type.Q6_K, "token_embd": Type.Q4_K},
    ),
    "gguf_qwen2_f16": ("qwen2", "qwen2", {k: v for k, v in BASE.items() if k != "head_dim"} | dict(hidden_size=48, intermediate_size=40, tie_word_embeddings=True), {"": Type.F16}),
    "gguf_qwen3_q8_0": ("qwen3", "qwen3", EVEN | dict(rope_parameters={"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 16}), {"": Type.Q8_0}),
    "gguf_qwen3moe_q8_0": ("qwen3moe", "qwen3_moe", EVEN | dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=32, norm_topk_prob=True), {"": Type.Q8_0}),
    "gguf_mixtral_q4_0": ("llama", "mixtral", EVEN | dict(num_local_experts=4, num_experts_per_tok=2, intermediate_size=32), {"": Type.Q4_0}),
    "gguf_gemma2_f16": ("gemma2", "gemma2", BASE | dict(hidden_size=36, num_hidden_layers=3, sliding_window=13, query_pre_attn_scalar=16, tie_word_embeddings=True, attn_logit_softcapping=5.0, final_logit_softcapping=3.0), {"": Type.F16}),
    "gguf_gemma3_q8_0": (
        "gemma3",
        "gemma3_text",
        EVEN | dict(num_hidden_layers=7, intermediate_size=32, sliding_window=13, query_pre_attn_scalar=16, tie_word_embeddings=True, rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}),
        {"": Type.Q8_0},
    ),
    "gguf_phi3_f16": (
        "phi3",
        "phi3",
        {k: v for k, v in BASE.items() if k != "head_dim"}
        | dict(hidden_size=48, num_attention_heads=6, original_max_position_embeddings=24, rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, **LONG_FACTORS}),
        {"": Type.F16},
    ),
}


def gguf_name(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    if suffix not in ("weight", "bias"):  # stacked experts have none
        stem, dot, suffix = name, ".", "weight"
    if stem in OTHER_NAMES:
        return OTHER_NAMES[stem] + dot + suffix
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[rest]}{dot}{suffix}"


def permute(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from halves to neighbours."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weights.shape)


def unpermute(weights: np.ndarray, heads: int) -> np.ndarray:
    return weights.reshape(heads, weights.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(weights.shape)


def stored(rng: np.random.Generator, weights: np.ndarray, kind: Type, std: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The bytes in the file, and the numbers they stand for."""
    if kind in (Type.Q4_K, Type.Q5_K, Type.Q6_K):  # gguf has no quantizer for these: random blocks
        rows = random_rows(rng, kind, weights.shape[0], weights.shape[1], std)
    else:
        rows = gguf.quants.quantize(weights, kind)
    return rows, gguf.quants.dequantize(rows, kind).reshape(weights.shape).astype(np.float32)


def add_metadata(writer: gguf.GGUFWriter, config, architecture: str) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(head_dim)
    if head_dim != config.hidden_size // config.num_attention_heads:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] in ("yarn", "longrope"):
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "longrope":
        ratio = config.max_position_embeddings / rope["original_max_position_embeddings"]
        writer.add_rope_scaling_attn_factors(float(np.sqrt(1 + np.log(ratio) / np.log(rope["original_max_position_embeddings"]))))
    if architecture.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    experts = getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if architecture == "qwen3moe":
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    writer.add_token_types([1] * config.vocab_size)
    writer.add_token_merges([])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def add_rope_tensors(writer: gguf.GGUFWriter, model) -> None:
    rope = model.config.rope_parameters
    if rope.get("rope_type") == "llama3":
        plain = 1.0 / (rope["rope_theta"] ** (np.arange(0, model.config.head_dim, 2) / model.config.head_dim))
        writer.add_tensor("rope_freqs.weight", (plain / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32))
    if rope.get("rope_type") == "longrope":
        writer.add_tensor("rope_factors_short.weight", np.array(rope["short_factor"], np.float32))
        writer.add_tensor("rope_factors_long.weight", np.array(rope["long_factor"], np.float32))


@torch.no_grad()
def add_weights(writer: gguf.GGUFWriter, model, architecture: str, types: dict, rng: np.random.Generator) -> None:
    """Writes the tensors, and puts what they stand for into the model."""
    gemma = architecture.startswith("gemma")
    config = model.config
    add_rope_tensors(writer, model)
    for source, parameter in model.named_parameters():
        weights = parameter.detach().numpy().astype(np.float32)
        if source.endswith("experts.gate_up_proj"):
            halves = np.split(weights, 2, axis=1)
            prefix = gguf_name(source.replace("gate_up", "down")).removesuffix("ffn_down_exps.weight")
            restored = []
            for part, half in zip(("ffn_gate_exps", "ffn_up_exps"), halves):
                rows, values = stored(rng, half, types[""])
                writer.add_tensor(f"{prefix}{part}.weight", rows, raw_dtype=types[""])
                restored.append(values)
            parameter.copy_(torch.from_numpy(np.concatenate(restored, axis=1)))
            continue
        name = gguf_name(source)
        if name.endswith("post_attention_layernorm.weight"):
            raise AssertionError(name)
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(source.split(".")[-2], 0)
        permuted = heads and architecture in PERMUTED
        if permuted:
            weights = permute(weights, heads)
        kind = Type.F32 if weights.ndim == 1 or "ffn_gate_inp" in name else next((v for k, v in types.items() if k and k in name), types[""])
        if kind == Type.F32:
            writer.add_tensor(name, weights + 1.0 if gemma and "norm" in name else weights)
            continue
        std = 1.0 if "embed" in source else gain_of(source) * weights.shape[1] ** -0.5
        rows, values = stored(rng, np.ascontiguousarray(weights), kind, std)
        writer.add_tensor(name, rows, raw_dtype=kind)
        parameter.copy_(torch.from_numpy(unpermute(values, heads) if permuted else values))


def make_one(out: Path, name: str) -> None:
    architecture, kind, values, types = MODELS[name]
    # The norm after attention has one name and two meanings.
    LAYER_NAMES["post_attention_layernorm"] = "post_attention_norm" if architecture.startswith("gemma") else "ffn_norm"
    config = AutoConfig.for_model(kind, **json.loads(json.dumps(values)))
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(200):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        randomize(model, seed)
        writer = gguf.GGUFWriter(folder / "model.gguf", architecture)
        add_metadata(writer, model.config, architecture)
        add_weights(writer, model, architecture, types, np.random.default_rng(seed))
        prompt = prompt_of(name)
        try:
            logits = logits_of(model, prompt)
        except AssertionError:  # an expert is chosen by too little
            continue
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        write_reference(folder, [(len(prompt), prompt, logits)])
        return
    raise AssertionError(name)


def make_all(out: Path, only: list[str]) -> None:
    for name in MODELS:
        if not only or name in only:
            make_one(out, name)
            print(name, flush=True)
