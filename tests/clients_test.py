"""The clients that people use against the running server: openai, langchain-openai and litellm."""

import asyncio
import os
import unittest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it looks for prices on the network

import langchain_openai
import litellm
import openai
import tiny_internlm
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

MODEL = "tiny"
KEY = "sk-of-the-tests"
QUESTION = [{"role": "user", "content": "what is the capital of France"}]


class ClientsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = tiny_internlm.serve(cls, "--api-keys", KEY)
        cls.base_url = cls.server.url + "/v1"
        cls.client = openai.OpenAI(base_url=cls.base_url, api_key=KEY, max_retries=0, timeout=120)
        cls.addClassCleanup(cls.client.close)
        cls.expected = cls.client.chat.completions.create(
            model=MODEL, messages=QUESTION, temperature=0, max_tokens=8
        ).choices[0].message.content


class OpenAi(ClientsTest):
    fields = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 8}

    def test_sync(self) -> None:
        answer = self.client.chat.completions.create(**self.fields, logprobs=True, top_logprobs=2, n=2)
        self.assertEqual([choice.message.content for choice in answer.choices], [self.expected] * 2)
        for choice in answer.choices:
            spelled = b"".join(bytes(token.bytes) for token in choice.logprobs.content)  # a token may be half a character
            self.assertEqual(spelled.decode(errors="replace"), self.expected)
            self.assertTrue(all(len(token.top_logprobs) == 2 for token in choice.logprobs.content))

    def test_stream_with_usage(self) -> None:
        with self.client.chat.completions.create(
            **self.fields, stream=True, stream_options={"include_usage": True}
        ) as stream:
            chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, self.expected)
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, 8)
        self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1]))

    def test_stream_helper(self) -> None:
        with self.client.chat.completions.stream(**self.fields) as stream:
            deltas = [event.delta for event in stream if event.type == "content.delta"]
            self.assertEqual("".join(deltas), self.expected)
            snapshot = stream.current_completion_snapshot.choices[0]
            self.assertEqual((snapshot.message.content, snapshot.finish_reason), (self.expected, "length"))

    def test_raw_responses(self) -> None:
        raw = self.client.chat.completions.with_raw_response.create(
            **self.fields, extra_headers={"X-Request-Id": "my-id.1"}
        )
        self.assertEqual(raw.status_code, 200)
        self.assertEqual(raw.headers["x-request-id"], "my-id.1")
        self.assertEqual(raw.parse().choices[0].message.content, self.expected)
        with self.client.chat.completions.with_streaming_response.create(**self.fields, stream=True) as response:
            self.assertTrue(response.headers["content-type"].startswith("text/event-stream"))
            lines = [line for line in response.iter_lines() if line]
        self.assertTrue(all(line.startswith("data: ") for line in lines))
        self.assertEqual(lines[-1], "data: [DONE]")

    def test_async(self) -> None:
        async def ask() -> list[str]:
            async with openai.AsyncOpenAI(base_url=self.base_url, api_key=KEY, timeout=120) as client:
                whole = client.chat.completions.create(**self.fields)
                stream = await client.chat.completions.create(**self.fields, stream=True)
                text = "".join([c.choices[0].delta.content or "" async for c in stream])
                models = [model.id async for model in client.models.list()]
                self.assertEqual(models, [MODEL])
                return [(await whole).choices[0].message.content, text]

        self.assertEqual(asyncio.run(ask()), [self.expected] * 2)

    def test_many_at_once(self) -> None:
        async def ask() -> list[str]:
            async with openai.AsyncOpenAI(base_url=self.base_url, api_key=KEY, timeout=120) as client:
                answers = await asyncio.gather(*(client.chat.completions.create(**self.fields) for _ in range(20)))
                return [answer.choices[0].message.content for answer in answers]

        self.assertEqual(asyncio.run(ask()), [self.expected] * 20)

    def test_completions(self) -> None:
        answer = self.client.completions.create(
            model=MODEL, prompt=["the capital", "of France"], max_tokens=4, temperature=0, echo=True, logprobs=1
        )
        self.assertEqual([choice.index for choice in answer.choices], [0, 1])
        self.assertTrue(answer.choices[0].text.startswith("the capital"))
        self.assertIsNone(answer.choices[0].logprobs.token_logprobs[0])
        streamed: dict[int, str] = {0: "", 1: ""}
        for chunk in self.client.completions.create(
            model=MODEL, prompt=["the capital", "of France"], max_tokens=4, temperature=0, echo=True, stream=True
        ):
            streamed[chunk.choices[0].index] += chunk.choices[0].text
        self.assertEqual(streamed, {choice.index: choice.text for choice in answer.choices})

    def test_extra_body(self) -> None:
        answer = self.client.chat.completions.create(
            model=MODEL,
            messages=QUESTION,
            max_completion_tokens=6,
            extra_body={"top_k": 1, "min_p": 0.1, "repetition_penalty": 1.1, "ignore_eos": True, "min_tokens": 6},
        )
        self.assertEqual((answer.usage.completion_tokens, answer.choices[0].finish_reason), (6, "length"))

    def test_errors_are_the_clients_exceptions(self) -> None:
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(**{**self.fields, "temperature": 9})
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(openai.BadRequestError):
            self.client.chat.completions.create(**self.fields, tools=[{"type": "function", "function": {"name": "f"}}])
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.chat.completions.create(**{**self.fields, "model": "another"})
        self.assertEqual(caught.exception.code, "model_not_found")
        with self.assertRaises(openai.AuthenticationError):
            self.client.with_options(api_key="sk-unknown").models.list()
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.completions.create(model=MODEL, prompt="the capital of France " * 1000)
        self.assertEqual(caught.exception.code, "context_length_exceeded")


