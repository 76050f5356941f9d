#!/usr/bin/env python3
"""Measures Ingot, llama.cpp and OpenVINO GenAI in turn, on the same files and the same work:

    make peers                        # builds Ingot, installs the others in build/peers, measures
    bench/peers/run.py --quick        # shorter; the figures have more spread

Writes a table in Markdown (standard output and --out), and beside it every figure as JSON. Each round measures one engine
right after the other, in an order that changes; ratios are of the same round. An engine that cannot be installed, or that
fails, is left out, and the table says why.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import subprocess
import sys
from dataclasses import dataclass

from engines import ENGINES, Engine, Settings
from servers import EngineError, Load, run_json
from table import Cell, markdown

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DEFAULT_MODEL = "smollm2"


@dataclass
class Workload:
    name: str
    kind: str  # "latency" or "serve"
    load: Load
    figures: dict[str, str]  # what is read from a report, and its name in the table


TTFT = {"output_throughput": "tokens/s", "median_ttft_ms": "TTFT, ms"}
WORKLOADS = {
    "prefill": Workload("prefill of 512", "latency", Load(1, 1, 512, 2), {"prefill": "tokens/s"}),
    "decode": Workload("decode, context 64", "latency", Load(1, 1, 64, 64), {"decode": "tokens/s"}),
    "decode-2k": Workload("decode, context 2,048", "latency", Load(1, 1, 2048, 32), {"decode": "tokens/s"}),
    "decode-8": Workload("decode, batch 8", "latency", Load(8, 8, 64, 32), {"decode": "tokens/s"}),
    "decode-32": Workload("decode, batch 32", "latency", Load(32, 32, 64, 32), {"decode": "tokens/s"}),
    "serve": Workload("32 at once, 128 in + 64 out", "serve", Load(96, 32, 128, 64), TTFT),
}
QUICK_LOADS = {
    "decode": Load(1, 1, 64, 32),
    "decode-2k": Load(1, 1, 2048, 8),
    "decode-8": Load(8, 8, 64, 16),
    "decode-32": Load(32, 32, 64, 16),
    "serve": Load(32, 32, 128, 64),
}
QUICK_WORKLOADS = {
    "smollm2-q4_1": ["prefill", "decode", "decode-32"],
    "1b-q4_0": ["prefill", "decode", "decode-8"],
}
MODELS = {
    "smollm2-q4_0": "SmolLM2-135M-Instruct, Q4_0",
    "smollm2-q4_1": "SmolLM2-135M-Instruct, Q4_1",
    "1b-q4_0": "random Llama of 1.1B, Q4_0",
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds of short runs, of fewer workloads")
    parser.add_argument("--rounds", type=int, help="default: 5, with --quick 3")
    parser.add_argument("--engines", default=",".join(ENGINES), help="of " + ", ".join(ENGINES))
    parser.add_argument("--models", default=",".join(MODELS), help="of " + ", ".join(MODELS) + "; or GGUF files")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="of " + ", ".join(WORKLOADS))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--compute", default="fast", help="Ingot's mode")
    parser.add_argument("--ingot", default=str(ROOT / "build/release/bin/ingot"))
    parser.add_argument("--peers", type=pathlib.Path, default=ROOT / "build/peers", help="where the others are installed")
    parser.add_argument("--no-install", action="store_true", help="measure only what is installed")
    parser.add_argument("--high-priority", action="store_true", help="run before other processes (nice -n -20; needs root)")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/peers/table.md")
    args = parser.parse_args()
    for flag, known in (("engines", ENGINES), ("workloads", WORKLOADS)):
        for name in getattr(args, flag).split(","):
            if name not in known:
                parser.error(f"--{flag}: there is no {name!r}; there are {', '.join(known)}")
    for name in args.models.split(","):
        if name not in MODELS and not pathlib.Path(name).is_file():
            parser.error(f"--models: {name!r} is no file, and none of {', '.join(MODELS)}")
    args.rounds = args.rounds or (3 if args.quick else 5)
    if args.rounds < 1:
        parser.error(f"--rounds: {args.rounds} is less than 1")
    return args


def workloads(args: argparse.Namespace, model: str) -> dict[str, Workload]:
    chosen = {name: WORKLOADS[name] for name in args.workloads.split(",")}
    if args.quick:
        chosen = {k: dataclasses.replace(w, load=QUICK_LOADS.get(k, w.load)) for k, w in chosen.items()}
        chosen = {k: w for k, w in chosen.items() if k in QUICK_WORKLOADS.get(model, WORKLOADS)}
    return chosen


def model_file(args: argparse.Namespace, model: str) -> str:
    """The GGUF file of that name, which is made when there is none."""
    if model not in MODELS:
        return model
    if model == "smollm2-q4_1":
        found = sorted((ROOT / "build/models" / DEFAULT_MODEL).glob("*.gguf"))
        if not found:
            sys.exit("build/models has no SmolLM2: `make peers` downloads it")
        return str(found[0])
    path = args.peers / "models" / f"{model}.gguf"
    if path.is_file():
        return str(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    if model == "smollm2-q4_0":
        command = [args.ingot, "convert", model_file(args, "smollm2-q4_1"), "--to", "gguf", "--type", "Q4_0", "--force", "-o"]
    else:
        command = [str(ROOT / "build/venv/bin/python"), str(ROOT / "tools/make_random_gguf.py"), "--shape", "1b", "--type", "Q4_0"]
    print(f"peers: making {path}", file=sys.stderr)
    subprocess.run([*command, str(partial)], check=True, stdout=subprocess.DEVNULL)
    partial.rename(path)
    return str(path)


def prepare(args: argparse.Namespace) -> tuple[dict[str, Engine], dict[str, str], dict[str, str]]:
    """Engines, their versions, and why others are missing."""
    prefix = ["nice", "-n", "-20"] if args.high_priority else []
    settings = Settings(args.ingot, args.peers.resolve(), args.threads, args.compute, prefix, not args.no_install)
    engines, versions, missing = {}, {}, {}
    for key in args.engines.split(","):
        engine = ENGINES[key](settings)
        try:
            versions[engine.name] = engine.prepare()
            engines[engine.name] = engine
        except EngineError as error:
            missing[engine.name] = str(error)
            print(f"peers: no {engine.name}: {error}", file=sys.stderr)
    return engines, versions, missing


def measure_round(engines: dict[str, Engine], path: str, work: Workload, number: int) -> dict[str, dict]:
    """Reports by engine: its figures, or {"error": why}."""
    names = list(engines)
    names = names[number % len(names) :] + names[: number % len(names)]
    load = dataclasses.replace(work.load, seed=number)
    reports = {}
    for name in names:
        try:
            reports[name] = getattr(engines[name], work.kind)(path, load)
        except (EngineError, OSError, subprocess.TimeoutExpired) as error:
            reports[name] = {"error": str(error)}
            print(f"peers: {work.name}: {name} failed: {error}", file=sys.stderr)
    return reports


def measure_model(args: argparse.Namespace, engines: dict[str, Engine], model: str) -> list[Cell]:
    path = model_file(args, model)
    runs: dict[str, list[dict]] = {}
    chosen = workloads(args, model)
    for number in range(args.rounds):
        for key, work in chosen.items():
            print(f"peers: {model}, round {number + 1} of {args.rounds}, {work.name}", file=sys.stderr, flush=True)
            runs.setdefault(key, []).append(measure_round(engines, path, work, number))
    for engine in engines.values():
        engine.close()
    return [Cell(work.name, figure, label, [{name: report.get(figure) for name, report in reports.items()} for reports in runs[key]],
                 {name: r["error"] for reports in runs[key] for name, r in reports.items() if "error" in r})
            for key, work in chosen.items() for figure, label in work.figures.items()]  # fmt: skip


def main() -> int:
    args = parse_arguments()
    engines, versions, missing = prepare(args)
    if not engines:
        return 1
    load_before = os.getloadavg()[0]
    machine = run_json([args.ingot, "check_env", "--json"])[0] if "Ingot" in engines else {}
    cells = {model: measure_model(args, engines, model) for model in args.models.split(",")}
    report = {
        "date": datetime.date.today().isoformat(),
        "machine": {key: machine.get(key) for key in ("cpu", "isa", "physical_cores")},
        "threads": args.threads, "rounds": args.rounds, "compute": args.compute, "high_priority": args.high_priority,
        "load_before": load_before, "versions": versions, "missing": missing,
        "places": {name: engine.place for name, engine in engines.items()},
        "models": {MODELS.get(model, model): [dataclasses.asdict(cell) for cell in of] for model, of in cells.items()},
    }  # fmt: skip
    text = markdown(report)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text)
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    print(text, end="")
    print(f"peers: {args.out} and {args.out.with_suffix('.json').name} are written", file=sys.stderr)
    failed = any(cell.failed for of in cells.values() for cell in of)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
