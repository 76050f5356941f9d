#!/usr/bin/env python3
"""Tokens/s and time to first token of the same streams over REST and over gRPC:
compare_transports.py URL GRPC_ADDRESS [--at-once 32] [--rounds 3]. Run it with build/venv-serving/bin/python.

Both are measured in turn, each round with another seed, so that drifts of the machine meet both.
"""

import argparse
import http.client
import importlib
import json
import pathlib
import statistics
import sys
import tempfile
import threading
import time
import urllib.parse

import grpc
import grpc_tools.protoc

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROMPT = "Write a long story about a lighthouse."


def make_stubs():
    folder = tempfile.mkdtemp()
    protos = ROOT / "src/rpc/protos"
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["", f"-I{protos}", f"-I{well_known}", f"--python_out={folder}", f"--grpc_python_out={folder}", "ingot/v1/generation.proto"]
    if grpc_tools.protoc.main(arguments) != 0:
        sys.exit("the stubs cannot be made")
    sys.path.insert(0, folder)
    return importlib.import_module("ingot.v1.generation_pb2"), importlib.import_module("ingot.v1.generation_pb2_grpc")


def over_rest(url: str, fields: dict) -> float:
    """Seconds to the first token; returns when the stream has ended."""
    parts = urllib.parse.urlparse(url)
    begin = time.monotonic()
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=600)
    connection.request("POST", "/v1/completions", json.dumps({"prompt": PROMPT, "stream": True, **fields}), {"Content-Type": "application/json"})
    response = connection.getresponse()
    first = None
    for line in response:
        if line.startswith(b"data: {") and first is None:
            first = time.monotonic() - begin
    connection.close()
    return first


def over_grpc(pb, generation, fields: dict) -> float:
    begin, first = time.monotonic(), None
    for _ in generation.CompleteStream(pb.CompleteRequest(prompt=[PROMPT], **fields)):
        first = first if first is not None else time.monotonic() - begin
    return first


def measure(ask, at_once: int) -> tuple[float, float]:
    """(tokens/s, median seconds to the first token)"""
    firsts: list[float] = []
    threads = [threading.Thread(target=lambda: firsts.append(ask())) for _ in range(at_once)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return at_once / (time.monotonic() - begin), statistics.median(firsts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("address")
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    pb, stubs = make_stubs()
    generation = stubs.GenerationStub(grpc.insecure_channel(options.address))
    results: dict[str, list[tuple[float, float]]] = {"REST": [], "gRPC": []}
    for round_number in range(options.rounds):
        fields = {"max_tokens": options.tokens, "ignore_eos": True, "seed": round_number, "temperature": 0.8}
        asks = {"REST": lambda f=fields: over_rest(options.url, f), "gRPC": lambda f=fields: over_grpc(pb, generation, f)}
        # The one that goes first takes turns.
        for name in sorted(asks, reverse=round_number % 2 == 0):
            rate, first = measure(asks[name], options.at_once)
            results[name].append((rate * options.tokens, first))
    for name, rows in results.items():
        rates, firsts = zip(*rows, strict=True)
        print(f"{name}: {statistics.median(rates):.1f} tokens/s, first token after {statistics.median(firsts) * 1e3:.0f} ms (medians of {len(rows)})")


if __name__ == "__main__":
    main()
