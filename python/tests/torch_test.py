"""The PyTorch engine: models that transformers computes, over Ingot's cache and scheduler."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
from typing import Any

import openai
import torch
import torch_models
from support import MODEL, MODELS, ROOT
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import ingot
from ingot import GenerationConfig, PytorchEngineConfig, TurbomindEngineConfig, errors, paged_attention
from ingot.paged_attention import Attention, KvBlocks, Sequences

PROGRAM = pathlib.Path(ingot.__file__).parent / "bin/ingot"
TOLERANCE = 1e-3
# Chunks of 16 tokens, windows of 8 and blocks of 32: every prompt below crosses all of them.
SMALL = {"session_len": 192, "max_batch_size": 4, "block_size": 32, "max_prefill_token_num": 16, "kv_cache_bytes": 4 << 20, "num_threads": 2}
CONFIG = PytorchEngineConfig(**SMALL)
LENGTHS = (3, 16, 37, 70)
COUNT = 6
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [2.0] * 8, "original_max_position_embeddings": 64}
ANSWER = GenerationConfig(max_new_tokens=COUNT, ignore_eos=True, logprobs=2)


def prompts_of(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (length,), generator=generator).tolist() for length in lengths]


class WithFolder(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)

    def assert_close(self, found: Any, expected: torch.Tensor, what: str = "") -> None:
        self.assertEqual(tuple(found.shape), tuple(expected.shape), what)
        error = float((torch.as_tensor(found) - expected).abs().max())
        self.assertTrue(error <= TOLERANCE, f"{what}: off by {error}")

    def check_answers(self, model: Any, prompts: list[list[int]], answers: list[ingot.Response], what: str) -> None:
        """Greedy answers are transformers', and so are their log probabilities."""
        for prompt, answer in zip(prompts, answers, strict=True):
            self.assertEqual(answer.finish_reason, "length", f"{what}: {answer.error_message}")
            expected = torch_models.logits_of(model, prompt + answer.token_ids)[len(prompt) - 1 : -1]
            self.assertEqual(answer.token_ids, expected.argmax(-1).tolist(), what)
            chosen = torch.tensor([logprobs[token] for token, logprobs in zip(answer.token_ids, answer.logprobs)])
            self.assert_close(chosen, expected.log_softmax(-1).max(-1).values, what)


