"""What clients may send and should not: whatever a field holds, the server answers it, stays up, and does not fail."""

import http.client
import json
import tempfile
import unittest

import tiny_internlm

MESSAGES = [{"role": "user", "content": "what is the capital of France"}]
# A request of each route that is answered.
VALID = {
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 2},
    "/v1/completions": {"prompt": "what is", "max_tokens": 2},
    "/generate": {"prompt": "what is", "max_tokens": 2},
    "/v1/chat/interactive": {"prompt": "what is", "request_output_len": 2},
    "/v1/encode": {"input": "what is"},
    "/tokenize": {"prompt": "what is"},
    "/detokenize": {"tokens": [5]},
    "/v1/sessions/{session_id}/rewind": {"step": 0},
}
ANSWERS = [path for path in VALID if path.startswith(("/v1/c", "/generate"))]
VALUES = ("a", "", 5, -1, 0.5, 1e300, 2**63, -(2**63), 10**30, {}, {"a": 1}, [], ["a"], [1], [[]], [{}], True, None)


class ServerTest(unittest.TestCase):
    arguments: tuple[str, ...] = ()

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = tiny_internlm.serve(cls, *cls.arguments)
        cls.connection = http.client.HTTPConnection(cls.server.url.removeprefix("http://"), timeout=120)
        cls.addClassCleanup(cls.connection.close)

    def post(self, path: str, body: dict) -> tuple[int, dict]:
        """(status, answer as JSON; {} where it is a stream)"""
        path = path.replace("{session_id}", "1")
        try:
            self.connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = self.connection.getresponse()
            text = response.read()
        except (http.client.HTTPException, ConnectionError) as error:
            self.fail(f"{path} {body}: {error!r}\n" + "".join(self.server.log[-20:]))
        is_json = response.headers["Content-Type"].startswith("application/json")
        return response.status, json.loads(text) if is_json else {}


class AnyValueTest(ServerTest):
    arguments = ("--max-output-len", "4")

    def test_every_field_of_any_route_may_hold_anything(self) -> None:
        schemas = json.loads(self.server.get("/openapi.json"))["components"]["schemas"]
        fields = sorted({name for schema in schemas.values() for name in schema.get("properties", {})})
        self.assertLessEqual({"n", "timeout", "cache_salt", "max_completion_tokens", "request_output_len"}, {*fields})
        for path, valid in VALID.items():
            for field in fields:
                for value in VALUES:
                    status, answer = self.post(path, {**valid, field: value})
                    message = f"{path} {field}={value!r}: {status} {answer}"
                    self.assertTrue(200 <= status < 500 or status == 504, message)
                    if status >= 400:
                        self.assertEqual({*answer["error"]}, {"message", "type", "param", "code"}, message)
        self.assertIsNone(self.server.process.poll())

    def test_undeclared_fields_change_nothing(self) -> None:
        for path, valid in VALID.items():
            _, expected = self.post(path, valid | ({"temperature": 0} if path in ANSWERS else {}))
            _, answer = self.post(path, valid | ({"temperature": 0} if path in ANSWERS else {}) | {"unheard_of": {"a": [1]}})
            for changing in ("id", "created", "session_id", "error"):
                expected.pop(changing, None), answer.pop(changing, None)
            expected.pop("usage", None), answer.pop("usage", None)  # what was cached
            self.assertEqual(answer, expected, path)


class LimitTest(ServerTest):
    arguments = ("--max-output-len", "6")

    def test_no_answer_is_longer_than_the_server_allows(self) -> None:
        tokens = {
            "/v1/chat/completions": lambda answer: answer["usage"]["completion_tokens"],
            "/v1/completions": lambda answer: answer["usage"]["completion_tokens"],
            "/generate": lambda answer: answer["meta_info"]["completion_tokens"],
            "/v1/chat/interactive": lambda answer: answer["tokens"],
        }
        limits = ("max_tokens", "max_completion_tokens", "request_output_len", "min_tokens", "min_new_tokens")
        for path, valid in ((path, VALID[path]) for path in ANSWERS):
            plain = {"ignore_eos": True} | {name: value for name, value in valid.items() if name not in limits}
            for asked in ({}, *({name: value} for name in limits for value in (3, 6, 7, 500))):
                status, answer = self.post(path, plain | asked)
                self.assertIn(status, (200, 400), (path, asked, answer))
                if status == 200:
                    self.assertLessEqual(tokens[path](answer), 6, (path, asked))
                else:
                    self.assertEqual(answer["error"]["param"], next(iter(asked)))
                    self.assertGreater(next(iter(asked.values())), 6, (path, asked))
            self.assertEqual(tokens[path](self.post(path, plain)[1]), 6, path)
            self.assertEqual(tokens[path](self.post(path, plain | {"max_tokens": 3})[1]), 3, path)


