"""`ingot batch`: OpenAI's batch files through the engine, also after it was killed."""

import fcntl
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.request

from support import BINARY, Server, require_model

MODEL = require_model()
SECONDS = 120
NIGHTLY = os.environ.get("INGOT_NIGHTLY") == "1"


def chat(custom_id: str, text: str, **body: object) -> dict:
    messages = [{"role": "user", "content": text}]
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": messages, "temperature": 0, **body}}  # fmt: skip


def completion(custom_id: str, prompt: object, **body: object) -> dict:
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/completions",
            "body": {"model": "m", "prompt": prompt, "temperature": 0, **body}}  # fmt: skip


def long_ones(count: int) -> list[dict]:
    return [completion(f"long-{i}", f"Chapter {i}. Once", max_tokens=24, ignore_eos=True) for i in range(count)]


class BatchTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.input = pathlib.Path(folder.name, "in.jsonl")
        self.output = pathlib.Path(folder.name, "out.jsonl")

    def write(self, lines: list) -> None:
        self.input.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))

    def command(self, *arguments: str) -> list[str]:
        return [BINARY, "batch", str(self.input), "-o", str(self.output), MODEL, "--model-name", "m", *arguments]

    def run_batch(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=SECONDS)

    def results(self) -> list[dict]:
        text = self.output.read_text()
        self.assertTrue(text.endswith("\n") or not text, text[-100:])
        return [json.loads(line) for line in text.splitlines()]

    def by_id(self) -> dict[str, dict]:
        results = self.results()
        ids = [result["custom_id"] for result in results]
        self.assertEqual(len(set(ids)), len(ids), "a request has one result")
        return dict(zip(ids, results))


class Answers(BatchTest):
    def test_the_same_answers_as_the_server(self) -> None:
        requests = [
            chat("chat", "What is the capital of France?", max_tokens=12, logprobs=True, top_logprobs=2),
            chat("seeded", "Tell a story.", temperature=0.9, seed=7, n=2, max_tokens=8, stop=["."]),
            completion("ids", [[1, 2], [1, 2, 3]], max_tokens=4),
            completion("prompts", ["Hi", "Ho"], max_tokens=4, echo=True, logprobs=1, return_token_ids=True),
            completion("biased", "The", max_tokens=3, logit_bias={"30": 100}),
        ]
        self.write(requests)
        done = self.run_batch("--compute", "exact")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("5 answered, 0 failed", done.stderr)
        results = self.by_id()
        with Server(MODEL, "--model-name", "m", "--compute", "exact") as server:
            for request in requests:
                data = json.dumps(request["body"]).encode()
                call = urllib.request.Request(server.url + request["url"], data, {"Content-Type": "application/json"})
                with urllib.request.urlopen(call, timeout=60) as response:
                    served = json.loads(response.read())
                result = results[request["custom_id"]]
                self.assertIsNone(result["error"])
                self.assertEqual(result["response"]["status_code"], 200)
                body = result["response"]["body"]
                self.assertIn(result["response"]["request_id"], body["id"])
                for key in ("choices", "model", "object"):
                    self.assertEqual(body[key], served[key], request["custom_id"])
                self.assertEqual(body["usage"]["completion_tokens"], served["usage"]["completion_tokens"])

    def test_over_standard_input_and_output(self) -> None:
        lines = [completion("a", "Hi", max_tokens=2), completion("b", "Ho", max_tokens=2), completion("a", "Hu")]
        done = subprocess.run([BINARY, "batch", "-", MODEL, "--model-name", "m"], text=True, capture_output=True, timeout=SECONDS,
                              input="\ufeff" + "\n\n".join(map(json.dumps, lines)))  # fmt: skip
        results = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(sorted(result["custom_id"] for result in results), ["a", "a", "b"])
        refused = [result["error"] for result in results if result["error"]]
        self.assertEqual([error["code"] for error in refused], ["duplicate_custom_id"])
        self.assertIn("line 1", refused[0]["message"])

    def test_a_file_as_editors_on_windows_write_it(self) -> None:
        lines = [completion("a", "Hi", max_tokens=2), completion("b", "Ho", max_tokens=2)]
        self.input.write_bytes(b"\xef\xbb\xbf" + b"\r\n\r\n".join(json.dumps(line).encode() for line in lines))
        done = self.run_batch()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sorted(self.by_id()), ["a", "b"])
        again = self.run_batch()
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(len(self.results()), 2)

    def test_a_bad_line_fails_alone(self) -> None:
        self.write([
            "nonsense", completion("", "x"), {"url": "/v1/completions", "body": {}}, {**completion("get", "x"), "method": "GET"},
            completion("stream", "x", stream=True), {"custom_id": "no body", "url": "/v1/completions"}, "",
            {**completion("url", "x"), "url": "/v1/embeddings"}, completion("range", "x", temperature=9),
            {"custom_id": "model", "url": "/v1/completions", "body": {"model": "gpt", "prompt": "x"}},
            completion("long", "word " * 9000, max_tokens=4), "[" * 100, completion("good", "x", max_tokens=1),
        ])  # fmt: skip
        done = self.run_batch()
        self.assertEqual(done.returncode, 1)
        self.assertNotIn("dropped", done.stderr)
        results = self.results()
        codes = {result["custom_id"]: result["response"]["status_code"] for result in results if result["response"]}
        self.assertEqual(codes, {"url": 400, "range": 400, "model": 404, "long": 400, "good": 200})
        errors = [(result["custom_id"], result["error"]["code"]) for result in results if result["error"]]
        self.assertEqual(len(errors), 7)
        self.assertEqual(len(results), 12)
        self.assertIn(("stream", "invalid_request"), errors)
        self.assertIn((None, "invalid_json_line"), errors)
        messages = [result["error"]["message"] for result in results if result["error"]]
        self.assertIn("line 3: the request: custom_id: missing", messages)
        long = next(result for result in results if result["custom_id"] == "long")
        self.assertEqual(long["response"]["body"]["error"]["code"], "context_length_exceeded")
        before = self.output.read_bytes()
        again = self.run_batch()
        self.assertIn("nothing is left", again.stderr)
        self.assertEqual((again.returncode, self.output.read_bytes()), (1, before))
        self.assertIn("results from before: 12, of which 11 failed", again.stderr)
        subprocess.run(again.stderr.splitlines()[-1], shell=True, check=True)  # keeps what was answered
        self.assertEqual([result["custom_id"] for result in self.results()], ["good"])
        third = self.run_batch()
        self.assertIn("0 answered, 11 failed", third.stderr)
        self.assertIn("1 done before", third.stderr)


