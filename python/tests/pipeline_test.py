"""Pipelines: prompts of every form, parameters, streams, sessions, numbers, errors."""

import asyncio
import dataclasses
import json
import math
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import numpy
import tiny_model
from support import CONFIG, MODEL, QUESTION, WithPipeline

import ingot
from ingot import GenerationConfig, errors

SHORT = GenerationConfig(max_new_tokens=8)
SEEDED = GenerationConfig(max_new_tokens=12, do_sample=True, temperature=0.9, top_k=0, random_seed=7)
PROGRAM = pathlib.Path(ingot.__file__).parent / "bin/ingot"


def wait_until(condition, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


class Prompts(WithPipeline):
    def test_text_and_conversation_are_the_same(self) -> None:
        text = self.pipe(QUESTION, gen_config=SHORT)
        self.assertIsInstance(text, ingot.Response)
        self.assertEqual(text.text, "The capital of France is Paris.")
        self.assertEqual(text.finish_reason, "stop")
        self.assertEqual(text.generate_token_len, len(text.token_ids))
        messages = [{"role": "user", "content": QUESTION}]
        self.assertEqual(self.pipe(messages, gen_config=SHORT).token_ids, text.token_ids)
        self.assertEqual(self.pipe([messages], gen_config=SHORT)[0].token_ids, text.token_ids)

    def test_token_ids_and_raw_text(self) -> None:
        ids = self.pipe.apply_chat_template(QUESTION)
        response = self.pipe(ids, gen_config=SHORT)
        self.assertEqual(response.input_token_len, len(ids))
        self.assertEqual(response.text, "The capital of France is Paris.")
        raw = self.pipe("The capital of France is", gen_config=SHORT, do_preprocess=False)
        self.assertEqual(raw.input_token_len, len(self.pipe.tokenizer.encode("The capital of France is")))

    def test_a_batch_is_in_order_and_as_alone(self) -> None:
        prompts = [f"Count to {i}." for i in range(1, 41)]  # more than twice the slots
        together = self.pipe(prompts, gen_config=SEEDED)
        self.assertEqual([response.index for response in together], list(range(40)))
        for i in (0, 17, 39):
            self.assertEqual(self.pipe(prompts[i], gen_config=SEEDED).token_ids, together[i].token_ids)

    def test_a_config_for_each(self) -> None:
        configs = [GenerationConfig(max_new_tokens=2), GenerationConfig(max_new_tokens=5)]
        responses = self.pipe([QUESTION, QUESTION], gen_config=configs)
        self.assertEqual([response.generate_token_len for response in responses], [2, 5])
        self.assertEqual(responses[0].finish_reason, "length")

    def test_parameters_without_a_field(self) -> None:
        plain = self.pipe(QUESTION, gen_config=GenerationConfig(max_new_tokens=5))
        shorter = self.pipe(QUESTION, gen_config=GenerationConfig(max_new_tokens=5, extra_body={"max_tokens": 3}))
        self.assertEqual(shorter.token_ids, plain.token_ids[:3])
        for wrong, message in (({"min_pp": 1}, "min_pp is not .* did you mean min_p?"), ({"messages": []}, "messages is given"), ({"top_p": 5}, "top_p is 5")):
            with self.subTest(wrong), self.assertRaisesRegex(errors.InvalidArgument, message):
                self.pipe(QUESTION, gen_config=GenerationConfig(extra_body=wrong))

    def test_several_answers(self) -> None:
        config = GenerationConfig(n=3, max_new_tokens=12, do_sample=True, temperature=1.0, top_k=0, random_seed=5)
        responses = self.pipe([QUESTION, "Hello"], gen_config=config)
        self.assertEqual([(r.index, r.choice) for r in responses], [(i, c) for i in range(2) for c in range(3)])
        second = GenerationConfig(max_new_tokens=12, do_sample=True, temperature=1.0, top_k=0, random_seed=6)
        self.assertEqual(responses[1].token_ids, self.pipe(QUESTION, gen_config=second).token_ids)
        self.assertEqual(len(self.pipe(QUESTION, gen_config=config)), 3)


class Parameters(WithPipeline):
    def test_stop_words_and_bad_words(self) -> None:
        response = self.pipe(QUESTION, gen_config=GenerationConfig(max_new_tokens=16, stop_words=[" Paris"]))
        self.assertEqual((response.text, response.finish_reason, response.stop_reason), ("The capital of France is", "stop", " Paris"))
        kept = GenerationConfig(max_new_tokens=16, stop_words=[" Paris"], include_stop_str_in_output=True)
        self.assertTrue(self.pipe(QUESTION, gen_config=kept).text.endswith(" Paris"))
        self.assertNotIn("Paris", self.pipe(QUESTION, gen_config=GenerationConfig(max_new_tokens=16, bad_words=["Paris"])).text)
        (token,) = self.pipe.tokenizer.encode(" Paris", add_special_tokens=False)
        banned = self.pipe(QUESTION, gen_config=GenerationConfig(max_new_tokens=16, bad_token_ids=[token]))
        self.assertNotIn(token, banned.token_ids)
        ended = self.pipe(QUESTION, gen_config=GenerationConfig(max_new_tokens=16, stop_token_ids=[token]))
        self.assertEqual((ended.token_ids[-1], ended.finish_reason), (token, "stop"))

    def test_lengths(self) -> None:
        config = GenerationConfig(max_new_tokens=20, min_new_tokens=15)
        self.assertGreaterEqual(self.pipe(QUESTION, gen_config=config).generate_token_len, 15)
        self.assertEqual(self.pipe(QUESTION, gen_config=GenerationConfig(max_new_tokens=20, ignore_eos=True)).generate_token_len, 20)
        whole = self.pipe(QUESTION, gen_config=GenerationConfig(max_new_tokens=None, stop_words=[" "]))
        self.assertEqual(whole.finish_reason, "stop")

    def test_logprobs(self) -> None:
        response = self.pipe(QUESTION, gen_config=GenerationConfig(max_new_tokens=4, logprobs=3))
        self.assertEqual(len(response.logprobs), 4)
        for token, logprobs in zip(response.token_ids, response.logprobs):
            self.assertEqual(next(iter(logprobs)), token)
            self.assertEqual(logprobs[token], max(logprobs.values()))  # greedy
            self.assertGreaterEqual(len(logprobs), 3)

    def test_logits_and_hidden_states(self) -> None:
        config = GenerationConfig(max_new_tokens=6, output_logits="generation", output_last_hidden_state="all", logprobs=0)
        response = self.pipe(QUESTION, gen_config=config)
        rows = response.generate_token_len
        self.assertEqual(response.logits.shape, (rows, self.pipe.tokenizer.vocab_size))
        self.assertEqual(response.logits.dtype, numpy.float32)
        self.assertEqual(response.last_hidden_state.shape, (response.input_token_len + rows - 1, 576))
        self.assertEqual(response.logits.argmax(axis=1).tolist(), response.token_ids)
        for row, token, logprobs in zip(response.logits.astype(numpy.float64), response.token_ids, response.logprobs):
            computed = row[token] - row.max() - math.log(numpy.exp(row - row.max()).sum())
            self.assertTrue(abs(computed - logprobs[token]) <= 1e-4)
        everything = self.pipe(QUESTION, gen_config=GenerationConfig(max_new_tokens=6, output_logits="all"))
        self.assertEqual(len(everything.logits), everything.input_token_len + rows - 1)
        self.assertTrue(numpy.array_equal(everything.logits[-rows:], response.logits))

    def test_perplexity(self) -> None:
        ids = self.pipe.tokenizer.encode("The capital of France is Paris.")
        (nats,) = self.pipe.get_ppl(ids)
        whole = self.pipe(ids, gen_config=GenerationConfig(max_new_tokens=1, output_logits="all"))
        logits = whole.logits[: len(ids) - 1].astype(numpy.float64)
        top = logits.max(axis=1)
        chosen = logits[numpy.arange(len(ids) - 1), ids[1:]]
        expected = (top + numpy.log(numpy.exp(logits - top[:, None]).sum(axis=1)) - chosen).mean()
        self.assertTrue(abs(nats - expected) <= 1e-5)
        self.assertEqual(self.pipe.get_ppl(["The capital of France is Paris.", ids]), [nats, nats])
        with self.assertRaises(errors.InvalidArgument):
            self.pipe.get_ppl([5])


class Errors(WithPipeline):
    def test_fields_are_named_as_the_user_wrote_them(self) -> None:
        for config, message in (
            (GenerationConfig(do_sample=True, temperature=3), "temperature is 3"),
            (GenerationConfig(max_new_tokens=0), "max_new_tokens is 0"),
            (GenerationConfig(random_seed=1 << 80), "random_seed"),
            (GenerationConfig(stop_words=[""]), "stop_words"),
            (GenerationConfig(n=0), "n is 0"),
            (GenerationConfig(with_cache=True), "with_cache"),
            (GenerationConfig(response_format={"type": "json_object"}), "response_format"),
        ):
            with self.subTest(message), self.assertRaises((errors.InvalidArgument, errors.Unsupported)) as caught:
                self.pipe(QUESTION, gen_config=config)
            self.assertIn(message, str(caught.exception))
        with self.assertRaises(ValueError):  # of Python's own kinds, too
            GenerationConfig(output_logits="some")

    def test_the_prompt_is_named_and_nothing_runs(self) -> None:
        wait_until(lambda: self.pipe.stats()["running"] == 0)  # an answer ends before its last step is counted
        steps = self.pipe.stats()["steps"]
        with self.assertRaisesRegex(errors.TooLong, r"^prompts\[1\]: This model's maximum context length is 1024"):
            self.pipe(["Hi", "word " * 3000], gen_config=SHORT)
        for prompt in (5, [{"role": "user"}], [[{"role": "wizard", "content": "x"}]], [None], [[1, "a"]], [[-1]], "\ud800", []):
            with self.subTest(prompt), self.assertRaises(errors.IngotError):
                if self.pipe(prompt, gen_config=SHORT) == []:
                    raise errors.InvalidArgument("nothing was asked")
        self.assertEqual(self.pipe.stats()["steps"], steps)

    def test_what_is_not_there(self) -> None:
        with self.assertRaises(errors.NotFound):
            ingot.pipeline("/nonexistent")
        with self.assertRaisesRegex(errors.Unsupported, "PyTorch"):
            ingot.pipeline(MODEL, backend_config=ingot.PytorchEngineConfig())
        with self.assertRaisesRegex(errors.Unsupported, "tp 2"):
            ingot.pipeline(MODEL, backend_config=ingot.TurbomindEngineConfig(tp=2))
        with self.assertRaisesRegex(errors.InvalidArgument, "quant-policy"):
            ingot.pipeline(MODEL, backend_config=ingot.TurbomindEngineConfig(quant_policy=3))
        with self.assertRaises(TypeError):
            ingot.pipeline(MODEL, modle="x")
        with self.assertRaises(AttributeError):
            ingot.nothing
        with self.assertRaises(errors.Unsupported):
            self.pipe("Hi", adapter_name="lora")

    def test_errors_can_be_pickled(self) -> None:
        again = pickle.loads(pickle.dumps(errors.TooLong("message", "too long", "prompt")))
        self.assertEqual((str(again), again.code, again.field, type(again)), ("message", "too long", "prompt", errors.TooLong))

    def test_a_deadline_ends_one_request_alone(self) -> None:
        late = GenerationConfig(max_new_tokens=500, ignore_eos=True, timeout=0.05)
        slow, good = self.pipe([QUESTION, QUESTION], gen_config=[late, SHORT])
        self.assertEqual((slow.finish_reason, slow.error_code), ("error", "deadline exceeded"))
        self.assertEqual(good.text, "The capital of France is Paris.")


class Streams(WithPipeline):
    def test_the_pieces_are_the_answer(self) -> None:
        whole = self.pipe([QUESTION, "Hello"], gen_config=SEEDED)
        joined: dict[int, ingot.Response] = {}
        for piece in self.pipe.stream_infer([QUESTION, "Hello"], gen_config=SEEDED):
            joined.setdefault(piece.index, ingot.Response()).extend(piece)
        self.assertEqual([joined[i].text for i in range(2)], [response.text for response in whole])
        self.assertEqual(joined[0].token_ids, whole[0].token_ids)
        self.assertEqual(joined[1].finish_reason, whole[1].finish_reason)

    def test_leaving_it_frees_its_blocks(self) -> None:
        long = GenerationConfig(max_new_tokens=900, ignore_eos=True)
        stream = self.pipe.stream_infer([QUESTION] * 4, gen_config=long)
        next(stream)
        self.assertEqual(self.pipe.stats()["running"] + self.pipe.stats()["waiting"], 4)
        stream.close()
        steps = self.pipe.stats()["steps"]
        self.assertTrue(wait_until(lambda: self.pipe.stats()["running"] == 0 and self.used_blocks() == 0))
        self.assertLessEqual(self.pipe.stats()["steps"] - steps, 1)  # the one under way

    def test_other_threads_run_meanwhile(self) -> None:
        """The GIL is not held while the engine works."""
        counted = 0
        stop = threading.Event()

        def count() -> None:
            nonlocal counted
            while not stop.is_set():
                counted += 1
                time.sleep(0.001)

        thread = threading.Thread(target=count)
        thread.start()
        self.pipe("word " * 800, gen_config=SHORT)  # one prefill, in which Python has nothing to do
        stop.set()
        thread.join()
        self.assertGreater(counted, 5)

    def test_threads_share_the_batch(self) -> None:
        results: dict[int, str] = {}

        def ask(i: int) -> None:
            results[i] = self.pipe(f"Count to {i}.", gen_config=SEEDED).text

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, {i: self.pipe(f"Count to {i}.", gen_config=SEEDED).text for i in range(12)})


