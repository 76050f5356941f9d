"""KServe's own client package, over HTTP and gRPC, asks Ingot alone and Ingot behind a tritonserver."""

import asyncio
import contextlib
import logging
import sys
import tempfile
import threading
import time
import types
import unittest

from kserve_cases import PROMPT, Cases, InferenceServerException, rest_completion, tensors
from support import Server, require_model
from triton_server import Triton

try:
    import httpx
    import kserve
    import kserve.inference_client
    import numpy
    from kserve.protocol.grpc import grpc_predict_v2_pb2
except ImportError as missing:
    print(f"skipped: {missing}; tools/bootstrap.sh test installs it into build/venv-kserve")
    sys.exit(77)

import grpc
from protocols import compare_protocols, file_of, own_protocol

WAIT = 240
LOOP = asyncio.new_event_loop()
INGOT = TRITON = None
temporary = tempfile.TemporaryDirectory()


def run(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(WAIT)


def setUpModule() -> None:
    global INGOT, TRITON
    logging.disable()  # the client's, of errors that are expected
    threading.Thread(target=LOOP.run_forever, daemon=True).start()
    INGOT = Server(require_model(), "--model-name", "m", "--session-len", "2048", "--max-queue", "256", "--grpc-port", "0")
    unittest.addModuleCleanup(INGOT.__exit__)
    TRITON = Triton(temporary.name)
    unittest.addModuleCleanup(TRITON.stop)


class Result:
    """An answer, with the methods of tritonclient's."""

    def __init__(self, response) -> None:
        self.outputs = {output.name: output for output in response.outputs}

    def as_numpy(self, name: str):
        array = self.outputs[name].as_numpy()
        return numpy.vectorize(to_bytes, otypes=[object])(array) if array.dtype == object else array


def to_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


class Client:
    """kserve's client with the methods that Cases calls, from any thread; `async with` gives its asynchronous self."""

    def __init__(self, ask, closing) -> None:
        self.ask, self.closing = ask, closing

    def infer(self, model: str, inputs: list, **parameters) -> Result:
        return run(self.answer(model, inputs, **parameters))

    async def answer(self, model: str, inputs: list, **parameters) -> Result:
        try:
            return Result(await self.ask(kserve.InferRequest(model_name=model, infer_inputs=inputs, parameters=parameters)))
        except grpc.RpcError as error:
            raise InferenceServerException(str(error)) from error
        except httpx.HTTPStatusError as error:  # its own text leaves Triton's message out
            raise InferenceServerException(error.response.text) from error

    def close(self) -> None:
        run(self.closing())


class KserveCases(Cases):
    module = types.SimpleNamespace(InferInput=kserve.InferInput)
    model = "m"

    @classmethod
    def setUpClass(cls) -> None:
        cls.rest_url = INGOT.url
        cls.client = cls.connect()
        cls.addClassCleanup(cls.client.close)

    @contextlib.asynccontextmanager
    async def connect_aio(self):
        client = self.make()
        yield types.SimpleNamespace(infer=client.answer)
        await client.closing()

    @classmethod
    def connect(cls) -> Client:
        async def make() -> Client:  # on the loop that it will use
            return cls.make()

        return run(make())

    def reference(self, **fields) -> dict:
        return rest_completion(INGOT.url, **fields)

    def test_a_task_that_is_cancelled_leaves_nothing(self) -> None:
        inputs = tensors(self.module, text_input=PROMPT, max_tokens=1800, ignore_eos=True)
        future = asyncio.run_coroutine_threadsafe(self.client.answer("m", inputs), LOOP)
        time.sleep(0.5)
        future.cancel()
        begin = time.monotonic()
        self.infer(max_tokens=2)  # the server is well
        end = begin + WAIT
        while 'ingot_num_requests_running{model_name="m"} 0' not in INGOT.get("/metrics") and time.monotonic() < end:
            time.sleep(0.05)
        self.assertLess(time.monotonic(), end)


class RestCases(KserveCases):
    @classmethod
    def raw(cls):
        config = kserve.inference_client.RESTConfig(protocol="v2", retries=0, timeout=WAIT)
        return kserve.inference_client.InferenceRESTClient(config), cls.url()

    @classmethod
    def make(cls) -> Client:
        client, url = cls.raw()
        return Client(lambda request: client.infer(url, request, model_name="m"), client.close)

    # Its is_server_live and is_server_ready read bodies that Triton and the protocol do not have.
    def test_model_is_ready(self) -> None:
        async def ready() -> bool:
            client, url = self.raw()
            try:
                return await client.is_model_ready(url, "m")
            finally:
                await client.close()

        self.assertTrue(run(ready()))


class GrpcCases(KserveCases):
    @classmethod
    def raw(cls):
        return kserve.inference_client.InferenceGRPCClient(cls.address(), retries=0, timeout=WAIT)

    @classmethod
    def make(cls) -> Client:
        client = cls.raw()
        return Client(client.infer, client.close)

    def test_server_and_model_are_ready(self) -> None:
        async def ready() -> list[bool]:
            client = self.raw()
            try:
                return [await client.is_server_live(), await client.is_server_ready(), await client.is_model_ready("m")]
            finally:
                await client.close()

        self.assertEqual(run(ready()), [True, True, True])


class IngotOverRest(RestCases, unittest.TestCase):
    @staticmethod
    def url() -> str:
        return INGOT.url


class IngotOverGrpc(GrpcCases, unittest.TestCase):
    @staticmethod
    def address() -> str:
        return INGOT.grpc_address

    def test_the_protocol_is_the_one_of_kserves_client(self) -> None:
        compare_protocols(self, own_protocol(), [file_of(grpc_predict_v2_pb2)], partial={"InferParameter"}, only_common=True)


class TritonOverRest(RestCases, unittest.TestCase):
    @staticmethod
    def url() -> str:
        return f"http://127.0.0.1:{TRITON.http}"


class TritonOverGrpc(GrpcCases, unittest.TestCase):
    @staticmethod
    def address() -> str:
        return f"127.0.0.1:{TRITON.grpc}"


if __name__ == "__main__":
    unittest.main()
