"""`ingot lite` on a small random model: what is written, whether others read the same numbers, kills, errors."""

import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

import numpy as np
from lite_models import HIDDEN, INTERMEDIATE, LAYERS, byte_tokenizer, llama_of_gguf, write_family, write_model
from quantized_llama import Llama
from safetensors.numpy import load_file, save_file
from support import BINARY, ROOT

TEXT = ("When the ship came in, the whole town was at the harbour; nobody spoke of the weather any more. "
        "for (int i = 0; i < n; ++i) sum += x[i] * y[i];  She asked: what would 1,024 of them cost? ") * 40  # fmt: skip


def digest(folder: pathlib.Path) -> dict[str, bytes]:
    if folder.is_file():
        return {"": folder.read_bytes()}
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


class Lite(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.temporary = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.temporary.name)
        cls.model = cls.root / "model"
        write_model(cls.model)
        (cls.root / "text.txt").write_text(TEXT)
        (cls.root / "held_out.txt").write_text("The letter that she wrote was short. " * 60)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.temporary.cleanup()

    def command(self, method: str, output: str, *arguments: str, model: pathlib.Path | None = None) -> list[str]:
        defaults = {"--calib-text": str(self.root / "text.txt"), "--eval-text": str(self.root / "held_out.txt"),
                    "--calib-samples": "16", "--calib-seqlen": "128", "--eval-windows": "2"}  # fmt: skip
        if "--calib-dataset" in arguments:
            del defaults["--calib-text"]
        given = [part for flag, value in defaults.items() if flag not in arguments for part in (flag, value)]
        if method == "calibrate":
            given = [part for flag, value in defaults.items() if not flag.startswith("--eval") for part in (flag, value)]
        return [BINARY, "lite", method, str(model or self.model), "--work-dir", str(self.root / output), *given,
                *arguments]  # fmt: skip

    def lite(self, method: str, output: str, *arguments: str, model: pathlib.Path | None = None) -> dict:
        command = [*self.command(method, output, *arguments, model=model), "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse((self.root / (output + ".partial")).exists())
        return json.loads(done.stdout)

    def refuse(self, method: str, output: str, *arguments: str, model: pathlib.Path | None = None) -> str:
        done = subprocess.run(self.command(method, output, *arguments, model=model), capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertFalse((self.root / output).exists(), "an output is there")
        self.assertFalse((self.root / (output + ".partial")).exists(), "a partial output is there")
        return done.stderr

    def our_logits(self, model: pathlib.Path, text: str) -> np.ndarray:
        file = self.root / "logits.npy"
        done = subprocess.run([BINARY, "eval", "logits", str(model), "--compute", "exact", "--output", str(file)],
                              capture_output=True, text=True, input=text)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        return np.load(file)

    def check_others_read_the_same(self, output: str) -> None:
        text = "The ship came in at 7:45, and she asked what it would cost."
        ours = self.our_logits(self.root / output, text)
        theirs = Llama(str(self.root / output)).logits(list(text.encode()))
        self.check_alike(ours, theirs)

    def check_alike(self, ours: np.ndarray, theirs: np.ndarray) -> None:
        self.assertEqual(ours.shape, theirs.shape)
        share = np.sqrt(((ours - theirs) ** 2).mean() / (theirs**2).mean())
        self.assertTrue(share <= 2e-3, share)

    def check_every_linear(self, output: str, suffixes: tuple[str, ...]) -> None:
        tensors = load_file(self.root / output / "model.safetensors")
        for i in range(LAYERS):
            for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                         "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):  # fmt: skip
                base = f"model.layers.{i}.{name}"
                self.assertEqual({n for n in tensors if n.startswith(base + ".")}, {base + s for s in suffixes})
                if "qweight" in suffixes[0]:
                    self.assertEqual(tensors[base + ".qweight"].dtype, np.int32)
                    self.assertEqual(tensors[base + ".scales"].dtype, np.float16)

    def test_awq(self) -> None:
        plain = self.lite("auto_awq", "rtn", "--w-group-size", "64", "--calib-samples", "0")
        awq = self.lite("auto_awq", "awq", "--w-group-size", "64")
        self.check_every_linear("awq", (".qweight", ".qzeros", ".scales"))
        self.check_others_read_the_same("awq")
        self.assertTrue(awq["linear_bytes"] <= 0.32 * awq["linear_f16_bytes"])
        self.assertTrue(awq["mean_kl"] < 0.85 * plain["mean_kl"], (awq["mean_kl"], plain["mean_kl"]))
        self.assertEqual(len(awq["layers"]), LAYERS)
        exponents = [layer["exponents"] for layer in awq["layers"]]
        for layer in exponents:
            self.assertEqual(set(layer), {"q_proj", "o_proj", "gate_proj", "down_proj"})
            self.assertTrue(all(0 <= exponent < 1 for exponent in layer.values()), layer)
        self.assertTrue(any(exponent > 0 for layer in exponents for exponent in layer.values()))
        self.assertEqual(awq["calibration_tokens"], 16 * 128)
        config = json.loads((self.root / "awq/config.json").read_text())["quantization_config"]
        self.assertEqual((config["quant_method"], config["version"], config["bits"], config["group_size"],
                          config["zero_point"]), ("awq", "gemm", 4, 64, True))  # fmt: skip

    def test_the_largest_group_that_divides_is_the_default(self) -> None:
        done = subprocess.run(self.command("auto_awq", "grouped", "--calib-samples", "0", "--eval-windows", "0"), capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("groups of 64, the largest that divides", done.stderr)
        config = json.loads((self.root / "grouped/config.json").read_text())["quantization_config"]
        self.assertEqual(config["group_size"], 64)

    def test_symmetric_awq(self) -> None:
        self.lite("auto_awq", "awq_sym", "--w-group-size", "32", "--w-sym")
        self.check_every_linear("awq_sym", (".qweight", ".qzeros", ".scales"))
        self.check_others_read_the_same("awq_sym")

    def test_the_report_says_what_eval_says(self) -> None:
        report = self.lite("auto_awq", "reported", "--w-group-size", "32")
        measured = self.measured(self.model, self.root / "reported")
        self.assertAlmostEqual(measured["perplexity_a"], report["perplexity_before"], places=4)
        self.assertAlmostEqual(measured["perplexity_b"], report["perplexity_after"], places=4)
        self.assertAlmostEqual(measured["mean_kl"], report["mean_kl"], places=6)

    def test_diff_tells_what_a_smaller_cache_costs(self) -> None:
        costs = []
        for policy in ("0", "8", "4"):
            done = subprocess.run([BINARY, "eval", "diff", str(self.model), str(self.model), "--quant-policy-b", policy, "--compute",
                                   "exact", "--file", str(self.root / "held_out.txt"), "--max-windows", "1", "--json"],
                                  capture_output=True, text=True)  # fmt: skip
            self.assertEqual(done.returncode, 0, done.stderr)
            costs.append(json.loads(done.stdout)["mean_kl"])
        self.assertEqual(costs[0], 0)
        self.assertTrue(0 < costs[1] < costs[2], costs)

    def test_the_table_of_all_schemes(self) -> None:
        work = self.root / "table"
        done = subprocess.run([sys.executable, ROOT / "tools/quantization_table.py", str(self.model), "--ingot", BINARY,
                               "--work-dir", str(work), "--calib-text", str(self.root / "text.txt"), "--eval-text",
                               str(self.root / "held_out.txt"), "--calib-samples", "8", "--eval-windows", "2"],
                              capture_output=True, text=True)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        table = (work / "table.md").read_text().splitlines()
        self.assertEqual(len(table), 2 + 14)
        for row in table[3:]:
            self.assertRegex(row, r"^\| [^|]+ \| \d+\.\d{3} \| \d\.\d{4} \| \d+\.\d % \| \d")
        picture = xml.etree.ElementTree.parse(work / "quantization.svg")
        self.assertEqual(len(picture.findall("{*}circle")), 14)

    def test_gptq(self) -> None:
        plain = self.lite("auto_awq", "gptq_rtn", "--w-group-size", "64", "--calib-samples", "0")
        for name, arguments in (("gptq", ()), ("gptq_sym", ("--w-sym",)), ("gptq_order", ("--desc-act",))):
            report = self.lite("auto_gptq", name, "--w-group-size", "64", *arguments)
            self.check_every_linear(name, (".qweight", ".qzeros", ".scales", ".g_idx"))
            self.check_others_read_the_same(name)
            if name != "gptq_sym":
                self.assertTrue(report["mean_kl"] < 0.8 * plain["mean_kl"], (report["mean_kl"], plain["mean_kl"]))
        self.lite("auto_awq", "awq_gptq", "--w-group-size", "64", "--gptq")
        self.check_every_linear("awq_gptq", (".qweight", ".qzeros", ".scales"))
        self.check_others_read_the_same("awq_gptq")

    def test_gptq_of_weights_without_negative_ones(self) -> None:
        """Their zero would be 0, which GPTQ's files cannot hold."""
        model = self.root / "positive"
        shutil.copytree(self.model, model)
        tensors = load_file(model / "model.safetensors")
        for name in tensors:
            if "o_proj" in name:
                tensors[name] = np.abs(tensors[name])
        save_file(tensors, model / "model.safetensors")
        for name, arguments in (("gptq_positive", ()), ("gptq_positive_order", ("--desc-act",))):
            self.lite("auto_gptq", name, "--w-group-size", "64", *arguments, model=model)
            self.check_others_read_the_same(name)

    def test_what_is_in_bf16_stays(self) -> None:
        """With a number that f16 cannot hold."""
        model = self.root / "bf16"
        shutil.copytree(self.model, model)
        tensors = {name: values.astype(np.float32) for name, values in load_file(model / "model.safetensors").items()}
        tensors["model.embed_tokens.weight"][257] = 1e5
        save_file(tensors, model / "model.safetensors")
        config = json.loads((model / "config.json").read_text()) | {"torch_dtype": "bfloat16"}
        (model / "config.json").write_text(json.dumps(config))
        for method in ("auto_awq", "auto_gptq", "smooth_quant"):
            output, arguments = f"bf16_{method}", () if method == "smooth_quant" else ("--w-group-size", "64")
            self.lite(method, output, *arguments, model=model)
            self.check_others_read_the_same(output)
            self.assertEqual(json.loads((self.root / output / "config.json").read_text())["torch_dtype"], "bfloat16")
            data = (self.root / output / "model.safetensors").read_bytes()
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            dtypes = {name: info["dtype"] for name, info in header.items() if name != "__metadata__"}
            dense = [name for name in dtypes if "norm" in name or "embed" in name or "head" in name]
            self.assertEqual({dtypes[name] for name in dense}, {"BF16"})
            self.assertTrue(all(dtypes[name] == "F16" for name in dtypes if name.endswith(".scales")))

    def test_smooth_quant(self) -> None:
        plain = self.lite("smooth_quant", "w8a8_plain", "--calib-samples", "0")
        smooth = self.lite("smooth_quant", "w8a8")
        self.check_every_linear("w8a8", (".weight", ".weight_scale"))
        self.check_others_read_the_same("w8a8")
        self.assertTrue(smooth["mean_kl"] < plain["mean_kl"], (smooth["mean_kl"], plain["mean_kl"]))
        text = "The ship came in."
        exact, ours = self.our_logits(self.model, text), self.our_logits(self.root / "w8a8", text)
        share = np.sqrt(((ours - exact) ** 2).mean() / (exact**2).mean())
        self.assertTrue(1e-4 <= share <= 0.1, share)
        linears = smooth["linear_f16_bytes"]
        self.assertTrue(self.loaded_bytes("w8a8") <= self.loaded_bytes("model") - 0.4 * linears)

    def loaded_bytes(self, model: str) -> float:
        """What the weights take, by the ledger of memory."""
        command = [BINARY, "generate", str(self.root / model), "-p", "a", "--max-tokens", "1", "--log-level", "info"]
        ledger = subprocess.run(command, capture_output=True, text=True).stderr
        value, unit = re.search(r"weights +([\d.]+) (\w+)", ledger).groups()
        return float(value) * {"KiB": 1 << 10, "MiB": 1 << 20}[unit]

    def test_calibrate(self) -> None:
        command = self.command("calibrate", "stats")
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        stats = json.loads((self.root / "stats/inputs_stats.json").read_text())
        self.assertEqual(stats["tokens"], 16 * 128)
        inputs = stats["inputs"]
        self.assertEqual(len(inputs), 4 * LAYERS)
        # The first layer's: what its norm makes of the embeddings, from the text itself.
        llama = Llama(str(self.model))
        ids, spare = list(TEXT.encode()), len(TEXT.encode()) - 16 * 128
        begins = [i * 128 + spare * i // 15 for i in range(16)]
        table = llama.tensors["model.embed_tokens.weight"].astype(np.float32)
        seen = llama.norm("model.layers.0.input_layernorm", table[[t for b in begins for t in ids[b : b + 128]]])
        found = inputs["model.layers.0.self_attn.q_proj"]
        np.testing.assert_allclose(found["abs_max"], np.abs(seen).max(0), rtol=1e-4)
        np.testing.assert_allclose(found["abs_mean"], np.abs(seen).mean(0), rtol=1e-4)

    def test_calibrate_leaves_nothing_after_an_error(self) -> None:
        command = self.command("calibrate", "no_stats")
        done = subprocess.run(["bash", "-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "bash", *command],
                              capture_output=True, text=True)  # fmt: skip
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("cannot write", done.stderr)
        self.assertFalse((self.root / "no_stats").exists())
        model = self.root / "infinite"
        shutil.copytree(self.model, model)
        tensors = load_file(model / "model.safetensors")
        tensors["model.layers.1.mlp.up_proj.weight"] = np.full((INTERMEDIATE, HIDDEN), np.inf, np.float16)
        save_file(tensors, model / "model.safetensors")
        done = subprocess.run(self.command("calibrate", "no_stats", model=model), capture_output=True, text=True)
        self.assertRegex(done.stderr, "layer 1: .*not finite numbers")
        self.assertFalse((self.root / "no_stats").exists())

    def test_info_counts_all_that_holds_a_matrix(self) -> None:
        stored = {"awq": "AWQ 4-bit g32", "gptq_sym": "GPTQ 4-bit g32", "gptq_asym": "GPTQ 4-bit g32",
                  "gptq_act_order": "GPTQ 4-bit g32 act-order", "gptq_8bit": "GPTQ 8-bit g32",
                  "gptq_v2_channel": "GPTQ 4-bit channel", "ct_w4a16": "compressed-tensors 4-bit g32",
                  "ct_w4a16_asym": "compressed-tensors 4-bit g32", "ct_w8a16": "compressed-tensors 8-bit channel",
                  "ct_w8a8": "compressed-tensors 8-bit channel"}  # fmt: skip
        folders = sorted(folder for folder in (ROOT / "tests/quantized_goldens").iterdir() if folder.is_dir())
        self.assertEqual({folder.name for folder in folders}, set(stored))
        for folder in folders:
            with self.subTest(folder.name):
                done = subprocess.run([BINARY, "info", str(folder), "--json", "--tensors"], capture_output=True, text=True)
                info = json.loads(done.stdout)
                data = (folder / "model.safetensors").read_bytes()
                self.assertEqual(info["weight_bytes"], len(data) - 8 - int.from_bytes(data[:8], "little"))
                self.assertEqual(sum(group["bytes"] for group in info["weights"]), info["weight_bytes"])
                for tensor in info["tensors"]:
                    is_linear = "_proj.weight" in tensor["name"]
                    self.assertEqual(tensor["stored"], stored[folder.name] if is_linear else "F16", tensor)

    def test_a_log_gets_a_line_a_layer(self) -> None:
        done = subprocess.run(self.command("auto_awq", "logged", "--w-group-size", "32"), capture_output=True, text=True)
        lines = [line for line in done.stderr.splitlines() if line.startswith("quantizing")]
        self.assertEqual(len(lines), LAYERS, done.stderr)
        for i, line in enumerate(lines):
            self.assertRegex(line, rf"quantizing \d+%  layer {i + 1} of {LAYERS}, calibrating")

    def test_families(self) -> None:
        """Biases, norms of heads, fused matrices, Gemma's norms, mixtures: what is written is what was measured."""
        methods = {"awq": ("auto_awq", "--w-group-size", "32"), "gptq": ("auto_gptq", "--w-group-size", "32", "--desc-act"),
                   "gguf": ("auto_awq", "--to", "gguf"), "w8a8": ("smooth_quant",)}  # fmt: skip
        for family in ("qwen2", "qwen3", "phi3", "gemma2", "gemma3", "mixtral", "qwen3_moe"):
            model = self.root / family
            write_family(model, family)
            for name, (method, *arguments) in methods.items():
                if (family, name) == ("qwen3_moe", "gguf"):
                    said = self.refuse(method, "no", *arguments, model=model)
                    self.assertIn("GGUF cannot say this model's layers without experts", said)
                    continue
                with self.subTest(f"{family} {name}"):
                    output = f"{family}_{name}"
                    report = self.lite(method, output, *arguments, model=model)
                    measured = self.measured(model, self.root / output)
                    self.assertTrue(report["mean_kl"] < (0.02 if name == "w8a8" else 0.6), report["mean_kl"])
                    if name == "w8a8":  # measured with activations rounded too
                        self.assertTrue(measured["mean_kl"] < 0.02, measured["mean_kl"])
                    else:
                        self.assertAlmostEqual(measured["mean_kl"], report["mean_kl"], places=6)

    def measured(self, model: pathlib.Path, quantized: pathlib.Path) -> dict:
        done = subprocess.run([BINARY, "eval", "diff", str(model), str(quantized), "--compute", "exact", "--file",
                               str(self.root / "held_out.txt"), "--max-windows", "2", "--json"],
                              capture_output=True, text=True)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_gguf(self) -> None:
        for name, arguments in (("q4_1.gguf", ()), ("q4_0.gguf", ("--w-sym",))):
            report = self.lite("auto_awq", name, "--to", "gguf", *arguments)
            info = subprocess.run([BINARY, "info", str(self.root / name), "--json"], capture_output=True, text=True)
            stored = {group["stored"]: group["count"] for group in json.loads(info.stdout)["weights"]}
            self.assertEqual(stored[name[:4].upper()], 7 * LAYERS)
            measured = self.measured(self.model, self.root / name)
            self.assertAlmostEqual(measured["mean_kl"], report["mean_kl"], places=6)
            text = "The ship came in at 7:45, and she asked what it would cost."
            ours = self.our_logits(self.root / name, text)
            theirs = llama_of_gguf(self.root / name, json.loads((self.model / "config.json").read_text()))
            self.check_alike(ours, theirs.logits(list(text.encode())))
        done = subprocess.run(self.command("auto_awq", "again", "--w-group-size", "32", model=self.root / "q4_1.gguf"),
                              capture_output=True, text=True)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("weights of 4 bits, which are rounded a second time", done.stderr)

    def check_kill(self, method: str, name: str, *arguments: str) -> None:
        whole = self.lite(method, f"whole_{name}", *arguments)
        killed, partial = self.root / f"killed_{name}", self.root / f"killed_{name}.partial"
        process = subprocess.Popen(self.command(method, killed.name, *arguments), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        parts = ("layer-00000", "layer-00000.gguf")
        while process.poll() is None and not any((partial / part).exists() for part in parts):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if partial.exists():  # else it was too quick
            self.assertFalse(killed.exists())
            for part in (partial / "layer-00002", partial / "layer-00002.gguf"):
                if part.exists():
                    shutil.rmtree(part) if part.is_dir() else part.unlink()
            took = json.loads((partial / "layer-00000.json").read_text())["seconds"]
            report = self.lite(method, killed.name, *arguments)
            self.assertGreaterEqual(report["resumed_layers"], 1)
            self.assertGreater(report["seconds"], took)
            self.assertGreater(report["layers"][0]["seconds"], took)
            for ours, theirs in zip(report["layers"], whole["layers"], strict=True):
                self.assertEqual((ours["linears"], ours["exponents"]), (theirs["linears"], theirs["exponents"]))
        self.assertEqual(digest(killed), digest(self.root / f"whole_{name}"))

    def test_a_killed_run_goes_on_to_the_same_bytes(self) -> None:
        group = ("--w-group-size", "32")
        for method, name, *arguments in (("auto_awq", "awq_1", *group, "--threads", "1"), ("auto_awq", "awq", *group),
                                         ("auto_awq", "awq_gptq", *group, "--gptq"), ("auto_gptq", "gptq", *group),
                                         ("smooth_quant", "w8a8"), ("auto_awq", "gguf", "--to", "gguf")):  # fmt: skip
            with self.subTest(name):
                self.check_kill(method, name, *arguments)

    def test_two_runs_at_once(self) -> None:
        """The folder is as a run leaves it that was killed before it could write anything."""
        partial = self.root / "shared.partial"
        partial.mkdir()
        descriptor = os.open(partial, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        done = subprocess.run(self.command("auto_awq", "shared", "--w-group-size", "32"), capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("another run is at work in", done.stderr)
        self.assertEqual(list(partial.iterdir()), [])
        os.close(descriptor)
        self.lite("auto_awq", "shared", "--w-group-size", "32")

    def test_unfinished_work_of_another_command_is_not_taken(self) -> None:
        partial = self.root / "other.partial"
        partial.mkdir()
        (partial / "work.json").write_text("{}")
        done = subprocess.run(self.command("auto_awq", "other", "--w-group-size", "32"), capture_output=True, text=True)
        self.assertIn("--force", done.stderr)
        self.assertTrue(partial.exists())
        self.lite("auto_awq", "other", "--w-group-size", "32", "--force")

    def test_unfinished_work_of_another_model_is_not_taken(self) -> None:
        model, output = self.root / "changing", "changed"
        shutil.copytree(self.model, model)
        command = self.command("auto_awq", output, "--w-group-size", "32", model=model)
        done = subprocess.run(["bash", "-c", "trap '' XFSZ; ulimit -f 120; exec \"$@\"", "bash", *command],
                              capture_output=True, text=True)  # fmt: skip
        self.assertIn("keeps the layers that are finished", done.stderr)

        def refuses(*arguments: str) -> None:
            command = self.command("auto_awq", output, "--w-group-size", "32", *arguments, model=model)
            said = subprocess.run(command, capture_output=True, text=True).stderr
            self.assertIn("unfinished work of another command", said)

        refuses("--gptq")
        refuses("--calib-samples", "15")
        config = (model / "config.json").read_text()
        (model / "config.json").write_text(config.replace("1e-06", "1e-05"))
        refuses()
        (model / "config.json").write_text(config)
        tokenizer = (model / "tokenizer.json").read_text()
        swapped = byte_tokenizer()
        vocab = swapped["model"]["vocab"]
        vocab["e"], vocab["o"] = vocab["o"], vocab["e"]
        (model / "tokenizer.json").write_text(json.dumps(swapped))
        refuses()
        (model / "tokenizer.json").write_text(tokenizer)
        report = self.lite("auto_awq", output, "--w-group-size", "32", "--eval-windows", "1", model=model)
        self.assertEqual(report["resumed_layers"], LAYERS)

    def test_wrong_inputs(self) -> None:
        said = self.refuse("auto_awq", "no", "--w-group-size", "32", "--calib-samples", "1000")
        self.assertRegex(said, r"has \d+ tokens, which is \d+ samples of 128, not 1000")
        for samples in ("-5", "-1"):
            said = self.refuse("auto_awq", "no", "--w-group-size", "32", "--calib-samples", samples)
            self.assertIn(f"--calib-samples {samples} is below 0", said)
        for method in ("auto_awq", "auto_gptq", "smooth_quant"):
            group = () if method == "smooth_quant" else ("--w-group-size", "32")
            said = self.refuse(method, "no", *group, "--calib-samples", "1", "--calib-seqlen", "32")
            self.assertIn("1 samples of 32 tokens are too few to calibrate on", said)
        said = self.refuse("auto_awq", "no", "--w-group-size", "32", "--calib-samples", str(2**62))
        self.assertIn(f"not {2**62}", said)
        said = self.refuse("auto_awq", "no", "--w-group-size", "128")
        self.assertIn("model.layers.0.self_attn.q_proj has 64 inputs, which groups of 128 do not divide", said)
        self.assertIn("--w-group-size 64", said)
        self.assertIn("4 bits", self.refuse("auto_awq", "no", "--w-bits", "3"))
        self.assertIn("groups of 32", self.refuse("auto_awq", "no", "--to", "gguf", "--w-group-size", "64"))
        self.assertIn("builtin", self.refuse("auto_awq", "no", "--w-group-size", "32", "--calib-dataset", "c4"))
        self.lite("auto_awq", "once", "--w-group-size", "32", "--calib-samples", "0")
        said = self.refuse("auto_awq", "no", model=self.root / "once")
        self.assertIn("quantized already (AWQ 4-bit g32)", said)
        self.assertIn("ingot convert", said)

    def test_outputs_that_cannot_be_written(self) -> None:
        (self.root / "full").mkdir(exist_ok=True)
        (self.root / "full/note.txt").write_text("mine")
        done = subprocess.run(self.command("auto_awq", "full", "--w-group-size", "32"), capture_output=True, text=True)
        self.assertIn("is not empty", done.stderr)
        self.assertEqual(digest(self.root / "full"), {"note.txt": b"mine"})
        said = self.refuse("auto_awq", "text.txt/no", "--w-group-size", "32")
        self.assertIn("cannot write", said)

    def test_a_folder_that_may_not_be_written(self) -> None:
        """Root may write everywhere, so for root another user tries."""
        locked = self.root / "locked"
        locked.mkdir(mode=0o555)
        user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        self.root.chmod(0o755)
        for file in self.model.iterdir():
            file.chmod(0o644)
        binary = shutil.copy(BINARY, self.root / "ingot")  # the build folder may not be open to all
        for method, group in (("auto_awq", ("--w-group-size", "32")), ("calibrate", ())):
            command = self.command(method, "locked/no", *group)
            done = subprocess.run([binary, *command[1:]], capture_output=True, text=True, cwd="/", **user)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("cannot write", done.stderr)
            self.assertEqual(list(locked.iterdir()), [])
        os.unlink(binary)

    def test_an_error_late_keeps_what_is_finished(self) -> None:
        """Layers fit below 120 kB, the whole does not."""
        command = self.command("auto_awq", "late", "--w-group-size", "32")
        done = subprocess.run(["bash", "-c", "trap '' XFSZ; ulimit -f 120; exec \"$@\"", "bash", *command],
                              capture_output=True, text=True)  # fmt: skip
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("late.partial keeps the layers that are finished", done.stderr)
        self.assertFalse((self.root / "late").exists())
        self.assertFalse((self.root / "late.partial/result").exists())
        self.assertEqual(self.lite("auto_awq", "late", "--w-group-size", "32")["resumed_layers"], LAYERS)

    def test_a_full_disk(self) -> None:
        """No file of this process may pass 20 kB, as if the disk were full there."""
        command = self.command("auto_awq", "no", "--w-group-size", "32")
        done = subprocess.run(["bash", "-c", "trap '' XFSZ; ulimit -f 20; exec \"$@\"", "bash", *command],
                              capture_output=True, text=True)  # fmt: skip
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("cannot write", done.stderr)
        self.assertFalse((self.root / "no").exists())
        self.assertFalse((self.root / "no.partial").exists())


if __name__ == "__main__":
    unittest.main()
