"""Tiny models with random weights, as transformers makes and saves them, for torch_test.py."""

import json
import pathlib
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

VOCAB_SIZE = 259  # the bytes, and three special tokens
MAX_POSITION = 256
TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"

MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
ROUTED = {**MOE, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1}
MLA = {"num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 12}
# What each has besides COMMON. The native engine knows none of the first list, and all of the second.
UNKNOWN: dict[str, dict[str, Any]] = {
    "glm4": {"head_dim": 16},
    "olmo2": {},
    "stablelm": {},
    "granite": {"attention_multiplier": 0.2, "logits_scaling": 3.0, "residual_multiplier": 0.5, "embedding_multiplier": 4.0},
    "cohere2": {"sliding_window": 8},
    "gpt_neox": {"num_key_value_heads": None},
    "gpt_oss": {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "deepseek_v2": {**MLA, **ROUTED},
    "deepseek_v3": {**MLA, **ROUTED, "first_k_dense_replace": 1},
    "qwen2_moe": {**MOE, "num_experts": 4, "shared_expert_intermediate_size": 32},
    "starcoder2": {"sliding_window": 8},
    "nemotron": {},
    "gpt2": {},
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64},
}  # fmt: skip
KNOWN: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma2": {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16},
    "gemma3_text": {"head_dim": 16, "sliding_window": 8},
    "qwen3": {"head_dim": 16},
}
COMMON = {"vocab_size": VOCAB_SIZE, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
          "num_key_value_heads": 2, "max_position_embeddings": MAX_POSITION, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}  # fmt: skip


def save_tokenizer(folder: pathlib.Path) -> None:
    """One token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False, "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))


def make(folder: pathlib.Path, family: str, **changes: Any) -> Any:
    """Saves a model of a family in the folder, with a tokenizer; returns it as transformers has it, with eager attention."""
    options = {**COMMON, **UNKNOWN.get(family, {}), **KNOWN.get(family, {}), **changes}
    config = AutoConfig.for_model(family, **{name: value for name, value in options.items() if value is not None})
    torch.manual_seed(len(family))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 or "bias" in name or "sinks" in name:
                parameter.normal_(0, 0.15 if parameter.ndim > 1 else 0.5)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return model


def logits_of(model: Any, token_ids: list[int]) -> torch.Tensor:
    """f32 [T, vocab_size], of the whole text at once."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([token_ids]), use_cache=False).logits[0].float()


def greedy(model: Any, token_ids: list[int], count: int) -> list[int]:
    """The likeliest tokens that follow, without any cache."""
    ids = list(token_ids)
    for _ in range(count):
        ids.append(int(logits_of(model, ids)[-1].argmax()))
    return ids[len(token_ids) :]
