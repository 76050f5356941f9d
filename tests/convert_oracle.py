#!/usr/bin/env python3
"""Compares `ingot convert` with the Python packages `gguf`, `safetensors` and `tokenizers`.

Tiny models with trained vocabularies are written with numpy, converted there and back, and read by the packages: names,
shapes, types and values of tensors, metadata, and the ids of texts.

  convert_oracle.py BINARY

BINARY is build/release/bin/convert_oracle.
"""
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import safetensors.numpy
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
HEADS, KV_HEADS, HEAD_DIM, HIDDEN, INNER, LAYERS = 4, 2, 16, 64, 96, 2

CORPUS = """The quick brown fox jumps over the lazy dog. It's 2024; they'll've gone, WE'RE sure!
Être ou ne pas être, voilà la question. Größe, Straße, naïve façade.
我们在北京学习人工智能。你好，世界！今天天气很好。 Привет, мир! Съешь же ещё этих мягких булок.
for (int i = 0; i < n; ++i) {\n\t\tsum += a[i] * b[i];  // dot\n    return x ? y : z;\n}
the theme of then, there and other things: hello world, hello there, world of the other
""".splitlines()
NASTY = ["", " ", "  a", "\n\n", "a\tb\r\n", "😀👩‍👩‍👧", "e\u0301 \u00ad\u200b", "<|im_start|>user\nhi<|im_end|>", "12345678", "ſ İ ﬁ"]


def strings(count):
    generator = random.Random(11)
    words = " ".join(CORPUS).split(" ")
    joined = [" ".join(generator.choices(words, k=generator.randint(1, 9))) for _ in range(count)]
    letters = "".join(CORPUS) + "  \n\t"
    return NASTY + joined + ["".join(generator.choices(letters, k=generator.randint(1, 30))) for _ in range(count)]


def byte_level(pre_tokenizer, normalizer=None, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<s>", "<|im_start|>", "<|im_end|>"],
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    tokenizer.add_tokens([AddedToken("hello  there", normalized=False)])
    return tokenizer


def split(pattern):
    step = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([step, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def sentencepiece_like():
    """As transformers writes a converted Llama: bytes, characters, and every way to make a word, by its score."""
    specials = ["<unk>", "<s>", "</s>"]
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=180, show_progress=False)
    trained.train_from_iterator(["▁" + line for line in CORPUS * 4], trainer)
    learned = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    words = [word for word, _ in learned if len(word) > 1] + [word for word, _ in learned if len(word) == 1]
    vocab = {token: i for i, token in enumerate(specials + [f"<0x{b:02X}>" for b in range(256)] + words)}
    merges = []
    for word in words:
        pieces = [(word[:cut], word[cut:]) for cut in range(1, len(word))]
        merges += sorted((pair for pair in pieces if pair[0] in vocab and pair[1] in vocab), key=lambda p: (vocab[p[0]], vocab[p[1]]))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in specials])
    return tokenizer


TOKENIZERS = {
    "gpt2": (lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)), "gpt-2"),
    "smollm": (
        lambda: byte_level(
            pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            )
        ),
        "smollm",
    ),
    "llama3": (lambda: byte_level(split(LLAMA3), ignore_merges=True), "llama-bpe"),
    "qwen2": (lambda: byte_level(split(QWEN2), normalizers.NFC()), "qwen2"),
    "llama2": (sentencepiece_like, "default"),
}


def tensors_of(vocab_size):
    generator = np.random.default_rng(3)
    random_values = lambda *shape: (generator.standard_normal(shape) * 0.1).astype(np.float32)
    tensors = {
        "model.embed_tokens.weight": random_values(vocab_size, HIDDEN),
        "model.norm.weight": random_values(HIDDEN),
        "lm_head.weight": random_values(vocab_size, HIDDEN),
    }
    for layer in range(LAYERS):
        shapes = {
            "self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN),
            "self_attn.k_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.v_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM),
            "mlp.gate_proj": (INNER, HIDDEN),
            "mlp.up_proj": (INNER, HIDDEN),
            "mlp.down_proj": (HIDDEN, INNER),
            "input_layernorm": (HIDDEN,),
            "post_attention_layernorm": (HIDDEN,),
        }
        for name, shape in shapes.items():
            tensors[f"model.layers.{layer}.{name}.weight"] = random_values(*shape)
    return tensors


