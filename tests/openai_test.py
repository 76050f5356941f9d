"""The server as OpenAI's own client sees it, and a client that sends what no good one would."""

import asyncio
import http.client
import json
import unittest

import openai
import tiny_internlm

MODEL = "tiny"
QUESTION = [{"role": "user", "content": "what is the capital of France"}]


class ServerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = tiny_internlm.serve(cls)
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="none", max_retries=0, timeout=120)
        cls.addClassCleanup(cls.client.close)

    def create(self, **fields):
        return self.client.chat.completions.create(
            **{"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 8, **fields}
        )


class Answers(ServerTest):
    def test_objects(self) -> None:
        answer = self.create()
        self.assertTrue(answer.id.startswith("chatcmpl-"))
        self.assertEqual((answer.object, answer.model), ("chat.completion", MODEL))
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertEqual(self.client.models.retrieve(MODEL).id, MODEL)
        self.assertEqual([model.id for model in self.client.models.list()], [MODEL])

    def test_streams_have_one_first_and_one_last_chunk_for_each_choice(self) -> None:
        for options in ({}, {"n": 3, "temperature": 1, "seed": 4}, {"stop": ["e"]}, {"max_tokens": 1}):
            with self.subTest(options=options):
                whole = self.create(**options)
                chunks = list(self.create(stream=True, **options))
                self.assertEqual({chunk.object for chunk in chunks}, {"chat.completion.chunk"})
                self.assertEqual(len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}), 1)
                for choice in whole.choices:
                    mine = [c.choices[0] for c in chunks if c.choices[0].index == choice.index]
                    self.assertEqual((mine[0].delta.role, mine[0].delta.content), ("assistant", ""))
                    self.assertEqual([c.delta.role for c in mine[1:]], [None] * (len(mine) - 1))
                    self.assertEqual("".join(c.delta.content or "" for c in mine), choice.message.content)
                    self.assertEqual([c.finish_reason for c in mine[:-1]], [None] * (len(mine) - 1))
                    self.assertEqual(mine[-1].finish_reason, choice.finish_reason)
                    self.assertIsNone(mine[-1].delta.content)

    def test_usage_comes_in_a_chunk_of_its_own(self) -> None:
        chunks = list(self.create(stream=True, n=2, stream_options={"include_usage": True}))
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, self.create(n=2).usage.completion_tokens)
        self.assertTrue(all(chunk.usage is None and chunk.choices for chunk in chunks[:-1]))

    def test_logprobs(self) -> None:
        answer = self.create(logprobs=True, top_logprobs=3)
        tokens = answer.choices[0].logprobs.content
        self.assertEqual(len(tokens), answer.usage.completion_tokens)
        for token in tokens:
            self.assertEqual(len(token.top_logprobs), 3)
            self.assertEqual(token.top_logprobs[0].token, token.token)  # greedy takes the likeliest
            self.assertLessEqual(token.logprob, 0)
        streamed = [t for c in self.create(stream=True, logprobs=True, top_logprobs=3) if c.choices[0].logprobs
                    for t in c.choices[0].logprobs.content]  # fmt: skip
        self.assertEqual(streamed, tokens)
        self.assertEqual(self.create(logprobs=True).choices[0].logprobs.content[0].top_logprobs, [])
        self.assertIsNone(self.create().choices[0].logprobs)

    def test_the_seed_decides(self) -> None:
        def texts(seed: int) -> list[str]:
            answer = self.create(temperature=1.5, seed=seed, n=3, max_tokens=12)
            return [choice.message.content for choice in answer.choices]

        self.assertEqual(texts(1), texts(1))
        self.assertNotEqual(texts(1), texts(2))
        self.assertEqual(len(set(texts(1))), 3)

    def test_fields_of_other_servers_and_of_openai(self) -> None:
        self.create(user="me", metadata={"a": "b"}, store=False, parallel_tool_calls=False, tool_choice="none",
                    response_format={"type": "text"}, extra_body={"unknown": 1})  # fmt: skip
        self.assertEqual(self.create(max_completion_tokens=3, max_tokens=9).usage.completion_tokens, 3)
        longer = self.create(max_tokens=40, extra_body={"ignore_eos": True, "top_k": -1, "min_p": 0.1})
        self.assertEqual(longer.usage.completion_tokens, 40)
        parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
        self.assertEqual(self.create(messages=parts).choices[0].message, self.create().choices[0].message)

    def test_asynchronous_client(self) -> None:
        async def main() -> list[str]:
            async with openai.AsyncOpenAI(base_url=self.server.url + "/v1", api_key="none", max_retries=0) as client:
                fields = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 8}
                answers = await asyncio.gather(*(client.chat.completions.create(**fields) for _ in range(8)))
                stream = await client.chat.completions.create(stream=True, **fields)
                pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
                return [answer.choices[0].message.content for answer in answers] + ["".join(pieces)]

        self.assertEqual(set(asyncio.run(main())), {self.create().choices[0].message.content})

    def test_headers(self) -> None:
        raw = self.client.chat.completions.with_raw_response
        fields = {"model": MODEL, "messages": QUESTION, "max_tokens": 1}
        plain = raw.create(**fields, extra_headers={"X-Request-Id": "of-mine.1"})
        self.assertEqual(plain.headers["x-request-id"], "of-mine.1")
        self.assertEqual(plain.parse().id, "chatcmpl-of-mine.1")
        stream = raw.create(**fields, stream=True)
        self.assertEqual(stream.headers["content-type"], "text/event-stream; charset=utf-8")
        self.assertEqual(stream.headers["cache-control"], "no-cache")
        self.assertEqual(stream.headers["x-accel-buffering"], "no")
        list(stream.parse())