class Sessions(WithPipeline):
    def test_turns(self) -> None:
        first = "My name is Ada."
        with self.pipe.session() as session:
            self.assertIs(self.pipe.chat(first, session=session, gen_config=SHORT), session)
            one = session.response
            self.pipe.chat("What is my name?", session=session, gen_config=SHORT)
            self.assertEqual([prompt for prompt, _ in session.history], [first, "What is my name?"])
            self.assertGreater(session.response.cached_tokens, 0)
            messages = [{"role": "user", "content": first}, {"role": "assistant", "content": one.text}]
            messages.append({"role": "user", "content": "What is my name?"})
            if one.finish_reason == "stop":
                self.assertEqual(self.pipe(messages, gen_config=SHORT).text, session.response.text)
        self.assertEqual(self.pipe._engine.sessions(), [])

    def test_streamed_turn(self) -> None:
        session = self.pipe.session(gen_config=SHORT)
        pieces = list(self.pipe.chat(QUESTION, session=session, stream_response=True))
        self.assertEqual("".join(piece.text for piece in pieces), session.response.text)
        self.assertEqual(session.history, [(QUESTION, session.response.text)])
        session.close()

    def test_abort_keeps_what_has_come(self) -> None:
        session = self.pipe.session()
        long = GenerationConfig(max_new_tokens=900, ignore_eos=True)
        for piece in self.pipe.chat(QUESTION, session=session, gen_config=long, stream_response=True):
            if piece.generate_token_len >= 3:
                session.abort()
        self.assertEqual(session.response.finish_reason, "abort")
        self.assertGreaterEqual(session.response.generate_token_len, 3)
        ((_, tokens, turns, running),) = self.pipe._engine.sessions()
        self.assertEqual((turns, running), (1, False))
        self.assertGreaterEqual(tokens, session.response.generate_token_len)
        session.close()

    def test_two_turns_at_once_are_refused(self) -> None:
        session = self.pipe.session()
        stream = self.pipe.chat(QUESTION, session=session, gen_config=GenerationConfig(max_new_tokens=500, ignore_eos=True), stream_response=True)
        next(stream)
        with self.assertRaises(errors.Conflict):
            self.pipe.chat("Hello", session=session)
        session.close()  # of a running one, too