class LangChain(ClientsTest):
    def chat(self, **options) -> langchain_openai.ChatOpenAI:
        return langchain_openai.ChatOpenAI(
            base_url=self.base_url, api_key=KEY, model=MODEL, temperature=0, max_tokens=8, timeout=120, **options
        )

    def test_invoke(self) -> None:
        answer = self.chat().invoke([HumanMessage(QUESTION[0]["content"])])
        self.assertEqual(answer.content, self.expected)
        self.assertEqual(answer.usage_metadata["output_tokens"], 8)
        self.assertEqual(answer.response_metadata["finish_reason"], "length")

    def test_stream(self) -> None:
        pieces = list(self.chat(stream_usage=True).stream(QUESTION[0]["content"]))
        self.assertEqual("".join(piece.content for piece in pieces), self.expected)
        self.assertEqual(sum((piece.usage_metadata or {}).get("output_tokens", 0) for piece in pieces), 8)

    def test_conversation(self) -> None:
        messages = [SystemMessage("be brief"), HumanMessage("hello"), AIMessage("hi"), HumanMessage("what is it")]
        self.assertTrue(self.chat().invoke(messages).content)

    def test_batch_and_async(self) -> None:
        texts = [QUESTION[0]["content"]] * 3
        self.assertEqual([answer.content for answer in self.chat().batch(texts)], [self.expected] * 3)
        self.assertEqual(asyncio.run(self.chat().ainvoke(texts[0])).content, self.expected)

    def test_completions(self) -> None:
        model = langchain_openai.OpenAI(
            base_url=self.base_url, api_key=KEY, model=MODEL, temperature=0, max_tokens=4, timeout=120
        )
        self.assertTrue(model.invoke("the capital"))


class LiteLlm(ClientsTest):
    def fields(self, **more) -> dict:
        server = {"model": "openai/" + MODEL, "api_base": self.base_url, "api_key": KEY, "timeout": 120}
        return {**server, "messages": QUESTION, "temperature": 0, "max_tokens": 8, **more}

    def ask(self, **more):
        return litellm.completion(**self.fields(**more))

    def test_completion(self) -> None:
        answer = self.ask()
        self.assertEqual(answer.choices[0].message.content, self.expected)
        self.assertEqual(answer.usage.completion_tokens, 8)

    def test_stream(self) -> None:
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in self.ask(stream=True)), self.expected)

    def test_async(self) -> None:
        async def ask() -> str:
            return (await litellm.acompletion(**self.fields())).choices[0].message.content

        self.assertEqual(asyncio.run(ask()), self.expected)

    def test_errors(self) -> None:
        with self.assertRaises(litellm.exceptions.NotFoundError):
            self.ask(model="openai/another", num_retries=0)
        with self.assertRaises(litellm.exceptions.BadRequestError):
            self.ask(top_p=5)


if __name__ == "__main__":
    unittest.main()
