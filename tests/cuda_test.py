"""--device cuda on the emulator: the default model answers as on the CPU with fp32 activations, over HTTP too."""

import json
import os
import subprocess
import unittest
import urllib.request

from support import BINARY, Server, require_model

PATH = require_model()
PROMPT = "The capital of France is"
EMULATED = dict(os.environ, INGOT_CUDA_EMULATE="1")
# The emulator takes some seconds of CPU time a step.
SMALL = ("--session-len", "64", "--max-batch-size", "2", "--kv-cache-memory", "16MiB", "--log-level", "info")


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=300, env=env)


class CudaTest(unittest.TestCase):
    def test_the_server_answers_as_on_the_cpu(self) -> None:
        greedy = ("--max-tokens", "2", "--temperature", "0", "--compute", "exact")
        expected = run("generate", PATH, "--raw", "-p", PROMPT, *greedy)
        self.assertEqual(expected.returncode, 0, expected.stderr)
        with Server(PATH, "--device", "cuda", *SMALL, env=EMULATED) as server:
            body = {"model": "any", "prompt": PROMPT, "max_tokens": 2, "temperature": 0}
            model = json.loads(server.get("/v1/models"))["data"][0]["id"]
            request = urllib.request.Request(
                server.url + "/v1/completions", json.dumps({**body, "model": model}).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=600) as response:
                text = json.load(response)["choices"][0]["text"]
            metrics = server.get("/metrics")
            log = "".join(server.log)
        self.assertEqual(text.strip(), expected.stdout.strip())
        self.assertIn("device      CUDA emulator", log)
        self.assertIn('ingot_device_info{device="CUDA emulator, compute capability 8.0', metrics)
        self.assertRegex(metrics, r"\ningot_device_memory_bytes \d+")
        self.assertRegex(metrics, r"\ningot_device_memory_free_bytes \d+")

    def test_check_env_names_the_device(self) -> None:
        self.assertIn("CUDA emulator, compute capability 8.0", run("check_env", env=EMULATED).stdout)

    def test_plan_asks_the_device(self) -> None:
        done = run("plan", "smollm2-135m", "--device", "cuda", "--session-len", "512", env=EMULATED)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("free on CUDA emulator", done.stdout)
        self.assertIn(" --device cuda", done.stdout)

    def test_what_is_missing_is_said(self) -> None:
        plain = {name: value for name, value in os.environ.items() if name != "INGOT_CUDA_EMULATE"}
        if not os.path.exists("/proc/driver/nvidia/version"):
            done = run("generate", PATH, "-p", "x", "--device", "cuda", env=plain)
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stderr, "built without CUDA|libcuda.so.1 was not found")
        done = run("generate", PATH, "-p", "x", "--device", "tpu")
        self.assertIn("--device", done.stderr)
        for device in ("cuda", "auto"):
            done = run("generate", PATH, "-p", "x", "--device", device, "--compute", "exact", env=EMULATED)
            self.assertIn("--compute exact is for --device cpu", done.stderr)
        done = run("generate", PATH, "-p", "x", "--device", "cuda", env=dict(os.environ, INGOT_CUDA_EMULATE="2"))
        self.assertIn("INGOT_CUDA_EMULATE", done.stderr)


if __name__ == "__main__":
    unittest.main()
