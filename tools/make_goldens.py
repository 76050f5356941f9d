#!/usr/bin/env python3
"""Makes tests/goldens: tiny random checkpoints of every model family, with the logits transformers computes for them.

    make_goldens.py [--out tests/goldens] [--only NAME …]

Run by hand when a family joins; the results are committed. Needs its own virtual environment, with what
tools/goldens_requirements.txt lists. Shapes are awkward on purpose: head_dim differs from hidden_size / num_heads, three query
heads per KV head, windows shorter than the prompt, sizes that no tile divides.

A golden is a folder: config.json and model.safetensors, or model.gguf; and reference.json, which lists cases of
(session_len, prompt, file of raw float32 logits [tokens, vocab]).
"""

import argparse
import copy
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

import goldens_gguf
from goldens_common import BASE, MIN_MARGIN, PROMPT_TOKENS, logits_of, prompt_of, randomize, router_margin, seed_of, write_reference

# For the variants of rotary embedding.
SMALL = dict(hidden_size=24, num_attention_heads=3, num_key_value_heads=1, intermediate_size=40)


def rope(kind: str, **parameters) -> dict:
    return {"rope_type": kind, "rope_theta": 10000.0, **parameters}


LONG_FACTORS = dict(short_factor=[1.0, 1.05, 1.1, 1.3, 1.4, 1.5], long_factor=[1.0, 1.2, 1.9, 2.7, 4.1, 6.3])

# name → (class of the configuration, changes to BASE, type of the weights, form of config.json)
CHECKPOINTS = {
    "llama": ("llama", {}, "float16", "v4"),
    "llama_bias_tied": ("llama", dict(**SMALL, attention_bias=True, mlp_bias=True, tie_word_embeddings=True), "float32", "v5"),
    "llama_linear": ("llama", dict(**SMALL, rope_parameters=rope("linear", factor=2.5)), "bfloat16", "v4"),
    "llama_dynamic": ("llama", dict(**SMALL, rope_parameters=rope("dynamic", factor=2.0), max_position_embeddings=24), "bfloat16", "v5"),
    "llama_llama3": (
        "llama",
        dict(**SMALL, rope_parameters=rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)),
        "bfloat16",
        "v4",
    ),
    "llama_yarn": ("llama", dict(**SMALL, rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=16)), "bfloat16", "v5"),
    "mistral": ("mistral", dict(sliding_window=11), "bfloat16", "v4"),
    "qwen2": ("qwen2", dict(tie_word_embeddings=True, hidden_size=60, head_dim=None), "bfloat16", "v4"),
    "qwen2_window": (
        "qwen2",
        dict(use_sliding_window=True, sliding_window=9, max_window_layers=1, hidden_size=60, head_dim=None),
        "bfloat16",
        "v5",
    ),
    "qwen3": ("qwen3", {}, "bfloat16", "v5"),
    "internlm3": ("internlm3", dict(**SMALL, rope_parameters=rope("dynamic", factor=6.0)), "bfloat16", "v4"),
    "gemma2": (
        "gemma2",
        dict(num_hidden_layers=3, sliding_window=13, query_pre_attn_scalar=24, tie_word_embeddings=True, attn_logit_softcapping=5.0, final_logit_softcapping=3.0),
        "bfloat16",
        "v4",
    ),
    "gemma3": (
        "gemma3_text",
        dict(
            num_hidden_layers=4,
            hidden_size=36,
            intermediate_size=56,
            sliding_window=13,
            query_pre_attn_scalar=20,
            tie_word_embeddings=True,
            layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        ),
        "bfloat16",
        "v5",
    ),
    "phi3": ("phi3", dict(sliding_window=12, head_dim=None), "bfloat16", "v4"),
    "phi3_longrope": (
        "phi3",
        dict(
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=None,
            original_max_position_embeddings=24,
            rope_parameters=rope("longrope", partial_rotary_factor=0.75, **LONG_FACTORS),
        ),
        "bfloat16",
        "v4",
    ),
    "mixtral": ("mixtral", dict(num_local_experts=5, num_experts_per_tok=2, intermediate_size=40), "bfloat16", "v4"),
    "qwen3_moe": (
        "qwen3_moe",
        dict(num_hidden_layers=3, hidden_size=36, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=20, norm_topk_prob=True, mlp_only_layers=[1]),
        "bfloat16",
        "v5",
    ),
}


def to_v4(config: dict) -> dict:
    """config.json as transformers 4 wrote it."""
    config = copy.deepcopy(config)
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    partial = parameters.pop("partial_rotary_factor", None)
    if partial is not None and partial != 1.0:
        config["partial_rotary_factor"] = partial
    if parameters.get("rope_type") == "longrope":
        parameters.pop("original_max_position_embeddings", None)
    config["rope_scaling"] = None if parameters["rope_type"] == "default" else parameters
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)
    config["transformers_version"] = "4.44.0"
    return config