class Asyncio(WithPipeline):
    def test_many_at_once_without_threads(self) -> None:
        count = 1000
        config = GenerationConfig(max_new_tokens=2)

        async def ask(i: int) -> str:
            text = ""
            async for response in self.pipe.generate(f"Say {i % 7}.", gen_config=config, do_preprocess=False):
                text += response.text
            return text

        async def ask_all() -> list[str]:
            tasks = [asyncio.create_task(ask(i)) for i in range(count)]
            await asyncio.sleep(0)
            self.assertEqual(threading.active_count(), before)
            return await asyncio.gather(*tasks)

        before = threading.active_count()
        texts = asyncio.run(ask_all())
        self.assertEqual(len(texts), count)
        self.assertEqual(len(set(texts[0::7])), 1)
        self.assertEqual(self.used_blocks(), 0)

    def test_the_same_as_elsewhere(self) -> None:
        async def ask() -> list[ingot.Response]:
            return [r async for r in self.pipe.generate(QUESTION, gen_config=SEEDED, stream_response=False)]

        (response,) = asyncio.run(ask())
        self.assertEqual(response.token_ids, self.pipe(QUESTION, gen_config=SEEDED).token_ids)

    def test_cancelled_task(self) -> None:
        async def ask() -> None:
            async for _ in self.pipe.generate(QUESTION, gen_config=GenerationConfig(max_new_tokens=900, ignore_eos=True)):
                pass

        async def cancel() -> None:
            task = asyncio.create_task(ask())
            while self.pipe.stats()["running"] == 0:
                await asyncio.sleep(0.01)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            while self.pipe.stats()["running"] > 0:
                await asyncio.sleep(0.001)

        asyncio.run(asyncio.wait_for(cancel(), 60))
        self.assertEqual(self.used_blocks(), 0)

    def test_logits(self) -> None:
        config = GenerationConfig(max_new_tokens=3, output_logits="generation")

        async def ask() -> ingot.Response:
            whole = ingot.Response()
            async for response in self.pipe.generate(QUESTION, gen_config=config):
                whole.extend(response)
            return whole

        self.assertEqual(asyncio.run(ask()).logits.argmax(axis=1).tolist(), self.pipe(QUESTION, gen_config=SHORT).token_ids[:3])


