#!/usr/bin/env python3
"""How running answers slow down when another request's long prompt arrives: measure_long_prompt.py MODEL

So many streams decode; a prompt of --prompt-tokens arrives among them. Their inter-token latencies while that prompt is read
are compared with those just before and just after it (their contexts grow, and with them the latencies), in each round. Prints a JSON line a round, and last the ratios of the p99: median,
smallest and largest. Flags that are not known go to `ingot serve api_server`.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("INGOT_BIN", str(ROOT / "build/release/bin/ingot"))
sys.path.insert(0, str(ROOT / "tests"))
from many_clients import Client, allow_descriptors  # noqa: E402
from support import Server  # noqa: E402

STREAM_PROMPT = 128  # tokens


def prompt(draw: random.Random, tokens: int) -> list[int]:
    return [draw.randrange(1000, 20000) for _ in range(tokens)]


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Streams:
    """Endless answers, and when each of their tokens came."""

    def __init__(self, client: Client, count: int, draw: random.Random) -> None:
        self.gaps: list[tuple[float, float]] = []  # (when, seconds since the token before)
        self.started = 0
        self.tasks = [asyncio.create_task(self.run(client, prompt(draw, STREAM_PROMPT))) for _ in range(count)]

    async def run(self, client: Client, ids: list[int]) -> None:
        body = {"model": "m", "prompt": ids, "max_tokens": 7000, "ignore_eos": True, "stream": True}
        async with client.send("POST", "/v1/completions", body) as response:
            last = None
            async for _ in response.events():
                now = time.monotonic()
                if last is None:
                    self.started += 1
                else:
                    self.gaps.append((now, now - last))
                last = now

    def between(self, begin: float, end: float) -> list[float]:
        return [gap for when, gap in self.gaps if begin <= when < end]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def one_round(client: Client, arguments: argparse.Namespace, seed: int) -> dict:
    draw = random.Random(seed)
    streams = Streams(client, arguments.streams, draw)
    while streams.started < arguments.streams:
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    before = time.monotonic()
    await asyncio.sleep(arguments.seconds)
    arrives = time.monotonic()
    await client.ask("/v1/completions", {"model": "m", "prompt": prompt(draw, arguments.prompt_tokens), "max_tokens": 1})
    read = time.monotonic()
    await asyncio.sleep(arguments.seconds)
    alone = streams.between(before, arrives) + streams.between(read, time.monotonic())
    during = streams.between(arrives, read)
    await streams.stop()
    row = {"time_to_first_token": read - arrives}
    for share in (0.5, 0.99):
        row |= {f"p{share * 100:.0f}_alone": quantile(alone, share), f"p{share * 100:.0f}_beside": quantile(during, share)}
    return row | {"ratio": row["p99_beside"] / row["p99_alone"], "ratio_of_medians": row["p50_beside"] / row["p50_alone"]}


async def measure(url: str, arguments: argparse.Namespace) -> None:
    client = Client(url)
    ratios = []
    for seed in range(arguments.rounds):
        row = await one_round(client, arguments, seed)
        if seed > 0:  # the first teaches the scheduler what steps cost
            ratios.append(row["ratio"])
        print(json.dumps({name: round(value, 4) for name, value in row.items()}), flush=True)
    print(json.dumps({"median": statistics.median(ratios), "smallest": min(ratios), "largest": max(ratios)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--prompt-tokens", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=10, help="of streams alone, a round")
    parser.add_argument("--rounds", type=int, default=6, help="the first does not count")
    arguments, flags = parser.parse_known_args()
    allow_descriptors(1024)
    with Server(arguments.model, "--model-name", "m", "--max-batch-size", str(arguments.streams + 1), *flags) as server:
        asyncio.run(measure(server.url, arguments))


if __name__ == "__main__":
    main()
