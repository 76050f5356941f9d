"""Peak memory of serving a random 1.1B model: its file, the KV cache, and little else; and of quantizing it: a layer's parts.

Serving Q4_0 here; with INGOT_NIGHTLY=1 the other block formats too. Q5_K and Q6_K are held in 8 bits. Quantizing only then: it
takes half an hour and more.
"""

import filecmp
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

from support import BINARY, MODEL, ROOT, Server

KV_BYTES = 64 << 20
OVERHEAD_BYTES = 150_000_000
SLACK_BYTES = 32 << 20  # the heap of the program itself, and rows on their way into the packed layout
LIMITS = {"Q4_0": 1.1}
NIGHTLY = bool(os.environ.get("INGOT_NIGHTLY"))
if NIGHTLY:
    LIMITS |= {"Q4_K": 1.1, "Q8_0": 1.1, "Q5_K": 1.6, "Q6_K": 1.6}


def peak_resident_bytes(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def ask(url: str) -> dict:
    body = {"model": "m", "max_tokens": 8, "ignore_eos": True, "messages": [{"role": "user", "content": "filler " * 90}]}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.loads(response.read())


def make_model(kind: str, path: pathlib.Path) -> None:
    subprocess.run([sys.executable, ROOT / "tools/make_random_gguf.py", "--shape", "1b", "--type", kind, path], check=True)


@unittest.skipUnless(MODEL.exists(), "needs the embedded model")
class LimitsTest(unittest.TestCase):
    """Limits that a shell sets before the start: ulimit -v and -n."""

    @staticmethod
    def limited(which: int, limit: int):
        def limit_process() -> None:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # a thread's stack counts
            resource.setrlimit(which, (limit, limit))

        return limit_process

    def answer(self, which: int, limit: int) -> list[str]:
        """What the server logs that starts so, and answers."""
        with Server(str(MODEL), "--model-name", "m", "--compute", "exact", preexec_fn=self.limited(which, limit)) as server:
            self.assertEqual(ask(server.url)["usage"]["completion_tokens"], 8)
        return server.log

    def test_a_plan_that_fits_into_little_memory(self) -> None:
        for limit, is_short in ((800 << 20, True), (3000 << 20, False)):
            log = self.answer(resource.RLIMIT_AS, limit)
            self.assertEqual(any("--session-len" in line for line in log), is_short, log)

    def test_too_little_memory_is_an_error_that_names_the_limit(self) -> None:
        for limit in (100 << 20, 300 << 20):
            done = subprocess.run(
                [BINARY, "serve", str(MODEL), "--port", "0"], capture_output=True, text=True, timeout=300,
                preexec_fn=self.limited(resource.RLIMIT_AS, limit))  # fmt: skip
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("(ulimit -v", done.stderr.splitlines()[-1])

    def test_few_descriptors(self) -> None:
        log = self.answer(resource.RLIMIT_NOFILE, 24)
        self.assertTrue([line for line in log if "24 file descriptors are allowed (ulimit -n)" in line], log)


class MemoryTest(unittest.TestCase):
    def test_peak(self) -> None:
        for kind, limit in LIMITS.items():
            with self.subTest(kind), tempfile.TemporaryDirectory() as folder:
                model = pathlib.Path(folder) / "model.gguf"
                make_model(kind, model)
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


@unittest.skipUnless(NIGHTLY, "takes half an hour and more")
class QuantizeTest(unittest.TestCase):
    """AWQ of the 1.1B shape. Halfway the work is copied as it lies on the disk, which is what a kill at that moment would leave; a
    second run resumes from the copy."""

    LAYERS, LAYER_BYTES = 22, 2 * (2 * 2048 * 2048 + 2 * 256 * 2048 + 3 * 5632 * 2048)
    LIMIT_BYTES = 3 * LAYER_BYTES + 500_000_000

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.model = self.folder / "model.gguf"
        make_model("F16", self.model)

    def quantize(self, output: str) -> subprocess.Popen:
        command = [BINARY, "lite", "auto_awq", str(self.model), "--work-dir", str(self.folder / output), "--w-group-size", "128"]
        command += ["--calib-samples", "16", "--calib-seqlen", "512", "--eval-windows", "0", "--json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def finish(self, process: subprocess.Popen, while_it_runs=lambda: None) -> tuple[dict, int]:
        """The report, and the most memory that was not of a mapped file."""
        status, peak = pathlib.Path(f"/proc/{process.pid}/status"), 0
        while process.poll() is None:
            if match := re.search(r"RssAnon:\s+(\d+) kB", status.read_text()):
                peak = max(peak, int(match.group(1)) * 1024)
            while_it_runs()
            time.sleep(0.1)
        self.assertEqual(process.returncode, 0)
        return json.loads(process.stdout.read()), peak

    def test_one_layer_at_a_time_and_again_after_a_kill(self) -> None:
        begin = time.monotonic()
        process = self.quantize("whole")
        whole, killed = self.folder / "whole.partial", self.folder / "killed.partial"

        def copy_halfway() -> None:
            if killed.exists() or not (whole / f"layer-{self.LAYERS // 2:05}").exists():
                return
            process.send_signal(signal.SIGSTOP)
            shutil.copytree(whole, killed)
            process.send_signal(signal.SIGCONT)

        _, peak = self.finish(process, copy_halfway)
        print(f"{time.monotonic() - begin:.0f} s; peak {peak / 1e6:.0f} MB besides mapped files, limit {self.LIMIT_BYTES / 1e6:.0f} MB", flush=True)
        self.assertLessEqual(peak, self.LIMIT_BYTES)
        report, peak = self.finish(self.quantize("killed"))
        self.assertLessEqual(peak, self.LIMIT_BYTES)
        self.assertGreaterEqual(report["resumed_layers"], self.LAYERS // 2)
        for file in (self.folder / "whole").iterdir():
            self.assertTrue(filecmp.cmp(file, self.folder / "killed" / file.name, shallow=False), file.name)


if __name__ == "__main__":
    unittest.main()
