"""A random Llama of a few thousand weights, which loads at once and answers in well under a millisecond. Its tokens are bytes,
and the marks of turns below; its tokenizer begins a text with <s>."""

import json
import pathlib

import numpy

MARKS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>"]
HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS = 32, 48, 2, 4, 2
VOCABULARY = 256 + len(MARKS)


def byte_letters() -> list[str]:
    """What byte-level vocabularies write for each byte: itself where that is visible, else a letter from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(byte if byte in visible else 0x100 + hidden.index(byte)) for byte in range(256)]


def tokenizer() -> dict[str, object]:
    ids = {mark: 256 + i for i, mark in enumerate(MARKS)}
    flags = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    bos, text = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        "added_tokens": [{"id": id, "content": mark, **flags} for mark, id in ids.items()],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, text],
            "pair": [bos, text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [256], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": {letter: byte for byte, letter in enumerate(byte_letters())} | ids, "merges": []},
    }


def weights() -> dict[str, numpy.ndarray]:
    random = numpy.random.default_rng(3)
    head = HIDDEN // HEADS
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        rows = {"q_proj": HIDDEN, "k_proj": KV_HEADS * head, "v_proj": KV_HEADS * head, "o_proj": HIDDEN}
        shapes |= {f"{prefix}self_attn.{name}.weight": (size, HIDDEN) for name, size in rows.items()}
        shapes |= {f"{prefix}mlp.{name}_proj.weight": (INTERMEDIATE, HIDDEN) for name in ("gate", "up")}
        shapes[f"{prefix}mlp.down_proj.weight"] = (HIDDEN, INTERMEDIATE)
        shapes |= {f"{prefix}{name}_layernorm.weight": (HIDDEN,) for name in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}
    return {name: (random.standard_normal(shape) * 0.3 + ("norm" in name)).astype(numpy.float32) for name, shape in shapes.items()}


def write(folder: pathlib.Path) -> str:
    """The checkpoint as a Hugging Face directory; its path."""
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "bos_token_id": 256, "eos_token_id": 257, "tie_word_embeddings": False, "torch_dtype": "float32",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    header, data, offset = {}, [], 0
    for name, values in weights().items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        data.append(values.tobytes())
        offset += values.nbytes
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))
    return str(folder)
