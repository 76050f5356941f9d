"""What users of LMDeploy, vLLM, llama.cpp and ollama type: their flags and commands, taken or answered with a line."""

import json
import os
import re
import unittest
import urllib.request

from cli_test import ANSWER, GREEDY, QUESTION, CliTest, run
from support import MODEL, ROOT, Server


class ForeignFlags(CliTest):
    def test_flags_of_other_programs_are_told_what_they_are_here(self) -> None:
        for command, flag, expected in (
            ("serve", "--rpc", "one process"), ("generate", "-e", "taken as it is"),
            ("serve", "--kv-cache-dtype", "here it is --quant-policy 8 (int8)"),
            ("serve", "--temp", "every request says for itself"),
            ("serve api_server", "--load-format", "is read from the checkpoint"),
            ("generate", "--served-model-name", "`ingot generate` has no use for it"),
            ("generate", "--tempreature", "did you mean --temperature"),
            ("info", "--dp", "layers are not split"), ("serve", "--tool-call-parser", "tools are not supported"),
            ("serve", "--reasoning-parser", "comes whole"), ("serve", "--adapters", "LoRA"),
            ("serve", "--revision", "Org/Name@REVISION"), ("serve", "--download-dir", "HF_HOME"),
            ("serve", "--seed", "every request says for itself"), ("serve", "--top-k", "every request says for itself"),
            ("serve", "--allowed-origins", "did you mean --allow-origins"), ("serve", "--speculative-config", "speculative"),
            ("serve", "--lora-modules", "LoRA"), ("serve", "--enable-lora", "LoRA"),
            ("serve", "-fa=off", "attention is always"), ("serve", "--no-cont-batching", "--max-batch-size 1"), ("generate", "-f", "standard input"),
            ("serve", "--mmproj", "images"), ("serve", "--json-schema", "not supported"), ("serve", "--timeout", "--idle-timeout"),
        ):  # fmt: skip
            with self.subTest(flag):
                self.assertIn(expected, self.error(*command.split(), "smollm2", flag, "1"))

    def test_all_flags_that_are_not_here_are_told_at_once(self) -> None:
        error = self.error("serve", "smollm2", "--lora-modules", "a", "--revision=b", "--nonsense-flag", "--port", "0")
        for wanted in ("LoRA adapters", "Org/Name@REVISION", "there is no flag --nonsense-flag"):
            self.assertIn(wanted, error)
        self.assertEqual(len(error.splitlines()), 4, error)

    def test_flags_that_no_answer_depends_on_are_ignored_with_a_line(self) -> None:
        asked = ("generate", "smollm2", "-p", QUESTION, *GREEDY, "--load-format", "safetensors")
        done = run(*asked, "-ngl", "-1", "-ub", "512", "--n-gpu-layers=all", "--swap-space", "4", "--main-gpu")
        self.assertEqual((done.returncode, done.stdout), (0, ANSWER + "\n"), done.stderr)
        lines = done.stderr.splitlines()
        self.assertEqual([line.split(" is ignored: ")[0] for line in lines], ["-ngl", "-ub", "--n-gpu-layers", "--swap-space", "--main-gpu"])
        self.assertIn("not split between devices", lines[0])
        self.assertIn("not split", self.error("info", "smollm2", "-ngl", "9"))  # commands with flags of their own

    def test_names_of_other_programs_work(self) -> None:
        self.assertIn("is gguf; leave the flag out", self.error("generate", "smollm2", "-p", "x", "-q", "awq"))
        self.assertIn("compressed-tensors", self.error("serve", "smollm2", "--quantization", "fp8"))
        def length(*arguments: str) -> int:
            options = ("-p", QUESTION, "--json", "--temp", "0", "--ctx-size", "128", *arguments)
            answer = json.loads(self.output("generate", "-m", "smollm2", "--jinja", "--mlock", *options))
            return answer["usage"]["completion_tokens"]

        self.assertEqual([length(*names) for names in (("-n", "3"), ("--n-predict=4",), ("--max-new-tokens", "2"))], [3, 4, 2])
        self.assertIn("--session-len 0.5", self.error("serve", "smollm2", "--max-model-len", "0.5").replace("'", "").replace(":", ""))
        self.assertIn("--server-port 70000 is outside 0…65535", self.error("serve", "smollm2", "--port", "70000"))
        with Server("smollm2", "--host", "127.0.0.1", "-c", "256", "--instance_num", "2", "--api-key", "k", "--alias", "short",
                    "--trust-remote-code", "--gpu-memory-utilization", "0.5", "--no-webui", "--dtype", "half", command=("serve",),
                    env=dict(os.environ, INGOT_MODELS_DIR=str(MODEL.parent.parent))) as server:  # fmt: skip
            request = urllib.request.Request(server.url + "/v1/models", headers={"Authorization": "Bearer k"})
            with urllib.request.urlopen(request, timeout=60) as response:
                model = json.load(response)["data"][0]
        self.assertEqual((model["id"], model["max_model_len"]), ("short", 256))

    def test_commands_of_other_programs_are_told_what_to_do(self) -> None:
        for command, expected in (("serve triton_client", "ingot chat http://"), ("api_client", "ingot chat http://"), ("list", "ingot info"),
                              ("convert turbomind", "ingot serve"), ("lite kv_qparams", "--quant-policy 8"),
                              ("chat turbomind ./workspace", "ingot chat MODEL"), ("run llama3", "ingot chat MODEL"), ("pull llama3", "Hugging Face cache"),
                              ("quantize a b", "ingot lite auto_awq"), ("-m a.gguf -p x", "ingot generate -m MODEL"), ("convert internlm-chat-7b a", "ingot serve"),
                              ("-hf Qwen/Qwen3-0.6B -p x", "ingot generate -m MODEL"), ("llama-server -m a.gguf", "ingot serve MODEL"), ("bench -m a.gguf", "ingot bench latency"),
                              ("imatrix -m a", "auto_awq"), ("embedding -p x", "not supported"), ("push m", "uploaded"), ("create m -f Modelfile", "no Modelfile"), ("collect-env", "check_env"), ("ls", "ingot info")):  # fmt: skip
            lines = self.error(*command.split()).splitlines()
            self.assertEqual(len(lines), 1, lines)
            self.assertIn(expected, lines[0])

    def test_no_flag_of_others_is_there_twice_or_is_one_of_ours(self) -> None:
        text = (ROOT / "apps/foreign_flags.cc").read_text()
        aliases, foreign = re.findall(r"(?:kAliases|kForeign)\[\] = \{\n(.*?)\n\};", text, re.DOTALL)
        rows = re.findall(r'^    \{"-[^"]+", "([^"]+)"', aliases, re.MULTILINE) + re.findall(r'^    \{"(-[^"]+)"', foreign, re.MULTILINE)
        theirs = " ".join(rows).split()
        self.assertGreater(len(theirs), 50)
        self.assertEqual(sorted(theirs), sorted(set(theirs)))
        help_text = self.output("serve", "api_server", "--help") + self.output("generate", "--help")
        ours = set(re.findall(r"^  (?:-\w,)?(--[a-z0-9-]+)", help_text, re.MULTILINE))
        self.assertEqual(ours & set(theirs), {"--device"})  # which other commands, such as lite, refuse


if __name__ == "__main__":
    unittest.main()
