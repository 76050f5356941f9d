"""What KServe's clients ask of a server, whichever protocol they speak: shared by the tests of HTTP, gRPC and Triton."""

import asyncio
import concurrent.futures
import json
import sys
import urllib.request

try:
    import numpy
    # Not tritonclient.grpc, whose messages and those of kserve's client have the same names.
    import tritonclient
    from tritonclient.utils import InferenceServerException
except ImportError as missing:
    print(f"skipped: {missing}; tools/bootstrap.sh test installs it into build/venv-serving")
    sys.exit(77)

PROMPT = "The capital of France is"
# Of a tensor: its datatype and how it becomes an array.
TYPES = {
    "text_input": ("BYTES", numpy.object_), "stop_words": ("BYTES", numpy.object_), "bad_words": ("BYTES", numpy.object_),
    "max_tokens": ("INT32", numpy.int32), "min_tokens": ("INT32", numpy.int32), "top_k": ("INT32", numpy.int32),
    "step": ("INT32", numpy.int32), "input_ids": ("INT32", numpy.int32), "num_return_sequences": ("INT32", numpy.int32), "end_id": ("INT32", numpy.int32),
    "temperature": ("FP32", numpy.float32), "top_p": ("FP32", numpy.float32), "repetition_penalty": ("FP32", numpy.float32),
    "presence_penalty": ("FP32", numpy.float32), "frequency_penalty": ("FP32", numpy.float32),
    "seed": ("UINT64", numpy.uint64), "stream": ("BOOL", numpy.bool_), "return_log_probs": ("BOOL", numpy.bool_),
    "exclude_input_in_output": ("BOOL", numpy.bool_), "ignore_eos": ("BOOL", numpy.bool_),
}  # fmt: skip
# Draws, so that another order of steps would show.
DRAWN = {"max_tokens": 24, "temperature": 0.75, "top_k": 40, "seed": 7, "repetition_penalty": 1.1}


def tensors(module, **values):
    """Inputs [1, 1], or [1, entries] of lists."""
    inputs = []
    for name, value in values.items():
        datatype, kind = TYPES[name]
        rows = [value if isinstance(value, list) else [value]]
        array = numpy.array([[item.encode() if isinstance(item, str) else item for item in row] for row in rows], dtype=kind)
        tensor = module.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs


def text_of(result) -> str:
    return result.as_numpy("text_output").flatten()[0].decode()


def rest_completion(url: str, key: str = "", **fields) -> dict:
    request = urllib.request.Request(url + "/v1/completions", json.dumps(fields).encode(), {"Content-Type": "application/json"})
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)


