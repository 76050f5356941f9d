"""Compares perplexities of Ingot and llama.cpp, file by file, for every GGUF type that llama.cpp makes:

    build/venv/bin/python bench/peers/perplexity.py --file TEXT      # needs `bench/peers/install.sh llama.cpp`

llama-quantize makes a file of each type from the model. Three perplexities of each: by Ingot, `--compute exact`; by llama.cpp
of the same weights written as F32 (its own reading of the type, fp32 activations); and by llama.cpp of the file itself (int8
activations). Both score the second half of each window of 512 tokens. Exit code 1 where Ingot is further than --tolerance
from the second. Types of less than 3 bits get an importance matrix, made from the same text.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from collections import Counter

import gguf
from servers import EngineError, run_json

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TYPES = """F16 BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS Q3_K_L Q3_K_M Q3_K_S IQ3_M IQ3_S
IQ3_XS IQ3_XXS Q2_K Q2_K_S IQ2_M IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S TQ2_0 TQ1_0 MXFP4 NVFP4 Q2_0 Q1_0""".split()
# Types of single tensors that no type of files has: of the matrices whose rows have a multiple of 256 weights.
OF_TENSORS = {"MXFP4", "NVFP4"}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", required=True, type=pathlib.Path, help="the text")
    parser.add_argument("--bytes", type=int, default=12000, help="of the text: at least 1,024 tokens")
    parser.add_argument("--model", type=pathlib.Path, help="a GGUF file; default: SmolLM2 of build/models")
    parser.add_argument("--types", default=",".join(TYPES), help="default: all")
    parser.add_argument("--ingot", default=str(ROOT / "build/release/bin/ingot"))
    parser.add_argument("--llama", type=pathlib.Path, default=ROOT / "build/peers/llama.cpp/build/bin", help="folder of its programs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tolerance", type=float, default=0.2, help="percent")
    parser.add_argument("--json", action="store_true", help="one JSON object a type")
    args = parser.parse_args()
    args.model = args.model or next((ROOT / "build/models/smollm2").glob("*.gguf"), None)
    if args.model is None:
        parser.error("build/models has no SmolLM2: `make peers` downloads it, or name a file with --model")
    if not (args.llama / "llama-quantize").is_file():
        parser.error(f"--llama: {args.llama} has no llama-quantize; bench/peers/install.sh llama.cpp builds it")
    return args


class Comparison:
    def __init__(self, args: argparse.Namespace, folder: pathlib.Path) -> None:
        self.args, self.folder = args, folder
        self.text = folder / "text"
        self.text.write_bytes(args.file.read_bytes()[: args.bytes])
        self.source = folder / "source.gguf"
        self._quantize(args.model, self.source, "F32")
        self.matrix = folder / "imatrix.gguf"
        self._run("llama-imatrix", "-m", self.source, "-f", self.text, "-c", 512, "-t", args.threads, "-o", self.matrix)

    def _run(self, program: str, *options: object) -> str:
        """What it printed, on both streams."""
        done = subprocess.run([self.args.llama / program, *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace")  # fmt: skip
        if done.returncode != 0:
            raise EngineError(f"{program} ended with {done.returncode}: {(done.stdout.strip().splitlines() or ['no output'])[-1]}")
        return done.stdout

    def _quantize(self, source: pathlib.Path, to: pathlib.Path, kind: str, *options: object) -> None:
        self._run("llama-quantize", "--allow-requantize", *options, source, to, kind, self.args.threads)

    def make(self, kind: str) -> pathlib.Path:
        path = self.folder / "typed.gguf"
        if kind in OF_TENSORS:
            self._quantize(self.source, path, "Q8_0", "--tensor-type", f"ffn_down={kind.lower()}")
        else:
            low = re.match(r"I?Q[12]|IQ3_XXS|T", kind)
            self._quantize(self.source, path, kind, *(["--imatrix", self.matrix] if low else []))
        return path

    def theirs(self, path: pathlib.Path) -> float:
        out = self._run("llama-perplexity", "-m", path, "-f", self.text, "-c", 512, "-b", 512, "-t", self.args.threads)
        found = re.search(r"Final estimate: PPL = ([0-9.]+)", out)
        if not found:
            raise EngineError("llama-perplexity printed no estimate")
        return float(found.group(1))

    def ours(self, path: pathlib.Path) -> float:
        command = [self.args.ingot, "eval", "ppl", str(path), "--compute", "exact", "--file", str(self.text), "--window", "512",
                   "--threads", str(self.args.threads), "--json"]  # fmt: skip
        return run_json(command)[0]["perplexity"]

    def row(self, kind: str) -> dict:
        path = self.make(kind)
        held = Counter(t.tensor_type.name for t in gguf.GGUFReader(path).tensors if len(t.shape) > 1)
        plain = self.folder / "plain.gguf"
        self._quantize(path, plain, "F32")
        ours, exact, theirs = self.ours(path), self.theirs(plain), self.theirs(path)
        return {"type": kind, "tensors": dict(held.most_common()), "ingot": ours, "llama_cpp_f32": exact, "llama_cpp": theirs,
                "difference_percent": 100 * (ours / exact - 1), "difference_to_int8_percent": 100 * (ours / theirs - 1)}  # fmt: skip


def line(row: dict) -> str:
    if "failed" in row:
        return f"| {row['type']} | | | | | | {row['failed']} |"
    held = ", ".join(f"{count} {name}" for name, count in row["tensors"].items())
    return (f"| {row['type']} | {row['ingot']:.4f} | {row['llama_cpp_f32']:.4f} | {row['difference_percent']:+.3f} % | "
            f"{row['llama_cpp']:.4f} | {row['difference_to_int8_percent']:+.2f} % | {held} |")  # fmt: skip


def main() -> int:
    args = parse_arguments()
    off = 0
    if not args.json:
        print("| type | Ingot, exact | llama.cpp, weights as F32 | | llama.cpp, int8 activations | | matrices |")
        print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(args, pathlib.Path(folder))
        for kind in args.types.split(","):
            try:
                row = comparison.row(kind)
                off += not abs(row["difference_percent"]) <= args.tolerance
            except (EngineError, ValueError) as error:
                row = {"type": kind, "failed": str(error)}
                off += 1
            print(json.dumps(row) if args.json else line(row), flush=True)
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
