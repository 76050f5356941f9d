"""The backend in a real tritonserver (of PyPI's nvidia-pytriton), asked by Triton's clients over HTTP and gRPC."""

import json
import pathlib
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

from kserve_cases import DRAWN, PROMPT, Cases, InferenceServerException, rest_completion, tensors, text_of, tritonclient
from support import BINARY, Server, require_model
from triton_server import BACKENDS, WAIT, Triton, find_tritonserver

import tritonclient.grpc.aio
import tritonclient.http.aio

temporary = tempfile.TemporaryDirectory()
find_tritonserver()
TRITON = REST = None


def setUpModule() -> None:
    global TRITON, REST
    TRITON = Triton(temporary.name)
    unittest.addModuleCleanup(TRITON.stop)
    REST = Server(require_model(), "--model-name", "m", "--session-len", "2048")
    unittest.addModuleCleanup(REST.__exit__)


class HttpTest(Cases, unittest.TestCase):
    module = tritonclient.http
    model = "m"

    @classmethod
    def setUpClass(cls) -> None:
        cls.rest_url = REST.url
        cls.client = cls.connect()

    @classmethod
    def connect(cls):
        return tritonclient.http.InferenceServerClient(f"127.0.0.1:{TRITON.http}", connection_timeout=120, network_timeout=120)

    def connect_aio(self):
        return tritonclient.http.aio.InferenceServerClient(f"127.0.0.1:{TRITON.http}")

    def reference(self, **fields) -> dict:
        return rest_completion(REST.url, **fields)

    def test_generate(self) -> None:
        expected = self.reference(prompt=PROMPT, **DRAWN)["choices"][0]["text"]

        def post(path: str, **body) -> str:
            request = urllib.request.Request(f"http://127.0.0.1:{TRITON.http}/v2/models/pieces/{path}", json.dumps({"text_input": PROMPT, **DRAWN, **body}).encode())
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.read().decode()

        self.assertEqual(json.loads(post("generate", exclude_input_in_output=True))["text_output"], expected)
        events = [json.loads(line.removeprefix("data: ")) for line in post("generate_stream", stream=True).splitlines() if line]
        self.assertEqual("".join(event["text_output"] for event in events), expected)
        self.assertGreater(len(events), 3)

    def test_whole_answers_have_no_pieces(self) -> None:
        with self.assertRaisesRegex(InferenceServerException, "not decoupled"):
            self.infer(stream=True)

    def test_metrics_count_requests(self) -> None:
        self.infer(max_tokens=2)
        with urllib.request.urlopen(f"http://127.0.0.1:{TRITON.metrics}/metrics", timeout=60) as response:
            self.assertRegex(response.read().decode(), r'nv_inference_request_success{model="m",version="1"} [1-9]')


class GrpcTest(HttpTest):
    module = tritonclient.grpc

    @classmethod
    def connect(cls):
        return tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{TRITON.grpc}")

    def connect_aio(self):
        return tritonclient.grpc.aio.InferenceServerClient(f"127.0.0.1:{TRITON.grpc}")

    def stream(self, values: dict):
        results, last = [], threading.Event()

        def on_result(result, error) -> None:
            results.append(error or result)
            if error or result.get_response().parameters["triton_final_response"].bool_param:
                last.set()

        client = self.connect()
        client.start_stream(on_result)
        client.async_stream_infer("pieces", tensors(self.module, text_input=PROMPT, **values), enable_empty_final_response=True)
        return client, results, last

    def test_streams_and_cancels(self) -> None:
        expected = self.reference(prompt=PROMPT, **DRAWN)["choices"][0]["text"]
        client, results, last = self.stream({**DRAWN, "stream": True})
        self.assertTrue(last.wait(WAIT))
        client.stop_stream()
        pieces = [text_of(result) for result in results if result.get_response().outputs]
        self.assertEqual("".join(pieces), expected)
        self.assertGreater(len(pieces), 3)
        client, results, last = self.stream({"max_tokens": 1800, "ignore_eos": True, "stream": True})
        end = time.monotonic() + WAIT
        while not results and time.monotonic() < end:
            time.sleep(0.01)
        client.stop_stream(cancel_requests=True)
        # Were it not cancelled, the server's end would wait for 1,800 tokens. It ends below, in time.
        self.assertLess(len(results), 1700)


class CommandTest(unittest.TestCase):
    def test_the_repository_is_written_and_foreign_ones_are_left(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            def run(*arguments: str) -> subprocess.CompletedProcess:
                return subprocess.run(
                    [BINARY, "serve", "triton", require_model(), "--model-repository", folder, "--model-name", "x", "--backend-directory", BACKENDS, *arguments],
                    capture_output=True, text=True, env={"PATH": folder}, timeout=60,
                )  # fmt: skip

            self.assertEqual(run("--no-start").returncode, 0)
            missing = run()
            self.assertEqual(missing.returncode, 1)
            self.assertIn("pip install nvidia-pytriton", missing.stderr)
            self.assertIn("outside 0…", run("--session-len", "-4", "--no-start").stderr)
            config = pathlib.Path(folder, "x/config.pbtxt")
            config.write_text('name: "x"\n')
            self.assertIn("name another --model-repository", run("--no-start").stderr)
            self.assertEqual(config.read_text(), 'name: "x"\n')


if __name__ == "__main__":
    unittest.main()
