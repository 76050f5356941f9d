"""A crowd over gRPC: calls that are cancelled at any moment, clients that are killed or read slowly, streams by the hundred. With
INGOT_NIGHTLY=1 at full scale."""

import asyncio
import contextlib
import os
import random
import re
import subprocess
import sys
import tempfile
import unittest

from kserve_cases import PROMPT, tensors, tritonclient
from load_test import IDLE, KEPT_SESSIONS, closed, descriptors, forget_kept, resident_bytes, settled
from many_clients import Client
from protocols import make_stubs
from support import ROOT, Server, require_model, wait_until

import grpc
import grpc.aio
import tritonclient.grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

NIGHTLY = bool(os.environ.get("INGOT_NIGHTLY"))
CANCELS = 20_000 if NIGHTLY else 400
STREAMS = 1000 if NIGHTLY else 200
SLOW_READERS = 20 if NIGHTLY else 3
WAIT = 240
BLOCKS = 32  # of 32 tokens: one request of the whole context takes them all
TOKEN_BYTES = 256  # of the tiny model in the KV cache

temporary = tempfile.TemporaryDirectory()
pb, stubs = make_stubs(temporary.name)


class LeavingClient:
    """A call of any kind that ends early: cancelled before, while or after it is answered, by its deadline, or with its
    connection."""

    def __init__(self, address: str, channel: grpc.aio.Channel, seed: int) -> None:
        self.address, self.channel = address, channel
        self.draw = random.Random(seed)

    def call(self, channel: grpc.aio.Channel, deadline: float | None):
        generation = stubs.GenerationStub(channel)
        words = " ".join(self.draw.choices(["one", "two", "three", "four"], k=self.draw.randint(1, 40)))
        common = {"max_tokens": 600, "ignore_eos": True}
        n = self.draw.choice([1, 1, 1, 3])
        kind = self.draw.randrange(6)
        if kind == 0:
            return generation.ChatStream(pb.ChatRequest(messages=[pb.Message(role="user", content=words)], n=n, **common), timeout=deadline)
        if kind == 1:
            return generation.Complete(pb.CompleteRequest(prompt=[words], n=n, **common), timeout=deadline)
        if kind == 2:
            kept = pb.TurnRequest(session_id=self.draw.randint(1, KEPT_SESSIONS), when_full="renew", prompt=words, **common)
            return generation.TurnStream(kept, timeout=deadline)
        if kind == 3:
            return generation.TurnStream(pb.TurnRequest(prompt=words, interactive_mode=False, **common), timeout=deadline)
        if kind == 4:
            inputs = tensors(tritonclient.grpc, text_input=words, stream=True, **common)
            request = service_pb2.ModelInferRequest(
                model_name="m",
                inputs=[tensor._get_tensor() for tensor in inputs],
                raw_input_contents=[tensor._get_content() for tensor in inputs],
            )
            requests = [request] * self.draw.randint(1, 4)
            return service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter(requests), timeout=deadline)
        return generation.CompleteStream(pb.CompleteRequest(prompt=[words], n=n, **common), timeout=deadline)

    async def __call__(self) -> None:
        how = self.draw.randrange(16)
        own = grpc.aio.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)]) if how == 0 else None
        call = self.call(own or self.channel, 0.2 * self.draw.random() if how < 4 else None)
        with contextlib.suppress(grpc.RpcError, asyncio.CancelledError):
            if how < 8:
                await asyncio.sleep(0.2 * self.draw.random())
            else:
                await self.read_some(call)
        call.cancel()
        if own is not None:
            await own.close()

    async def read_some(self, call) -> None:
        left = self.draw.randint(0, 12)
        if isinstance(call, grpc.aio.UnaryUnaryCall):
            await asyncio.sleep(0.02 * left)
            return
        while left > 0 and await call.read() is not grpc.aio.EOF:
            left -= 1


