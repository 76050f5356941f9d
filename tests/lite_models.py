"""Small random models in the Hugging Face form, and a GGUF file as gguf's own package reads it: for lite_test.py."""

import json
import pathlib

import gguf
import numpy as np
from quantized_llama import Llama, read_safetensors
from safetensors.numpy import save_file
from support import ROOT

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, DIM = 64, 128, 3, 4, 2, 16
VOCABULARY = 258  # bytes, and two special tokens


def byte_tokenizer() -> dict:
    """tokenizer.json: each byte is a token, spelt as GPT-2 spells it."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelling, extra = {}, 0
    for byte in range(256):
        spelling[byte] = chr(byte) if byte in printable else chr(256 + extra)
        extra += byte not in printable
    added = [{"id": 256 + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i, text in enumerate(("<s>", "</s>"))]  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    vocab = {spelling[byte]: byte for byte in range(256)} | {"<s>": 256, "</s>": 257}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab,
             "merges": []}  # fmt: skip
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level, "model": model}  # fmt: skip


def write_model(folder: pathlib.Path) -> None:
    """A Llama whose inputs have a few large channels, as those of trained models have."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(5)
    q, kv = HEADS * DIM, KV_HEADS * DIM
    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "lm_head.weight": (VOCABULARY, HIDDEN)}
    norms = ["model.norm.weight"]
    for i in range(LAYERS):
        prefix = f"model.layers.{i}."
        shapes |= {f"{prefix}self_attn.q_proj.weight": (q, HIDDEN), f"{prefix}self_attn.k_proj.weight": (kv, HIDDEN),
                   f"{prefix}self_attn.v_proj.weight": (kv, HIDDEN), f"{prefix}self_attn.o_proj.weight": (HIDDEN, q),
                   f"{prefix}mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
                   f"{prefix}mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
                   f"{prefix}mlp.down_proj.weight": (HIDDEN, INTERMEDIATE)}  # fmt: skip
        norms += [f"{prefix}input_layernorm.weight", f"{prefix}post_attention_layernorm.weight"]
    tensors = {name: (random.standard_normal(shape) / np.sqrt(shape[1]) * 0.6).astype(np.float16)
               for name, shape in shapes.items()}  # fmt: skip
    for name in norms:
        weight = np.exp(random.standard_normal(HIDDEN) * 0.3)
        weight[random.choice(HIDDEN, 3, replace=False)] *= 8
        tensors[name] = weight.astype(np.float16)
    save_file(tensors, folder / "model.safetensors")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
              "intermediate_size": INTERMEDIATE, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
              "head_dim": DIM, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY, "max_position_embeddings": 512,
              "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "float16",
              "bos_token_id": 256, "eos_token_id": 257}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer()))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def write_family(folder: pathlib.Path, family: str) -> None:
    """The tensors of tests/goldens/FAMILY in widths that words of codes and groups of 32 fill."""
    golden = ROOT / "tests/goldens" / family
    folder.mkdir(parents=True)
    sizes = {"hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "moe_intermediate_size": INTERMEDIATE,
             "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": DIM, "vocab_size": VOCABULARY,
             "max_position_embeddings": 512}  # fmt: skip
    config = json.loads((golden / "config.json").read_text())
    config |= {key: value for key, value in sizes.items() if key in config}
    (folder / "config.json").write_text(json.dumps(config | {"bos_token_id": 256, "eos_token_id": 257}))
    (folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer()))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    q, kv = HEADS * DIM, KV_HEADS * DIM
    rows_of = {"embed_tokens": VOCABULARY, "lm_head": VOCABULARY, "q_proj": q, "k_proj": kv, "v_proj": kv,
               "qkv_proj": q + 2 * kv, "gate_up_proj": 2 * INTERMEDIATE, "gate": config.get("num_local_experts", 0),
               **dict.fromkeys(("gate_proj", "up_proj", "w1", "w3"), INTERMEDIATE)}  # fmt: skip
    random = np.random.default_rng(6)
    tensors = {}
    for name in read_safetensors(golden / "model.safetensors"):
        module, kind = name.split(".")[-2:]
        if module in ("q_norm", "k_norm") or "norm" in module:
            tensors[name] = random.uniform(0.5, 1.5, DIM if module in ("q_norm", "k_norm") else HIDDEN)
        elif kind == "bias":
            tensors[name] = random.standard_normal(rows_of[module]) * 0.1
        else:
            cols = INTERMEDIATE if module in ("down_proj", "w2") else HIDDEN
            tensors[name] = random.standard_normal((rows_of.get(module, HIDDEN), cols)) / np.sqrt(cols)
    save_file({name: values.astype(np.float32) for name, values in tensors.items()}, folder / "model.safetensors")


def llama_of_gguf(file: pathlib.Path, config: dict) -> Llama:
    """The file's weights as the gguf package reads them, by their Hugging Face names."""
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    parts = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}  # fmt: skip
    llama = Llama.__new__(Llama)
    llama.config, llama.quantization, llama.tensors = config, {}, {}
    for tensor in gguf.GGUFReader(file).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        name = tensor.name.removesuffix(".weight")
        if name.startswith("blk."):
            _, layer, part = name.split(".")
            if part in ("attn_q", "attn_k"):  # llama.cpp's neighbours to Hugging Face's halves
                values = values.reshape(-1, DIM // 2, 2, HIDDEN).swapaxes(1, 2).reshape(values.shape)
            name = f"model.layers.{layer}.{parts[part]}"
        llama.tensors[names.get(name, name) + ".weight"] = values
    return llama