class SameAnswers(unittest.TestCase):
    """Bit for bit what the server and the program answer, for the same seed."""

    def check_program(self, mine: ingot.Response, *flags: str) -> None:
        words = [PROGRAM, "generate", MODEL, "-p", QUESTION, "--json", "--top-p", "1", "--logprobs", "0", *flags]
        (choice,) = json.loads(subprocess.check_output(words, timeout=300))["choices"]
        self.assertEqual((choice["token_ids"], choice["text"]), (mine.token_ids, mine.text))
        for said, token, logprobs in zip(choice["logprobs"], mine.token_ids, mine.logprobs, strict=True):
            self.assertEqual(numpy.float32(said["logprob"]), numpy.float32(logprobs[token]))

    def test_compute_means_what_it_means_to_the_program(self) -> None:
        for compute in ("auto", "fast"):
            with ingot.pipeline(MODEL, backend_config=dataclasses.replace(CONFIG, compute=compute)) as pipe:
                mine = pipe(QUESTION, gen_config=GenerationConfig(max_new_tokens=4, logprobs=0))
            self.check_program(mine, "--compute", compute, "--temperature", "0", "--max-tokens", "4", "--session-len", "1024")

    def test_program_and_server(self) -> None:
        with ingot.pipeline(MODEL, backend_config=CONFIG) as pipe:
            mine = pipe(QUESTION, gen_config=GenerationConfig(max_new_tokens=24, do_sample=True, temperature=0.9, top_k=0, random_seed=7, logprobs=0))
        self.check_program(mine, "--compute", "exact", "--temperature", "0.9", "--seed", "7", "--max-tokens", "24", "--session-len", "1024")
        with ingot.serve(MODEL, "m", backend_config=CONFIG, server_name="127.0.0.1", server_port=0) as server:
            fields = {"temperature": 0.9, "top_p": 1, "seed": 7, "max_tokens": 24}
            (answer,) = server.chat_completions_v1("m", QUESTION, **fields)
            self.assertEqual(answer["choices"][0]["message"]["content"], mine.text)
            pieces = [piece["choices"][0]["delta"] for piece in server.chat_completions_v1("m", QUESTION, stream=True, **fields)]
            self.assertEqual("".join(piece.get("content") or "" for piece in pieces), mine.text)
            self.assertEqual(ingot.client(server.url).available_models, ["m"])
            ids, length = server.encode("Hello")
            self.assertEqual(len(ids), length)
            (turn,) = server.chat_interactive_v1(QUESTION, session_id=5, interactive_mode=True, temperature=0.0)
            self.assertIn("Paris", turn["text"])
            with self.assertRaisesRegex(errors.ProgramError, "temperature"):
                list(server.chat_completions_v1("m", QUESTION, temperature=9))
        with self.assertRaises(errors.SystemFailure):
            ingot.client(server.url).available_models


