"""A client that openapi-python-client generates from /openapi.json: it has every route, and calls those of the seed."""

import importlib
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import urllib.request

import tiny_internlm

if importlib.util.find_spec("openapi_python_client") is None:
    print("skipped: openapi-python-client is not here; tools/bootstrap.sh test installs it")
    sys.exit(77)


class GeneratedClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = tiny_internlm.serve(cls, "--api-keys", "key")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        request = urllib.request.Request(cls.server.url + "/openapi.json", headers={"Authorization": "Bearer key"})
        with urllib.request.urlopen(request, timeout=60) as response:
            cls.document = json.load(response)
        (cls.folder / "openapi.json").write_text(json.dumps(cls.document))
        (cls.folder / "config.yaml").write_text("post_hooks: []\npackage_name_override: generated\n")
        # Not the program beside it, whose first line may be too long for the kernel.
        command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--path", "openapi.json",
                   "--output-path", "generated", "--config", "config.yaml"]  # fmt: skip
        cls.outcome = subprocess.run(command, cwd=cls.folder, capture_output=True, text=True, timeout=300)
        sys.path.insert(0, folder.name)
        cls.addClassCleanup(sys.path.remove, folder.name)
        cls.client = importlib.import_module("generated").AuthenticatedClient(base_url=cls.server.url, token="key", timeout=60)

    def operation(self, name: str):
        found = list((self.folder / "generated/api").glob(f"*/{name}.py"))
        self.assertEqual(len(found), 1, f"{name}: {self.outcome.stdout}")
        return importlib.import_module(f"generated.api.{found[0].parent.name}.{name}")

    def model(self, name: str):
        return getattr(importlib.import_module("generated.models"), name)

    def test_it_has_every_route(self) -> None:
        self.assertEqual(self.outcome.returncode, 0, self.outcome.stdout + self.outcome.stderr)
        self.assertNotIn("Warning", self.outcome.stdout)
        self.assertNotIn("Unable", self.outcome.stdout + self.outcome.stderr)
        operations = [operation["operationId"] for path in self.document["paths"].values() for operation in path.values()]
        self.assertGreater(len(operations), 15)
        for operation in operations:
            self.operation(operation)

    def test_models(self) -> None:
        listed = self.operation("get_v1_models").sync(client=self.client)
        self.assertEqual([model.id for model in listed.data], ["tiny"])

    def test_chat_completions(self) -> None:
        message = {"role": "user", "content": "what is the capital of France"}
        body = {"model": "tiny", "messages": [message], "max_tokens": 4, "temperature": 0, "logprobs": True, "top_logprobs": 2}
        request = self.model("ChatCompletionRequest").from_dict(body)
        self.assertEqual(request.to_dict(), body)
        answer = self.operation("post_v1_chat_completions").sync(client=self.client, body=request)
        self.assertEqual((answer.usage.completion_tokens, answer.choices[0].message.role), (4, "assistant"))
        self.assertEqual([len(token.top_logprobs) for token in answer.choices[0].logprobs.content], [2] * 4)
        plain = self.model("ChatCompletionRequest").from_dict(body | {"logprobs": False, "top_logprobs": None})
        self.assertIsNone(self.operation("post_v1_chat_completions").sync(client=self.client, body=plain).choices[0].logprobs)

    def test_completions(self) -> None:
        request = self.model("CompletionRequest").from_dict({"model": "tiny", "prompt": ["abc", "what"], "max_tokens": 3, "ignore_eos": True})
        answer = self.operation("post_v1_completions").sync(client=self.client, body=request)
        self.assertEqual([choice.finish_reason for choice in answer.choices], ["length", "length"])
        self.assertEqual(answer.usage.completion_tokens, 6)

    def test_interactive(self) -> None:
        for history in (0, 1):
            request = self.model("InteractiveRequest").from_dict({"prompt": "what", "session_id": 5, "interactive_mode": True, "request_output_len": 2})
            answer = self.operation("post_v1_chat_interactive").sync(client=self.client, body=request)
            self.assertEqual(answer.history_tokens > 0, bool(history))
            self.assertTrue(answer.tokens > 0)

    def test_an_error_is_an_object_too(self) -> None:
        request = self.model("CompletionRequest").from_dict({"model": "tiny", "prompt": "abc", "temperature": 9})
        refused = self.operation("post_v1_completions").sync_detailed(client=self.client, body=request)
        self.assertEqual((refused.status_code, refused.parsed.error.param), (400, "temperature"))


if __name__ == "__main__":
    unittest.main()