def reference_model(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """The checkpoint in fp32 arithmetic. Gemma's embedding scale is rounded to the type of the weights, as in use."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    embed = model.get_input_embeddings()
    if hasattr(embed, "embed_scale"):
        embed.embed_scale.copy_(embed.embed_scale.to(dtype).float())
    return model


def make_checkpoint(out: Path, name: str, seed: int) -> torch.nn.Module:
    kind, changes, dtype_name, form = CHECKPOINTS[name]
    values = {k: v for k, v in (BASE | changes).items() if v is not None}
    config = AutoConfig.for_model(kind, **values)
    dtype = getattr(torch, dtype_name)
    folder = out / name
    ids = torch.tensor([prompt_of(name)])
    while True:
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        randomize(model, seed)
        model.to(dtype).save_pretrained(folder)
        model = reference_model(folder, dtype)
        if router_margin(model, ids) > MIN_MARGIN:
            break
        seed += 1
    (folder / "generation_config.json").unlink(missing_ok=True)
    cases = [(PROMPT_TOKENS, prompt_of(name), logits_of(model, prompt_of(name)))]
    if name == "phi3_longrope":  # within the trained length the short factors hold
        prompt = prompt_of(name, 20)
        cases.append((20, prompt, logits_of(model, prompt)))
    write_reference(folder, cases)
    path = folder / "config.json"
    config_json = json.loads(path.read_text())
    path.write_text(json.dumps(to_v4(config_json) if form == "v4" else config_json, indent=1) + "\n")
    return model


def repack(out: Path, source: str, name: str, change) -> None:
    """A golden of a family that transformers lacks, out of one that computes the same."""
    folder = out / name
    if source != name:
        shutil.copytree(out / source, folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    config, tensors = change(config, tensors)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def to_internlm(config: dict, tensors: dict) -> tuple[dict, dict]:
    # InternLM: Llama with a bias on Q, K, V and O.
    for key in ["attention_bias", "mlp_bias", "head_dim"]:
        config.pop(key, None)
    config |= {"model_type": "internlm", "architectures": ["InternLMForCausalLM"], "bias": True, "rotary": {"base": 10000, "type": "dynamic"}}
    config.pop("rope_scaling", None)
    return config, tensors


def to_internlm2(config: dict, tensors: dict) -> tuple[dict, dict]:
    heads, kv_heads, dim = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    config |= {"model_type": "internlm2", "architectures": ["InternLM2ForCausalLM"], "bias": False}
    for key in ["attention_bias", "mlp_bias"]:
        config.pop(key, None)
    renamed = {}
    names = {
        "model.embed_tokens": "model.tok_embeddings",
        "lm_head": "output",
        "self_attn.o_proj": "attention.wo",
        "mlp.gate_proj": "feed_forward.w1",
        "mlp.up_proj": "feed_forward.w3",
        "mlp.down_proj": "feed_forward.w2",
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for key, tensor in tensors.items():
        if any(part in key for part in ["q_proj", "k_proj", "v_proj"]):
            continue
        for old, new in names.items():
            key = key.replace(old, new)
        renamed[key] = tensor
    for i in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{i}.self_attn."
        q, k, v = (tensors[f"{prefix}{x}_proj.weight"] for x in "qkv")
        groups = [q.view(kv_heads, heads // kv_heads, dim, -1), k.view(kv_heads, 1, dim, -1), v.view(kv_heads, 1, dim, -1)]
        renamed[f"model.layers.{i}.attention.wqkv.weight"] = torch.cat(groups, dim=1).reshape(-1, q.shape[-1])
    return config, renamed


def to_gemma3_multimodal(config: dict, tensors: dict) -> tuple[dict, dict]:
    text = {k: v for k, v in config.items() if k not in ["architectures", "transformers_version", "dtype"]}
    config = {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "torch_dtype": "bfloat16", "text_config": text, "vision_config": {"hidden_size": 8}}
    tensors = {"language_model." + k: v for k, v in tensors.items()}
    return config, tensors | {"vision_tower.vision_model.embeddings.patch_embedding.bias": torch.zeros(8)}


def to_stacked_experts(config: dict, tensors: dict) -> tuple[dict, dict]:
    """The names that transformers 5 has in memory."""
    experts = config["num_local_experts"]
    stacked = {k.replace("block_sparse_moe", "mlp"): v for k, v in tensors.items() if ".experts." not in k}
    for i in range(config["num_hidden_layers"]):
        old = f"model.layers.{i}.block_sparse_moe.experts"
        gate_up = [torch.cat([tensors[f"{old}.{e}.w1.weight"], tensors[f"{old}.{e}.w3.weight"]]) for e in range(experts)]
        stacked[f"model.layers.{i}.mlp.experts.gate_up_proj"] = torch.stack(gate_up)
        stacked[f"model.layers.{i}.mlp.experts.down_proj"] = torch.stack([tensors[f"{old}.{e}.w2.weight"] for e in range(experts)])
    return config, stacked


def make_internlm_source(out: Path) -> None:
    """A Llama with a bias on Q, K, V and O alone; InternLM has no head_dim of its own."""
    CHECKPOINTS["internlm"] = ("llama", dict(SMALL, hidden_size=30, head_dim=None, attention_bias=True, max_position_embeddings=24, rope_parameters=rope("dynamic", factor=1.0)), "float16", "v4")
    make_checkpoint(out, "internlm", seed_of("internlm"))
    repack(out, "internlm", "internlm", to_internlm)


def make_internlm_bin(out: Path) -> None:
    """As the published InternLM ships: PyTorch's own format, with the frequencies stored as if they were weights."""
    folder = out / "internlm_bin"
    shutil.copytree(out / "internlm", folder, dirs_exist_ok=True)
    tensors = load_file(folder / "model.safetensors")
    for i in range(2):
        tensors[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = torch.ones(5)
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def make_rope_values(out: Path) -> None:
    """Frequencies and factors of every kind, from transformers' own functions."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    cases = []
    kinds = [
        ({}, 0),
        ({"rope_parameters": rope("linear", factor=4.0)}, 0),
        ({"rope_parameters": rope("dynamic", factor=2.0)}, 4096),
        ({"rope_parameters": rope("dynamic", factor=2.0)}, 16384),
        ({"rope_parameters": rope("llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192) | {"rope_theta": 500000.0}}, 0),
        ({"rope_parameters": rope("yarn", factor=4.0, original_max_position_embeddings=1024) | {"rope_theta": 1e6}}, 0),
        ({"rope_parameters": rope("yarn", factor=8.0, beta_fast=24.0, beta_slow=2.0, truncate=False, original_max_position_embeddings=512)}, 0),
        ({"rope_parameters": rope("yarn", factor=40.0, mscale=0.8, mscale_all_dim=1.0, original_max_position_embeddings=4096)}, 0),
        ({"rope_parameters": rope("yarn", factor=4.0, attention_factor=1.25, original_max_position_embeddings=1024)}, 0),
        ({"rope_parameters": rope("longrope", short_factor=[1.0 + i / 50 for i in range(32)], long_factor=[1.0 + i * i / 90 for i in range(32)], original_max_position_embeddings=2048)}, 2048),
        ({"rope_parameters": rope("longrope", short_factor=[1.0 + i / 50 for i in range(32)], long_factor=[1.0 + i * i / 90 for i in range(32)], original_max_position_embeddings=2048)}, 4096),
        ({"rope_parameters": rope("longrope", factor=16.0, attention_factor=1.1, short_factor=[1.0] * 32, long_factor=[2.0] * 32, original_max_position_embeddings=2048)}, 4096),
    ]
    for changes, session_len in kinds:
        values = dict(BASE, head_dim=64, max_position_embeddings=4096) | changes
        config = AutoConfig.for_model("llama", **copy.deepcopy(values))
        kind = config.rope_parameters["rope_type"]
        if kind == "default":
            base, dim = config.rope_parameters["rope_theta"], config.head_dim
            inv_freq, factor = 1.0 / (base ** (torch.arange(0, dim, 2, dtype=torch.float) / dim)), 1.0
        else:
            inv_freq, factor = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=session_len or None)
        cases.append({"config": config.to_dict(), "session_len": session_len, "inv_freq": inv_freq.double().tolist(), "factor": float(factor)})
    (out / "rope.json").write_text(json.dumps(cases) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "tests" / "goldens")
    parser.add_argument("--only", nargs="*", default=[])
    args = parser.parse_args()
    torch.set_num_threads(2)
    models = {}
    for name in CHECKPOINTS.copy():
        if not args.only or name in args.only:
            models[name] = make_checkpoint(args.out, name, seed_of(name))
            print(name, flush=True)
    if not args.only:
        make_internlm_source(args.out)
        make_internlm_bin(args.out)
        repack(args.out, "llama", "internlm2", to_internlm2)
        repack(args.out, "gemma3", "gemma3_multimodal", to_gemma3_multimodal)
        repack(args.out, "mixtral", "mixtral_stacked", to_stacked_experts)
        make_rope_values(args.out)
    goldens_gguf.make_all(args.out, args.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
