"""The server as clients of ollama and llama-server see it: ollama's own client, and requests as llama-server's documentation has them."""

import json
import os
import unittest
import urllib.error
import urllib.request

os.environ.pop("OLLAMA_HOST", None)

import ollama
import tiny_internlm

MODEL = "tiny"
QUESTION = [{"role": "user", "content": "what is the capital of France"}]
TOKENS = 8
DRAWN = {"temperature": 1.2, "top_k": 50, "seed": 5}


class CompatTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = tiny_internlm.serve(cls, "--session-len", "512", "--max-batch-size", "3")

    def send(self, method: str, path: str, body: dict | None = None, **headers: str) -> tuple[int, str, str]:
        """Status, media type and text."""
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.server.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.headers["Content-Type"], response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read().decode()

    def get(self, path: str) -> dict:
        status, _, text = self.send("GET", path)
        self.assertEqual(status, 200, text)
        return json.loads(text)

    def post(self, path: str, body: dict) -> dict:
        status, _, text = self.send("POST", path, body)
        self.assertEqual(status, 200, text)
        return json.loads(text)

    def openai_answer(self) -> str:
        answer = self.post("/v1/chat/completions", {"messages": QUESTION, "max_tokens": TOKENS} | DRAWN)
        return answer["choices"][0]["message"]["content"]


class Ollama(CompatTest):
    options = {"num_predict": TOKENS} | DRAWN

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.client = ollama.Client(cls.server.url)

    def test_answers_are_those_of_openais_routes(self) -> None:
        expected = self.openai_answer()
        whole = self.client.chat(MODEL, QUESTION, options=self.options)
        self.assertEqual((whole.message.content, whole.message.role, whole.done), (expected, "assistant", True))
        self.assertEqual((whole.done_reason, whole.eval_count), ("length", TOKENS))
        self.assertGreater(whole.total_duration, 0)
        self.assertGreaterEqual(whole.total_duration, whole.eval_duration + whole.prompt_eval_duration)
        pieces = list(self.client.chat(MODEL, QUESTION, options=self.options, stream=True))
        self.assertEqual("".join(piece.message.content for piece in pieces), expected)
        self.assertEqual([piece.done for piece in pieces], [False] * (len(pieces) - 1) + [True])
        self.assertEqual(pieces[-1].eval_count, TOKENS)
        generated = self.client.generate(MODEL, QUESTION[0]["content"], options=self.options)
        self.assertEqual(generated.response, expected)
        pieces = list(self.client.generate(MODEL, QUESTION[0]["content"], options=self.options, stream=True))
        self.assertEqual("".join(piece.response for piece in pieces), expected)

    def test_streams_unless_told_not_to(self) -> None:
        status, media_type, text = self.send("POST", "/api/chat", {"model": MODEL, "messages": QUESTION, "options": self.options})
        self.assertEqual((status, media_type), (200, "application/x-ndjson; charset=utf-8"))
        lines = [json.loads(line) for line in text.splitlines()]
        self.assertGreater(len(lines), 1)
        self.assertTrue(lines[-1]["done"])

    def test_raw_prompts_and_logprobs(self) -> None:
        expected = self.post("/v1/completions", {"prompt": "the capital", "max_tokens": TOKENS} | DRAWN)["choices"][0]["text"]
        answer = self.client.generate(MODEL, "the capital", raw=True, options=self.options, logprobs=True, top_logprobs=2)
        self.assertEqual(answer.response, expected)
        self.assertEqual([len(token.top_logprobs) for token in answer.logprobs], [2] * TOKENS)

    def test_models(self) -> None:
        listed = self.client.list().models
        self.assertEqual([model.model for model in listed], [MODEL])
        self.assertEqual(listed[0].details.family, "internlm")
        running = self.client.ps().models
        self.assertEqual((running[0].name, running[0].context_length), (MODEL, 512))
        shown = self.client.show(MODEL + ":latest")
        self.assertEqual(shown.modelinfo["general.architecture"], "internlm")
        self.assertIn("completion", shown.capabilities)
        self.assertEqual(self.get("/api/version"), self.get("/version"))
        self.assertEqual(self.client.generate(MODEL).done_reason, "load")

    def test_errors_are_the_clients_exceptions(self) -> None:
        for call, told in (
            (lambda: self.client.chat("other", QUESTION), "'other' is not served here"),
            (lambda: self.client.chat(MODEL, QUESTION, format="json"), "format"),
            (lambda: self.client.chat(MODEL, QUESTION, options={"mirostat": 2}), "mirostat"),
            (lambda: list(self.client.chat(MODEL, QUESTION, format="json", stream=True)), "format"),
            (lambda: self.client.pull("llama3"), "not fetched"), (lambda: self.client.delete("llama3"), "not fetched"),
            (lambda: self.client.embed(MODEL, "x"), "embeddings"),
            (lambda: self.client.generate(MODEL, "a " * 600), "maximum context length"),
        ):  # fmt: skip
            with self.assertRaises(ollama.ResponseError) as caught:
                call()
            self.assertIn(told, caught.exception.error)
            self.assertGreaterEqual(caught.exception.status_code, 400)

    def test_keys(self) -> None:
        server = tiny_internlm.serve(self, "--api-keys", "secret")
        with self.assertRaises(ollama.ResponseError) as caught:
            ollama.Client(server.url).list()
        self.assertEqual((caught.exception.status_code, type(caught.exception.error)), (401, str))
        client = ollama.Client(server.url, headers={"Authorization": "Bearer secret"})
        self.assertEqual(client.list().models[0].model, MODEL)

    def test_curl_without_a_content_type(self) -> None:
        form = {"Content_Type": "application/x-www-form-urlencoded"}
        body = {"messages": QUESTION, "stream": False, "options": self.options}
        self.assertEqual(self.send("POST", "/api/chat", body, **form)[0], 200)
        self.assertEqual(self.send("POST", "/api/chat", body, **form, Origin="http://example.com")[0], 415)


