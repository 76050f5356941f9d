"""64 requests at once answer bit for bit what each answers on an idle server: through chunks, cache hits, preemptions.

The int4 cache here; with INGOT_NIGHTLY=1 every format, in both compute modes.
"""

import asyncio
import os
import random
import sys
import time
import unittest

from many_clients import Client
from support import Server, require_model

MODEL = require_model()
NIGHTLY = bool(os.environ.get("INGOT_NIGHTLY"))
CLIENTS = 64
# However the time budget cuts the prompts (in chunks of 16 to 48 tokens on the machines seen), 39 run at once and at least
# four are preempted; with answers of less than three blocks the first are done before the last come, and none is.
SLOTS = 48
FITTING = 40
BLOCK = 32
LONG, SHORT = 110, 24 if NIGHTLY else 4  # tokens of an answer
CASES = [(compute, policy) for compute in ("fast", "exact") for policy in (0, 8, 4)] if NIGHTLY else [("fast", 4)]
TOKEN_BYTES = {0: 23040, 8: 12240, 4: 7200}  # of SmolLM2-135M: 30 layers, 3 heads of 64, keys and values
TOPICS = ["rivers", "the moon", "bread", "Paris", "whales", "old maps", "tea", "glass"]
WORDS = ["stone", "river", "light", "seven", "paper", "green", "house", "every", "small", "wind"]


async def prompts(client: Client) -> list[list[int]]:
    """64 different ones. Eight share a beginning, longer than a block. All end just before a block does, so that a short
    answer needs another block soon, and a second one after it."""
    draw = random.Random(7)

    async def tokens(text: str) -> list[int]:
        return (await client.ask("/tokenize", {"model": "m", "prompt": text}))["tokens"]

    found = []
    for i in range(CLIENTS):
        about = TOPICS[i % len(TOPICS)]
        beginning = (await tokens(f"Some notes on {about}. " + f"What has been said of {about}, and more. " * 8))[:40]
        rest = await tokens(f" Note {i}: " + " ".join(draw.choices(WORDS, k=160)))
        blocks = draw.choice([1, 1, 1, 2] if i < SLOTS else [2, 3])
        found.append((beginning + rest)[: BLOCK * blocks - draw.randint(1, 4)])
    return found


def requests(ids: list[list[int]]) -> list[dict]:
    """Those that come first have long answers; those that wait for a slot then find what these have left in the cache."""
    return [
        {"model": "m", "prompt": prompt, "temperature": 0, "max_tokens": LONG if i < SLOTS else SHORT, "ignore_eos": i < SLOTS,
         "logprobs": 5, "return_token_ids": True}
        for i, prompt in enumerate(ids)
    ]  # fmt: skip


def content_of(answer: dict) -> dict:
    """All that must be the same: not its name, its time, and what was found in the cache."""
    usage = {name: answer["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return {"choices": answer["choices"], "usage": usage}


async def one_by_one(url: str) -> tuple[list[dict], list[dict], float]:
    client = Client(url)
    bodies = requests(await prompts(client))
    begin = time.monotonic()
    answers = [await client.ask("/v1/completions", body) for body in bodies]
    return bodies, answers, time.monotonic() - begin


async def together(url: str, bodies: list[dict]) -> tuple[list[dict], float, dict[str, float]]:
    client = Client(url)
    begin = time.monotonic()
    answers = await asyncio.gather(*(client.ask("/v1/completions", body) for body in bodies))
    seconds = time.monotonic() - begin
    return answers, seconds, await client.metrics()


class InvarianceTest(unittest.TestCase):
    def case(self, compute: str, policy: int) -> None:
        flags = [MODEL, "--model-name", "m", "--compute", compute, "--quant-policy", str(policy), "--session-len", "1024"]
        with Server(*flags, "--max-batch-size", "1") as idle:
            bodies, alone, alone_seconds = asyncio.run(one_by_one(idle.url))
        # A block after each prompt; the long answers need one or two more, and there are more slots than this is room for.
        blocks = sum(len(body["prompt"]) // BLOCK + 2 for body in bodies[:FITTING])
        flags += ["--max-batch-size", str(SLOTS), "--cache-block-seq-len", str(BLOCK), "--max-prefill-token-num", "48"]
        flags += ["--kv-cache-memory", str(blocks * BLOCK * TOKEN_BYTES[policy])]
        with Server(*flags) as busy:
            answers, seconds, metrics = asyncio.run(together(busy.url, bodies))
        print(
            f"{compute}, --quant-policy {policy}: {alone_seconds:.2f} s one after the other, {seconds:.2f} s together "
            f"({seconds / alone_seconds:.2f}); {metrics['ingot_max_requests_running']:.0f} at once, "
            f"{metrics['ingot_preemptions_total']:.0f} preemptions, "
            f"{metrics['ingot_prefix_cache_hits_total']:.0f} of {metrics['ingot_prefix_cache_queries_total']:.0f} "
            "prompt tokens from the cache",
            file=sys.stderr,
        )
        for i, (together_answer, alone_answer) in enumerate(zip(answers, alone, strict=True)):
            with self.subTest(request=i):
                self.assertEqual(content_of(together_answer), content_of(alone_answer))
        self.assertGreaterEqual(metrics["ingot_max_requests_running"], 32)
        self.assertGreater(metrics["ingot_preemptions_total"], 0)
        self.assertGreater(metrics["ingot_prefix_cache_hits_total"], 0)
        self.assertEqual(metrics["ingot_kv_blocks.active"], 0)

    def test_together_as_alone(self) -> None:
        for compute, policy in CASES:
            with self.subTest(compute=compute, policy=policy):
                self.case(compute, policy)


if __name__ == "__main__":
    unittest.main()
