"""The command that Ingot began with, word for word but for the port:

    ingot serve api_server InternLM/internlm-chat-7b --model-name internlm-chat-7b --server-port 8080
"""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest
import urllib.request

import tiny_internlm
from support import BINARY, Server


class SeedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        tiny_internlm.write_cache(pathlib.Path(folder.name))
        cls.environment = {"HF_HOME": folder.name}
        os.environ |= cls.environment
        os.environ.pop("HF_HUB_CACHE", None)

    def test_answers(self) -> None:
        body = {"model": "internlm-chat-7b", "messages": [{"role": "user", "content": "what is the capital"}],
                "max_tokens": 8, "temperature": 0}  # fmt: skip
        with Server("InternLM/internlm-chat-7b", "--model-name", "internlm-chat-7b") as server:
            request = urllib.request.Request(
                server.url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
            models = json.loads(server.get("/v1/models"))
        self.assertEqual(answer["model"], "internlm-chat-7b")
        self.assertIn(answer["choices"][0]["finish_reason"], ("stop", "length"))
        self.assertGreater(answer["usage"]["completion_tokens"], 0)
        self.assertGreater(answer["usage"]["prompt_tokens"], 10)
        self.assertEqual(models["data"][0]["id"], "internlm-chat-7b")

    def test_turns_are_marked_by_special_tokens(self) -> None:
        done = subprocess.run([BINARY, "tokenize", tiny_internlm.NAME, "--json", "--text", "<eoh>"],
                              capture_output=True, text=True, check=True)  # fmt: skip
        self.assertIn("<eoh>", json.loads(done.stdout)["tokens"])

    def test_a_model_that_is_not_there_is_looked_for_where_it_would_be(self) -> None:
        done = subprocess.run([BINARY, "info", "InternLM/another"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("models--InternLM--another", done.stderr)


if __name__ == "__main__":
    unittest.main()
