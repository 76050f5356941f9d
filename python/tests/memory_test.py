"""Nothing is left of calls that are over: memory, blocks, threads and descriptors stay as they are."""

import asyncio
import gc
import os
import pathlib
import tempfile
import threading
import unittest
from typing import Callable

import tiny_model
from support import NIGHTLY

import ingot
from ingot import GenerationConfig, errors

CALLS = 10_000 if NIGHTLY else 600
AT_ONCE = 1000
SLACK = 8 << 20  # bytes: what malloc keeps of a busier moment; below what 10,000 leaks of 1 KiB would take


def resident() -> int:
    gc.collect()
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096


class Memory(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        config = ingot.TurbomindEngineConfig(session_len=512, max_batch_size=8, kv_cache_bytes=1 << 20)  # small, so that soon all of it is touched
        self.pipe = ingot.pipeline(tiny_model.write(pathlib.Path(folder.name)), backend_config=config, chat_template_config=ingot.ChatTemplateConfig("chatml"))
        self.addCleanup(self.pipe.close)

    def check_flat(self, use: Callable[[int], None], count: int) -> None:
        """`use` is called with 0…count - 1; what it takes after the first quarter is what would leak."""
        warm = max(1, count // 4)
        for i in range(warm):
            use(i)
        before, descriptors, threads = resident(), len(os.listdir("/proc/self/fd")), threading.active_count()
        for i in range(warm, count):
            use(i)
        grown = resident() - before
        print(f"{self.id()}: {count} times, resident memory {before / 2**20:.1f} MiB, then {grown / 2**20:+.2f} MiB", flush=True)
        self.assertLess(grown, SLACK)
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), descriptors)  # the test before may have left one, which goes
        self.assertLessEqual(threading.active_count(), threads)
        stats = self.pipe.stats()
        self.assertEqual(stats["total_blocks"], stats["free_blocks"] + stats["cached_blocks"])
        self.assertEqual((self.pipe._engine.sessions(), stats["running"], stats["waiting"]), ([], 0, 0))

    def test_calls(self) -> None:
        config = GenerationConfig(max_new_tokens=2, logprobs=2)
        scores = GenerationConfig(max_new_tokens=2, output_logits="all", output_last_hidden_state="generation")

        def use(i: int) -> None:
            kind = i % 10
            if kind == 0:  # left early, which cancels it
                for _ in self.pipe.stream_infer(f"Say {i}.", gen_config=GenerationConfig(max_new_tokens=200, ignore_eos=True)):
                    break
                while self.pipe.stats()["running"] > 0:
                    pass
            elif kind == 1:
                with self.pipe.session(config) as session:
                    self.pipe.chat(f"Say {i}.", session=session)
            elif kind == 2:
                self.pipe(f"Say {i}.", gen_config=scores)
            elif kind == 3:
                with self.assertRaises(errors.TooLong):
                    self.pipe(f"{i}" * 600)
            else:
                self.pipe([f"Say {i}.", "Hi"], gen_config=config)

        self.check_flat(use, CALLS)

    def test_a_thousand_at_once(self) -> None:
        async def ask(i: int) -> int:
            return sum([len(piece.token_ids) async for piece in self.pipe.generate(f"Say {i}.", gen_config=GenerationConfig(max_new_tokens=4, ignore_eos=True))])

        async def ask_all() -> list[int]:
            return await asyncio.gather(*(ask(i) for i in range(AT_ONCE)))

        self.check_flat(lambda _: self.assertEqual(asyncio.run(ask_all()), [4] * AT_ONCE), 20 if NIGHTLY else 4)


if __name__ == "__main__":
    unittest.main()
