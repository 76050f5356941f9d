"""A crowd: streams by the hundred, a queue that is full, clients that leave at any moment. With INGOT_NIGHTLY=1 at full scale."""

import asyncio
import collections
import contextlib
import json
import os
import pathlib
import random
import re
import socket
import struct
import time
import unittest

from many_clients import Client, Response, allow_descriptors
from support import Server, require_model

MODEL = require_model()
NIGHTLY = bool(os.environ.get("INGOT_NIGHTLY"))
STREAMS = 1000 if NIGHTLY else 200
DISCONNECTS = 20_000 if NIGHTLY else 500
KEPT_SESSIONS = 20
SETTLE_SECONDS = 120  # generous, for what happens within a step or two


def completion(tokens: int, **fields) -> dict:
    return {"model": "m", "prompt": "The crowd", "max_tokens": tokens, "ignore_eos": True, "temperature": 0} | fields


async def stream(client: Client, tokens: int) -> int:
    """How many tokens a stream had; its own count of them, and its end, must agree."""
    body = completion(tokens, stream=True, return_token_ids=True, stream_options={"include_usage": True})
    async with client.send("POST", "/v1/completions", body) as response:
        if response.status != 200:
            raise AssertionError(f"{response.status}: {await response.text()}")
        counted, ends, usage = 0, [], None
        async for event in response.events():
            for choice in event["choices"]:
                counted += len(choice.get("token_ids") or [])
                ends += [choice["finish_reason"]] if choice["finish_reason"] else []
            usage = event.get("usage") or usage
    if ends != ["length"] or usage["completion_tokens"] != counted:
        raise AssertionError(f"{counted} tokens, ends {ends}, usage {usage}")
    return counted


async def settled(client: Client, **wanted: float) -> dict[str, float]:
    """The metrics once those named are what they should be; a failure when they do not become it."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        metrics = await client.metrics()
        found = {name: metrics[f"ingot_{name.replace('__', '.')}"] for name in wanted}
        if found == wanted:
            return metrics
        if time.monotonic() > end:
            raise AssertionError(f"{found} instead of {wanted}")
        await asyncio.sleep(0.05)


IDLE = {"num_requests_running": 0, "num_requests_waiting": 0, "kv_blocks__active": 0, "http_connections": 1, "sessions": 0}


class CrowdTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        allow_descriptors(4096)

    def test_every_stream_has_the_length_asked_for(self) -> None:
        draw = random.Random(1)
        lengths = [draw.randint(1, 16) for _ in range(STREAMS)]

        async def main(url: str) -> list[int]:
            client = Client(url)
            counts = await asyncio.gather(*(stream(client, length) for length in lengths))
            await settled(client, **IDLE)
            return counts

        with Server(MODEL, "--model-name", "m", "--session-len", "512", "--max-batch-size", "32") as server:
            self.assertEqual(asyncio.run(main(server.url)), lengths)

    def test_slots_and_queue_are_served_and_the_rest_is_told_to_come_back(self) -> None:
        # By default the queue holds 1024.
        flags, queue, slots, crowd = ([], 1024, 8, 1400) if NIGHTLY else (["--max-queue", "20"], 20, 4, 60)

        async def main(url: str) -> collections.Counter:
            client = Client(url)
            refused = asyncio.Queue()

            async def ask() -> int:
                async with client.send("POST", "/v1/completions", completion(3)) as response:
                    if response.status == 429:
                        refused.put_nowait(int(response.headers["retry-after"]))
                        error = json.loads(await response.text())["error"]
                        self.assertEqual((error["type"], error["param"]), ("rate_limit_error", None))
                    else:
                        self.assertEqual(json.loads(await response.text())["usage"]["completion_tokens"], 3)
                    return response.status

            async with contextlib.AsyncExitStack() as stack:
                # No later request gets a slot while these are there.
                for _ in range(slots):
                    long = completion(100_000 // (8 * slots), stream=True)
                    await stack.enter_async_context(client.send("POST", "/v1/completions", long))
                await settled(client, num_requests_running=slots, num_requests_waiting=0)
                asked = [asyncio.create_task(ask()) for _ in range(crowd)]
                for _ in range(crowd - queue):
                    self.assertGreaterEqual(await refused.get(), 1)
                await settled(client, num_requests_running=slots, num_requests_waiting=queue)
            statuses = collections.Counter(await asyncio.gather(*asked))
            await settled(client, **IDLE)
            return statuses

        with Server(MODEL, "--model-name", "m", "--max-batch-size", str(slots), *flags) as server:
            self.assertEqual(asyncio.run(main(server.url)), {200: queue, 429: crowd - queue})


class DisconnectingClient:
    """A client that goes away: before it has sent all, while it waits, after some pieces, gently or with a reset."""

    def __init__(self, url: str, seed: int) -> None:
        self.client = Client(url)
        self.draw = random.Random(seed)

    def request(self) -> tuple[str, dict]:
        words = " ".join(self.draw.choices(["one", "two", "three", "four"], k=self.draw.randint(1, 120)))
        fields = {"stream": self.draw.random() < 0.7, "n": self.draw.choice([1, 1, 1, 3]), "temperature": 1}
        kind = self.draw.randrange(4)
        if kind == 0:
            body = {"prompt": words, "session_id": -1, "interactive_mode": False, "request_output_len": 40, "stream": True}
            if self.draw.random() < 0.5:  # one of a few kept sessions, or the wish to stop what runs in it
                body |= {"session_id": self.draw.randint(1, KEPT_SESSIONS), "interactive_mode": True, "when_full": "renew"}
                body |= {"prompt": "", "cancel": True} if self.draw.random() < 0.3 else {}
            return "/v1/chat/interactive", body
        if kind == 1:
            return "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": words}], "max_tokens": 40} | fields
        return "/v1/completions", completion(40, prompt=words) | fields

    async def __call__(self) -> None:
        path, body = self.request()
        data = json.dumps(body).encode()
        async with self.client.connection() as (reader, writer):
            whole = self.client.head("POST", path, len(data)) + data
            how = self.draw.randrange(4)
            writer.write(whole[: self.draw.randint(0, len(whole))] if how == 0 else whole)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            if how == 1:
                await asyncio.sleep(self.draw.random() * 0.2)
            if how >= 2:
                await self.read_some(reader)
            if self.draw.random() < 0.5:  # a reset instead of an end
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(ConnectionError):
                writer.transport.abort()

    async def read_some(self, reader: asyncio.StreamReader) -> None:
        response = Response(reader, (await reader.readuntil(b"\r\n\r\n")).decode())
        left = self.draw.randint(0, 12)
        async for _ in response.chunks():
            left -= 1
            if left < 0:
                return


def descriptors(server: Server) -> int:
    return len(list(pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir()))


def resident_bytes(server: Server) -> int:
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


async def closed(server: Server, before: int) -> int:
    """The descriptors once there are as few as before: the server's side of a last connection may still be open."""
    end = time.monotonic() + SETTLE_SECONDS
    while (now := descriptors(server)) > before and time.monotonic() < end:
        await asyncio.sleep(0.05)
    return now