class RefusalTest(ServerTest):
    def refused(self, path: str, fields: dict, status: int = 400) -> dict:
        got, answer = self.post(path, VALID[path] | fields)
        self.assertEqual(got, status, (path, fields, answer))
        return answer["error"]

    def test_what_is_not_there_is_refused_everywhere(self) -> None:
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        for path in ANSWERS:
            for fields in (
                {"tools": [tool]}, {"functions": [{"name": "f"}]}, {"tool_choice": "required"}, {"guided_regex": "a+"},
                {"response_format": {"type": "json_object"}}, {"structured_outputs": {"regex": "a"}},
                {"truncate_prompt_tokens": 5}, {"reasoning_effort": "high"}, {"audio": {}}, {"chat_template": "x"},
                {"grammar": "root ::= x"}, {"mirostat": 2}, {"dry_multiplier": 0.8}, {"options": {"num_ctx": 9}}, {"format": "json"},
                {"typical_p": 0.5}, {"samplers": ["top_k"]},
            ):  # fmt: skip
                error = self.refused(path, fields)
                field = next(iter(fields))
                self.assertRegex(error["param"], rf"^{field}([.[]|$)", path)
                self.assertEqual((error["type"], error["code"]), ("not_supported_error", "not_supported"), path)
            self.assertEqual(self.refused(path, {"model": "other"}, 404)["code"], "model_not_found")
            for fields in ({"tools": []}, {"response_format": {"type": "text"}}, {"reasoning_effort": None}, {"mirostat": 0},
                           {"dry_multiplier": 0}, {"typical_p": 1.0}, {"cache_prompt": True}, {"grammar": None}):  # fmt: skip
                self.assertEqual(self.post(path, VALID[path] | fields)[0], 200, (path, fields))
        for path in ("/generate", "/v1/chat/interactive"):
            self.assertEqual(self.refused(path, {"n": 2})["param"], "n")
            self.assertEqual(self.post(path, VALID[path] | {"n": 1})[0], 200)
        for path in ("/generate", "/v1/chat/interactive", "/v1/chat/completions"):
            self.assertEqual(self.refused(path, {"prompt_logprobs": 1})["param"], "prompt_logprobs")

    def test_other_names_of_parameters(self) -> None:
        def tokens(path: str, **fields) -> int:
            body = {name: value for name, value in VALID[path].items() if not name.endswith(("tokens", "len"))}
            status, answer = self.post(path, body | {"ignore_eos": True} | fields)
            self.assertEqual(status, 200, answer)
            return {"usage": lambda: answer["usage"]["completion_tokens"], "meta_info": lambda: answer["meta_info"]["completion_tokens"],
                    "tokens": lambda: answer["tokens"]}[next(name for name in ("usage", "meta_info", "tokens") if name in answer)]()  # fmt: skip

        for path in ANSWERS:
            self.assertEqual(tokens(path, n_predict=3), 3, path)
            self.assertEqual(tokens(path, n_predict=3, max_tokens=2), 2, path)
            self.assertEqual(self.refused(path, {"repeat_penalty": 1000})["param"], "repeat_penalty")
            self.assertEqual(tokens(path, repeat_penalty=1.3, max_tokens=2, stop="xyz", bad_words=["a"]), 2, path)

    def test_seed_minus_one_is_random_and_messages_may_be_a_text(self) -> None:
        fields = {"prompt": "what is", "max_tokens": 24, "temperature": 2, "seed": -1, "ignore_eos": True}
        self.assertGreater(len({self.post("/generate", fields)[1]["text"] for _ in range(4)}), 1)
        text = MESSAGES[0]["content"]
        answers = [self.post("/v1/chat/completions", {"messages": messages, "max_tokens": 4, "temperature": 0})[1]["choices"]
                   for messages in (text, MESSAGES)]  # fmt: skip
        self.assertEqual(answers[0], answers[1])

    def test_requests_as_lmdeploy_0_2_sends_them(self) -> None:
        request = {"prompt": MESSAGES, "session_id": 77, "interactive_mode": True, "stream": False, "stop": False, "request_output_len": 3,
                   "top_p": 0.8, "top_k": 40, "temperature": 0.8, "repetition_penalty": 1.0, "ignore_eos": False}  # fmt: skip
        status, answer = self.post("/v1/chat/interactive", request)
        self.assertEqual((status, answer.get("session_id")), (200, 77), answer)
        status, answer = self.post("/v1/chat/interactive", {"prompt": "", "session_id": 77, "stop": True})
        self.assertEqual((status, answer.get("text")), (200, ""), answer)

    def test_a_prompts_logprobs_alone(self) -> None:
        asked = {"prompt": "what is the capital", "max_tokens": 0, "echo": True, "logprobs": 1, "temperature": 0}
        status, answer = self.post("/v1/completions", asked)
        self.assertEqual(status, 200, answer)
        choice = answer["choices"][0]
        self.assertEqual((choice["text"], choice["finish_reason"]), ("what is the capital", "length"))
        self.assertEqual((answer["usage"]["completion_tokens"], len(choice["logprobs"]["tokens"])), (0, answer["usage"]["prompt_tokens"]))
        whole = self.post("/v1/completions", asked | {"max_tokens": 2})[1]["choices"][0]["logprobs"]["token_logprobs"]
        self.assertEqual(choice["logprobs"]["token_logprobs"], whole[: len(choice["logprobs"]["tokens"])])
        self.assertEqual(self.refused("/v1/completions", {"max_tokens": 0})["param"], "max_tokens")

    def test_two_answers_of_a_session(self) -> None:
        for keep in (True, False):
            error = self.refused("/v1/chat/interactive", {"n": 2, "interactive_mode": keep, "session_id": 5})
            self.assertEqual(error["param"], "n")

    def test_what_changes_no_answer_is_ignored(self) -> None:
        guess = {"type": "content", "content": "Paris"}
        fields = {"prediction": guess, "prompt_cache_options": {}, "prompt_cache_retention": "24h", "user": "me"}
        self.assertEqual(self.post("/v1/chat/completions", VALID["/v1/chat/completions"] | fields)[0], 200)

    def test_salts_keep_caches_apart(self) -> None:
        def cached(salt: str) -> int:
            text = self.server.get("/metrics")
            before = float(text.split("\ningot_prefix_cache_hits_total{")[1].split(" ")[1].split("\n")[0])
            prompt = "the capital of France is Paris and " * 20
            self.assertEqual(self.post("/generate", {"prompt": prompt, "max_tokens": 1, "cache_salt": salt})[0], 200)
            text = self.server.get("/metrics")
            return float(text.split("\ningot_prefix_cache_hits_total{")[1].split(" ")[1].split("\n")[0]) - before

        self.assertEqual(cached("a"), 0)
        self.assertGreater(cached("a"), 0)
        self.assertEqual(cached("b"), 0)


