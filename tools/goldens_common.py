"""What the makers of goldens share: the shape they start from, weights, prompts, and the reference that is written."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
import transformers

VOCAB = 96
PROMPT_TOKENS = 40
MIN_MARGIN = 0.03  # between the logits of experts chosen and not chosen: rounding must not change the choice
BASE = dict(
    vocab_size=VOCAB,
    hidden_size=48,
    intermediate_size=72,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=64,
    tie_word_embeddings=False,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)


def seed_of(name: str) -> int:
    return zlib.crc32(name.encode())


def gain_of(name: str) -> float:
    """The rms of what a matrix makes of inputs of rms 1. What attention and the MLP add to the residual stream is the
    smaller part of it, as in trained models: else the rounding of an fp16 cache shows more than it does in use."""
    gains = {"mlp.gate.weight": 3.0, "o_proj": 0.5, "attn_output": 0.5, "down": 0.5, "q_proj": 1.0, "k_proj": 1.0}
    return next((gain for part, gain in gains.items() if part in name), 1.2)


@torch.no_grad()
def randomize(model: torch.nn.Module, seed: int) -> None:
    """Weights under which attention is uneven, experts are chosen clearly and logits have an rms of about 1."""
    generator = torch.Generator().manual_seed(seed)
    plus_one = "gemma" in model.config.model_type
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if plus_one and ("post_attention" in name or "post_feedforward" in name):
            parameter.copy_(0.1 * noise - 0.6)
        elif "norm" in name:
            parameter.copy_(0.2 * noise if plus_one else 1.0 + 0.2 * noise)
        elif name.endswith("bias"):
            parameter.copy_(0.3 * noise)
        elif "embed_tokens" in name:
            parameter.copy_(noise * (model.config.hidden_size**-0.5 if plus_one else 0.5 if model.config.tie_word_embeddings else 1.0))
        else:
            parameter.copy_(noise * gain_of(name) * parameter.shape[-1] ** -0.5)


def prompt_of(name: str, tokens: int = PROMPT_TOKENS) -> list[int]:
    return np.random.default_rng(seed_of(name + " prompt")).integers(3, VOCAB, tokens).tolist()


def router_margin(model: torch.nn.Module, ids: torch.Tensor) -> float:
    """The smallest gap between an expert chosen and one not chosen."""
    gaps = []

    def hook(module, _, output):
        top = output[0].float().sort(dim=-1, descending=True).values
        gaps.append((top[:, module.top_k - 1] - top[:, module.top_k]).min().item())

    handles = [m.register_forward_hook(hook) for m in model.modules() if type(m).__name__.endswith("TopKRouter")]
    with torch.no_grad():
        model(ids)
    for handle in handles:
        handle.remove()
    return min(gaps, default=math.inf)


@torch.no_grad()
def logits_of(model: torch.nn.Module, prompt: list[int]) -> np.ndarray:
    ids = torch.tensor([prompt])
    assert router_margin(model, ids) > MIN_MARGIN, "an expert is chosen by too little; take another seed"
    return model(ids, use_cache=False).logits[0].float().numpy()


def write_reference(folder: Path, cases: list[tuple[int, list[int], np.ndarray]]) -> None:
    entries = []
    for i, (session_len, prompt, logits) in enumerate(cases):
        name = f"logits{i}.f32"
        logits.astype("<f4").tofile(folder / name)
        rms = float(np.sqrt((logits**2).mean()))
        assert 0.3 < rms < 10, rms
        entries.append({"session_len": session_len, "prompt": prompt, "logits": name, "rms": rms})
    text = json.dumps({"made_by": f"transformers {transformers.__version__}", "cases": entries})
    (folder / "reference.json").write_text(text + "\n")
