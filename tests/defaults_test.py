"""What holds where no flag says otherwise: how a model computes, an alias's sampling, names of models, prompts from pipes."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest
import urllib.parse

from support import BINARY, MODEL, ROOT, Server, require_model

require_model()

ENVIRONMENT = dict(os.environ, INGOT_MODELS_DIR=str(MODEL.parent.parent))
for name in ("INGOT_ISA", "INGOT_COMPUTE"):
    ENVIRONMENT.pop(name, None)


def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, *arguments], input=stdin, capture_output=True, text=True, timeout=300,
                          env=ENVIRONMENT | environment)  # fmt: skip


def isas() -> list[str]:
    return json.loads(run("check_env", "--json").stdout)["isas"]


class Compute(unittest.TestCase):
    def chosen(self, model: str, isa: str, *arguments: str) -> str:
        text = ROOT / "LICENSE"
        done = run("eval", "logits", model, "--tokens", "4", "--file", str(text), *arguments, INGOT_ISA=isa)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["compute"]

    def test_a_small_model_computes_exactly_but_on_amx(self) -> None:
        for isa in isas():
            if isa in ("reference", "amx_emulated"):
                continue
            with self.subTest(isa=isa):
                self.assertEqual(self.chosen("smollm2", isa), "fast" if isa.startswith("amx") else "exact")
                self.assertEqual(self.chosen("smollm2", isa, "--compute", "fast"), "fast")

    def test_it_is_said(self) -> None:
        environment = json.loads(run("check_env", "--json", INGOT_ISA="avx2").stdout)
        self.assertEqual(environment["compute_auto"], "exact for models with a hidden size below 1024, else fast")
        self.assertIn(environment["compute_auto"], run("check_env", INGOT_ISA="avx2").stdout)
        with Server("smollm2", env=ENVIRONMENT | {"INGOT_ISA": "avx2"}) as server:
            server.get("/health")
            log = "".join(server.log)
        self.assertIn("computes on avx2 with activations in fp32 (--compute auto is exact, as a hidden size of 576", log)


class Sampling(unittest.TestCase):
    def defaults(self, *arguments: str) -> dict:
        with Server(*arguments, env=ENVIRONMENT) as server:
            return json.loads(server.get("/props"))["default_generation_settings"]["params"]

    def test_an_alias_has_its_makers_sampling(self) -> None:
        params = self.defaults("smollm2")
        self.assertEqual((params["temperature"], params["top_p"]), (0.2, 0.9))
        params = self.defaults("smollm2", "--override-generation-config", '{"temperature": 0.5}')
        self.assertEqual((params["temperature"], params["top_p"]), (0.5, 0.9))
        self.assertEqual(self.defaults(str(MODEL))["temperature"], 1)
        done = run("chat", "smollm2", stdin="/set\n/exit\n")
        self.assertRegex(done.stdout, r"temperature +0\.2 ")


class Names(unittest.TestCase):
    def test_a_file_is_served_by_its_name_and_shows_no_folder(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "some-model.gguf"
            path.symlink_to(MODEL)
            with Server(str(path), env=ENVIRONMENT) as server:
                self.assertIn("serves some-model on", "".join(server.log))
                for route in ("/v1/models", "/props", "/api/tags", "/openapi.json", "/metrics"):
                    self.assertNotIn(folder, server.get(route), route)
                self.assertEqual(json.loads(server.get("/v1/models"))["data"][0]["id"], "some-model")
                self.assertEqual(json.loads(server.get("/v1/models/" + urllib.parse.quote(str(path), safe="")))["id"], "some-model")

    def test_make_serve_names_what_it_serves(self) -> None:
        for arguments, command in (
            ((), "serve api_server smollm2 --server-port 23333"),
            (("MODEL=/models/x.gguf", "PORT=1"), "serve api_server /models/x.gguf --server-port 1"),
            (("MODEL=x.gguf", "MODEL_NAME=me"), "serve api_server x.gguf --server-port 23333 --model-name me"),
        ):
            done = subprocess.run(["make", "-n", "-C", str(ROOT), "serve", *arguments], capture_output=True, text=True, timeout=60)
            self.assertIn("ingot " + command, " ".join(done.stdout.split()))


class Prompts(unittest.TestCase):
    def prompt_tokens(self, *arguments: str, **options: str) -> int:
        done = run("generate", "smollm2", "--json", "--max-tokens", "1", *arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["usage"]["prompt_tokens"]

    def test_what_is_piped_in_comes_before_the_prompt(self) -> None:
        text, question = "The sky is blue.\n", "What is the sky?"
        joined = self.prompt_tokens("-p", question, stdin=text)
        self.assertEqual(joined, self.prompt_tokens("-p", "The sky is blue.\n\nWhat is the sky?"))
        self.assertGreater(joined, self.prompt_tokens("-p", question))


if __name__ == "__main__":
    unittest.main()
