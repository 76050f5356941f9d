#!/usr/bin/env python3
"""Whether transformers computes from a quantized directory what Ingot does: check_with_transformers.py DIRECTORY …

Each directory that `ingot lite` wrote is read by NumPy alone (tests/quantized_llama.py, which shares no code with Ingot),
dequantized, and run by transformers in float64 (its own float32 is as far from that as Ingot is) on ids of its own
tokenizer. Prints the largest difference of the logits and
its share of their rms; a share beyond --tolerance fails. Needs the virtual environment of tools/goldens_requirements.txt.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from quantized_llama import Llama  # noqa: E402


class HalfCache(DynamicCache):
    """Holds K and V as Ingot's cache does: what it rounds is as large as what is looked for."""

    def update(self, key_states, value_states, *arguments, **keywords):
        return super().update(key_states.half().to(key_states), value_states.half().to(value_states), *arguments, **keywords)


def model_of(directory: str) -> torch.nn.Module:
    ours = Llama(directory)
    config = AutoConfig.from_pretrained(directory)
    del config.quantization_config  # its weights come dense
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    dense = {}
    for name in {name.rsplit(".", 1)[0] for name in ours.tensors}:
        if name + ".qweight" in ours.tensors or name + ".weight_scale" in ours.tensors:
            dense[name + ".weight"] = ours.matrix(name)
        else:
            dense[name + ".weight"] = ours.tensors[name + ".weight"].astype(np.float32)
        if name + ".bias" in ours.tensors:
            dense[name + ".bias"] = ours.tensors[name + ".bias"].astype(np.float32)
    missing, unexpected = model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in dense.items()}, strict=False)
    if unexpected or set(missing) - set(model._tied_weights_keys or ()):
        raise SystemExit(f"{directory}: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    return model.double()


def check(directory: str, ingot: str, text: str, tokens: int) -> float:
    ids = AutoTokenizer.from_pretrained(directory)(text)["input_ids"][:tokens]
    with torch.no_grad():
        theirs = model_of(directory)(torch.tensor([ids]), past_key_values=HalfCache()).logits[0].numpy()
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "logits.npy"
        command = [ingot, "eval", "logits", directory, "--compute", "exact", "--tokens", str(tokens), "--output", str(file)]
        report = json.loads(subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.PIPE).stdout)
        ours = np.load(file)
    assert report["positions"] == len(ids) and ours.shape == theirs.shape, (report, ours.shape, theirs.shape)
    largest, rms = np.abs(ours - theirs).max(), np.sqrt((theirs**2).mean())
    agree = (ours.argmax(-1) == theirs.argmax(-1)).mean()
    print(f"{directory}: {len(ids)} positions; logits differ by at most {largest:.5f}, {largest / rms:.2e} of their rms {rms:.3f}; "
          f"the same most likely token at {agree:.2%}", flush=True)  # fmt: skip
    return largest / rms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+")
    parser.add_argument("--ingot", default=str(ROOT / "build/release/bin/ingot"))
    parser.add_argument("--text", default=str(ROOT / "README.md"), help="a file")
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--tolerance", type=float, default=2e-3)
    arguments = parser.parse_args()
    text = pathlib.Path(arguments.text).read_text()
    shares = [check(directory, arguments.ingot, text, arguments.tokens) for directory in arguments.directories]
    sys.exit(not all(share <= arguments.tolerance for share in shares))


if __name__ == "__main__":
    main()