async def leave(address: str) -> None:
    """What a process of its own does, whose connections end with it: the client library keeps some of those it has closed."""
    waiting = asyncio.Semaphore(48)
    async with grpc.aio.insecure_channel(address) as channel:

        async def one(seed: int) -> None:
            async with waiting, asyncio.timeout(WAIT):
                await LeavingClient(address, channel, seed)()

        await asyncio.gather(*(one(seed) for seed in range(CANCELS)))


async def read_four(address: str) -> None:
    """Reads four streams at once, and more of them, until this process is killed."""
    request = pb.CompleteRequest(prompt=[PROMPT], max_tokens=800, ignore_eos=True)
    async with grpc.aio.insecure_channel(address) as channel:
        generation = stubs.GenerationStub(channel)
        has_begun = asyncio.Event()

        async def read() -> None:
            while True:
                async for _ in generation.CompleteStream(request):
                    if not has_begun.is_set():
                        print("reading", flush=True)
                    has_begun.set()

        await asyncio.gather(*(read() for _ in range(4)))


def tiny_server(home: str, *flags: str) -> Server:
    """Of a model so small that calls, not the model, take the time."""
    write = [str(ROOT / "build/venv/bin/python"), str(ROOT / "tests/tiny_internlm.py"), home]
    name = subprocess.run(write, check=True, capture_output=True, text=True).stdout.strip()
    return Server(name, "--model-name", "m", *flags, env={**os.environ, "HF_HOME": home, "HF_HUB_CACHE": f"{home}/hub"})


class CancelTest(unittest.TestCase):
    def test_cancelled_calls_leave_nothing_behind(self) -> None:
        """A small cache, so that some are preempted, and a request at the end that needs all of it."""

        async def process(function, server: Server) -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                sys.executable, __file__, function.__name__, server.grpc_address, stdout=subprocess.PIPE
            )

        async def kill(server: Server) -> None:
            for _ in range(20 if NIGHTLY else 2):
                reading = await process(read_four, server)
                async with asyncio.timeout(WAIT):
                    self.assertEqual(await reading.stdout.readline(), b"reading\n")
                reading.kill()
                await reading.wait()

        async def main(server: Server) -> dict[str, float]:
            client = Client(server.url)
            await settled(client, **IDLE)
            before = descriptors(server)
            leaving = await process(leave, server)
            self.assertEqual(await leaving.wait(), 0)
            await forget_kept(client)
            await settled(client, **IDLE)
            await kill(server)
            await settled(client, **IDLE)
            self.assertLessEqual(await closed(server, before), before)
            tokens = 32 * BLOCKS
            ids = [3 + i % 300 for i in range(tokens - 40)]
            async with grpc.aio.insecure_channel(server.grpc_address) as channel:
                request = pb.CompleteRequest(prompt_token_ids=ids, max_tokens=40, ignore_eos=True)
                answer = await stubs.GenerationStub(channel).Complete(request)
            self.assertEqual(answer.usage.total_tokens, tokens)
            return await settled(client, **IDLE)

        flags = ["--session-len", str(32 * BLOCKS), "--max-batch-size", "16", "--cache-block-seq-len", "32"]
        flags += ["--kv-cache-memory", str(32 * BLOCKS * TOKEN_BYTES), "--grpc-port", "0"]
        with tempfile.TemporaryDirectory() as home, tiny_server(home, *flags) as server:
            metrics = asyncio.run(main(server))
            self.assertEqual(metrics["ingot_kv_blocks.free"] + metrics["ingot_kv_blocks.cached"], BLOCKS)
            print(f"{CANCELS} cancelled; {metrics['ingot_preemptions_total']:.0f} preemptions, "
                  f"{metrics['ingot_generation_tokens_total']:.0f} tokens generated")  # fmt: skip
            self.assertEqual(server.stop(), 0)

    def test_a_client_that_goes_away_costs_one_step_at_most(self) -> None:
        """Prompts of 16 steps and more, each of which takes longer than the news of a cancel."""
        draw = random.Random(3)

        def leave_while_it_is_read(server: Server, ask) -> float:
            """The steps that ended after the client had left."""
            before = value(server, "ingot_engine_steps_total")
            cancel = ask(pb.CompleteRequest(prompt_token_ids=draw.choices(range(100, 40_000), k=8000), max_tokens=8))
            wait_until(lambda: value(server, "ingot_engine_steps_total") > before)
            left = value(server, "ingot_engine_steps_total")
            self.assertLess(left - before, 8)
            cancel()
            wait_until(lambda: value(server, "ingot_num_requests_running") == 0)
            self.assertEqual(value(server, 'ingot_kv_blocks{model_name="m",state="active"}'), 0)
            return value(server, "ingot_engine_steps_total") - left

        with Server(require_model(), "--model-name", "m", "--session-len", "8192", "--grpc-port", "0") as server:
            with grpc.insecure_channel(server.grpc_address) as channel:
                generation = stubs.GenerationStub(channel)
                ways = {
                    "a stream": lambda request: generation.CompleteStream(request).cancel,
                    "an answer in one piece": lambda request: generation.Complete.future(request).cancel,
                    "its connection": lambda request: close_with(server, request),
                }
                for name, ask in ways.items():
                    with self.subTest(name):
                        # The step under way, and the one that may begin before the news arrives.
                        self.assertLessEqual(leave_while_it_is_read(server, ask), 2)


