"""The table of errors, row by row: status, type, code and the field, as clients get them."""

import http.client
import json
import pathlib
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import tiny_internlm

CHAT, MESSAGES = "/v1/chat/completions", [{"role": "user", "content": "what is the capital of France"}]
JSON = {"Content-Type": "application/json"}
INVALID, MISSING = "invalid_request_error", "missing_required_parameter"


def chat(**fields) -> str:
    return json.dumps({"messages": MESSAGES, "max_tokens": 2} | fields)


LATE_TEXT = [{"role": "user", "content": "word " * 300}]  # takes longer than a millisecond
LONG_IDS, LONG_TEXT = json.dumps({"input_ids": [5] * 3000}), [{"role": "user", "content": "word " * 5000}]
USER = {"Authorization": "Bearer user"}
# What others take, or other routes do, and would change the answer.
UNSUPPORTED = [
    (CHAT, {"messages": MESSAGES}, [
        {"tools": [{}]}, {"input_ids": [5]}, {"do_preprocess": False}, {"image_data": "x"}, {"echo": True}, {"best_of": 2},
        {"repetition_ngram_size": 3}, {"session_id": 5}, {"return_logprob": True},
    ]),
    ("/v1/completions", {"prompt": "a"}, [{"suffix": "x"}, {"chat_template_kwargs": {"a": 1}}, {"regex": "a"}, {"do_preprocess": True}]),
    ("/generate", {"prompt": "a"}, [{"logprobs": True}, {"echo": True}, {"n": 2}, {"return_token_ids": True}, {"add_special_tokens": False}]),
    ("/v1/chat/interactive", {"prompt": "a"}, [
        {"messages": MESSAGES}, {"logprobs": True}, {"input_ids": [5]}, {"continue_final_message": True}, {"stream_options": {}},
    ]),
    ("/tokenize", {"messages": MESSAGES}, [{"chat_template": "x"}]),
]  # fmt: skip
# (status, type, code, param), method, path, body, headers; with a key where none is named
TABLE = [
    ((400, INVALID, "invalid_json", None), "POST", CHAT, "{", JSON),
    ((400, INVALID, "invalid_json", None), "POST", CHAT, "[" * 100_000, JSON),
    ((400, INVALID, "invalid_type", None), "POST", CHAT, "[]", JSON),
    ((400, INVALID, MISSING, "messages"), "POST", CHAT, "{}", JSON),
    ((400, INVALID, MISSING, "messages[0].content"), "POST", CHAT, chat(messages=[{"role": "user"}]), JSON),
    ((400, INVALID, MISSING, "prompt"), "POST", "/generate", "{}", JSON),
    ((400, INVALID, "invalid_value", "prompt"), "POST", "/tokenize", chat(prompt="a"), JSON),
    ((400, INVALID, "invalid_type", "temperature"), "POST", CHAT, chat(temperature="hot"), JSON),
    ((400, INVALID, "invalid_type", "max_tokens"), "POST", CHAT, chat(max_tokens=1.5), JSON),
    ((400, INVALID, "invalid_type", "stop"), "POST", CHAT, chat(stop=5), JSON),
    ((400, INVALID, "invalid_value", "temperature"), "POST", CHAT, chat(temperature=3), JSON),
    ((400, INVALID, "invalid_value", "n"), "POST", CHAT, chat(n=10**9), JSON),
    ((400, INVALID, "invalid_value", "limit"), "GET", "/v1/sessions?limit=0", None, {}),
    ((400, INVALID, "context_length_exceeded", "messages"), "POST", CHAT, chat(messages=LONG_TEXT), JSON),
    ((400, INVALID, "context_length_exceeded", "messages"), "POST", CHAT, chat(max_tokens=5000), JSON),
    ((400, INVALID, "context_length_exceeded", "prompt"), "POST", "/v1/completions", json.dumps({"prompt": [5] * 3000}), JSON),
    ((400, INVALID, "context_length_exceeded", "input_ids"), "POST", "/generate", LONG_IDS, JSON),
    ((400, "not_supported_error", "not_supported", None), "POST", "/v1/embeddings", json.dumps({"input": "a"}), JSON),
    ((400, "not_supported_error", "not_supported", None), "POST", "/v1/audio/speech", "{}", JSON),
    ((400, "not_supported_error", "not_supported", None), "POST", "/v1/responses", json.dumps({"input": "a"}), JSON),
    ((401, "authentication_error", "invalid_api_key", None), "POST", "/v1/embeddings", "{}", JSON | {"Authorization": ""}),
    ((400, INVALID, "invalid_value", "n"), "POST", CHAT, chat(n=3), JSON),  # more than ever may wait
    ((400, INVALID, "invalid_value", "prompt"), "POST", "/v1/completions", json.dumps({"prompt": ["a", "b", "c"]}), JSON),
    ((400, INVALID, "invalid_value", "prompt[0]"), "POST", "/v1/completions", json.dumps({"prompt": [10**6]}), JSON),
    ((400, INVALID, "invalid_value", "prompt[0]"), "POST", "/v1/completions", json.dumps({"prompt": [[]]}), JSON),
    ((400, INVALID, "invalid_type", "prompt"), "POST", "/v1/completions", json.dumps({"prompt": {}}), JSON),
    ((400, INVALID, "invalid_value", "messages"), "POST", CHAT, chat(chat_template_kwargs={"messages": []}), JSON),
    ((400, "not_supported_error", "not_supported", "modalities[1]"), "POST", CHAT, chat(modalities=["text", "audio"]), JSON),
    ((400, "not_supported_error", "not_supported", "messages[0].function_call"), "POST", CHAT,
     chat(messages=[{"role": "assistant", "content": "", "function_call": {"name": "f"}}]), JSON),
    *(((400, "not_supported_error", "not_supported", [*fields][0]), "POST", path, json.dumps(required | fields), JSON)
      for path, required, asked in UNSUPPORTED for fields in asked),
    ((401, "authentication_error", "invalid_api_key", None), "GET", "/v1/models", None, {"Authorization": ""}),
    ((401, "authentication_error", "invalid_api_key", None), "GET", "/v1/models", None, {"Authorization": "Bearer x"}),
    ((403, "permission_error", "admin_only", None), "POST", "/terminate", "{}", JSON),
    ((404, "not_found_error", "route_not_found", None), "GET", "/nothing", None, {}),
    ((404, "not_found_error", "model_not_found", "model"), "POST", CHAT, chat(model="other"), JSON),
    ((404, "not_found_error", "model_not_found", "model"), "GET", "/v1/models/other", None, {}),
    ((404, "not_found_error", "not_found", "session_id"), "GET", "/v1/sessions/77", None, {}),
    ((405, INVALID, "method_not_allowed", None), "GET", CHAT, None, {}),
    ((413, INVALID, "body_too_large", None), "POST", CHAT, b" " * (17 << 20), JSON),
    ((415, INVALID, "unsupported_media_type", None), "POST", CHAT, chat(), {"Content-Type": "text/plain"}),
    ((415, INVALID, "unsupported_media_type", None), "POST", CHAT, chat(), {"Content-Type": "text/notjson"}),
    ((415, INVALID, "unsupported_media_type", None), "POST", CHAT, chat(), {"Content-Type": "application/+json"}),
    ((415, INVALID, "unsupported_content_encoding", None), "POST", CHAT, chat(), JSON | {"Content-Encoding": "gzip"}),
    ((431, INVALID, "headers_too_large", None), "GET", "/health", None, {"X-Long": "x" * 20_000}),
    ((504, "timeout_error", "deadline_exceeded", None), "POST", CHAT, chat(max_tokens=2000, ignore_eos=True, timeout=0.001), JSON),
    # Of a stream, too, before its first piece.
    ((504, "timeout_error", "deadline_exceeded", None), "POST", CHAT, chat(stream=True, timeout=0.001, messages=LATE_TEXT), JSON),
]  # fmt: skip


class ErrorTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        keys = ("--api-keys", "user", "--admin-keys", "root", "--allow-terminate-by-client")
        cls.server = tiny_internlm.serve(cls, *keys, "--max-batch-size", "1", "--max-queue", "2", "--max-sessions", "1")

    def ask(self, method: str, path: str, body: str | bytes | None, headers: dict) -> tuple[int, dict, str]:
        connection = http.client.HTTPConnection(self.server.url.removeprefix("http://"), timeout=60)
        self.addCleanup(connection.close)
        connection.request(method, path, body, USER | headers)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read().decode()

    def refused(self, method: str, path: str, body: str | bytes | None, headers: dict) -> tuple[tuple, dict]:
        status, answered, text = self.ask(method, path, body, headers)
        error = json.loads(text)["error"]
        self.assertEqual({*error}, {"message", "type", "param", "code"})
        self.assertTrue(error["message"])
        return (status, error["type"], error["code"], error["param"]), answered

    def test_every_row(self) -> None:
        for row, method, path, body, headers in TABLE:
            with self.subTest(row=row, path=path, body=str(body)[:60]):
                error, answered = self.refused(method, path, body, headers)
                self.assertEqual(error, row)
                self.assertEqual("allow" in answered, row[0] == 405)
                self.assertEqual("www-authenticate" in answered, row[0] == 401)
                self.assertEqual(answered.get("x-should-retry"), "false" if row[0] == 504 else None)
                self.assertNotIn("retry-after", answered)

    def test_media_types_of_json(self) -> None:
        for kind in ("Application/JSON", "application/json;charset=utf-8", "application/json ; x=y", "application/vnd.api+json"):
            self.assertEqual(self.ask("POST", CHAT, chat(), {"Content-Type": kind})[0], 200, kind)
        self.assertEqual(self.ask("POST", CHAT, chat(), {})[0], 200)

    def test_full(self) -> None:
        turn = {"prompt": "a", "interactive_mode": True, "request_output_len": 1}
        self.assertEqual(self.ask("POST", "/v1/chat/interactive", json.dumps(turn | {"session_id": 1}), JSON)[0], 200)
        error, answered = self.refused("POST", "/v1/chat/interactive", json.dumps(turn | {"session_id": 2}), JSON)
        self.assertEqual(error, (429, "rate_limit_error", "too_many_sessions", "session_id"))
        self.assertEqual((answered.get("x-should-retry"), answered.get("retry-after")), ("false", None))
        self.assertNotIn("x-ratelimit-limit-requests", answered)

        # One that runs, one that waits, and one too many: by chance that is the long one, which then ends at once.
        long = chat(max_tokens=1900, ignore_eos=True, n=2)
        refusals = []
        for _ in range(20):
            runs = threading.Thread(target=self.ask, args=("POST", CHAT, long, JSON))
            runs.start()
            while runs.is_alive() and not refusals:
                status, headers, text = self.ask("POST", CHAT, chat(n=2), JSON)
                refusals += [(json.loads(text)["error"], headers)] if status == 429 else []
            runs.join()
            if refusals:
                break
        error, headers = refusals[0]
        self.assertEqual((error["type"], error["code"], error["param"]), ("rate_limit_error", "queue_full", None))
        self.assertIn(int(headers["retry-after"]), range(1, 61))
        limits = {name.removeprefix("x-ratelimit-"): value for name, value in headers.items() if name.startswith("x-ratelimit-")}
        self.assertEqual(limits, {"limit-requests": "2", "remaining-requests": "0", "reset-requests": headers["retry-after"] + "s"})

    def test_a_busy_session(self) -> None:
        turn = {"prompt": "a", "session_id": 9, "request_output_len": 1500, "ignore_eos": True}
        runs = threading.Thread(target=self.ask, args=("POST", "/v1/chat/interactive", json.dumps(turn), JSON))
        runs.start()
        error = None
        while runs.is_alive() and error is None:
            if self.ask("GET", "/v1/sessions/9", None, {})[0] == 200:
                error, _ = self.refused("POST", "/v1/chat/interactive", json.dumps(turn), JSON)
            time.sleep(0.001)
        runs.join()
        self.assertEqual(error, (409, "conflict_error", "conflict", "session_id"))

    def test_a_stream_that_fails_ends_with_the_error_and_not_as_whole_ones_do(self) -> None:
        for path, body in ((CHAT, {"messages": MESSAGES}), ("/v1/completions", {"prompt": "a"}), ("/generate", {"prompt": "a"})):
            body |= {"stream": True, "max_tokens": 1900, "ignore_eos": True}
            status, timeout = 504, 0.005  # long enough for a first piece, too short for the last
            while status == 504:
                timeout *= 2
                status, headers, text = self.ask("POST", path, json.dumps(body | {"timeout": timeout}), JSON)
            self.assertEqual((status, headers["content-type"]), (200, "text/event-stream; charset=utf-8"))
            self.assertNotIn("[DONE]", text)
            error = json.loads(text.rstrip().rsplit("data: ", 1)[1])["error"]
            self.assertEqual((error["type"], error["code"], error["param"]), ("timeout_error", "deadline_exceeded", None))
        turn = {"prompt": "a", "stream": True, "request_output_len": 1900, "ignore_eos": True, "timeout": timeout}
        lines = self.ask("POST", "/v1/chat/interactive", json.dumps(turn), JSON)[2].splitlines()
        self.assertEqual(json.loads(lines[-1])["error"]["code"], "deadline_exceeded")

    def test_what_a_template_refuses_is_of_the_messages(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            template = pathlib.Path(folder) / "strict.jinja"
            template.write_text("{% if messages[0].role != 'user' %}{{ raise_exception('the user begins') }}{% endif %}x")
            server = tiny_internlm.serve(self, "--chat-template", str(template))
        body = chat(messages=[{"role": "assistant", "content": "a"}]).encode()
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(server.url + CHAT, body, JSON))
        error = json.load(caught.exception)["error"]
        self.assertEqual((caught.exception.code, error["param"], error["message"]), (400, "messages", "the user begins"))


if __name__ == "__main__":
    unittest.main()
