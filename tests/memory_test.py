"""Peak memory of serving a random 1.1B model: its file, the KV cache, and little else.

Q4_0 here; with INGOT_NIGHTLY=1 the other block formats too. Q5_K and Q6_K are held in 8 bits.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.request

from support import BINARY, ROOT, Server

KV_BYTES = 64 << 20
OVERHEAD_BYTES = 150_000_000
SLACK_BYTES = 32 << 20  # the heap of the program itself, and rows on their way into the packed layout
LIMITS = {"Q4_0": 1.1}
if os.environ.get("INGOT_NIGHTLY"):
    LIMITS |= {"Q4_K": 1.1, "Q8_0": 1.1, "Q5_K": 1.6, "Q6_K": 1.6}


def peak_resident_bytes(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def ask(url: str) -> dict:
    body = {"model": "m", "max_tokens": 8, "ignore_eos": True, "messages": [{"role": "user", "content": "filler " * 90}]}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.loads(response.read())


class MemoryTest(unittest.TestCase):
    def test_peak(self) -> None:
        for kind, limit in LIMITS.items():
            with self.subTest(kind), tempfile.TemporaryDirectory() as folder:
                model = pathlib.Path(folder) / "model.gguf"
                subprocess.run(
                    [sys.executable, ROOT / "tools/make_random_gguf.py", "--shape", "1b", "--type", kind, model], check=True
                )
                flags = ["--session-len", "1024", "--max-batch-size", "4", "--kv-cache-memory", str(KV_BYTES)]
                with Server(str(model), "--model-name", "m", "--chat-template", "chatml", *flags) as server:
                    self.assertEqual(ask(server.url)["usage"]["completion_tokens"], 8)
                    peak = peak_resident_bytes(server.process.pid)
                self.assertLessEqual(peak, model.stat().st_size * limit + KV_BYTES + OVERHEAD_BYTES)


class MeasureTest(unittest.TestCase):
    """`ingot plan --measure`: random weights in a full cache take what was planned, and the cap holds."""

    def measure(self, memory: str, *arguments: str) -> subprocess.CompletedProcess:
        flags = ["--session-len", "512", "--max-batch-size", "4", "--threads", "2", "--measure", "--json"]
        return subprocess.run([BINARY, "plan", "smollm2-135m", "--memory", memory, *flags, *arguments], capture_output=True, text=True, timeout=300)

    def test_takes_what_was_planned(self) -> None:
        for weights, policy in (("w4", "8"), ("w8a8", "4"), ("fp16", "0")):
            with self.subTest(weights):
                done = self.measure("768MiB", "--weights", weights, "--quant-policy", policy, "--prompt-tokens", "508", "--answer-tokens", "4")
                self.assertEqual(done.returncode, 0, done.stderr)
                measured = json.loads(done.stdout)["measured"]
                self.assertEqual(measured["kv_touched_bytes"], measured["kv_bytes"])
                self.assertLessEqual(measured["peak_bytes"], 768 << 20)
                self.assertLessEqual(measured["peak_bytes"], measured["planned_bytes"] + SLACK_BYTES)
                self.assertGreaterEqual(measured["peak_bytes"], measured["weight_bytes"] + measured["kv_touched_bytes"])
                self.assertGreater(measured["decode_tokens_per_second"], 0)

    def test_refuses_what_does_not_fit(self) -> None:
        done = self.measure("64MiB", "--weights", "w4")
        self.assertEqual(done.returncode, 1)
        self.assertIn("do not fit", done.stderr)


if __name__ == "__main__":
    unittest.main()
