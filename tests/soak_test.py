"""Mixed load with faults, for seconds; with INGOT_NIGHTLY=1 for half an hour (INGOT_SOAK_SECONDS says otherwise). Every request ends,
nothing is left over, and memory stays what it was after the warm-up."""

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import tempfile
import time
import unittest

from load_test import IDLE, SETTLE_SECONDS, DisconnectingClient, closed, completion, descriptors, forget_kept, resident_bytes, settled
from many_clients import Client, allow_descriptors
from support import Server, require_model

MODEL = require_model()
SECONDS = float(os.environ.get("INGOT_SOAK_SECONDS") or (1800 if os.environ.get("INGOT_NIGHTLY") else 6))
WORKERS = 30  # more than slots and queue hold
BLOCKS = 40  # of 32 tokens: the longest context takes 32
GROWTH_BYTES = 24 << 20  # of resident memory, from a quarter of the time on
MEASURED_FROM_SECONDS = 60  # what is shorter warms up for too short a time to judge


@dataclasses.dataclass
class Outcomes:
    whole: int = 0  # answers with their final event
    refused: int = 0  # 400, 404, 409, 422, 429
    late: int = 0  # the deadline passed
    left: int = 0


class Worker:
    """One request after the other, of any kind, until the time is up."""

    def __init__(self, url: str, number: int, outcomes: Outcomes) -> None:
        self.client = Client(url)
        self.url = url
        self.number = number
        self.draw = random.Random(number)
        self.outcomes = outcomes

    async def run(self, end: float) -> None:
        kinds = [self.answer, self.answer, self.stream, self.stream, self.session, self.cancel, self.read_slowly, self.wrong,
                 self.leave]  # fmt: skip
        while time.monotonic() < end:
            async with asyncio.timeout(SETTLE_SECONDS):
                refused = self.outcomes.refused
                await self.draw.choice(kinds)()
                if self.outcomes.refused > refused:
                    await asyncio.sleep(self.draw.random())

    def fields(self) -> dict:
        words = " ".join(self.draw.choices(["rain", "sun", "wind", "snow", "fog"], k=self.draw.randint(1, 300)))
        fields = {"prompt": words, "temperature": self.draw.choice([0, 1]), "n": self.draw.choice([1, 1, 2])}
        if self.draw.random() < 0.2:
            fields["timeout"] = self.draw.choice([0.01, 0.2, 5])
        if self.draw.random() < 0.2:
            fields |= {"logprobs": 3, "stop": ["e "], "bad_words": ["the"], "logit_bias": {"30": -50}}
        if self.draw.random() < 0.3:
            fields["priority"] = self.draw.choice([-3, 1, 5])
        if self.draw.random() < 0.1:
            fields["prompt_logprobs"] = 1
        return fields

    async def post(self, path: str, body: dict) -> dict | None:
        async with self.client.send("POST", path, body) as response:
            return self.judge(response.status, await response.text())

    def judge(self, status: int, text: str) -> dict | None:
        if status == 200:
            self.outcomes.whole += 1
            return json.loads(text)
        if status in (408, 504):
            self.outcomes.late += 1
        elif status in (400, 404, 409, 422, 429):
            self.outcomes.refused += 1
        else:
            raise AssertionError(f"{status}: {text}")
        return None

    async def answer(self) -> None:
        body = completion(self.draw.choice([5, 30, 60, 250])) | self.fields()
        answer = await self.post("/v1/completions", body)
        if answer and [choice["index"] for choice in answer["choices"]] != list(range(body["n"])):
            raise AssertionError(f"{body}: {answer}")

    async def stream(self) -> None:
        body = completion(self.draw.choice([5, 30, 60, 250]), stream=True) | self.fields()
        body.pop("prompt_logprobs", None)
        async with self.client.send("POST", "/v1/completions", body) as response:
            if response.status != 200:
                self.judge(response.status, await response.text())
                return
            ends, late = [], False
            async for event in response.events():
                late = late or "error" in event
                ends += [choice["index"] for choice in event.get("choices", []) if choice["finish_reason"]]
        if late:
            self.outcomes.late += 1
        elif sorted(ends) == list(range(body["n"])):
            self.outcomes.whole += 1
        else:
            raise AssertionError(f"{body}: final events of {ends}")

    def turn(self, prompt: str, tokens: int) -> dict:
        return {"session_id": self.number + 1, "interactive_mode": True, "prompt": prompt, "request_output_len": tokens}

    async def forget(self) -> None:
        async with self.client.send("DELETE", f"/v1/sessions/{self.number + 1}") as response:
            self.judge(200 if response.status < 300 else response.status, "{}")

    async def session(self) -> None:
        for _ in range(self.draw.randint(1, 3)):
            await self.post("/v1/chat/interactive", self.turn("More. " * self.draw.randint(1, 30), self.draw.randint(1, 20)))
            if self.draw.random() < 0.3:
                await self.post(f"/v1/sessions/{self.number + 1}/rewind", {"step": self.draw.randint(0, 60)})
        await self.forget()

    async def cancel(self) -> None:
        """A turn that is stopped by another request ends as one that was not, only sooner."""
        answer = asyncio.create_task(self.post("/v1/chat/interactive", self.turn("On and on.", 400)))
        await asyncio.sleep(self.draw.random())
        await self.post("/v1/chat/interactive", self.turn("", 0) | {"cancel": True})
        await answer
        await self.forget()

    async def read_slowly(self) -> None:
        """Nothing is read for a while; then all of it, or nothing ever."""
        async with self.client.send("POST", "/v1/completions", completion(60, stream=True)) as response:
            await asyncio.sleep(2 * self.draw.random())
            if self.draw.random() < 0.5:
                self.outcomes.left += 1
            elif response.status != 200:
                self.judge(response.status, await response.text())
            else:
                async for _ in response.events():
                    pass
                self.outcomes.whole += 1

    async def wrong(self) -> None:
        body = self.draw.choice([{"temperature": -1}, {"prompt": "word " * 5000}, {"max_tokens": 0}, {"model": "other"}])
        if await self.post("/v1/completions", completion(1) | body) is not None:
            raise AssertionError(f"accepted: {body}")

    async def leave(self) -> None:
        await DisconnectingClient(self.url, self.draw.getrandbits(32))()
        self.outcomes.left += 1