class Cases:
    """Mixed into a TestCase: `module` is tritonclient.http or .grpc; `connect()` a client of the server, `connect_aio()`
    its asynchronous one; `model` its model; `reference(**fields)` what REST answers to the same."""

    def infer(self, client=None, prompt: str = PROMPT, sequence: dict | None = None, **values):
        values = {"exclude_input_in_output": True, **values}
        inputs = tensors(self.module, **({"text_input": prompt} if "input_ids" not in values else {}), **values)
        return (client or self.client).infer(self.model, inputs, **(sequence or {}))

    def test_answers_are_those_of_rest(self) -> None:
        expected = self.reference(prompt=PROMPT, **DRAWN)
        result = self.infer(**DRAWN)
        self.assertEqual(text_of(result), expected["choices"][0]["text"])
        self.assertEqual(result.as_numpy("finish_reason").flatten()[0].decode(), expected["choices"][0]["finish_reason"])
        whole = self.infer(**DRAWN, **{"exclude_input_in_output": False})
        self.assertEqual(text_of(whole), PROMPT + expected["choices"][0]["text"])

    def test_64_at_once_answer_as_one(self) -> None:
        prompts = [f"{PROMPT} {i}," for i in range(64)]
        alone = {prompt: text_of(self.infer(prompt=prompt, **DRAWN)) for prompt in prompts[:4]}
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            def ask(prompt: str) -> str:
                client = self.connect()
                try:
                    return text_of(self.infer(client, prompt, **DRAWN))
                finally:
                    client.close()

            together = dict(zip(prompts, pool.map(ask, prompts), strict=True))
        for prompt, text in alone.items():
            self.assertEqual(together[prompt], text)

    def test_aio_client_answers_as_rest(self) -> None:
        async def ask() -> list[str]:
            async with self.connect_aio() as client:
                inputs = tensors(self.module, text_input=PROMPT, exclude_input_in_output=True, **DRAWN)
                return [text_of(result) for result in await asyncio.gather(*(client.infer(self.model, inputs) for _ in range(8)))]

        expected = self.reference(prompt=PROMPT, **DRAWN)["choices"][0]["text"]
        self.assertEqual(asyncio.run(ask()), [expected] * 8)

    def test_a_sequence_keeps_its_turns(self) -> None:
        def turn(prompt: str, start: bool = False, end: bool = False):
            sequence = {"sequence_id": 77, "sequence_start": start, "sequence_end": end}
            return text_of(self.infer(prompt=prompt, sequence=sequence, max_tokens=24, temperature=0.0))

        with self.assertRaisesRegex(InferenceServerException, "no session 77; the first turn of one has START"):
            turn("Hello")
        turn("My name is Zebulon. Remember it.", start=True)
        second = turn("What is my name?")
        self.assertIn("Zebulon", second)
        third = turn("Say it again.", end=True)
        self.assertTrue(third)
        with self.assertRaisesRegex(InferenceServerException, "no session 77"):
            turn("Hello")
        # Without its history the question has another answer.
        self.assertNotEqual(turn("What is my name?", start=True, end=True), second)

    def test_log_probs_and_ids(self) -> None:
        result = self.infer(max_tokens=4, temperature=0.0, ignore_eos=True, return_log_probs=True)
        ids = result.as_numpy("output_ids")
        self.assertEqual(ids.shape, (1, 4))
        log_probs = result.as_numpy("output_log_probs")
        self.assertEqual(log_probs.shape, (1, 4))
        self.assertAlmostEqual(float(log_probs.sum()), float(result.as_numpy("cum_log_probs").flatten()[0]), places=4)
        rest = self.reference(prompt=PROMPT, max_tokens=4, temperature=0.0, ignore_eos=True, logprobs=1)
        expected = numpy.array(rest["choices"][0]["logprobs"]["token_logprobs"], dtype=numpy.float32)
        self.assertEqual(log_probs.flatten().tolist(), expected.tolist())  # the same bits
        self.assertEqual(result.as_numpy("sequence_length").flatten().tolist(), [4])
        again = self.infer(input_ids=self.prompt_ids(), max_tokens=4, temperature=0.0, ignore_eos=True)
        self.assertEqual(again.as_numpy("output_ids").tolist(), ids.tolist())

    def prompt_ids(self) -> list[int]:
        request = urllib.request.Request(
            self.rest_url + "/tokenize", json.dumps({"prompt": PROMPT}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["tokens"]

    def test_inputs_of_lmdeploy(self) -> None:
        """Words as ids, and a session that continues from an earlier step."""
        ids = self.prompt_ids()
        plain = self.infer(input_ids=ids, max_tokens=8, temperature=0.0).as_numpy("output_ids").flatten().tolist()
        inputs = {"input_ids": ids, "max_tokens": 8, "temperature": 0.0, "exclude_input_in_output": True}

        def words(name: str, word: list[int]):
            tensor = self.module.InferInput(name, [1, 2, len(word)], "INT32")
            tensor.set_data_from_numpy(numpy.array([[word, [len(word)] + [-1] * (len(word) - 1)]], dtype=numpy.int32))
            return tensor

        def ask(tensor) -> list[int]:
            return self.client.infer(self.model, [*tensors(self.module, **inputs), tensor]).as_numpy("output_ids").flatten().tolist()

        stopped = ask(words("stop_words_list", plain[2:3]))
        self.assertEqual(stopped[:2], plain[:2])
        self.assertLessEqual(len(stopped), 3)
        self.assertLess(len(ask(words("stop_words_list", plain[2:4]))), len(plain))
        self.assertNotIn(plain[0], ask(words("bad_words_list", plain[:1])))
        wrong = self.module.InferInput("bad_words_list", [1, 3, 1], "INT32")
        wrong.set_data_from_numpy(numpy.zeros([1, 3, 1], dtype=numpy.int32))
        with self.assertRaisesRegex(InferenceServerException, r"bad_words_list|unexpected shape"):
            ask(wrong)

        sequence = {"sequence_id": 78, "sequence_start": True, "sequence_end": False}
        first = self.infer(prompt="My name is Zebulon. Remember it.", sequence=sequence, max_tokens=8, temperature=0.0)
        self.assertTrue(text_of(first))
        sequence["sequence_start"] = False
        kept = text_of(self.infer(prompt="What is my name?", sequence=sequence, max_tokens=24, temperature=0.0))
        self.assertIn("Zebulon", kept)
        with self.assertRaisesRegex(InferenceServerException, "step is 100000, outside 0…"):
            self.infer(prompt="Hello", sequence=sequence, step=100000, max_tokens=4)
        sequence["sequence_end"] = True
        forgotten = text_of(self.infer(prompt="What is my name?", sequence=sequence, step=0, max_tokens=24, temperature=0.0))
        self.assertNotIn("Zebulon", forgotten)

    def test_errors_name_the_tensor(self) -> None:
        cases = [
            ({"temperature": 9.0}, "temperature"),
            ({"top_p": -1.0}, "top_p"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"max_tokens": 100000}, "maximum context length"),
            ({"input_ids": [10**8]}, "input_ids"),
            ({"num_return_sequences": 0}, "num_return_sequences"),
            ({"stop_words": ["x" * 5000]}, "stop_words"),
        ]
        for values, words in cases:
            with self.subTest(values=str(values)[:60]), self.assertRaisesRegex(InferenceServerException, words):
                self.infer(**values)
        with self.assertRaisesRegex(InferenceServerException, "tokens"):
            self.infer(prompt="word " * 20000, max_tokens=4)
        self.assertTrue(text_of(self.infer(max_tokens=4)))  # the server is well