def write_model(folder, tokenizer, tensors, eos):
    folder.mkdir()
    config = {
        "model_type": "llama", "vocab_size": len(tensors["lm_head.weight"]), "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 5e5, "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    names = {"eos_token": eos, "bos_token": "<s>", "add_bos_token": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    tokenizer.save(str(folder / "tokenizer.json"))
    safetensors.numpy.save_file(tensors, str(folder / "model.safetensors"))


def as_gguf_has_it(name, values):
    """llama.cpp rotates neighbours: it has the rows of Q and K of every head in the order 0, d/2, 1, d/2 + 1, …"""
    if "q_proj" not in name and "k_proj" not in name:
        return values
    heads = HEADS if "q_proj" in name else KV_HEADS
    return values.reshape(heads, 2, HEAD_DIM // 2, HIDDEN).swapaxes(1, 2).reshape(values.shape)


def check_gguf(path, tensors, kind, tolerance):
    reader = gguf.GGUFReader(path)
    held = {tensor.name: tensor for tensor in reader.tensors}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, LAYERS)
    expected = {names.get_name(name, try_suffixes=(".weight",)): name for name in tensors}
    assert set(held) == set(expected), set(held) ^ set(expected)
    for name, source in expected.items():
        values = as_gguf_has_it(source, tensors[source])
        tensor = held[name]
        wanted = gguf.GGMLQuantizationType.F32 if values.ndim == 1 else gguf.GGMLQuantizationType[kind]
        if kind.startswith("Q4") and source in ("model.embed_tokens.weight", "lm_head.weight"):
            wanted = gguf.GGMLQuantizationType.Q8_0
        assert tensor.tensor_type == wanted, (name, tensor.tensor_type)
        assert tuple(reversed(tensor.shape.tolist())) == values.shape, (name, tensor.shape)
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(values.shape)
        worst = np.abs(data.astype(np.float32) - values).max()
        assert worst <= (0.0 if values.ndim == 1 else tolerance), (name, kind, worst)
    return reader


def check_metadata(reader, vocab_size, tokenizer, pre, eos):
    expected = {
        "general.architecture": "llama",
        "llama.block_count": LAYERS,
        "llama.embedding_length": HIDDEN,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.context_length": 128,
        "llama.rope.freq_base": 5e5,
        "llama.rope.dimension_count": HEAD_DIM,
        "llama.vocab_size": vocab_size,
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.eos_token_id": tokenizer.token_to_id(eos),
        "tokenizer.ggml.bos_token_id": tokenizer.token_to_id("<s>"),
        "tokenizer.ggml.add_bos_token": False,
    }
    for key, value in expected.items():
        assert reader.fields[key].contents() == value, (key, reader.fields[key].contents(), value)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    types = reader.fields["tokenizer.ggml.token_type"].contents()
    assert len(tokens) == len(types) == vocab_size
    for token, i in tokenizer.get_vocab().items():
        assert tokens[i] == token, (i, tokens[i], token)
    assert tokens[-1] == f"[PAD{vocab_size - 1}]" and types[-1] == gguf.TokenType.UNUSED
    assert types[tokenizer.token_to_id(eos)] == gguf.TokenType.CONTROL


def check_safetensors(folder, tensors, dtype, tolerance):
    held = safetensors.numpy.load_file(str(folder / "model.safetensors"))
    assert set(held) == set(tensors), set(held) ^ set(tensors)
    for name, values in tensors.items():
        assert held[name].dtype == dtype and held[name].shape == values.shape, name
        worst = np.abs(held[name].astype(np.float32) - values).max()
        assert worst <= tolerance, (name, worst)


class Binary:
    def __init__(self, path):
        self.path = path

    def convert(self, to, kind, model, output):
        subprocess.run([self.path, to, kind, str(model), str(output)], check=True, stdout=subprocess.DEVNULL)

    def ids(self, model, texts):
        lines = "".join(json.dumps(text) + "\n" for text in texts)
        run = subprocess.run([self.path, "ids", str(model)], input=lines, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in run.stdout.splitlines()]


def check_ids(binary, tokenizer, forms):
    texts = strings(150)
    expected = [tokenizer.encode(text).ids for text in texts]
    assert sum(map(len, expected)) > 1000
    for form in forms:
        for text, ours, theirs in zip(texts, binary.ids(form, texts), expected, strict=True):
            assert ours == theirs, (form, text, ours, theirs)
        if form.is_dir():
            written = Tokenizer.from_file(str(form / "tokenizer.json"))
            for text, theirs in zip(texts, expected, strict=True):
                assert written.encode(text).ids == theirs, (form, text)
                assert written.decode(theirs) == tokenizer.decode(theirs), (form, text)


def check_tokenizer(binary, folder, name):
    make, pre = TOKENIZERS[name]
    tokenizer = make()
    eos = "</s>" if name == "llama2" else "<|im_end|>"
    vocab_size = tokenizer.get_vocab_size() + 5
    tensors = tensors_of(vocab_size)
    source, file, back = folder / name, folder / f"{name}.gguf", folder / f"{name}-back"
    write_model(source, tokenizer, tensors, eos)
    binary.convert("gguf", "F32", source, file)
    check_metadata(check_gguf(file, tensors, "F32", 0.0), vocab_size, tokenizer, pre, eos)
    binary.convert("hf", "F32", file, back)
    check_safetensors(back, tensors, np.float32, 0.0)
    check_ids(binary, tokenizer, [source, file, back])
    config = json.loads((back / "config.json").read_text())
    assert config["eos_token_id"] == tokenizer.token_to_id(eos) or config["eos_token_id"][0] == tokenizer.token_to_id(eos)
    return source, tensors


def check_types(binary, folder, source, tensors):
    for kind, tolerance in {"F16": 3e-4, "BF16": 3e-3, "Q8_0": 3e-3, "Q4_0": 0.05, "Q4_1": 0.05}.items():
        file = folder / f"{kind}.gguf"
        binary.convert("gguf", kind, source, file)
        check_gguf(file, tensors, kind, tolerance)
    binary.convert("hf", "F16", folder / "F16.gguf", folder / "f16")
    check_safetensors(folder / "f16", tensors, np.float16, 3e-4)


def main():
    binary = Binary(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in TOKENIZERS:
            source, tensors = check_tokenizer(binary, folder, name)
            print(f"{name}: ok")
        check_types(binary, folder, source, tensors)
        print("types: ok")


if __name__ == "__main__":
    main()
