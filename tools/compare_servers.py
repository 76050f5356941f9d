#!/usr/bin/env python3
"""Compares `ingot serve api_server` with llama.cpp's server, on one GGUF file, by the same requests:

    compare_servers.py --llama-server PATH --model FILE.gguf

Each round starts one server after the other, alone, and runs `ingot bench serve` against it: so many requests at once, all
prompts as token ids, all answers of the full length. Every round has prompts of its own, the same for all servers. Prints a
line a run, and for Ingot's servers the ratio to llama.cpp's of the same round: median, smallest and largest.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
START_SECONDS = 300


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-server", required=True, help="llama.cpp's llama-server; may be a command with arguments")
    parser.add_argument("--llama-args", default="", help="further arguments of llama-server")
    parser.add_argument("--ingot", default=str(ROOT / "build/release/bin/ingot"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--concurrency", type=int, default=32, help="requests at once, and slots of the servers")
    parser.add_argument("--num-prompts", type=int, default=96, help="requests of a run")
    parser.add_argument("--input-len", type=int, default=128)
    parser.add_argument("--output-len", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compute", default="exact,fast", help="Ingot's modes to measure")
    parser.add_argument("--json", action="store_true", help="one JSON object a run on standard output")
    return parser.parse_args()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def commands(args: argparse.Namespace) -> dict[str, list[str]]:
    """How each server is started, except for its port. Both get slots of the same length."""
    slot = args.input_len + args.output_len + 64
    own = [args.ingot, "serve", "api_server", args.model, "--threads", str(args.threads), "--max-batch-size",
           str(args.concurrency), "--session-len", str(slot)]  # fmt: skip
    servers = {f"ingot {mode}": [*own, "--compute", mode, "--server-port"] for mode in args.compute.split(",")}
    servers["llama.cpp"] = [*shlex.split(args.llama_server), "-m", args.model, "-t", str(args.threads), "-tb",
                            str(args.threads), "-np", str(args.concurrency), "-c", str(slot * args.concurrency),
                            "--host", "127.0.0.1", *shlex.split(args.llama_args), "--port"]  # fmt: skip
    return servers


def wait_until_ready(url: str, process: subprocess.Popen, log: pathlib.Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(url + "/health", timeout=5).read()
            return
        time.sleep(0.05)
    process.kill()
    sys.exit(f"{' '.join(process.args)} did not start:\n{log.read_text(errors='replace')[-2000:]}")


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_bench(args: argparse.Namespace, url: str, num_prompts: int, seed: int) -> dict:
    bench = [args.ingot, "bench", "serve", "--base-url", url, "--tokenizer", args.model, "--send-token-ids", "--json",
             "-n", str(num_prompts), "-c", str(args.concurrency), "--input-len", str(args.input_len),
             "--output-len", str(args.output_len), "--ignore-eos", "--seed", str(seed)]  # fmt: skip
    return json.loads(subprocess.run(bench, stdout=subprocess.PIPE, text=True, check=True).stdout)


def measure(args: argparse.Namespace, command: list[str], seed: int) -> dict:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder, "log")
        with log.open("wb") as out:
            process = subprocess.Popen([*command, str(port)], stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_until_ready(url, process, log)
            run_bench(args, url, 2, seed + 1000)  # warms up
            before = cpu_seconds(process.pid)
            report = run_bench(args, url, args.num_prompts, seed)
            report["server_cpu_seconds"] = cpu_seconds(process.pid) - before
        finally:
            process.terminate()
            process.wait(timeout=60)
    wanted = args.num_prompts * args.output_len
    if report["total_output_tokens"] != wanted:
        print(f"{command[0]} gave {report['total_output_tokens']} tokens, not {wanted}", file=sys.stderr)
    return report


def print_run(round_number: int, name: str, report: dict) -> None:
    per_cpu = report["total_output_tokens"] / report["server_cpu_seconds"]
    print(f"{round_number:5}  {name:12}  {report['output_throughput']:8.1f}  {per_cpu:8.1f}  {report['median_ttft_ms']:9.0f}  "
          f"{report['median_tpot_ms']:8.1f}  {report['p99_itl_ms']:8.1f}  {report['total_input_tokens']:7}", flush=True)  # fmt: skip


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    args = parse_arguments()
    servers = commands(args)
    runs: dict[str, list[dict]] = {name: [] for name in servers}
    if not args.json:
        print("round  server        out tok/s   a CPU s    TTFT ms   TPOT ms   ITL p99  prompt tokens")
    for round_number in range(1, args.rounds + 1):
        for name, command in servers.items():
            report = measure(args, command, round_number)
            runs[name].append(report)
            if args.json:
                print(json.dumps({"server": name, "round": round_number, **report}), flush=True)
            else:
                print_run(round_number, name, report)
    theirs = runs.pop("llama.cpp")
    for name, reports in runs.items():
        pairs = list(zip(reports, theirs))
        rate = [own["output_throughput"] / other["output_throughput"] for own, other in pairs]
        cpu = [other["server_cpu_seconds"] / own["server_cpu_seconds"] for own, other in pairs]
        print(f"{name} / llama.cpp: {spread(rate)} by time, {spread(cpu)} by the servers' CPU time", file=sys.stderr)


if __name__ == "__main__":
    main()
