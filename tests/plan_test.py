"""`ingot plan`: the seed's table, what the server then does with the flags that it prints, and what it says when nothing fits."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from support import BINARY, MODEL, Server, require_model

require_model()


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, "plan", *arguments], capture_output=True, text=True, timeout=300,
                          env=dict(os.environ, INGOT_MODELS_DIR=str(MODEL.parent.parent)))  # fmt: skip


class PlanTest(unittest.TestCase):
    def plan(self, *arguments: str) -> dict:
        done = run(*arguments, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def error(self, *arguments: str) -> str:
        done = run(*arguments)
        self.assertIn(done.returncode, (1, 2), done.stderr)
        return done.stderr

    def row(self, report: dict, weights: str, policy: int) -> dict:
        (row,) = [r for r in report["rows"] if (r["weights"], r["quant_policy"]) == (weights, policy)]
        return row


class SeedTable(PlanTest):
    def test_7b_in_24_gib(self) -> None:
        before = self.plan("llama-2-7b", "--memory", "24GiB", "--session-len", "2048")
        self.assertTrue(self.row(before, "fp16", 0)["fits"])
        after = self.plan("llama-2-7b", "--memory", "24GiB", "--session-len", "8192")
        self.assertFalse(self.row(after, "fp16", 0)["fits"])
        row = self.row(after, "w4", 8)
        self.assertAlmostEqual(row["share_of_free"], 0.81, delta=0.005)
        self.assertIn(row["cache_max_entry_count"], (0.81, 0.82, 0.83))

    def test_70b_in_80_gib(self) -> None:
        done = run("llama-2-70b", "--memory", "80GiB", "--weights", "fp16", "--quant-policy", "0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("none", done.stdout)
        row = self.row(self.plan("llama-2-70b", "--memory", "80GiB", "--session-len", "32768"), "w4", 8)
        self.assertAlmostEqual(row["share_of_free"], 0.90, delta=0.005)
        self.assertIn(row["cache_max_entry_count"], (0.91, 0.92))

    def test_text(self) -> None:
        done = run("llama-2-7b", "--memory", "24GiB", "--session-len", "8192", "--device", "a100")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"\nw4 g128 +3\.65 GiB +int8 .* 0\.81 +0\.8[123]\n")
        self.assertRegex(done.stdout, r"\na100-80g +154 \(154\)")
        self.assertNotRegex(done.stdout, r"\nh100")
        self.assertIn("or with --device cuda on an NVIDIA GPU", done.stdout)
        self.assertIn("ingot serve api_server MODEL --session-len 8192 --max-batch-size 8", done.stdout)
        plain = ("llama-2-7b", "--memory", "24GiB", "--session-len", "8192")
        self.assertNotIn("a100", run(*plain).stdout)
        self.assertRegex(run(*plain, "--devices").stdout, r"(?s)\na100-80g .*\nh100 ")


class Agreement(PlanTest):
    def test_the_server_prints_the_ledger_that_was_planned(self) -> None:
        wanted = ("--session-len", "1024", "--max-batch-size", "3", "--threads", "2")
        for policy in ("0", "8", "4"):
            report = self.plan("smollm2", "--memory", "1GiB", *wanted, "--weights", "stored", "--quant-policy", policy)
            (row,) = report["rows"]
            command = row["command"].split()
            self.assertEqual(command[:4], ["ingot", "serve", "api_server", "smollm2"])
            with Server(str(MODEL), *command[4:], "--threads", "2") as server:
                log = "".join(server.log)
            for line in row["ledger"].splitlines()[1:]:  # the first says what this machine has
                self.assertIn(line + "\n", log)

    def test_what_a_config_says_is_what_its_name_says(self) -> None:
        config = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
                  "vocab_size": 32000, "max_position_embeddings": 4096}  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "config.json"
            path.write_text(json.dumps(config))
            named = self.plan("Llama-2-7B", "--memory", "24GiB")
            for model in (str(path), folder):
                self.assertEqual(self.plan(model, "--memory", "24GiB")["rows"], named["rows"])

    def test_this_machines_memory(self) -> None:
        free = json.loads(subprocess.run([BINARY, "check_env", "--json"], capture_output=True, text=True, check=True).stdout)
        here = self.plan("smollm2-135m", "--session-len", "256")["memory_bytes"]
        self.assertLess(abs(here - free["available_bytes"]), free["memory_bytes"] / 2)
        self.assertEqual(self.plan("smollm2-135m", "--device", "t4")["memory_bytes"], 15360 << 20)


class Errors(PlanTest):
    def test_what_would_fit(self) -> None:
        text = self.error("llama-2-7b", "--memory", "8GiB", "--session-len", "8192")
        found = re.search(r"--session-len (\d+) or --max-batch-size (\d+) fits with weights in w4 g128 and a cache in int4; (\S+) GiB", text)
        self.assertTrue(found, text)
        length, sessions, memory = found.groups()
        for flags in (("--session-len", length), ("--session-len", "8192", "--max-batch-size", sessions)):
            self.assertTrue(self.row(self.plan("llama-2-7b", "--memory", "8GiB", *flags), "w4", 4)["fits"])
        enough = self.plan("llama-2-7b", "--memory", f"{float(memory) + 0.1}GiB", "--session-len", "8192")
        self.assertTrue(self.row(enough, "w4", 4)["fits"])
        self.assertIn("the weights alone take", self.error("llama-2-70b", "--memory", "8GiB"))

    def test_what_is_not_known(self) -> None:
        self.assertIn("qwen3-8b", self.error("qwen3-7b"))
        self.assertIn("h200", self.error("qwen3-8b", "--device", "a99"))
        self.assertIn("w-group-size", self.error("qwen3-8b", "--w-group-size", "48"))
        self.assertIn("quant-policy", self.error("qwen3-8b", "--quant-policy", "5"))
        self.assertIn("stored", self.error("qwen3-8b", "--weights", "stored"))
        self.assertIn("--weights", self.error("smollm2", "--measure", "--memory", "1GiB", "--session-len", "256"))
        self.assertIn("model_type", self.error(self.file("{}")))

    def file(self, text: str) -> str:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name) / "config.json"
        path.write_text(text)
        return str(path)


if __name__ == "__main__":
    unittest.main()