async def soak(server: Server) -> tuple[Outcomes, list[int]]:
    outcomes, resident = Outcomes(), []
    begin = time.monotonic()

    async def watch() -> None:
        while True:
            resident.append(resident_bytes(server))
            await asyncio.sleep(SECONDS / 60)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(Worker(server.url, number, outcomes).run(begin + SECONDS) for number in range(WORKERS)))
    watcher.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watcher
    return outcomes, resident


class SoakTest(unittest.TestCase):
    def test_nothing_grows_and_everyone_gets_an_end(self) -> None:
        async def main(server: Server) -> None:
            client = Client(server.url)
            await client.ask("/v1/completions", completion(1))
            await settled(client, **IDLE)
            before = descriptors(server)
            outcomes, resident = await soak(server)
            await forget_kept(client)
            metrics = await settled(client, **IDLE)
            warm, last = max(resident[: len(resident) // 4 + 1]), resident[-1]
            print(f"{SECONDS:.0f} s: {outcomes}; {metrics['ingot_preemptions_total']:.0f} preemptions; "
                  f"resident {warm >> 20} MiB after the warm-up, {last >> 20} MiB at the end")  # fmt: skip
            self.assertLessEqual(await closed(server, before), before)
            self.assertEqual(metrics["ingot_kv_blocks.free"] + metrics["ingot_kv_blocks.cached"], BLOCKS)
            self.assertGreater(outcomes.whole, 0)
            if SECONDS >= MEASURED_FROM_SECONDS:
                self.assertLessEqual(last, warm + GROWTH_BYTES)

        allow_descriptors(4096)
        flags = ["--session-len", "1024", "--max-batch-size", "12", "--max-queue", "16", "--cache-block-seq-len", "32"]
        with tempfile.TemporaryDirectory() as folder:
            flags += ["--kv-cache-memory", str(BLOCKS * 32 * 23040), "--session-db", folder + "/sessions.db"]
            server = Server(MODEL, "--model-name", "m", *flags)
            self.addCleanup(server.__exit__)
            asyncio.run(main(server))
            self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