class MessagesTest(ServerTest):
    TEMPLATE = (
        "{% for m in messages %}{{ m['role'] }}:{% for call in m['tool_calls'] or [] %}"
        "{{ call['function']['arguments']['city'] }}{% endfor %}{{ m['content'] }};{% endfor %}"
        "{% if add_generation_prompt %}{{ word or 'say' }}{% endif %}"
    )

    @classmethod
    def setUpClass(cls) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
            file.write(cls.TEMPLATE)
            file.flush()
            cls.arguments = ("--chat-template", file.name)
            super().setUpClass()

    def text(self, messages: list, **fields) -> str:
        status, answer = self.post("/tokenize", {"messages": messages} | fields)
        self.assertEqual(status, 200, answer)
        return self.post("/detokenize", {"tokens": answer["tokens"]})[1]["prompt"].strip()

    def test_calls_are_shown_to_the_template(self) -> None:
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"city": "Paris"}'}}
        history = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "rain", "tool_call_id": "1"}]
        self.assertEqual(self.text(history), "assistant:Paris;tool:rain;say")
        for broken in (5, {}, {"function": 5}, {"function": {"arguments": "{"}}, {"function": {"arguments": 5}}):
            status, answer = self.post("/tokenize", {"messages": [{"role": "assistant", "tool_calls": [broken]}]})
            self.assertIn(status, (200, 400), answer)
        self.assertEqual(self.post("/tokenize", {"messages": [{"role": "assistant"}]})[0], 400)

    def test_routes_read_messages_alike(self) -> None:
        newer = [{"role": "developer", "content": "a"}, {"role": "assistant", "content": None}, *MESSAGES]
        older = [{"role": "system", "content": "a"}, {"role": "assistant", "content": ""}, *MESSAGES]
        self.assertEqual(self.text(newer), self.text(older))
        self.assertEqual(self.text(older, add_generation_prompt=False)[-1], ";")
        self.assertTrue(self.text(older, chat_template_kwargs={"word": "do"}).endswith("do"))
        for path, field in (("/v1/chat/completions", "messages"), ("/v1/chat/interactive", "prompt")):
            answers = [self.post(path, {field: messages, "max_tokens": 4, "temperature": 0}) for messages in (newer, older)]
            texts = [json.dumps(answer.get("choices", answer.get("text"))) for _, answer in answers]
            self.assertEqual(texts[0], texts[1])
            self.assertEqual(answers[0][0], 200, answers[0])


if __name__ == "__main__":
    unittest.main()