def dense(attention: Attention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Of one sequence, from its formula: the last query sees the last key. [num_heads, num_queries, value_head_dim]"""
    repeats = query.shape[0] // key.shape[0]
    scores = query @ key.repeat_interleave(repeats, 0).transpose(1, 2) * attention.scale
    if attention.softcap:
        scores = attention.softcap * torch.tanh(scores / attention.softcap)
    behind = key.shape[1] - query.shape[1] + torch.arange(query.shape[1])[:, None] - torch.arange(key.shape[1])[None]
    seen = (behind >= 0) & (behind < (attention.window or key.shape[1]))
    weights = torch.where(seen, scores, -torch.inf).exp()
    total = weights.sum(-1, keepdim=True)
    if attention.sinks is not None:
        total = total + attention.sinks.exp()[:, None, None]
    return (weights / total) @ value.repeat_interleave(repeats, 0)


class PagedAttention(unittest.TestCase):
    """Of ragged sequences whose blocks lie anywhere, against the formula."""

    CASES = {
        "plain": Attention(scale=0.3),
        "window": Attention(scale=0.3, window=11),
        "softcap": Attention(scale=0.3, softcap=2.0),
        "window and sinks": Attention(scale=0.3, window=40, sinks=torch.tensor([0.5, -1.0, 2.0, 0.0])),
    }

    def setUp(self) -> None:
        """Three sequences: a chunk after 50 tokens, a decode after 63, and a beginning of 200."""
        torch.manual_seed(3)
        self.begins, counts, block_len = [50, 63, 0], [30, 1, 200], 32
        ends = [begin + count for begin, count in zip(self.begins, counts)]
        self.key = [torch.randn(2, end, 16) for end in ends]
        self.value = [torch.randn(2, end, 12) for end in ends]
        self.query = [torch.randn(4, count, 16) for count in counts]
        order = torch.randperm(24)
        tables = torch.full((3, 8), 10**6)  # what is not needed is not looked at
        self.blocks = KvBlocks(torch.full((24, block_len * 2 * 28), torch.nan), block_len, 2, 16, 12)
        for index, end in enumerate(ends):
            used = order[index * 7 : index * 7 + -(-end // block_len)]
            tables[index, : len(used)] = used
            everything = Sequences([0, end], [0], tables[index : index + 1], self.slots(used, 0, end), block_len)
            self.blocks.write(everything, self.key[index], self.value[index])
        slots = torch.cat([self.slots(tables[i], begin, end) for i, (begin, end) in enumerate(zip(self.begins, ends))])
        self.sequences = Sequences([0, 30, 31, 231], self.begins, tables, slots, block_len)

    @staticmethod
    def slots(table: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        positions = torch.arange(begin, end)
        return table[positions // 32] * 32 + positions % 32

    def expected(self, attention: Attention) -> torch.Tensor:
        return torch.cat([dense(attention, *one) for one in zip(self.query, self.key, self.value)], 1)

    def test_it_is_the_formula(self) -> None:
        for name, attention in self.CASES.items():
            with self.subTest(name):
                found = attention(self.blocks, self.sequences, torch.cat(self.query, 1))
                torch.testing.assert_close(found, self.expected(attention), rtol=1e-4, atol=1e-4)

    def test_flash_attn_is_asked_for_the_same(self) -> None:
        def varlen(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *lengths: Any, **options: Any) -> torch.Tensor:
            """flash-attn's function, from its documentation."""
            cu_queries, cu_keys, *most = lengths
            self.assertTrue(options["causal"])
            self.assertEqual(most, [(cu[1:] - cu[:-1]).max() for cu in (cu_queries, cu_keys)])
            attention = Attention(options["softmax_scale"], options["window_size"][0] + 1, options["softcap"])
            parts = [dense(attention, *(x[a:b].transpose(0, 1) for x, a, b in ((query, q, r), (key, k, n), (value, k, n))))
                     for q, r, k, n in zip(cu_queries[:-1], cu_queries[1:], cu_keys[:-1], cu_keys[1:])]  # fmt: skip
            return torch.cat(parts, 1).transpose(0, 1)

        before, paged_attention.flash_attn_varlen_func = paged_attention.flash_attn_varlen_func, varlen
        self.addCleanup(setattr, paged_attention, "flash_attn_varlen_func", before)
        for name in ("plain", "window", "softcap"):
            with self.subTest(name):
                found = self.CASES[name].with_flash(self.blocks, self.sequences, torch.cat(self.query, 1))
                torch.testing.assert_close(found, self.expected(self.CASES[name]), rtol=1e-4, atol=1e-4)


class Families(WithFolder):
    def check(self, family: str, backend: Any) -> None:
        folder = self.folder / family
        model = torch_models.make(folder, family)
        prompts = prompts_of(*LENGTHS)
        with ingot.pipeline(folder, backend_config=backend) as pipe:
            self.check_answers(model, prompts, pipe(prompts, gen_config=ANSWER), family)
            scored = pipe(prompts[-1], gen_config=GenerationConfig(max_new_tokens=2, ignore_eos=True, output_logits="all"))
            self.assert_close(scored.logits, torch_models.logits_of(model, prompts[-1] + scored.token_ids[:-1]), family)

    def test_families_that_the_native_engine_lacks(self) -> None:
        for family in torch_models.UNKNOWN:
            with self.subTest(family):
                self.check(family, CONFIG)

    def test_families_that_it_knows(self) -> None:
        for family in torch_models.KNOWN:
            with self.subTest(family):
                self.check(family, CONFIG)

    def check_logits(self, pipe: ingot.Pipeline, model: Any, tolerance: float) -> None:
        self.assertIn("PyTorch", pipe.memory)
        prompt = prompts_of(70)[0]
        answer = pipe(prompt, gen_config=GenerationConfig(max_new_tokens=2, ignore_eos=True, output_logits="all"))
        expected = torch_models.logits_of(model, prompt + answer.token_ids[:-1])
        error, largest = float((torch.as_tensor(answer.logits) - expected).abs().max()), float(expected.abs().max())
        self.assertTrue(error <= tolerance * largest, f"off by {error} of {largest}")

    def test_quantized_by_bitsandbytes(self) -> None:
        if importlib.util.find_spec("bitsandbytes") is None:
            self.skipTest("bitsandbytes is not installed")
        torch_models.make(self.folder / "plain", "olmo2", intermediate_size=128)  # its kernels want multiples of 64
        four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32}
        for name, options, dtype, tolerance in (("4bit", four, torch.float32, 1e-3), ("8bit", {"load_in_8bit": True}, torch.float16, 0.1)):
            with self.subTest(name):
                folder = self.folder / name
                model = AutoModelForCausalLM.from_pretrained(self.folder / "plain", quantization_config=BitsAndBytesConfig(**options), dtype=dtype)
                model.save_pretrained(folder)
                torch_models.save_tokenizer(folder)
                with ingot.pipeline(folder) as pipe:
                    self.check_logits(pipe, AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager"), tolerance)

    def test_quantized_by_awq_and_gptq(self) -> None:
        if importlib.util.find_spec("gptqmodel") is None:
            self.skipTest("gptqmodel is not installed")
        torch_models.make(self.folder / "unquantized", "llama", hidden_size=128, intermediate_size=256)
        for method in ("auto_awq", "auto_gptq"):
            with self.subTest(method):
                folder = self.folder / method
                subprocess.run([PROGRAM, "lite", method, self.folder / "unquantized", "--work-dir", folder, "--calib-samples", "4", "--calib-seqlen", "64"], check=True, capture_output=True)
                with ingot.pipeline(folder, backend_config=PytorchEngineConfig(**SMALL, dtype="float32")) as pipe:
                    self.check_logits(pipe, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager"), 1e-3)

    def test_both_engines_agree(self) -> None:
        model = torch_models.make(self.folder / "both", "llama")
        prompts = prompts_of(*LENGTHS)
        native = TurbomindEngineConfig(session_len=192, kv_cache_bytes=4 << 20, compute="exact")
        with ingot.pipeline(self.folder / "both", backend_config=native) as pipe:
            expected = pipe(prompts, gen_config=ANSWER)
        with ingot.pipeline(self.folder / "both", backend_config=CONFIG) as pipe:
            answers = pipe(prompts, gen_config=ANSWER)
        self.check_answers(model, prompts, answers, "llama")
        self.assertEqual([one.token_ids for one in answers], [one.token_ids for one in expected])

    def test_smollm2(self) -> None:
        folder = self.folder / "smollm2"
        gguf = next((MODELS / MODEL).glob("*.gguf"))
        subprocess.run([PROGRAM, "convert", gguf, "--to", "hf", "--work-dir", folder], check=True, capture_output=True)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        config = PytorchEngineConfig(dtype="float32", session_len=512, max_batch_size=4, kv_cache_bytes=256 << 20)
        with ingot.pipeline(folder, backend_config=config) as pipe:
            response = pipe("What is the capital of France?", gen_config=GenerationConfig(max_new_tokens=8, output_logits="all"))
            self.assertEqual(response.text, "The capital of France is Paris.")
            prompt = pipe.apply_chat_template("What is the capital of France?")
            self.assert_close(response.logits, torch_models.logits_of(model, prompt + response.token_ids[:-1]))


class Engine(WithFolder):
    """What the engine does around a forward pass, with a model that has windows: groups of blocks of two kinds."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.model = torch_models.make(cls.folder / "cohere2", "cohere2", layer_types=["sliding_attention", "sliding_attention", "full_attention"])

    def pipeline(self, **changes: Any) -> ingot.Pipeline:
        return ingot.pipeline(self.folder / "cohere2", backend_config=PytorchEngineConfig(**{**SMALL, **changes}))

    def test_a_batch_larger_than_the_slots(self) -> None:
        prompts = prompts_of(*range(5, 45, 4))
        with self.pipeline() as pipe:
            self.check_answers(self.model, prompts, pipe(prompts, gen_config=ANSWER), "batch")

    def test_prefix_hits(self) -> None:
        prompt = prompts_of(100)[0]
        with self.pipeline() as pipe:
            first = pipe(prompt, gen_config=ANSWER)
            again = pipe([prompt + [7], prompt[:80]], gen_config=ANSWER)
        self.assertEqual(first.cached_tokens, 0)
        self.assertGreaterEqual(again[0].cached_tokens, 96)
        self.assertGreaterEqual(again[1].cached_tokens, 64)
        self.check_answers(self.model, [prompt, prompt + [7], prompt[:80]], [first, *again], "prefix")

    def test_preemption(self) -> None:
        prompts = prompts_of(60, 61, 62, 63)
        answer = GenerationConfig(max_new_tokens=60, ignore_eos=True, logprobs=2)
        model_bytes = 3 * 2 * 2 * 16 * 4 * 32  # of a block of all layers
        with self.pipeline(session_len=128, kv_cache_bytes=7 * model_bytes, enable_prefix_caching=False) as pipe:
            answers = pipe(prompts, gen_config=answer)
            self.assertGreater(pipe.stats()["preemptions"], 0)
            stats = pipe.stats()
            self.assertEqual(stats["free_blocks"] + stats["cached_blocks"], stats["total_blocks"])
        self.check_answers(self.model, prompts, answers, "preemption")

    def test_sessions_streams_and_hidden_states(self) -> None:
        config = GenerationConfig(max_new_tokens=5, ignore_eos=True, logprobs=2)
        with self.pipeline() as pipe, pipe.session(gen_config=config) as session:
            pipe.chat("My name is Ada.", session=session)
            first = session.response
            prompt = pipe.apply_chat_template("My name is Ada.")
            self.check_answers(self.model, [prompt], [first], "first turn")
            pipe.chat("And now?", session=session)
            self.assertGreater(session.response.cached_tokens, 0)
            pieces = list(pipe.stream_infer(prompts_of(20), gen_config=config))
            self.assertEqual(sum(len(piece.token_ids) for piece in pieces), 5)
            hidden = pipe(prompt, gen_config=GenerationConfig(max_new_tokens=2, output_last_hidden_state="all")).last_hidden_state
            with torch.inference_mode():
                expected = self.model.model(torch.tensor([prompt]), use_cache=False).last_hidden_state[0]
            self.assert_close(hidden[: len(prompt)], expected)

    def test_two_engines_at_once(self) -> None:
        torch_models.make(self.folder / "other", "olmo2")
        prompts = prompts_of(40, 50)
        with self.pipeline() as one, ingot.pipeline(self.folder / "other", backend_config=CONFIG) as two:
            streams = [pipe.stream_infer(prompts, gen_config=ANSWER) for pipe in (one, two)]
            self.assertTrue(all(any(piece.finish_reason for piece in stream) for stream in streams))
            self.check_answers(self.model, prompts, one(prompts, gen_config=ANSWER), "one of two")

    def test_a_failed_pass_ends_its_requests(self) -> None:
        from ingot import torch_engine

        original = torch_engine.Runner._compute

        def fail(*arguments: Any) -> None:
            raise RuntimeError("out of order")

        with self.pipeline() as pipe:
            torch_engine.Runner._compute = fail
            try:
                failed = pipe(prompts_of(40)[0], gen_config=ANSWER)
            finally:
                torch_engine.Runner._compute = original
            self.assertEqual(failed.finish_reason, "error")
            self.assertEqual(failed.error_message, "the forward pass of 16 tokens failed: PyTorch: RuntimeError: out of order")
            # Nothing of it is in the cache.
            prompt = prompts_of(40)[0] + [1]
            again = pipe(prompt, gen_config=ANSWER)
            self.assertEqual(again.cached_tokens, 0)
            self.check_answers(self.model, [prompt], [again], "after a failure")

    def test_dropped_pipelines_end(self) -> None:
        pipe = self.pipeline()
        stream = pipe.stream_infer(prompts_of(30), gen_config=ANSWER)
        next(stream)
        del stream, pipe  # the engine's thread may be waiting for the GIL

    def test_16_bits(self) -> None:
        with self.pipeline(dtype="bfloat16") as pipe:
            self.assertIn("bf16", pipe.memory)
            self.assertEqual(len(pipe(prompts_of(40)[0], gen_config=ANSWER).token_ids), COUNT)


class Choice(WithFolder):
    """Which engine computes a model, and what is refused."""

    def load(self, family: str, backend: Any, **changes: Any) -> ingot.Pipeline:
        torch_models.make(self.folder / family, family, **changes)
        return ingot.pipeline(self.folder / family, backend_config=backend)

    def test_auto(self) -> None:
        with self.load("olmo2", None) as unknown:
            self.assertIn("PyTorch", unknown.memory)
        with self.load("qwen3", None) as known:
            self.assertNotIn("PyTorch", known.memory)
        with self.assertRaisesRegex(errors.Unsupported, "olmo2"):
            self.load("olmo2", TurbomindEngineConfig())

    def test_what_it_cannot_run_is_named(self) -> None:
        mamba = {"num_attention_heads": None, "num_key_value_heads": None, "intermediate_size": None, "state_size": 8}
        for family, changes, message in (
            ("mamba", mamba, "mamba keeps recurrent states"),
            ("bert", {}, "BertSelfAttention is an encoder's"),
            ("llama4_text", {"head_dim": 16, "intermediate_size_mlp": 96, "num_local_experts": 2}, "layers of chunked_attention"),
            ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 64}, "--session-len 192: the PyTorch engine computes phi3 up to 64 tokens"),
            ("falcon", {}, "falcon does not go through transformers' attention interface"),
        ):
            with self.subTest(family), self.assertRaisesRegex(errors.IngotError, message):
                self.load(family, CONFIG, **changes)

    def test_the_packages_of_a_quantization_are_named(self) -> None:
        for method, package in (("awq", "gptqmodel"), ("gptq", "optimum")):
            if importlib.util.find_spec(package) is not None:
                continue
            folder = self.folder / method
            torch_models.make(folder, "olmo2")
            config = json.loads((folder / "config.json").read_text())
            config["quantization_config"] = {"quant_method": method, "bits": 4, "group_size": 32}
            (folder / "config.json").write_text(json.dumps(config))
            with self.subTest(method), self.assertRaisesRegex(errors.Unsupported, f"pip install {package}"):
                ingot.pipeline(folder, backend_config=CONFIG)

    def test_options_that_it_does_not_have(self) -> None:
        torch_models.make(self.folder / "glm4", "glm4")
        with self.assertRaisesRegex(errors.InvalidArgument, "quant-policy 8"):
            ingot.pipeline(self.folder / "glm4", backend_config=PytorchEngineConfig(quant_policy=8))
        gguf = next((MODELS / MODEL).glob("*.gguf"))
        with self.assertRaisesRegex(errors.Unsupported, "not GGUF"):
            ingot.pipeline(gguf, backend_config=CONFIG)
        (self.folder / "glm4/config.json").write_text(json.dumps({"model_type": "nonsense", "vocab_size": 259}))
        with self.assertRaisesRegex(errors.Unsupported, "nonsense"):
            ingot.pipeline(self.folder / "glm4", backend_config=CONFIG)

    def test_a_layer_that_keeps_more_is_found(self) -> None:
        """A model whose attention has a state besides keys and values is refused, though nothing says that it has."""
        from ingot import torch_engine

        model = torch_models.make(self.folder / "olmo2", "olmo2")
        inner = model.model.layers[0].mlp.forward
        model.model.layers[0].mlp.forward = lambda hidden: inner(hidden.cumsum(1))
        with self.assertRaisesRegex(errors.Unsupported, "keeps more than keys and values"):
            torch_engine.Runner(model, 2, 0)


class Programs(WithFolder):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.model = torch_models.make(cls.folder / "glm4", "glm4")

    def run_program(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "INGOT_PYTHON": sys.executable, **variables}
        return subprocess.run([PROGRAM, *words], env=environment, capture_output=True, text=True, timeout=300)

    def test_generate(self) -> None:
        for backend in ("pytorch", "auto"):
            done = self.run_program("generate", str(self.folder / "glm4"), "-p", "Hi", "--raw", "--max-tokens", "4", "--temperature", "0", "--backend", backend, "--session-len", "128")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(done.stdout)
        refused = self.run_program("generate", str(self.folder / "glm4"), "-p", "Hi", "--backend", "native")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("glm4", refused.stderr)

    def test_without_the_package_it_is_told_how_to_get_it(self) -> None:
        for backend in ("pytorch", "auto"):
            done = self.run_program("generate", str(self.folder / "glm4"), "-p", "Hi", "--backend", backend, INGOT_PYTHON="/nowhere", PATH="/nowhere")
            self.assertEqual(done.returncode, 1)
            self.assertIn("the PyTorch engine is a part of the Python package", done.stderr)
        self.assertIn("glm4", done.stderr)

    def test_server_and_openai_client(self) -> None:
        with ingot.serve(self.folder / "glm4", model_name="tiny", backend="pytorch", server_name="127.0.0.1", server_port=0,
                         session_len=192, kv_cache_memory="4MiB", max_batch_size=4) as server:  # fmt: skip
            self.assertIn("PyTorch", server.log)
            client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
            self.assertEqual([model.id for model in client.models.list()], ["tiny"])
            messages = [{"role": "user", "content": "Hi"}]
            options = {"model": "tiny", "temperature": 0, "max_tokens": COUNT, "extra_body": {"ignore_eos": True}}
            whole = client.chat.completions.create(messages=messages, **options)
            self.assertEqual(whole.usage.completion_tokens, COUNT)
            stream = client.chat.completions.create(messages=messages, stream=True, **options)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
            self.assertEqual(text, whole.choices[0].message.content)
            completion = client.completions.create(prompt=prompts_of(40)[0], logprobs=0, **options)
            prompt = prompts_of(40)[0]
            expected = torch_models.greedy(self.model, prompt, COUNT)
            logits = torch_models.logits_of(self.model, prompt + expected)[len(prompt) - 1 : -1]
            self.assert_close(torch.tensor(completion.choices[0].logprobs.token_logprobs), logits.log_softmax(-1).max(-1).values)
            with self.assertRaises(openai.BadRequestError):
                client.completions.create(model="tiny", prompt=prompts_of(200)[0])

    def test_the_documented_examples(self) -> None:
        text = (ROOT / "docs/pytorch.md").read_text()
        torch_models.make(self.folder / "glm-4", "glm4")
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        self.assertGreater(len(blocks), 0)
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        for block in blocks:
            exec(compile(block, "docs/pytorch.md", "exec"), {})


if __name__ == "__main__":
    unittest.main()