def value(server: Server, name: str) -> float:
    """Of the metric of this name; with labels if they are given, else of whatever labels."""
    found = re.search(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", server.get("/metrics"), re.MULTILINE)
    return float(found.group(1))


def close_with(server: Server, request):
    """Asks over a connection of its own. Returns what closes it."""
    channel = grpc.insecure_channel(server.grpc_address, [("grpc.use_local_subchannel_pool", 1)])
    call = stubs.GenerationStub(channel).CompleteStream(request)  # which ends when nothing refers to it
    return lambda: (channel.close(), call)


class CrowdTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(require_model(), "--model-name", "m", "--session-len", "2048", "--max-queue", "2048", "--grpc-port", "0")
        cls.addClassCleanup(cls.server.__exit__)
        cls.address = cls.server.grpc_address

    def idle(self) -> None:
        asyncio.run(settled(Client(self.server.url), **IDLE))

    def test_many_streams_at_once(self) -> None:
        request = pb.CompleteRequest(prompt=[PROMPT], max_tokens=4, ignore_eos=True, temperature=0)
        with grpc.insecure_channel(self.address) as channel:
            generation = stubs.GenerationStub(channel)
            calls = [generation.CompleteStream(request) for _ in range(STREAMS)]
            texts = {"".join(piece.choices[0].text for piece in call if piece.choices) for call in calls}
        self.assertEqual(len(texts), 1)
        self.idle()

    def test_slow_readers_are_ended_and_take_no_memory(self) -> None:
        # 2,400 pieces with logprobs are more than the buffers on the way hold: 64 KiB of the stream, 256 KiB of the server.
        # All draw the same answers, whose KV blocks are the same: they would be new memory otherwise.
        request = pb.CompleteRequest(prompt=[PROMPT], n=8, max_tokens=300, ignore_eos=True, logprobs=20, seed=1)

        slow = self.ended_slowly()
        resident = []
        for _ in range(SLOW_READERS):
            with grpc.insecure_channel(self.address, [("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0)]) as channel:
                call = stubs.GenerationStub(channel).CompleteStream(request, timeout=300)
                next(call)
                slow += 1
                wait_until(lambda expected=slow: self.ended_slowly() == expected)
                self.idle()
                with self.assertRaises(grpc.RpcError):
                    list(call)
            resident.append(resident_bytes(self.server))
        # The first two touch what the server has planned.
        self.assertLess(resident[-1] - resident[1], 8 << 20)

    def ended_slowly(self) -> int:
        return int(re.search(r"^ingot_sse_slow_consumer_total (\d+)", self.server.get("/metrics"), re.M).group(1))


if __name__ == "__main__":
    if sys.argv[1:2] in (["leave"], ["read_four"]):
        asyncio.run(globals()[sys.argv[1]](sys.argv[2]))
    else:
        unittest.main()
