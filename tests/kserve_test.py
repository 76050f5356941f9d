"""KServe v2 over HTTP, asked by Triton's client and by Triton's generate extension."""

import json
import threading
import unittest
import urllib.error
import urllib.request

import tritonclient.http.aio
from kserve_cases import DRAWN, PROMPT, Cases, InferenceServerException, rest_completion, tensors, text_of, tritonclient
from support import Server, require_model


class KserveTest(Cases, unittest.TestCase):
    module = tritonclient.http
    model = "m"

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(require_model(), "--model-name", "m", "--session-len", "2048", "--max-queue", "256")
        cls.addClassCleanup(cls.server.__exit__)
        cls.rest_url = cls.server.url
        cls.client = cls.connect()

    @classmethod
    def connect(cls):
        return tritonclient.http.InferenceServerClient(cls.server.url.removeprefix("http://"), connection_timeout=120, network_timeout=120)

    def connect_aio(self):
        return tritonclient.http.aio.InferenceServerClient(self.server.url.removeprefix("http://"))

    def reference(self, **fields) -> dict:
        return rest_completion(self.server.url, **fields)

    def post(self, path: str, body: dict) -> str:
        request = urllib.request.Request(f"{self.server.url}/v2/models/m/{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.read().decode()

    def test_server_and_model_are_described(self) -> None:
        self.assertTrue(self.client.is_server_live() and self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("m") and self.client.is_model_ready("m", "1"))
        self.assertFalse(self.client.is_model_ready("other"))
        self.assertEqual(self.client.get_server_metadata()["name"], "ingot")
        metadata = self.client.get_model_metadata("m")
        self.assertEqual(metadata["versions"], ["1"])
        self.assertIn({"name": "text_input", "datatype": "BYTES", "shape": [-1, 1]}, metadata["inputs"])
        with self.assertRaisesRegex(InferenceServerException, "'other' is not served here"):
            self.client.get_model_metadata("other")

    def test_configuration_and_statistics(self) -> None:
        config = self.client.get_model_config("m")
        self.assertEqual((config["name"], config["max_batch_size"]), ("m", 128))
        self.assertIn({"name": "stop_words_list", "data_type": "TYPE_INT32", "dims": [2, -1], "optional": True}, config["input"])

        def success() -> int:
            return self.client.get_inference_statistics("m")["model_stats"][0]["inference_stats"]["success"]["count"]

        before = success()
        self.infer(max_tokens=2)
        self.assertEqual(success(), before + 1)
        self.assertEqual(self.client.get_inference_statistics()["model_stats"][0]["name"], "m")

    def test_outputs_come_as_json_or_binary(self) -> None:
        module = tritonclient.http
        inputs = tensors(module, text_input=PROMPT, max_tokens=5, temperature=0.0)
        outputs = [module.InferRequestedOutput("text_output", binary_data=False), module.InferRequestedOutput("output_ids", binary_data=True)]
        result = self.client.infer("m", inputs, outputs=outputs, request_id="abc")
        response = result.get_response()
        self.assertEqual(response["id"], "abc")
        self.assertEqual([output["name"] for output in response["outputs"]], ["text_output", "output_ids"])
        self.assertIn("data", response["outputs"][0])
        self.assertGreater(result.as_numpy("output_ids").size, 0)

    def test_generate(self) -> None:
        choice = self.reference(prompt=PROMPT, **DRAWN)["choices"][0]
        expected = choice["text"]
        flat = json.loads(self.post("generate", {"text_input": PROMPT, "parameters": DRAWN, "exclude_input_in_output": True}))
        self.assertEqual(flat["text_output"], expected)
        self.assertEqual(flat["model_name"], "m")
        events = self.post("generate_stream", {"text_input": PROMPT, **DRAWN})
        pieces = [json.loads(line.removeprefix("data: ")) for line in events.splitlines() if line]
        self.assertEqual("".join(piece["text_output"] for piece in pieces), expected)
        self.assertEqual(pieces[-1]["finish_reason"], choice["finish_reason"])
        self.assertGreater(len(pieces), 3)

    def test_errors_are_flat(self) -> None:
        for path, body in (("generate", {"text_input": "a", "top_p": 7}), ("infer", {"inputs": []}), ("nothing", {})):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                self.post(path, body)
            self.assertIsInstance(json.load(caught.exception)["error"], str)
        with self.assertRaisesRegex(InferenceServerException, "comes whole"):
            self.infer(stream=True)
        module = tritonclient.http
        wrong = module.InferInput("temperature", [1, 1], "INT32")
        wrong.set_data_from_numpy(__import__("numpy").array([[1]], dtype="int32"))
        with self.assertRaisesRegex(InferenceServerException, r"expected FP32 of shape \[1\], given INT32 of shape \[1,1\]"):
            self.client.infer("m", [*tensors(module, text_input="a"), wrong])

    def test_a_client_that_leaves_cancels(self) -> None:
        request = urllib.request.Request(
            f"{self.server.url}/v2/models/m/generate_stream",
            json.dumps({"text_input": PROMPT, "max_tokens": 1500, "ignore_eos": True}).encode(),
        )
        response = urllib.request.urlopen(request, timeout=60)
        response.readline()
        response.close()
        for _ in range(100):
            if "ingot_num_requests_running{model_name=\"m\"} 0" in self.server.get("/metrics"):
                return
            threading.Event().wait(0.1)
        self.fail("the request still runs")


if __name__ == "__main__":
    unittest.main()
