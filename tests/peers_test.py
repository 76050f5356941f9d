"""bench/peers with engines that are made up: what it asks them, and the table that it writes."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench/peers"))

from servers import EngineError, Load, measure_server, run_json  # noqa: E402
from table import spread  # noqa: E402

INGOT = """#!/usr/bin/env python3
import json, sys
if "check_env" in sys.argv:
    print(json.dumps({"version": "9", "cpu": "C", "isa": "i", "physical_cores": 2}))
else:
    seed = int(sys.argv[sys.argv.index("--seed") + 1])
    print(json.dumps({"runs": [{"median_prefill_throughput": 1000 + seed, "median_decode_throughput": 40.0}]}))
"""
LLAMA = """#!/usr/bin/env python3
import json
print("loading")
print(json.dumps({"speed_pp": 1, "speed_tg": 1}))  # warms up
print(json.dumps({"speed_pp": 500, "speed_tg": 80.0}))
"""


class Run(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("ingot", INGOT)
        self.write("model.gguf", "")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def install_llama(self, program: str = LLAMA) -> None:
        self.write("llama.cpp/version", "llama 7\n")
        self.write("llama.cpp/build/bin/llama-batched-bench", program)

    def measure(self, *options: str) -> subprocess.CompletedProcess:
        command = [ROOT / "bench/peers/run.py", "--ingot", self.root / "ingot", "--peers", self.root, "--no-install", "--threads",
                   "2", "--models", self.root / "model.gguf", "--out", self.root / "table.md", *options]  # fmt: skip
        environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
        return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=60, env=environment)

    def test_medians_ratios_and_the_reason_for_a_missing_engine(self) -> None:
        self.install_llama()
        done = self.measure("--workloads", "prefill,decode", "--rounds", "3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| prefill of 512, tokens/s | 1,001 (1,000–1,002) | 500 (500–500) | 2.00 (2.00–2.00) |", done.stdout)
        self.assertIn("| decode, context 64, tokens/s | 40.0 (40.0–40.0) | 80.0 (80.0–80.0) | 0.50 (0.50–0.50) |", done.stdout)
        self.assertIn("OpenVINO GenAI was not measured: not installed", done.stdout)
        self.assertEqual(done.stdout, (self.root / "table.md").read_text())
        report = json.loads((self.root / "table.json").read_text())
        self.assertEqual(report["versions"], {"Ingot": "9", "llama.cpp": "llama 7"})
        cell = next(iter(report["models"].values()))[0]
        self.assertEqual(cell["rounds"], [{"Ingot": 1000 + i, "llama.cpp": 500} for i in range(3)])

    def test_an_engine_that_fails_is_named(self) -> None:
        self.install_llama("#!/bin/sh\necho no such tile >&2\nexit 3\n")
        done = self.measure("--workloads", "decode", "--rounds", "1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("| decode, context 64, tokens/s | 40.0 (40.0–40.0) | failed | – |", done.stdout)
        self.assertIn("llama.cpp failed in “decode, context 64”: llama-batched-bench ended with 3: no such tile", done.stdout)

    def test_unknown_names_are_refused(self) -> None:
        for flag, name in (("--workloads", "prefil"), ("--engines", "vllm"), ("--models", "no.gguf"), ("--rounds", "-1")):
            with self.subTest(flag=flag):
                done = self.measure(flag, name)
                self.assertEqual(done.returncode, 2)
                self.assertIn(f"{flag}: ", done.stderr)

    def test_a_server_that_ends_is_an_error(self) -> None:
        with self.assertRaisesRegex(EngineError, "false did not start: no output"):
            measure_server(["/bin/false"], ["ingot"], "model", Load(1, 1, 8, 4))


class Parts(unittest.TestCase):
    def test_spread(self) -> None:
        self.assertEqual(spread([3, 1, 2.5], ".1f"), "2.5 (1.0–3.0)")

    def test_lines_of_json(self) -> None:
        self.assertEqual(run_json(["/bin/echo", 'x\n{"a": 1}\n{"a": 2}']), [{"a": 1}, {"a": 2}])
        with self.assertRaisesRegex(EngineError, "true ended with 0: no output"):
            run_json(["/bin/true"])


if __name__ == "__main__":
    unittest.main()
