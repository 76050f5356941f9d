#!/usr/bin/env python3
"""Makes the goldens of quantized checkpoints: tiny Llamas whose matrices AutoAWQ, GPTQModel and compressed-tensors packed, with the
logits that transformers computes from what the same packages unpack.

    make_quantized_goldens.py [--out tests/quantized_goldens] [--only NAME …]

Run by hand; the results are committed. Needs the virtual environment of tools/goldens_requirements.txt and what
tools/quantized_goldens_requirements.txt adds. Values are rounded to nearest: what is tested is how they are stored.
"""

import argparse
import functools
import json
import sys
import types
import zlib
from pathlib import Path

import importlib.util
import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

CONFIG = dict(
    vocab_size=96,
    hidden_size=96,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=3,
    num_key_value_heads=1,
    head_dim=32,
    max_position_embeddings=64,
    tie_word_embeddings=False,
    bos_token_id=1,
    eos_token_id=2,
)
PROMPT_TOKENS = 40


@functools.cache
def import_awq():
    """AutoAWQ's packed layer without the package's __init__, which no longer runs with today's transformers."""
    root = Path(importlib.util.find_spec("awq").origin).parent
    for name in ["awq", "awq.modules", "awq.modules.linear", "awq.utils"]:
        module = types.ModuleType(name)
        module.__path__ = [str(root.parent / name.replace(".", "/"))]
        sys.modules[name] = module
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm

    return WQLinear_GEMM, dequantize_gemm


def round_to_nearest(weight: torch.Tensor, bits: int, group: int, symmetric: bool, index: torch.Tensor | None = None):
    """scales and zeros [out, groups] for groups of columns; `index` says which group a column belongs to."""
    columns = weight.shape[1]
    group = columns if group == -1 else group
    order = torch.arange(columns) if index is None else torch.argsort(index, stable=True)
    grouped = weight[:, order].reshape(weight.shape[0], -1, group)
    top = 2**bits - 1
    low, high = grouped.amin(-1).clamp(max=0), grouped.amax(-1).clamp(min=0)
    if symmetric:
        high = torch.maximum(-low, high)
        low = -high
    scales = ((high - low) / top).clamp(min=1e-5).half().float()
    zeros = torch.full_like(scales, 2 ** (bits - 1)) if symmetric else (-low / scales).round().clamp(0, top)
    return scales, zeros


def awq_linear(linear: torch.nn.Linear, group: int):
    WQLinear_GEMM, dequantize_gemm = import_awq()
    scales, zeros = round_to_nearest(linear.weight.data, 4, group, False)
    # The package does not clamp: the weights must be within the codes.
    columns = torch.arange(linear.in_features) // group
    s, z = scales[:, columns], zeros[:, columns]
    linear.weight.data = ((linear.weight.data / s + z).round().clamp(0, 15) - z) * s
    packed = WQLinear_GEMM.from_linear(linear, 4, group, scales=scales.t().contiguous(), zeros=zeros.t().contiguous())
    dense = dequantize_gemm(packed.qweight, packed.qzeros, packed.scales.float(), 4, group).t()
    return {"qweight": packed.qweight, "qzeros": packed.qzeros, "scales": packed.scales}, dense


def gptq_linear(linear: torch.nn.Linear, settings: dict):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization import FORMAT
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
    from gptqmodel.quantization import QuantizeConfig

    bits, group, symmetric, act_order = (settings[key] for key in ["bits", "group_size", "sym", "desc_act"])
    size = linear.in_features if group == -1 else group
    index = torch.arange(linear.in_features, dtype=torch.int32) // size
    if act_order:
        index = index[torch.randperm(linear.in_features, generator=torch.Generator().manual_seed(linear.in_features))]
    scales, zeros = round_to_nearest(linear.weight.data, bits, group, symmetric, index)
    packed = TorchLinear(bits=bits, group_size=group, sym=symmetric, desc_act=act_order, in_features=linear.in_features, out_features=linear.out_features, bias=False, register_buffers=True)
    packed.pack_original(linear=linear, scales=scales, zeros=zeros, g_idx=index)
    codes = (linear.weight.data / scales[:, index.long()] + zeros[:, index.long()]).round().clamp(0, 2**bits - 1)
    dense = (codes - zeros[:, index.long()]) * scales[:, index.long()]
    if settings["checkpoint_format"] == "gptq":
        config = QuantizeConfig(bits=bits, group_size=group, sym=symmetric, desc_act=act_order)
        convert_gptq_v2_to_v1_format_module(packed, quantize_config=config)
    tensors = {name: getattr(packed, name) for name in ["qweight", "qzeros", "scales", "g_idx"]}
    # As older tools write it: a bias of zeros where the layer has none.
    return tensors | {"bias": torch.zeros(linear.out_features, dtype=torch.float16)}, dense


