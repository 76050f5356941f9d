#!/usr/bin/env python3
"""Writes a GGUF model of random weights: valid blocks of any type, in the time it takes to write the file.

    make_random_gguf.py --shape 1b --type Q4_K out.gguf

It answers nonsense, but costs the memory and time of a real model of that shape. Needs numpy and gguf.
"""

import argparse
import sys
from dataclasses import dataclass

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

BLOCK = {Type.Q4_0: 32, Type.Q4_1: 32, Type.Q5_0: 32, Type.Q5_1: 32, Type.Q8_0: 32, Type.Q4_K: 256, Type.Q5_K: 256, Type.Q6_K: 256}

# What general.file_type says of a file whose matrices are of that type.
FILE_TYPE = {
    kind: gguf.LlamaFileType[name]
    for kind, name in {
        Type.F32: "ALL_F32", Type.F16: "MOSTLY_F16", Type.Q4_0: "MOSTLY_Q4_0", Type.Q4_1: "MOSTLY_Q4_1", Type.Q5_0: "MOSTLY_Q5_0",
        Type.Q5_1: "MOSTLY_Q5_1", Type.Q8_0: "MOSTLY_Q8_0", Type.Q4_K: "MOSTLY_Q4_K_S", Type.Q5_K: "MOSTLY_Q5_K_S",
        Type.Q6_K: "MOSTLY_Q6_K",
    }.items()
}  # fmt: skip


def _half(values: np.ndarray) -> np.ndarray:
    """float values → their fp16 bytes, [n, 2]"""
    return values.astype(np.float16).reshape(-1, 1).view(np.uint8)


def random_rows(rng: np.random.Generator, kind: Type, rows: int, cols: int, std: float) -> np.ndarray:
    """[rows, bytes of a row] of random blocks whose weights have mean ~0 and standard deviation ~std."""
    if kind == Type.F32:
        return (rng.standard_normal((rows, cols), dtype=np.float32) * std).view(np.uint8)
    if kind == Type.F16:
        return (rng.standard_normal((rows, cols), dtype=np.float32) * std).astype(np.float16).view(np.uint8)
    n = rows * cols // BLOCK[kind]
    # Each block's scale differs by up to ±20 %, so that mixed-up blocks show.
    unit = std * rng.uniform(0.8, 1.2, n).astype(np.float32)

    def codes(count: int) -> np.ndarray:
        return np.frombuffer(rng.bytes(n * count), np.uint8).reshape(n, count)

    # Divisors: the standard deviation of the codes that multiply the scale (uniform over b bits: 2^b / √12), times that
    # of the 6- or 8-bit sub-scales where there are any. Minima centre the codes.
    if kind == Type.Q4_0:
        parts = [_half(unit / 4.6), codes(16)]
    elif kind == Type.Q4_1:
        parts = [_half(unit / 4.6), _half(-7.5 * unit / 4.6), codes(16)]
    elif kind == Type.Q5_0:
        parts = [_half(unit / 9.2), codes(4), codes(16)]
    elif kind == Type.Q5_1:
        parts = [_half(unit / 9.2), _half(-15.5 * unit / 9.2), codes(4), codes(16)]
    elif kind == Type.Q8_0:
        parts = [_half(unit / 74), codes(32)]
    elif kind == Type.Q4_K:
        d = unit / (36 * 7)
        parts = [_half(d), _half(7.5 * d), codes(12), codes(128)]
    elif kind == Type.Q5_K:
        d = unit / (36 * 14)
        parts = [_half(d), _half(15.5 * d), codes(12), codes(32), codes(128)]
    elif kind == Type.Q6_K:
        parts = [codes(128), codes(64), codes(16), _half(unit / (74 * 18.5))]
    else:
        raise ValueError(f"no random blocks of type {kind.name}")
    return np.concatenate(parts, axis=1).reshape(rows, -1)


@dataclass
class Shape:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int


SHAPES = {
    "tiny": Shape(256, 2, 4, 2, 512, 512),
    "135m": Shape(576, 30, 9, 3, 1536, 49152),
    "1b": Shape(2048, 22, 32, 4, 5632, 49152),
    "3b": Shape(3072, 28, 24, 8, 8192, 49152),
    "7b": Shape(4096, 32, 32, 8, 14336, 32768),
}


def byte_level_tokens(vocab: int) -> tuple[list[str], list[int]]:
    """A vocabulary of the gpt2 kind: the 256 bytes as GPT-2 writes them, then "ab", fillers and two control tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names = {b: chr(b) for b in printable}
    extra = 256
    for b in range(256):
        if b not in names:
            names[b] = chr(extra)
            extra += 1
    tokens = [names[b] for b in range(256)][: vocab - 2]
    tokens += ["ab", *(f"filler{i}" for i in range(vocab - 3 - len(tokens)))]  # the result of the one merge
    types = [1] * len(tokens)
    return tokens + ["<|im_start|>", "<|im_end|>"], types + [3, 3]


def write(path: str, shape: Shape, kind: Type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    head_dim = shape.hidden // shape.heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_context_length(8192)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocab)
    writer.add_file_type(FILE_TYPE[kind])
    tokens, types = byte_level_tokens(shape.vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(shape.vocab - 2)
    writer.add_eos_token_id(shape.vocab - 1)

    matrices = {"token_embd.weight": (shape.vocab, shape.hidden), "output.weight": (shape.vocab, shape.hidden)}
    norms = ["output_norm.weight"]
    for i in range(shape.layers):
        kv = shape.kv_heads * head_dim
        matrices |= {
            f"blk.{i}.attn_q.weight": (shape.hidden, shape.hidden),
            f"blk.{i}.attn_k.weight": (kv, shape.hidden),
            f"blk.{i}.attn_v.weight": (kv, shape.hidden),
            f"blk.{i}.attn_output.weight": (shape.hidden, shape.hidden),
            f"blk.{i}.ffn_gate.weight": (shape.ffn, shape.hidden),
            f"blk.{i}.ffn_up.weight": (shape.ffn, shape.hidden),
            f"blk.{i}.ffn_down.weight": (shape.hidden, shape.ffn),
        }
        norms += [f"blk.{i}.attn_norm.weight", f"blk.{i}.ffn_norm.weight"]
    sizes = {name: gguf.quant_shape_to_byte_shape(dims, kind) for name, dims in matrices.items()}
    for name, size in sizes.items():
        writer.add_tensor_info(name, size, np.dtype(np.uint8), int(np.prod(size)), raw_dtype=kind)
    for name in norms:
        writer.add_tensor_info(name, (shape.hidden,), np.dtype(np.float32), shape.hidden * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, (rows, cols) in matrices.items():
        writer.write_tensor_data(random_rows(rng, kind, rows, cols, cols**-0.5))
    for _ in norms:
        writer.write_tensor_data(np.ones(shape.hidden, np.float32))
    writer.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--type", choices=[k.name for k in [*BLOCK, Type.F16, Type.F32]], default="Q4_K")
    parser.add_argument("--layers", type=int, help="instead of the shape's own number")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    shape = SHAPES[args.shape]
    if args.layers:
        shape.layers = args.layers
    write(args.path, shape, Type[args.type], args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