class Refusals(ServerTest):
    def refused(self, kind: type, **fields) -> dict:
        with self.assertRaises(kind) as caught:
            self.create(**fields)
        self.assertEqual(set(caught.exception.body), {"message", "type", "param", "code"})
        return caught.exception.body

    def test_fields(self) -> None:
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
        for param, value in {
            "temperature": -1, "top_p": 2, "n": 0, "max_tokens": 0, "top_logprobs": 2, "stop": [""], "tools": [tool],
            "tool_choice": "required", "response_format": {"type": "json_object"}, "logit_bias": {"x": 1},
            "messages": image,
        }.items():  # fmt: skip
            with self.subTest(param=param):
                self.assertRegex(self.refused(openai.BadRequestError, **{param: value})["param"], rf"^{param}([.[]|$)")

    def test_too_long(self) -> None:
        for fields in ({"messages": [{"role": "user", "content": "word " * 5000}]}, {"max_tokens": 5000}):
            error = self.refused(openai.BadRequestError, **fields)
            self.assertEqual(error["code"], "context_length_exceeded")
            self.assertIn("This model's maximum context length is 2048 tokens", error["message"])

    def test_unknown_model(self) -> None:
        self.assertEqual(self.refused(openai.NotFoundError, model="other")["code"], "model_not_found")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("some/other")

    def exchange(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> tuple[int, dict, dict]:
        """(status, headers, body as JSON)"""
        connection = http.client.HTTPConnection(self.server.url.removeprefix("http://"), timeout=60)
        self.addCleanup(connection.close)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        text = response.read()
        return response.status, dict(response.getheaders()), json.loads(text) if text else {}

    def test_http(self) -> None:
        chat = "/v1/chat/completions"
        json_type = {"Content_Type": "application/json"}
        deep = "[" * 100_000
        for status, arguments, headers in (
            (404, ("GET", "/nothing"), {}), (404, ("GET", "/v1/models/a/b"), {}), (405, ("GET", chat), {}),
            (405, ("POST", "/v1/models", "{}"), json_type), (415, ("POST", chat, "{}"), {"Content_Type": "text/plain"}),
            (415, ("POST", chat, "{}"), {"Content_Encoding": "gzip", **json_type}), (400, ("POST", chat, ""), json_type),
            (400, ("POST", chat, "{"), json_type), (400, ("POST", chat, deep), json_type),
            (400, ("POST", chat, b'{"messages":"\xff"}'), json_type),
            (413, ("POST", chat, b" " * (17 << 20)), json_type), (431, ("GET", "/health"), {"X_Long": "x" * 20_000}),
        ):  # fmt: skip
            with self.subTest(status=status, what=str(arguments)[:60]):
                got, got_headers, body = self.exchange(*arguments, **headers)
                self.assertEqual(got, status, body)
                self.assertEqual(set(body["error"]), {"message", "type", "param", "code"})
                self.assertEqual("Allow" in got_headers, status == 405)

    def test_a_proxys_form_of_the_path(self) -> None:
        self.assertEqual(self.exchange("GET", self.server.url + "/health")[0], 200)


if __name__ == "__main__":
    unittest.main()