async def forget_kept(client: Client) -> None:
    """Deletes the sessions of disconnected clients."""
    for session in range(1, KEPT_SESSIONS + 1):
        async with client.send("DELETE", f"/v1/sessions/{session}") as response:
            if response.status not in (200, 404):
                raise AssertionError(f"{response.status}: {await response.text()}")


class DisconnectTest(unittest.TestCase):
    def test_disconnected_clients_leave_nothing_behind(self) -> None:
        """A small cache, so that some are preempted, and a request at the end that needs all of it."""
        tokens = 1024

        async def leave(url: str) -> None:
            waiting = asyncio.Semaphore(48)

            async def one(seed: int) -> None:
                async with waiting, asyncio.timeout(SETTLE_SECONDS):
                    await DisconnectingClient(url, seed)()

            await asyncio.gather(*(one(seed) for seed in range(DISCONNECTS)))

        async def main(server: Server) -> dict[str, float]:
            client = Client(server.url)
            await client.ask("/v1/completions", completion(1))
            await settled(client, **IDLE)
            before = descriptors(server)
            await leave(server.url)
            await forget_kept(client)
            await settled(client, **IDLE)
            self.assertLessEqual(await closed(server, before), before)
            prompt = [1 + i % 1000 for i in range(tokens - 40)]
            answer = await client.ask("/v1/completions", completion(40, prompt=prompt))
            self.assertEqual(answer["usage"]["total_tokens"], tokens)
            return await settled(client, **IDLE)

        flags = ["--session-len", str(tokens), "--max-batch-size", "16", "--cache-block-seq-len", "32"]
        with Server(MODEL, "--model-name", "m", *flags, "--kv-cache-memory", str(tokens * 23040)) as server:
            metrics = asyncio.run(main(server))
            self.assertEqual(metrics["ingot_kv_blocks.free"] + metrics["ingot_kv_blocks.cached"], tokens // 32)
            print(f"{DISCONNECTS} disconnected; {metrics['ingot_preemptions_total']:.0f} preemptions, "
                  f"{metrics['ingot_generation_tokens_total']:.0f} tokens generated")  # fmt: skip
            self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
