"""A Llama in numpy that reads what `ingot lite` writes: the layouts of AutoAWQ, GPTQ and compressed-tensors, from their
own definitions. Shares no code with Ingot, so it can say whether others will read the same numbers.

    python tests/quantized_llama.py DIRECTORY ID ID …    prints the log probability of each id after those before it
"""

import json
import pathlib
import sys

import numpy as np

DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I32": np.int32, "I8": np.int8}
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # nibble i of a word is output channel AWQ_ORDER[i] of its eight


def read_safetensors(file: pathlib.Path) -> dict[str, np.ndarray]:
    """Those of NumPy's package lack bf16, which becomes float32 here."""
    data = file.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    header.pop("__metadata__", None)
    tensors = {}
    for name, info in header.items():
        first, last = (begin + offset for offset in info["data_offsets"])
        values = np.frombuffer(data[first:last], DTYPES[info["dtype"]]).reshape(info["shape"])
        tensors[name] = (values.astype(np.uint32) << 16).view(np.float32) if info["dtype"] == "BF16" else values
    return tensors


def nibbles(words: np.ndarray) -> np.ndarray:
    """[…, n] words of 32 bits → […, n, 8], lowest first."""
    return (words.view(np.uint32)[..., None] >> (4 * np.arange(8, dtype=np.uint32))) & 15


def awq_matrix(tensors: dict, name: str, group: int) -> np.ndarray:
    """[outputs, inputs]"""
    def unpack(words: np.ndarray) -> np.ndarray:  # [rows, n / 8] → [rows, n]
        channels = np.empty((*words.shape, 8), dtype=np.float64)
        channels[..., AWQ_ORDER] = nibbles(words)
        return channels.reshape(words.shape[0], -1)

    codes, zeros = unpack(tensors[name + ".qweight"]), unpack(tensors[name + ".qzeros"])
    scales = tensors[name + ".scales"].astype(np.float64)
    return ((codes - zeros.repeat(group, 0)) * scales.repeat(group, 0)).T


def gptq_matrix(tensors: dict, name: str) -> np.ndarray:
    words = tensors[name + ".qweight"]  # [inputs / 8, outputs]
    codes = nibbles(words).transpose(0, 2, 1).reshape(-1, words.shape[1]).astype(np.float64)
    stored = nibbles(tensors[name + ".qzeros"])  # [groups, outputs / 8, 8]; 15 is 16, as in vLLM's kernels
    zeros = (stored + 1).reshape(stored.shape[0], -1).astype(np.float64)
    scales, index = tensors[name + ".scales"].astype(np.float64), tensors[name + ".g_idx"]
    return ((codes - zeros[index]) * scales[index]).T


class Llama:
    def __init__(self, directory: str) -> None:
        folder = pathlib.Path(directory)
        self.config = json.loads((folder / "config.json").read_text())
        self.tensors: dict[str, np.ndarray] = {}
        for file in sorted(folder.glob("*.safetensors")):
            self.tensors |= read_safetensors(file)
        self.quantization = self.config.get("quantization_config", {})

    def matrix(self, name: str) -> np.ndarray:
        """[outputs, inputs]"""
        if name + ".qweight" in self.tensors:
            if self.quantization["quant_method"] == "awq":
                return awq_matrix(self.tensors, name, self.quantization["group_size"])
            return gptq_matrix(self.tensors, name)
        w = self.tensors[name + ".weight"].astype(np.float64)
        return w * self.tensors[name + ".weight_scale"].astype(np.float64) if name + ".weight_scale" in self.tensors else w

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        y = x @ self.matrix(name).T
        return y + self.tensors[name + ".bias"].astype(np.float64) if name + ".bias" in self.tensors else y

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        weight = self.tensors[name + ".weight"].astype(np.float64)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.config["rms_norm_eps"]) * weight

    def rotate(self, x: np.ndarray) -> np.ndarray:
        """x: [tokens, heads, dim]"""
        half = x.shape[-1] // 2
        frequencies = self.config["rope_theta"] ** (-np.arange(half) / half)
        angles = (np.arange(x.shape[0])[:, None] * frequencies)[:, None]
        cos, sin = np.cos(angles), np.sin(angles)
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, prefix: str, x: np.ndarray) -> np.ndarray:
        heads, kv_heads = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        tokens = x.shape[0]
        q, k, v = (self.linear(prefix + name, x).reshape(tokens, n, -1)
                   for name, n in (("q_proj", heads), ("k_proj", kv_heads), ("v_proj", kv_heads)))  # fmt: skip
        q, k = self.rotate(q), self.rotate(k)
        k, v = (x.astype(np.float16).astype(np.float64).repeat(heads // kv_heads, 1) for x in (k, v))  # as a cache holds them
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1])
        scores += np.triu(np.full((tokens, tokens), -np.inf), 1)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", weights, v)
        return self.linear(prefix + "o_proj", mixed.reshape(tokens, -1))

    def logits(self, ids: list[int]) -> np.ndarray:
        """[tokens, vocabulary]"""
        x = self.tensors["model.embed_tokens.weight"].astype(np.float64)[ids]
        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            x = x + self.attention(prefix + "self_attn.", self.norm(prefix + "input_layernorm", x))
            y = self.norm(prefix + "post_attention_layernorm", x)
            gate, up = self.linear(prefix + "mlp.gate_proj", y), self.linear(prefix + "mlp.up_proj", y)
            x = x + self.linear(prefix + "mlp.down_proj", gate / (1 + np.exp(-gate)) * up)
        head = "model.embed_tokens" if self.config["tie_word_embeddings"] else "lm_head"
        return self.norm("model.norm", x) @ self.tensors[head + ".weight"].astype(np.float64).T

    def logprobs(self, ids: list[int]) -> np.ndarray:
        """[tokens - 1]: of each id but the first, after those before it."""
        logits = self.logits(ids)[:-1]
        logits -= logits.max(-1, keepdims=True)
        return (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[np.arange(len(ids) - 1), ids[1:]]


if __name__ == "__main__":
    for value in Llama(sys.argv[1]).logprobs([int(text) for text in sys.argv[2:]]):
        print(f"{value:.6f}")
