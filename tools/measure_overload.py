#!/usr/bin/env python3
"""What refusals cost those who are served: measure_overload.py MODEL

Rounds of --seconds, in turn: as many clients as slots and queue hold, and --times as many, of whom those that get 429 ask again
after 50 ms. Server and clients are pinned to processors of their own (--server-cpus, --client-cpus). Prints a JSON line a round:
tokens and refusals a second; the CPU time for each token of the threads that compute, and the share of a CPU that the server's
other threads take (connections, text), both of which other programs of the machine disturb less; last the ratios of the medians.
Flags that are not known go to `ingot serve`.
"""

import argparse
import asyncio
import json
import os
import pathlib
import re
import statistics
import sys
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("INGOT_BIN", str(ROOT / "build/release/bin/ingot"))
sys.path.insert(0, str(ROOT / "tests"))
from support import Server  # noqa: E402

RETRY_SECONDS = 0.05


class Counts:
    def __init__(self) -> None:
        self.refusals = self.others = 0
        self.ends = False


async def client(url: str, request: bytes, counts: Counts) -> None:
    """One connection; asks until the round ends."""
    address = urllib.parse.urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    while not counts.ends:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        status = head.split()[1]
        if status == "429":
            counts.refusals += 1
            await asyncio.sleep(RETRY_SECONDS)
        elif status != "200":
            counts.others += 1
    writer.close()


def cpu_seconds(pid: int) -> tuple[float, float]:
    """Of the threads that compute, and of all others."""
    computing = others = 0.0
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        seconds = int((thread / "schedstat").read_text().split()[0]) / 1e9
        if (thread / "comm").read_text().strip() in ("ingot-engine", "ingot-worker"):
            computing += seconds
        else:
            others += seconds
    return computing, others


def tokens_so_far(server: Server) -> float:
    return float(re.search(r"^ingot_generation_tokens_total\S* (\S+)", server.get("/metrics"), re.MULTILINE)[1])


async def one_round(server: Server, clients: int, flags: argparse.Namespace) -> dict:
    body = json.dumps({"model": "m", "prompt": "The crowd", "max_tokens": flags.tokens, "ignore_eos": True}).encode()
    request = (f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
    counts = Counts()
    tasks = [asyncio.create_task(client(server.url, request, counts)) for _ in range(clients)]
    await asyncio.sleep(2)  # all slots are taken
    begin, tokens, refusals = time.monotonic(), tokens_so_far(server), counts.refusals
    computing, others = cpu_seconds(server.process.pid)
    await asyncio.sleep(flags.seconds)
    seconds, tokens, refusals = time.monotonic() - begin, tokens_so_far(server) - tokens, counts.refusals - refusals
    computing_after, others_after = cpu_seconds(server.process.pid)
    counts.ends = True
    await asyncio.gather(*tasks)
    return {"clients": clients, "tokens_per_second": round(tokens / seconds, 1), "refusals_per_second": round(refusals / seconds),
            "compute_ms_per_token": round(1e3 * (computing_after - computing) / tokens, 3),
            "share_of_other_threads": round((others_after - others) / seconds, 4), "others": counts.others}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--queue", type=int, default=8)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=32, help="of an answer")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server-cpus", type=int, nargs="+", default=[0])
    parser.add_argument("--client-cpus", type=int, nargs="+", default=[1])
    flags, more = parser.parse_known_args()
    arguments = [flags.model, "--model-name", "m", "--max-batch-size", str(flags.slots), "--max-queue", str(flags.queue), "--session-len", "512", *more]
    few, rounds = flags.slots + flags.queue, {}
    os.sched_setaffinity(0, flags.client_cpus)
    with Server(*arguments, preexec_fn=lambda: os.sched_setaffinity(0, flags.server_cpus)) as server:
        for _ in range(flags.rounds):
            for clients in (few, flags.times * few):
                result = asyncio.run(one_round(server, clients, flags))
                rounds.setdefault(clients, []).append(result)
                print(json.dumps(result), flush=True)
    median = {clients: {key: statistics.median(result[key] for result in results) for key in results[0]} for clients, results in rounds.items()}
    crowd, calm = median[flags.times * few], median[few]
    print(json.dumps({"tokens_per_second_ratio": round(crowd["tokens_per_second"] / calm["tokens_per_second"], 3),
                      "compute_per_token_ratio": round(crowd["compute_ms_per_token"] / calm["compute_ms_per_token"], 3),
                      "share_of_refusals": round(crowd["share_of_other_threads"] - calm["share_of_other_threads"], 4)}))  # fmt: skip


if __name__ == "__main__":
    main()