class LlamaServer(CompatTest):
    body = {"prompt": "the capital of France is", "n_predict": TOKENS} | DRAWN

    def test_completion(self) -> None:
        answer = self.post("/completion", self.body)
        expected = self.post("/v1/completions", {"prompt": self.body["prompt"], "max_tokens": TOKENS} | DRAWN)["choices"][0]["text"]
        self.assertEqual((answer["content"], answer["stop"], answer["stop_type"]), (expected, True, "limit"))
        self.assertEqual((answer["tokens_predicted"], answer["model"]), (TOKENS, MODEL))
        self.assertEqual(self.post("/completions", self.body)["content"], expected)
        status, media_type, text = self.send("POST", "/completion", self.body | {"stream": True})
        self.assertEqual((status, media_type), (200, "text/event-stream; charset=utf-8"))
        events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line]
        self.assertEqual("".join(event["content"] for event in events), expected)
        self.assertEqual([event["stop"] for event in events], [False] * (len(events) - 1) + [True])
        self.assertEqual(events[-1]["timings"]["predicted_n"], TOKENS)
        self.assertEqual(sum(len(event["tokens"]) for event in events), TOKENS)

    def test_a_template_applied_and_completed_is_a_chat(self) -> None:
        prompt = self.post("/apply-template", {"messages": QUESTION})["prompt"]
        self.assertIn(QUESTION[0]["content"], prompt)
        ids = self.post("/tokenize", {"messages": QUESTION})["tokens"]
        self.assertEqual(self.post("/tokenize", {"content": prompt})["tokens"], ids)
        self.assertEqual(self.post("/completion", self.body | {"prompt": ids})["content"], self.openai_answer())

    def test_tokens(self) -> None:
        plain = self.post("/tokenize", {"content": "the capital é"})["tokens"]
        self.assertEqual(self.post("/tokenize", {"content": "the capital é", "add_special": True})["tokens"][1:], plain)
        pieces = self.post("/tokenize", {"content": "the capital é", "with_pieces": True})["tokens"]
        self.assertEqual([piece["id"] for piece in pieces], plain)
        self.assertIn([0xC3], [piece["piece"] for piece in pieces])
        self.assertEqual(self.post("/detokenize", {"tokens": plain})["content"].strip(), "the capital é")
        special = self.post("/tokenize", {"content": "<eoh>"})["tokens"]
        self.assertLess(len(special), len(self.post("/tokenize", {"content": "<eoh>", "parse_special": False})["tokens"]))

    def test_what_it_tells_of_itself(self) -> None:
        props = self.get("/props")
        self.assertEqual((props["total_slots"], props["default_generation_settings"]["n_ctx"]), (3, 512))
        self.assertEqual(props["bos_token"], "<s>")
        params = props["default_generation_settings"]["params"]
        self.assertLessEqual({"temperature", "top_k", "top_p", "min_p", "repeat_penalty", "n_predict"}, params.keys())
        self.assertIsInstance(params["top_k"], int)
        self.assertEqual([slot["is_processing"] for slot in self.get("/slots?fail_on_no_slot=1")], [False] * 3)
        self.assertEqual(self.get("/models"), self.get("/v1/models"))
        self.assertEqual(self.get("/v1/health"), self.get("/health"))
        self.assertEqual(self.get("/ping"), self.get("/health"))
        self.assertEqual(self.get("/lora-adapters"), [])  # none are loaded
        self.assertEqual(self.post("/chat/completions", {"messages": QUESTION, "max_tokens": 1})["object"], "chat.completion")

    def test_what_is_not_there_is_refused_by_name(self) -> None:
        for field, value in (("grammar", "root ::= x"), ("json_schema", {}), ("samplers", ["top_k"]), ("dry_multiplier", 0.8),
                             ("response_fields", ["content"]), ("post_sampling_probs", True), ("mirostat", 2)):  # fmt: skip
            status, _, text = self.send("POST", "/completion", self.body | {field: value})
            self.assertEqual((status, json.loads(text)["error"]["param"]), (400, field), text)
        for path in ("/infill", "/embedding", "/lora-adapters", "/slots/0?action=save"):
            status, _, text = self.send("POST", path, {})
            self.assertEqual((status, json.loads(text)["error"]["code"]), (400, "not_supported"), path)


if __name__ == "__main__":
    unittest.main()