class Processes(unittest.TestCase):
    """What a pipeline is to the process that it lives in."""

    def run_python(self, code: str, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], text=True, timeout=300, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    LOAD = (
        "import ingot, os, sys\n"
        f"pipe = ingot.pipeline({MODEL!r}, backend_config=ingot.TurbomindEngineConfig(session_len=512, max_batch_size=4, kv_cache_bytes=1<<26))\n"
        "short = ingot.GenerationConfig(max_new_tokens=4)\n"
        "long = ingot.GenerationConfig(max_new_tokens=450, ignore_eos=True)\n"
    )

    def test_import_is_quick_and_light(self) -> None:
        code = "import time; begin = time.perf_counter(); import ingot; from ingot import pipeline, GenerationConfig\n"
        code += "import sys; print(sorted({'torch', 'numpy', 'tqdm', 'transformers'} & set(sys.modules)), time.perf_counter() - begin)"
        done = self.run_python(code)
        self.assertEqual(done.stderr, "")
        self.assertTrue(done.stdout.startswith("[] "), done.stdout)

    def test_fork(self) -> None:
        code = self.LOAD + (
            "stream = pipe.stream_infer('Hi', gen_config=long); next(stream)\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    try:\n"
            "        pipe('Hi', gen_config=short)\n"
            "    except ingot.errors.Unavailable as error:\n"
            "        print(error, flush=True)\n"
            "    stream.close(); pipe.close()\n"
            "    sys.exit(0)\n"
            "print('child', os.waitpid(child, 0)[1], flush=True)\n"
            "stream.close(); print(len(pipe('Hi', gen_config=short).token_ids))\n"
        )
        done = self.run_python("import ingot.errors\n" + code)
        self.assertRegex(done.stdout, r'^this process was forked .*"spawn"\nchild 0\n4\n$', done.stderr)

    def test_fork_before_loading_works(self) -> None:
        code = "import ingot, os, sys\nif os.fork() == 0:\n    " + self.LOAD.replace("\n", "\n    ") + "print(len(pipe('Hi', gen_config=short).token_ids))\nelse:\n    os.wait()\n"
        self.assertEqual(self.run_python(code).stdout, "4\n")

    def test_a_spawned_worker_has_a_model_of_its_own(self) -> None:
        code = (
            "import multiprocessing, sys\n"
            "from ingot import GenerationConfig, TurbomindEngineConfig, pipeline\n"
            "def ask(model):\n"
            "    with pipeline(model, backend_config=TurbomindEngineConfig(session_len=512, max_batch_size=2, kv_cache_bytes=1 << 20)) as pipe:\n"
            "        return pipe('Hi', gen_config=GenerationConfig(max_new_tokens=4)).token_ids\n"
            "if __name__ == '__main__':\n"
            "    with pipeline(sys.argv[1]) as pipe, multiprocessing.get_context('spawn').Pool(1) as pool:\n"
            "        mine = pipe('Hi', gen_config=GenerationConfig(max_new_tokens=4)).token_ids\n"
            "        print(len(mine), pool.apply(ask, (sys.argv[1],)) == mine)\n"
        )
        with tempfile.TemporaryDirectory() as folder:
            model, script = tiny_model.write(pathlib.Path(folder)), pathlib.Path(folder, "script.py")
            script.write_text(code)
            done = subprocess.run([sys.executable, str(script), model], text=True, timeout=300, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.stdout, "4 True\n", done.stderr)

    def test_exit_with_requests_that_run(self) -> None:
        done = self.run_python(self.LOAD + "stream = pipe.stream_infer(['Hi'] * 9, gen_config=long); next(stream); print('end')")
        self.assertEqual((done.returncode, done.stdout), (0, "end\n"), done.stderr)

    def test_interrupt(self) -> None:
        # A test that runs in the background of a shell ignores SIGINT, and so would its children.
        code = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        code += self.LOAD + "print('go', flush=True)\ntry:\n    pipe(['Hi'] * 4, gen_config=long)\nexcept KeyboardInterrupt:\n    import time\n    end = time.monotonic() + 100\n    while pipe.stats()['running'] and time.monotonic() < end: time.sleep(.01)\n    print(pipe.stats()['running'], len(pipe('Hi', gen_config=short).token_ids))\n"
        process = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), "go\n")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.communicate(timeout=300)[0], "0 4\n")

    def test_kill_leaves_nothing(self) -> None:
        code = f"import ingot, time\nserver = ingot.serve({MODEL!r}, server_name='127.0.0.1', server_port=0)\nprint(server._process.popen.pid, flush=True)\ntime.sleep(600)\n"
        shared = set(os.listdir("/dev/shm"))
        process = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        server = int(process.stdout.readline())
        process.kill()
        process.wait()
        process.stdout.close()

        def is_gone() -> bool:
            try:
                return pathlib.Path(f"/proc/{server}/stat").read_text().rsplit(")")[1].split()[0] == "Z"
            except OSError:
                return True

        self.assertTrue(wait_until(is_gone, 60))
        self.assertEqual(set(os.listdir("/dev/shm")) - shared, set())

    def test_closed(self) -> None:
        pipe = ingot.pipeline(MODEL, backend_config=CONFIG)
        stream = pipe.stream_infer(QUESTION, gen_config=GenerationConfig(max_new_tokens=500, ignore_eos=True))
        next(stream)
        pipe.close()
        self.assertIn(list(stream)[-1].finish_reason, ("abort", "error"))  # it has its end
        pipe.close()
        with self.assertRaisesRegex(errors.Unavailable, "closed"):
            pipe("Hi")


if __name__ == "__main__":
    unittest.main()