class Interruptions(BatchTest):
    def start(self, *arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(self.command("--concurrency", "2", *arguments), stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def wait_for_results(self, process: subprocess.Popen, count: int) -> None:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and process.poll() is None:
            if self.output.exists() and self.output.read_bytes().count(b"\n") >= count:
                return
            time.sleep(0.01)
        self.fail(f"no {count} results: {self.output.read_bytes()[-200:] if self.output.exists() else None}")

    def test_killed_and_gone_on_with(self) -> None:
        requests = long_ones(120 if NIGHTLY else 24)
        self.write(requests)
        for kill in range(10 if NIGHTLY else 3):
            process = self.start()
            before = self.output.read_bytes().count(b"\n") if self.output.exists() else 0
            self.wait_for_results(process, before + 3)
            process.kill()
            process.wait()
            if kill % 2 == 0:  # as if it had been inside a line
                with open(self.output, "ab") as file:
                    file.write(b'{"id":"batch_req_0123","custom_id":"long-')
        done = self.run_batch()
        self.assertEqual(done.returncode, 0, done.stderr)
        interrupted = {custom_id: result["response"]["body"]["choices"] for custom_id, result in self.by_id().items()}
        self.assertEqual(set(interrupted), {request["custom_id"] for request in requests})
        self.output.unlink()
        self.assertEqual(self.run_batch().returncode, 0)
        self.assertEqual(interrupted, {id: result["response"]["body"]["choices"] for id, result in self.by_id().items()})

    def test_ctrl_c_leaves_whole_results(self) -> None:
        self.write(long_ones(40))
        process = self.start()
        self.wait_for_results(process, 3)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 1)
        self.assertIn("interrupted", stderr)
        count = len(self.results())
        self.assertLess(count, 40)
        for result in self.results():
            self.assertEqual(result["response"]["body"]["usage"]["completion_tokens"], 24)
        done = self.run_batch()
        self.assertIn(f"{40 - count} answered, 0 failed, {count} done before", done.stderr)
        self.assertEqual(len(self.by_id()), 40)


class Refusals(BatchTest):
    def refused(self, *arguments: str, code: int = 2) -> str:
        done = self.run_batch(*arguments)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        return done.stderr

    def test_a_custom_id_that_is_there_twice(self) -> None:
        self.write([completion("a", "x"), completion("b", "x"), completion("a", "x")])
        error = self.refused()
        self.assertIn("in.jsonl:3: custom_id 'a' is on line 1 already", error)
        self.assertEqual(self.output.read_bytes(), b"")

    def test_outputs_that_hold_something_else(self) -> None:
        self.write([completion("a", "x")])
        for text in ("my notes\n", "my notes", json.dumps(completion("a", "x")) + "\n", '{"custom_id": 1, "response": null, "error": null}\n'):
            self.output.write_text(text)
            self.assertIn("out.jsonl", self.refused())
            self.assertEqual(self.output.read_text(), text)

    def test_files_that_cannot_be_used(self) -> None:
        self.write([completion("a", "x", max_tokens=1)])
        with open(self.output, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.assertIn("another program", self.refused(code=1))
        self.output.unlink()
        self.output = pathlib.Path("/dev/full")
        self.assertIn("No space left", self.refused(code=1))
        self.output = pathlib.Path("/no/such/folder/out.jsonl")
        self.assertIn("/no/such/folder", self.refused(code=1))
        self.input = pathlib.Path("/no/such/in.jsonl")
        self.assertIn("/no/such/in.jsonl", self.refused(code=1))
        self.input = pathlib.Path("/")
        self.assertIn("directory", self.refused())
        self.assertIn("--concurrency", self.refused("--concurrency", "-1"))


if __name__ == "__main__":
    unittest.main()
