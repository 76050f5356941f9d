"""Writes model files with other people's writers (gguf, safetensors, pickle) and what they hold: oracle_files.py OUT

OUT/expected.json lists the files and their tensors; OUT/expected.f32 holds the values, one tensor after another.
"""

import collections
import json
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path

import gguf
import numpy as np
import safetensors
import safetensors.numpy
from gguf import GGMLQuantizationType as Type

rng = np.random.default_rng(20240131)


class Expected:
    """Collects the cases; every tensor's values are appended to one array of floats."""

    def __init__(self):
        self.cases, self.encodings, self.values, self.count = [], [], [], 0

    def tensor(self, name, encoding, shape, values):
        values = np.asarray(values).astype(np.float32).ravel()
        self.values.append(values)
        self.count += values.size
        return {"name": name, "encoding": encoding, "shape": list(shape), "at": self.count - values.size, "count": values.size}

    def write(self, out):
        (out / "expected.json").write_text(json.dumps({"cases": self.cases, "encodings": self.encodings}))
        np.concatenate(self.values).tofile(out / "expected.f32")


def bf16_bits(values):
    return (np.asarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def bf16_values(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


# --- safetensors ---


def plain_arrays():
    return {
        "F32": rng.standard_normal((3, 5)).astype(np.float32),
        "F16": rng.standard_normal((2, 2, 3)).astype(np.float16),
        "F64": rng.standard_normal(4),
        "I64": np.array([-(2**40), 7], np.int64),
        "I32": np.array([[1, -2]], np.int32),
        "I16": np.array([-300], np.int16),
        "I8": np.array([-1, 2, 3], np.int8),
        "U8": np.array([255, 0, 1], np.uint8),
        "BOOL": np.array([True, False]),
    }


def write_safetensors(out, expected):
    arrays = plain_arrays()
    tensors = {f"plain.{name}": array for name, array in arrays.items()}
    tensors["scalar"] = np.array(2.5, np.float32)
    tensors["empty"] = np.zeros((0, 4), np.float32)
    path = out / "plain.safetensors"
    safetensors.numpy.save_file(tensors, str(path), metadata={"format": "np", "note": "an oracle"})
    listed = [expected.tensor(f"plain.{n}", n, a.shape, a) for n, a in arrays.items()]
    listed += [expected.tensor("scalar", "F32", [], tensors["scalar"]), expected.tensor("empty", "F32", [0, 4], [])]
    expected.cases.append({"path": path.name, "kind": "hf", "tensors": listed})


def write_sharded(out, expected):
    folder = out / "sharded"
    folder.mkdir()
    bits = bf16_bits(rng.standard_normal((4, 6)))
    norm = rng.standard_normal(6).astype(np.float32)
    shards = {
        "model-00001-of-00002.safetensors": {"embed.weight": ("bfloat16", bits)},
        "model-00002-of-00002.safetensors": {"norm.weight": ("float32", norm)},
    }
    weight_map = {}
    for file, tensors in shards.items():
        specs = {
            name: safetensors.TensorSpec(dtype=dtype, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes)
            for name, (dtype, array) in tensors.items()
        }
        (folder / file).write_bytes(safetensors.serialize(specs, {"format": "pt"}))
        weight_map.update({name: file for name in tensors})
    index = {"metadata": {"total_size": 72}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    write_hf_json(folder)
    listed = [
        expected.tensor("embed.weight", "BF16", [4, 6], bf16_values(bits)),
        expected.tensor("norm.weight", "F32", [6], norm),
    ]
    expected.cases.append({"path": folder.name, "kind": "hf", "tensors": listed})


def write_hf_json(folder):
    config = {
        "model_type": "gemma3",
        "eos_token_id": [1, 106],
        "text_config": {"model_type": "gemma3_text", "bos_token_id": 2, "eos_token_id": 1},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 107, "top_k": 64}))
    templates = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "{{ messages }}"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))


# --- GGUF ---