def compressed_linear(linear: torch.nn.Linear, scheme: QuantizationScheme, layout: str):
    args = scheme.weights
    grouped = linear.weight.data if args.group_size is None else linear.weight.data.unflatten(-1, (-1, args.group_size))
    scale, zero = calculate_qparams(grouped.amin(-1, keepdim=args.group_size is None), grouped.amax(-1, keepdim=args.group_size is None), args)
    scale = scale.to(torch.bfloat16)
    state = {"weight": linear.weight.data.to(torch.bfloat16), "weight_scale": scale, "weight_zero_point": zero}
    compressor = BaseCompressor.get_value_from_registry(layout)
    packed = compressor.compress(state, scheme)
    as_float = {name: tensor.float() if tensor.dtype == torch.bfloat16 else tensor for name, tensor in packed.items()}
    dense = compressor.decompress(as_float, scheme)["weight"].float()
    return packed, dense


def scheme_of(symmetric: bool, bits: int, group: int | None, activations: bool = False) -> QuantizationScheme:
    strategy = dict(strategy="group", group_size=group) if group else dict(strategy="channel")
    weights = QuantizationArgs(num_bits=bits, type="int", symmetric=symmetric, **strategy)
    inputs = QuantizationArgs(num_bits=8, type="int", symmetric=True, strategy="token", dynamic=True) if activations else None
    return QuantizationScheme(targets=["Linear"], weights=weights, input_activations=inputs)


def compressed_config(scheme: QuantizationScheme, layout: str) -> dict:
    group = json.loads(scheme.model_dump_json())
    return {"quant_method": "compressed-tensors", "format": layout, "quantization_status": "compressed", "ignore": ["lm_head"], "config_groups": {"group_0": group}}


def gptq(bits=4, group=32, symmetric=True, act_order=False, v2=False):
    config = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": symmetric, "desc_act": act_order, "checkpoint_format": "gptq_v2" if v2 else "gptq"}
    return config, lambda linear: gptq_linear(linear, config)


def awq(group):
    config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm", "modules_to_not_convert": None}
    return config, lambda linear: awq_linear(linear, group)


def compressed(layout, **options):
    scheme = scheme_of(**options)
    return compressed_config(scheme, layout), lambda linear: compressed_linear(linear, scheme, layout)


GOLDENS = {
    "awq": awq(32),
    "gptq_sym": gptq(),
    "gptq_asym": gptq(symmetric=False),
    "gptq_act_order": gptq(symmetric=False, act_order=True),
    "gptq_v2_channel": gptq(group=-1, v2=True),
    "gptq_8bit": gptq(bits=8),
    "ct_w4a16": compressed("pack-quantized", symmetric=True, bits=4, group=32),
    "ct_w4a16_asym": compressed("pack-quantized", symmetric=False, bits=4, group=32),
    "ct_w8a16": compressed("pack-quantized", symmetric=True, bits=8, group=None),
    "ct_w8a8": compressed("int-quantized", symmetric=True, bits=8, group=None, activations=True),
}


def make(folder: Path, name: str) -> None:
    quantization, pack = GOLDENS[name]
    seed = zlib.crc32(name.encode())
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **CONFIG), attn_implementation="eager").float().eval()
    for parameter in model.parameters():
        parameter.data = (parameter.data * 0 + torch.randn_like(parameter) * 0.07 + (parameter.dim() == 1)).half().float()
    tensors = {}
    for key, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or key == "lm_head":
            continue
        packed, dense = pack(module)
        module.weight.data = dense.float().contiguous()
        tensors |= {f"{key}.{part}": tensor.contiguous() for part, tensor in packed.items()}
        tensors[f"{key}.weight.dense"] = None
    for key, parameter in model.state_dict().items():
        if f"{key}.dense" not in tensors:
            tensors[key] = parameter.half()
    tensors = {key: tensor for key, tensor in tensors.items() if tensor is not None}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0, **CONFIG}
    config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    prompt = np.random.default_rng(seed).integers(3, CONFIG["vocab_size"], PROMPT_TOKENS).tolist()
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0].numpy()
    logits.astype("<f4").tofile(folder / "logits0.f32")
    rms = float(np.sqrt((logits**2).mean()))
    assert 0.3 < rms < 10, rms
    cases = [{"session_len": PROMPT_TOKENS, "prompt": prompt, "logits": "logits0.f32", "rms": rms}]
    (folder / "reference.json").write_text(json.dumps({"made_by": "tools/make_quantized_goldens.py", "cases": cases}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tests/quantized_goldens"))
    parser.add_argument("--only", nargs="*", default=list(GOLDENS))
    options = parser.parse_args()
    for name in options.only:
        make(options.out / name, name)
        print(name)


if __name__ == "__main__":
    main()
