#!/usr/bin/env python3
"""What a session saves: measure_sessions.py MODEL

The last turn of a session of --turns turns, sent as new text only, compared with the same turn whose whole history has to be computed
(under a salt of its own nothing cached is found). Prints a JSON line a round, and last the ratios of the times to the first
token: median, smallest and largest. The two answers must be equal. Flags that are not known go to `ingot serve api_server`.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("INGOT_BIN", str(ROOT / "build/release/bin/ingot"))
sys.path.insert(0, str(ROOT / "tests"))
from support import Server  # noqa: E402

QUESTIONS = ["What can one cook with lentils and a lemon?", "And for somebody who does not like lemon?", "Say it in fewer words.",
             "How long does that take on a gas stove?", "What would you drink with it?", "Tell me a story about the cook."]  # fmt: skip


def turn(url: str, session: int, number: int, **fields) -> tuple[float, str, int]:
    """Seconds to the first token, the answer, tokens of the history."""
    body = {"prompt": f"{number}. {QUESTIONS[number % len(QUESTIONS)]}", "session_id": session, "interactive_mode": True,
            "stream": True, "temperature": 0, "request_output_len": 48, "ignore_eos": True} | fields  # fmt: skip
    request = urllib.request.Request(url + "/v1/chat/interactive", json.dumps(body).encode(), {"Content-Type": "application/json"})
    begin, first, text, history = time.monotonic(), None, "", 0
    with urllib.request.urlopen(request, timeout=600) as response:
        for line in response:
            piece = json.loads(line)
            if first is None and piece["text"]:
                first = time.monotonic()
            text, history = text + piece["text"], piece["history_tokens"]
    return first - begin, text, history


def one_round(url: str, round_number: int, turns: int) -> dict:
    warm_session, cold_session = 2 * round_number + 1, 2 * round_number + 2
    for number in range(turns - 1):
        for session in (warm_session, cold_session):
            turn(url, session, number)
    warm, warm_text, history = turn(url, warm_session, turns - 1)
    cold, cold_text, _ = turn(url, cold_session, turns - 1, cache_salt=f"cold {round_number}")
    if warm_text != cold_text:
        raise SystemExit(f"the answers differ: {warm_text!r}, {cold_text!r}")
    return {"history_tokens": history, "warm_seconds": round(warm, 4), "cold_seconds": round(cold, 4), "ratio": round(warm / cold, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    arguments, flags = parser.parse_known_args()
    ratios = []
    with Server(arguments.model, "--model-name", "m", *flags) as server:
        for number in range(arguments.rounds):
            row = one_round(server.url, number, arguments.turns)
            ratios.append(row["ratio"])
            print(json.dumps(row), flush=True)
    print(json.dumps({"median": statistics.median(ratios), "smallest": min(ratios), "largest": max(ratios)}))


if __name__ == "__main__":
    main()
