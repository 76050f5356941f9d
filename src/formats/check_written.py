"""Reads what formats_oracle_test wrote with gguf and safetensors: check_written.py FOLDER"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import safetensors.numpy


def values(index, shape):
    count = int(np.prod(shape))
    return (index + (np.arange(count) % 64) / 4).astype(np.float32).reshape(shape)


def check(name, actual, expected, tolerance=0.0):
    assert actual.shape == expected.shape, (name, actual.shape, expected.shape)
    assert np.all(np.abs(actual.astype(np.float32) - expected) <= tolerance), name


PLAIN = {"a": (3, 4), "empty": (0, 4), 'b "q"': (5,), "scalar": ()}


def check_safetensors(folder):
    single = safetensors.numpy.load_file(str(folder / "model.safetensors"))
    assert set(single) == set(PLAIN), set(single)
    weight_map = json.loads((folder / "sharded" / "model.safetensors.index.json").read_text())["weight_map"]
    assert set(weight_map) == set(PLAIN) and len(set(weight_map.values())) == 2, weight_map
    for index, (name, shape) in enumerate(PLAIN.items()):
        check(name, single[name], values(index, shape))
        shard = safetensors.numpy.load_file(str(folder / "sharded" / weight_map[name]))
        check(name, shard[name], values(index, shape))


MIXED = {"q4": ((3, 64), 1.5), "h": ((5,), 0.0), "q8": ((2, 2, 32), 0.1), "x": ((1,), 0.0)}


def check_gguf(folder):
    reader = gguf.GGUFReader(folder / "model.gguf")
    expected = {
        "general.architecture": "llama",
        "llama.block_count": 7,
        "t.f32": 0.25,
        "t.flag": True,
        "t.i64": -5,
        "tokenizer.ggml.tokens": ["a", "é", ""],
        "tokenizer.ggml.scores": [1, 2, 3],
        "tokenizer.ggml.token_type": [1, 1, 3],
        "t.flags": [True, False, True],
    }
    for key, value in expected.items():
        assert reader.fields[key].contents() == value, (key, reader.fields[key].contents())
    assert [t.name for t in reader.tensors] == list(MIXED)
    for index, tensor in enumerate(reader.tensors):
        shape, tolerance = MIXED[tensor.name]
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        check(tensor.name, data, values(index, shape), tolerance)


if __name__ == "__main__":
    check_safetensors(Path(sys.argv[1]))
    check_gguf(Path(sys.argv[1]))