# All types whose blocks gguf dequantizes.
BLOCK_TYPES = [kind for kind in gguf.quants._type_traits if kind != Type.BF16]
# Where the f16 scales of a block stand: random bytes there would be NaN now and then. IQ1_M's is spread out.
SCALES_AT = {
    Type.Q4_1: [0, 2],
    Type.Q5_1: [0, 2],
    Type.Q2_K: [80, 82],
    Type.Q3_K: [108],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
    Type.TQ1_0: [52],
    Type.TQ2_0: [64],
    Type.IQ1_M: [],
    Type.MXFP4: [],
    Type.NVFP4: [],
}


def random_halves(shape):
    return (rng.standard_normal(shape) * 2.0 ** rng.integers(-24, 8, shape)).astype(np.float16)


def random_blocks(kind, rows, cols):
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (rows, cols // block, size), np.uint8)
    for at in SCALES_AT.get(kind, [0]):
        data[:, :, at : at + 2] = random_halves((rows, cols // block)).view(np.uint8).reshape(rows, cols // block, 2)
    if kind == Type.IQ1_M:
        scales = random_halves((rows, cols // block)).view(np.uint16)
        for i in range(4):
            nibble = (scales >> 4 * i & 15).astype(np.uint8)
            data[:, :, 49 + 2 * i] = data[:, :, 49 + 2 * i] & 15 | nibble << 4
    return data.reshape(rows, -1)


def add_metadata(writer):
    writer.add_uint8("t.u8", 200)
    writer.add_int8("t.i8", -100)
    writer.add_uint16("t.u16", 60000)
    writer.add_int16("t.i16", -30000)
    writer.add_uint32("t.u32", 4000000000)
    writer.add_int32("t.i32", -2000000000)
    writer.add_uint64("t.u64", 2**63 + 5)
    writer.add_int64("t.i64", -(2**62))
    writer.add_float32("t.f32", 0.5)
    writer.add_float64("t.f64", 1e-300)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "héllo")
    writer.add_array("t.strings", ["a", "bc"])
    writer.add_array("t.ints", [1, 2, 3])
    writer.add_array("t.nested", [[1, 2], [3]])
    writer.add_array("t.flags", [True, False])


def add_vocabulary(writer):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(["<s>", "</s>", "a", "b", "ab"])
    writer.add_token_scores([0.0, 0.0, -1.0, -2.0, -3.0])
    writer.add_token_types([3, 3, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_eot_token_id(1)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template("{{ bos_token }}")


def write_gguf_file(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_gguf(out, expected, name, alignment=None):
    path = out / name
    writer = gguf.GGUFWriter(path, "llama")
    if alignment:
        writer.add_custom_alignment(alignment)
    add_metadata(writer)
    add_vocabulary(writer)
    listed = []
    for kind in BLOCK_TYPES:
        data = random_blocks(kind, 5, 512)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        with np.errstate(over="ignore"):  # MXFP4's largest exponents
            listed.append(expected.tensor(kind.name, kind.name, [5, 512], gguf.quants.dequantize(data, kind)))
    f32 = rng.standard_normal((2, 3, 4)).astype(np.float32)
    writer.add_tensor("experts", f32)
    listed.append(expected.tensor("experts", "F32", [2, 3, 4], f32))
    f16 = rng.standard_normal(7).astype(np.float16)
    writer.add_tensor("norm", f16)
    listed.append(expected.tensor("norm", "F16", [7], f16))
    bits = bf16_bits(rng.standard_normal((2, 8)))
    writer.add_tensor("bf16", bits.view(np.uint8), raw_dtype=Type.BF16)
    listed.append(expected.tensor("bf16", "BF16", [2, 8], bf16_values(bits)))
    writer.add_tensor("foreign", rng.integers(0, 256, (2, 40), np.uint8), raw_dtype=Type.Q8_1)
    write_gguf_file(writer)
    expected.cases.append({"path": name, "kind": "gguf", "tensors": listed, "unsupported": "foreign"})
    return path


def write_gguf_blocks(out, expected):
    """Many blocks of each type, so that all entries of its tables occur, a single one, and experts."""
    writer = gguf.GGUFWriter(out / "blocks.gguf", "llama")
    listed = []
    for kind in BLOCK_TYPES:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        for shape in ([64, 2048], [1, block], [2, 3, block]):
            name = f"{kind.name}.{len(shape)}.{shape[-1]}"
            data = random_blocks(kind, int(np.prod(shape[:-1])), shape[-1])
            writer.add_tensor(name, data.reshape(*shape[:-1], -1), raw_dtype=kind)
            with np.errstate(over="ignore"):  # MXFP4's largest exponents
                listed.append(expected.tensor(name, kind.name, shape, gguf.quants.dequantize(data, kind)))
    write_gguf_file(writer)
    expected.cases.append({"path": "blocks.gguf", "kind": "gguf", "tensors": listed})


def write_gguf_split(out, expected):
    writer = gguf.GGUFWriter(out / "split.gguf", "llama", split_max_tensors=2)
    listed = []
    for i in range(5):
        array = rng.standard_normal((3, 4)).astype(np.float32)
        writer.add_tensor(f"t{i}", array)
        listed.append(expected.tensor(f"t{i}", "F32", [3, 4], array))
    write_gguf_file(writer)
    expected.cases.append({"path": "split-00001-of-00003.gguf", "kind": "gguf", "tensors": listed})


def write_gguf_variants(out, expected):
    path = write_gguf(out, expected, "v3.gguf")
    data = bytearray(path.read_bytes())
    data[4:8] = struct.pack("<I", 2)
    (out / "v2.gguf").write_bytes(data)
    expected.cases.append(dict(expected.cases[-1], path="v2.gguf"))
    write_gguf(out, expected, "aligned.gguf", alignment=256)
    writer = gguf.GGUFWriter(out / "big.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.add_tensor("t", np.zeros(4, np.float32))
    write_gguf_file(writer)


# --- torch ---

# Names that pickle looks up by module and name, so that the bytes are those that torch.save writes.
STORAGES = {
    "F32": ("FloatStorage", np.float32),
    "F16": ("HalfStorage", np.float16),
    "BF16": ("BFloat16Storage", np.uint16),
    "F64": ("DoubleStorage", np.float64),
    "I64": ("LongStorage", np.int64),
    "I32": ("IntStorage", np.int32),
    "I16": ("ShortStorage", np.int16),
    "I8": ("CharStorage", np.int8),
    "U8": ("ByteStorage", np.uint8),
    "BOOL": ("BoolStorage", np.bool_),
}


def fake_torch():
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name, _ in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    torch._utils = utils
    sys.modules.update({"torch": torch, "torch._utils": utils})
    return torch


TORCH = fake_torch()


class Storage:
    def __init__(self, encoding, array):
        self.encoding, self.array = encoding, np.ascontiguousarray(array)


class Tensor:
    def __init__(self, storage, shape=None, offset=0, stride=None, parameter=False):
        self.storage, self.offset, self.parameter = storage, offset, parameter
        self.shape = tuple(shape if shape is not None else storage.array.shape)
        if stride is None:
            stride = [int(np.prod(self.shape[i + 1 :])) for i in range(len(self.shape))]
        self.stride = tuple(stride)

    def __reduce_ex__(self, protocol):
        hooks = collections.OrderedDict()
        if self.parameter:
            plain = Tensor(self.storage, self.shape, self.offset, self.stride)
            return TORCH._utils._rebuild_parameter, (plain, True, hooks)
        return TORCH._utils._rebuild_tensor_v2, (self.storage, self.offset, self.shape, self.stride, False, hooks)


class TorchPickler(pickle.Pickler):
    def __init__(self, file, protocol=2):
        super().__init__(file, protocol=protocol)
        self.keys = {}

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        key = self.keys.setdefault(id(value), (str(len(self.keys)), value))[0]
        return "storage", getattr(TORCH, STORAGES[value.encoding][0]), key, "cpu", value.array.size


def torch_save(path, state, **options):
    with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_STORED)) as archive:
        with archive.open("archive/data.pkl", "w") as file:
            pickler = TorchPickler(file, options.get("protocol", 2))
            pickler.dump(state)
        archive.writestr("archive/byteorder", "little")
        for key, storage in pickler.keys.values():
            archive.writestr(f"archive/data/{key}", storage.array.tobytes())
        archive.writestr("archive/version", "3\n")


class StateDict(collections.OrderedDict):
    """Pickles like the state dictionary of a module: an OrderedDict with _metadata."""

    def __reduce_ex__(self, protocol):
        metadata = collections.OrderedDict({"": {"version": 1}, "norm": {"version": 2}})
        return collections.OrderedDict, (), {"_metadata": metadata}, None, iter(self.items())


def write_torch(out, expected):
    state, listed = StateDict(), []
    for encoding, (_, dtype) in STORAGES.items():
        array = (rng.standard_normal((3, 4)) * 4).astype(dtype) if encoding != "BF16" else bf16_bits(rng.standard_normal((3, 4)))
        state[f"plain.{encoding}"] = Tensor(Storage(encoding, array), parameter=encoding == "F16")
        values = bf16_values(array) if encoding == "BF16" else array
        listed.append(expected.tensor(f"plain.{encoding}", encoding, [3, 4], values))
    shared = Storage("F32", rng.standard_normal(40).astype(np.float32))
    state["slice"] = Tensor(shared, (2, 5), offset=30)
    state["all"] = Tensor(shared)
    state["scalar"] = Tensor(shared, (), offset=3)
    state["transposed"] = Tensor(shared, (4, 10), stride=(1, 4))
    state["epoch"] = 3
    listed.append(expected.tensor("slice", "F32", [2, 5], shared.array[30:]))
    listed.append(expected.tensor("all", "F32", [40], shared.array))
    listed.append(expected.tensor("scalar", "F32", [], shared.array[3]))
    torch_save(out / "plain.bin", state)
    expected.cases.append({"path": "plain.bin", "kind": "hf", "tensors": listed, "unsupported": "transposed"})

    folder = out / "torch_sharded"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "internlm", "eos_token_id": 2, "bos_token_id": 1}')
    weight_map, listed = {}, []
    for i in range(2):
        array = rng.standard_normal((2, 3)).astype(np.float16)
        file = f"pytorch_model-0000{i + 1}-of-00002.bin"
        torch_save(folder / file, {f"w{i}": Tensor(Storage("F16", array))})
        weight_map[f"w{i}"] = file
        listed.append(expected.tensor(f"w{i}", "F16", [2, 3], array))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    expected.cases.append({"path": folder.name, "kind": "hf", "tensors": listed})


class Evil:
    def __reduce__(self):
        return print, ("run",)


def write_refused_torch(out):
    tensor = Tensor(Storage("F32", np.zeros(4, np.float32)))
    torch_save(out / "evil.bin", {"w": tensor, "x": Evil()})
    torch_save(out / "protocol4.bin", {"w": tensor}, protocol=4)
    torch_save(out / "compressed.bin", {"w": tensor}, compression=zipfile.ZIP_DEFLATED)
    torch_save(out / "list.bin", [tensor])
    (out / "legacy.pt").write_bytes(pickle.dumps({"w": 1}, protocol=2))


# --- what GGML's reference makes of numbers ---


def write_encodings(expected):
    rows = [rng.standard_normal(256) * 2.0**e for e in (-30, -8, 0, 3, 14)]
    rows.append(np.zeros(256))
    rows.append(np.where(np.arange(256) % 2 == 0, 0.0, -1.0))
    rows.append((np.arange(256) - 127.5) / 2)  # halves: where rounding decides
    rows.append(np.repeat([1.0, -1.0, 127.0, -127.0, 0.5, -0.5, 3.0, 8.0], 32))
    rows.append(np.tile([8.0, -8.0, 7.5, -7.5, 0.5, -0.5, 1.5, -1.5], 32))
    rows.append(np.concatenate([rng.integers(-8, 9, 248) / 4, np.full(8, 2.0)]))
    data = np.stack(rows).astype(np.float32)
    for kind in (Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1):
        encoded = np.ascontiguousarray(gguf.quants.quantize(data, kind)).tobytes()
        case = expected.tensor(kind.name, kind.name, data.shape, data)
        expected.encodings.append(dict(case, bytes=encoded.hex()))


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    expected = Expected()
    write_safetensors(out, expected)
    write_sharded(out, expected)
    write_gguf_variants(out, expected)
    write_gguf_blocks(out, expected)
    write_gguf_split(out, expected)
    write_torch(out, expected)
    write_refused_torch(out)
    write_encodings(expected)
    expected.write(out)


if __name__ == "__main__":
    main()
