"""A tiny random InternLM checkpoint as its makers ship theirs: config.json, pytorch_model.bin and tokenizer.model, in the
layout of the Hugging Face cache. With INGOT_TEST_BACKEND=pytorch a LLaMA with the same tensors, which PyTorch computes:
transformers knows no InternLM without code of the checkpoint's."""

import io
import json
import os
import pathlib
import sys
import tempfile
import unittest

import numpy as np
import sentencepiece
from support import ROOT, Server

sys.path.insert(0, str(ROOT / "src/formats"))
from oracle_files import Storage, Tensor, torch_save  # noqa: E402  what torch.save writes, without torch

NAME = "InternLM/internlm-chat-7b"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HIDDEN, INTERMEDIATE, LAYERS, HEADS = 32, 48, 2, 4
VOCABULARY = 320  # 256 bytes, <unk> <s> </s>, the marks of turns, and what is learned
ON_PYTORCH = os.environ.get("INGOT_TEST_BACKEND") == "pytorch"
FLAGS = ("--backend", "pytorch", "--dtype", "float32", "--chat-template", "internlm") if ON_PYTORCH else ()


def tokenizer_model() -> bytes:
    model = io.BytesIO()
    words = "the capital of France is Paris and what do you say to a user or a bot".split()
    sentences = [" ".join(words[i:] + words[:i]) for i in range(len(words))]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, vocab_size=VOCABULARY, model_type="bpe",
        byte_fallback=True, control_symbols=["<eoh>", "<eoa>"], minloglevel=2, num_threads=1)  # fmt: skip
    return model.getvalue()


def weights() -> dict[str, Tensor]:
    random = np.random.default_rng(7)
    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes |= {f"{prefix}self_attn.{name}.weight": (HIDDEN, HIDDEN), f"{prefix}self_attn.{name}.bias": (HIDDEN,)}
        shapes |= {f"{prefix}mlp.{name}_proj.weight": (INTERMEDIATE, HIDDEN) for name in ("gate", "up")}
        shapes[f"{prefix}mlp.down_proj.weight"] = (HIDDEN, INTERMEDIATE)
        shapes |= {f"{prefix}{name}_layernorm.weight": (HIDDEN,) for name in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}
    state = {}
    for name, shape in shapes.items():
        values = random.standard_normal(shape) * 0.3 + (1 if "norm" in name else 0)
        state[name] = Tensor(Storage("F16", values.astype(np.float16)))
    return state


def serve(case: type[unittest.TestCase] | unittest.TestCase, *arguments: str) -> Server:
    """`ingot serve api_server` of the checkpoint, as "tiny", until the tests of `case` are over."""
    add_cleanup = case.addClassCleanup if isinstance(case, type) else case.addCleanup
    folder = tempfile.TemporaryDirectory()
    add_cleanup(folder.cleanup)
    write_cache(pathlib.Path(folder.name))
    environment = {**os.environ, "HF_HOME": folder.name}
    environment.pop("HF_HUB_CACHE", None)
    server = Server(NAME, "--model-name", "tiny", *FLAGS, *arguments, env=environment)
    add_cleanup(server.__exit__)
    assert ("PyTorch" in "".join(server.log)) == ON_PYTORCH
    return server


def write_cache(home: pathlib.Path) -> None:
    """Puts the checkpoint into the cache that HF_HOME=`home` names."""
    repository = home / "hub" / ("models--" + NAME.replace("/", "--"))
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    config = {
        "architectures": ["InternLMForCausalLM"], "model_type": "internlm", "bias": True, "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "tie_word_embeddings": False,
        "torch_dtype": "float16"}  # fmt: skip
    if ON_PYTORCH:
        config |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": True}
    (snapshot / "config.json").write_text(json.dumps(config))
    (snapshot / "tokenizer.model").write_bytes(tokenizer_model())
    torch_save(snapshot / "pytorch_model.bin", weights())


if __name__ == "__main__":  # for tests whose Python has no sentencepiece
    write_cache(pathlib.Path(sys.argv[1]))
    print(NAME)
