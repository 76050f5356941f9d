"""`ingot bench`: its figures against each other and against numpy, and what it makes of servers that refuse or die."""

import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import xml.etree.ElementTree

import numpy
from support import BINARY, MODEL, Server, require_model

require_model()
SECONDS = 300
NAMES = ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms")


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, "bench", *arguments], capture_output=True, text=True, timeout=SECONDS,
                          env=dict(os.environ, INGOT_MODELS_DIR=str(MODEL.parent.parent)))  # fmt: skip


def generated_tokens(server: Server) -> float:
    return float(re.search(r"^ingot_generation_tokens_total(?:{.*})? (\S+)", server.get("/metrics"), re.MULTILINE)[1])


class RooflineTest(unittest.TestCase):
    def test_figures_are_of_this_machine(self) -> None:
        done = run("roofline", "--json", "--threads", "2", "--num-iters", "3", "--seconds", "0.001",
                   "--max-bytes", "1MiB")  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual((report["benchmark"], report["threads"]), ("roofline", 2))
        multiply, read = report["gmac_per_s"], report["read_gbyte_per_s"]
        for row in multiply + read:
            self.assertLessEqual(row["min"], row["median"])
            self.assertLessEqual(row["median"], row["max"])
            self.assertTrue(0 < row["min"] and row["max"] < 1e6, row)
        environment = json.loads(subprocess.run([BINARY, "check_env", "--json"], capture_output=True, text=True,
                                                timeout=SECONDS, check=True).stdout)  # fmt: skip
        for isa in environment["isas"]:
            names = {row["name"] for row in multiply if row["name"].endswith(f"_{isa}")}
            self.assertTrue(names or isa == "reference", isa)
        self.assertEqual({row["threads"] for row in multiply}, {1, 2} if multiply else set())
        sizes = {threads: [row["bytes"] for row in read if row["threads"] == threads] for threads in (1, 2)}
        self.assertEqual(sizes, {1: [1 << 14, 1 << 17, 1 << 20], 2: [1 << 15, 1 << 18, 1 << 20]})

    def test_too_little_memory_is_refused(self) -> None:
        done = run("roofline", "--threads", "4", "--max-bytes", "32KiB")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--max-bytes", done.stderr)


class KernelsTest(unittest.TestCase):
    def kernels(self, *arguments: str) -> list[dict]:
        done = run("kernels", "--json", "--shape", "135m", "--num-iters", "2", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["ops"]

    def test_products_norms_and_activations(self) -> None:
        rows = self.kernels("--ops", "linear", "--formats", "q4_1,bf16", "--rows", "1,3", "--threads", "2")
        shapes = [(960, 576), (576, 576), (3072, 576), (576, 1536), (49152, 576)]
        for format, bits in (("q4_1", 5), ("bf16", 16)):
            for count in (1, 4):  # 3 rows are among those of up to 4
                linear = [row for row in rows if row["format"] == format and row["rows"] == count]
                self.assertEqual(sorted((row["out_features"], row["in_features"]) for row in linear), sorted(shapes))
                for row in linear:
                    self.assertLessEqual(row["min_us"], row["us"])
                    self.assertLessEqual(row["us"], row["max_us"])
                    size = row["out_features"] * row["in_features"]
                    count_of_rows = {1: 1, 4: 3}[count]
                    read = size * bits / 8 + 4 * count_of_rows * (row["out_features"] + row["in_features"])
                    self.assertAlmostEqual(row["gbyte_per_s"] * row["us"] * 1e3 / read, 1, delta=0.25)  # scales, padding
                    if "gmac_per_s" in row:
                        self.assertAlmostEqual(row["gmac_per_s"] * row["us"] * 1e3 / (size * count_of_rows), 1, places=3)
        self.assertEqual({row["op"] for row in rows if row["format"] == ""}, {"add_rms_norm", "act_mul"})

    def test_attention(self) -> None:
        rows = self.kernels("--ops", "attention", "--kv-formats", "f16,i4", "--contexts", "128,200", "--chunks", "1,64")
        read = {}
        for row in rows:
            if row["op"] == "attention":
                self.assertEqual(row["rows"] in (1, 64), True)
                products = 2 * 9 * 64 * sum(range(row["context"] - row["rows"] + 1, row["context"] + 1))
                self.assertAlmostEqual(row["gmac_per_s"] * row["us"] * 1e3 / products, 1, places=3)
                read[row["format"], row["context"], row["rows"]] = row["gbyte_per_s"] * row["us"] * 1e3
        self.assertEqual(len(read), 8)
        self.assertAlmostEqual(read["f16", 200, 1], 200 * 3 * 2 * 64 * 2 + 2 * 9 * 64 * 4, delta=1)
        self.assertLess(read["i4", 200, 1], read["f16", 200, 1] / 2)

    def test_the_picture_of_the_crossover(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        picture = pathlib.Path(folder.name, "crossover.svg")
        tool = pathlib.Path(__file__).resolve().parent.parent / "tools/plot_crossover.py"
        done = subprocess.run([tool, "--ingot", BINARY, "--out", picture, "--isas", "avx2", "--shape", "135m",
                               "--num-iters", "1"], capture_output=True, text=True, timeout=SECONDS)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        figures = json.loads(done.stdout)
        self.assertEqual((figures["isa"], figures["batches"][-1]), ("avx2", 256))
        self.assertAlmostEqual(figures["memory_tokens_per_s"][3] / figures["memory_tokens_per_s"][0], 8)
        self.assertTrue(all(rate > 0 for rate in figures["tokens_per_s"]))
        dots = xml.etree.ElementTree.parse(picture).findall(".//{http://www.w3.org/2000/svg}circle")
        self.assertEqual(len(dots), 9)

    def test_unknown_formats_are_refused_by_name(self) -> None:
        for arguments, names in ((("--formats", "q4_0,q9"), "q4_0, q4_1"), (("--kv-formats", "i2"), "f16, bf16, i8, i4")):
            done = run("kernels", *arguments)
            self.assertEqual(done.returncode, 2)
            self.assertIn(arguments[0], done.stderr)
            self.assertIn(names, done.stderr)


class BenchTest(unittest.TestCase):
    def report(self, *arguments: str, code: int = 0) -> dict:
        done = run(*arguments, "--json")
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout)

    def check_order(self, report: dict) -> None:
        for name in NAMES:
            row = [report[f"{which}_{name}"] for which in ("min", "p50", "p90", "p95", "p99", "max")]
            self.assertEqual(row, sorted(row), name)
            self.assertEqual(report[f"median_{name}"], report[f"p50_{name}"])
            self.assertGreaterEqual(report[f"mean_{name}"], report[f"min_{name}"])
            self.assertLessEqual(report[f"mean_{name}"], report[f"max_{name}"])

    def check(self, report: dict, count: int) -> None:
        """Counts, rates and percentiles of a report with details agree."""
        requests = report["requests"]
        answered = [request for request in requests if "failure" not in request]
        self.assertEqual(len(requests), count)
        self.assertEqual(report["completed"], len(answered))
        self.assertEqual(report["failed"], count - len(answered))
        self.assertEqual(sum(report["failures"].values()), report["failed"])
        for kind in ("input", "output"):
            total = sum(request["prompt_tokens" if kind == "input" else "output_tokens"] for request in answered)
            self.assertEqual(report[f"total_{kind}_tokens"], total)
            self.assertAlmostEqual(report[f"{kind}_throughput"], total / report["duration"])
        self.assertAlmostEqual(report["request_throughput"], len(answered) / report["duration"])
        for name in NAMES:
            reported = [request[name] for request in answered if request[name] is not None]
            values = sum(reported, []) if name == "itl_ms" else reported
            if not values:
                continue
            self.assertAlmostEqual(report[f"mean_{name}"], numpy.mean(values))
            self.assertAlmostEqual(report[f"std_{name}"], numpy.std(values))
            for percent in (50, 90, 95, 99):
                self.assertAlmostEqual(report[f"p{percent}_{name}"], numpy.percentile(values, percent))
        for request in answered:
            self.assertLessEqual(request["ttft_ms"], request["e2el_ms"])
            self.assertLessEqual(request["ttft_ms"] + sum(request["itl_ms"]), request["e2el_ms"] + 0.001)
        self.check_order(report)

    def file(self, content: str) -> str:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name, "dataset")
        path.write_text(content)
        return str(path)


class InProcess(BenchTest):
    def test_latency(self) -> None:
        report = self.report("latency", "smollm2", "--batch-size", "1", "3", "--input-len", "16,40", "--output-len", "6",
                             "--num-iters", "3", "--num-iters-warmup", "1")  # fmt: skip
        shapes = [(row["batch_size"], row["input_len"], row["output_len"]) for row in report["runs"]]
        self.assertEqual(shapes, [(1, 16, 6), (1, 40, 6), (3, 16, 6), (3, 40, 6)])
        for row in report["runs"]:
            requests = 3 * row["batch_size"]
            self.assertEqual(row["completed"], requests)
            self.assertEqual(row["total_input_tokens"], requests * row["input_len"])
            self.assertEqual(row["total_output_tokens"], requests * 6)
            self.assertEqual(row["total_cached_tokens"], 0)
            self.check_order(row)
            for name in ("prefill_throughput", "decode_throughput", "batch_seconds"):
                self.assertGreater(row[f"min_{name}"], 0)
                self.assertLessEqual(row[f"min_{name}"], row[f"median_{name}"])
                self.assertLessEqual(row[f"median_{name}"], row[f"max_{name}"])

    def test_profile(self) -> None:
        report = self.report("latency", "smollm2", "--input-len", "16", "--output-len", "3", "--num-iters", "2",
                             "--num-iters-warmup", "1", "--profile")  # fmt: skip
        (run_,) = report["runs"]
        stages = {(stage["op"], stage.get("out_features"), stage["rows"]): stage for stage in run_["profile"]}
        for tokens, steps in ((16, 2), (1, 4)):  # of the two rounds that are measured; 30 layers
            self.assertEqual(stages["attention", None, tokens]["calls"], 30 * steps)
            self.assertEqual(stages["linear", 960, tokens]["calls"], 30 * steps)
            self.assertEqual(stages["linear", 960, tokens]["products"], 30 * steps * tokens * 960 * 576)
        self.assertEqual(stages["linear", 49152, 1]["calls"], 6)  # logits of the last token alone
        self.assertEqual(stages["sample", None, 1]["calls"], 6)
        total = sum(stage["seconds"] for stage in run_["profile"])
        self.assertLessEqual(total, 2 * run_["max_batch_seconds"])
        table = run("latency", "smollm2", "--input-len", "16", "--output-len", "3", "--num-iters", "1", "--profile")
        self.assertRegex(table.stdout, r"linear 960 x 576, 4 bits +16 +30 ")

    def test_latency_table_and_errors(self) -> None:
        done = run("latency", "smollm2", "--output-len", "1", "--num-iters", "1", "--num-iters-warmup", "0")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 2)
        for arguments in (["--batch-size", "0"], ["--input-len", "x"], ["--output-len", "4,"], ["--num-iters", "0"]):
            done = run("latency", "smollm2", *arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(arguments[0], done.stderr)

    def test_throughput(self) -> None:
        report = self.report("throughput", "smollm2", "-n", "12", "-c", "4", "--input-len", "20", "--output-len", "8",
                             "--random-range-ratio", "0.5", "--save-detailed", "--goodput", "e2el:1e9")  # fmt: skip
        self.check(report, 12)
        self.assertEqual(report["failed"], 0)
        self.assertEqual(report["request_goodput"], report["request_throughput"])
        prompts = [request["prompt_tokens"] for request in report["requests"]]
        self.assertTrue(all(10 <= length <= 30 for length in prompts), prompts)
        self.assertGreater(len(set(prompts)), 1)
        again = self.report("throughput", "smollm2", "-n", "12", "--input-len", "20", "--output-len", "8",
                            "--random-range-ratio", "0.5", "--save-detailed")  # fmt: skip
        self.assertEqual([request["prompt_tokens"] for request in again["requests"]], prompts)

    def test_throughput_of_a_shared_prefix(self) -> None:
        report = self.report("throughput", "smollm2", "-n", "6", "-c", "1", "--input-len", "4", "--output-len", "1",
                             "--random-prefix-len", "128", "--save-detailed")  # fmt: skip
        self.assertEqual({request["prompt_tokens"] for request in report["requests"]}, {132})
        self.assertEqual(report["total_cached_tokens"], sum(request["cached_tokens"] for request in report["requests"]))
        self.assertGreaterEqual(report["total_cached_tokens"], 5 * 128)

    def test_throughput_of_datasets(self) -> None:
        share_gpt = [{"conversations": [{"from": "human", "value": "Hi there"}, {"from": "gpt", "value": "Hello to you"}]}]
        report = self.report("throughput", "smollm2", "--dataset-path", self.file(json.dumps(share_gpt)), "-n", "2",
                             "--save-detailed")  # fmt: skip
        self.assertEqual([request["output_tokens"] for request in report["requests"]], [3, 3])
        batch = [{"url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}},
                 {"url": "/v1/completions", "body": {"prompt": [1, 2, 3], "max_tokens": 4}}]  # fmt: skip
        report = self.report("throughput", "smollm2", "--dataset", self.file("\n".join(map(json.dumps, batch))), "-n", "2",
                             "--save-detailed")  # fmt: skip
        self.assertEqual([request["output_tokens"] for request in report["requests"]], [2, 4])
        self.assertEqual(report["requests"][1]["prompt_tokens"], 3)
        self.assertGreater(report["requests"][0]["prompt_tokens"], 10)  # the template's
        report = self.report("throughput", "smollm2", "--dataset", self.file("one\ntwo\n\nthree"), "-n", "3",
                             "--output-len", "2")  # fmt: skip
        self.assertEqual(report["total_output_tokens"], 6)

    def test_a_prompt_that_does_not_fit(self) -> None:
        report = self.report("throughput", "smollm2", "--dataset", self.file("one\n" + "word " * 400), "-n", "2",
                             "--output-len", "2", "--session-len", "64", code=1)  # fmt: skip
        self.assertEqual((report["completed"], report["failed"]), (1, 1))


class AgainstIngot(BenchTest):
    def test_serve(self) -> None:
        with Server(str(MODEL), "--model-name", "m") as server:
            common = ("--base-url", server.url, "-n", "10", "--input-len", "24", "--output-len", "5", "--ignore-eos",
                      "--save-detailed")  # fmt: skip
            for extra in (["-c", "3", "--tokenizer", "smollm2"], ["--request-rate", "40", "--endpoint", "chat"],
                          ["--request-rate", "inf", "--tokenizer", "smollm2", "--send-token-ids", "--num-warmups", "2"]):  # fmt: skip
                report = self.report("serve", *common, *extra)
                self.check(report, 10)
                self.assertEqual(report["failed"], 0)
                self.assertEqual(report["model"], "m")
                self.assertEqual(report["total_output_tokens"], 50)
                self.assertEqual(report["tokens_counted_from"], "usage")
                lengths = [request["prompt_tokens"] for request in report["requests"]]
                if "--send-token-ids" in extra:
                    self.assertEqual(lengths, [24] * 10)
                elif "--tokenizer" in extra:
                    self.assertLessEqual(max(abs(length - 24) for length in lengths), 2)
            done = run("serve", *common[:-1], "-c", "4", "--goodput", "ttft:0", "--percentiles", "50,99.9")
            self.assertEqual(done.returncode, 0, done.stderr)
            for text in ("m at http", "10 answered, 0 failed", "good requests/s   0.00", "p99.9", "TTFT", "E2E"):
                self.assertIn(text, done.stdout)

    def test_full_queue_counts_429(self) -> None:
        with Server(str(MODEL), "--max-queue", "2", "--max-batch-size", "1", "--model-name", "m") as server:
            report = self.report("serve", "--base-url", server.url, "-n", "20", "--input-len", "30", "--output-len", "20",
                                 "--ignore-eos", "--save-detailed", code=1)  # fmt: skip
        self.check(report, 20)
        self.assertEqual(list(report["failures"]), ["429"])
        self.assertGreaterEqual(report["completed"], 2)

    def test_server_killed_amid_answers(self) -> None:
        with Server(str(MODEL), "--model-name", "m") as server:
            command = [BINARY, "bench", "serve", "--base-url", server.url, "-n", "40", "-c", "4", "--output-len", "400",
                       "--ignore-eos", "--json", "--save-detailed"]  # fmt: skip
            bench = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            while not generated_tokens(server):
                time.sleep(0.05)
            server.process.kill()
            out, err = bench.communicate(timeout=SECONDS)
        self.assertEqual(bench.returncode, 1, err)
        report = json.loads(out)
        self.check(report, 40)
        self.assertEqual(list(report["failures"]), ["connection"])
        self.assertGreater(report["failed"], 30)

    def test_no_server(self) -> None:
        done = run("serve", "--base-url", "http://127.0.0.1:9", "-n", "2")
        self.assertEqual(done.returncode, 1)
        self.assertIn("Connection refused; is the server running at this address?", done.stderr)


class Fake(http.server.BaseHTTPRequestHandler):
    """Answers with three pieces, and no usage unless the server's `tells_usage`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((self.path, body, self.headers.get("Authorization")))
            self.server.running += 1
            self.server.most_running = max(self.server.most_running, self.server.running)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in ("", "a", "b", "c"):
            time.sleep(0.02)
            choice = {"delta": {"content": piece}} if "chat" in self.path else {"text": piece}
            self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
        if self.server.tells_usage:
            self.wfile.write(b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7}}\n\n')
        with self.server.lock:
            self.server.running -= 1
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class FakeServer(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves during an answer is what some tests want."""


class AgainstAFake(BenchTest):
    def setUp(self) -> None:
        server = FakeServer(("127.0.0.1", 0), Fake)
        server.lock, server.seen, server.running, server.most_running = threading.Lock(), [], 0, 0
        server.tells_usage = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.server = server
        self.url = f"http://127.0.0.1:{server.server_address[1]}/v1"

    def serve(self, *arguments: str) -> dict:
        report = self.report("serve", "--base-url", self.url, "--model", "x", "--save-detailed", *arguments)
        self.check(report, report["num_prompts"])
        return report

    def test_pieces_are_counted_where_no_usage_is_told(self) -> None:
        report = self.serve("-n", "8", "-c", "3")
        self.assertEqual((report["total_output_tokens"], report["tokens_counted_from"]), (24, "pieces"))
        self.assertLessEqual(self.server.most_running, 3)
        self.assertGreater(self.server.most_running, 1)
        for request in report["requests"]:
            self.assertEqual(len(request["itl_ms"]), 2)
            self.assertGreaterEqual(request["ttft_ms"], 40)  # the empty piece before is none
            self.assertAlmostEqual(request["tpot_ms"], (request["e2el_ms"] - request["ttft_ms"]) / 2)
        self.server.tells_usage = True
        report = self.serve("-n", "2")
        self.assertEqual((report["total_output_tokens"], report["tokens_counted_from"]), (14, "usage"))
        self.assertEqual(report["total_input_tokens"], 18)

    def test_requests_as_they_are_sent(self) -> None:
        self.serve("-n", "2", "--endpoint", "chat", "--input-len", "5", "--output-len", "4", "--api-key", "k",
                   "--extra-body", '{"top_k": 1}', "--temperature", "0.5")  # fmt: skip
        path, body, key = self.server.seen[0]
        self.assertEqual((path, key), ("/v1/chat/completions", "Bearer k"))
        self.assertEqual(len(body.pop("messages")[0]["content"].split(" ")), 5)
        self.assertEqual(body, {"model": "x", "max_tokens": 4, "temperature": 0.5, "top_k": 1, "stream": True,
                                "stream_options": {"include_usage": True}})  # fmt: skip
        self.assertNotEqual(self.server.seen[0][1], self.server.seen[1][1])

    def test_datasets(self) -> None:
        lines = [{"url": "/v1/chat/completions", "body": {"model": "y", "messages": [{"role": "user", "content": "Hi"}],
                                                          "max_tokens": 2}}, {"prompt": "Ho", "output_tokens": 6}]  # fmt: skip
        self.serve("-n", "3", "-c", "1", "--dataset", self.file("\n".join(map(json.dumps, lines))), "--ignore-eos")
        self.assertEqual([path for path, _, _ in self.server.seen],
                         ["/v1/chat/completions", "/v1/completions", "/v1/chat/completions"])  # fmt: skip
        bodies = [body for _, body, _ in self.server.seen]
        self.assertEqual([body["max_tokens"] for body in bodies], [2, 6, 2])
        self.assertEqual({body["model"] for body in bodies}, {"x"})
        self.assertTrue(all(body["ignore_eos"] and body["stream"] for body in bodies))
        self.assertEqual(bodies[1]["prompt"], "Ho")

    def test_arrivals(self) -> None:
        sent = [request["sent"] for request in self.serve("-n", "12", "--request-rate", "30")["requests"]]
        self.assertEqual(sent, sorted(sent))
        self.assertGreater(len(set(sent)), 6)

    def test_ctrl_c_reports_what_was_done(self) -> None:
        command = [BINARY, "bench", "serve", "--base-url", self.url, "--model", "x", "-n", "500", "-c", "2", "--json",
                   "--save-detailed"]  # fmt: skip
        bench = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while len(self.server.seen) < 6:
            time.sleep(0.01)
        bench.send_signal(signal.SIGINT)
        out, err = bench.communicate(timeout=SECONDS)
        self.assertEqual(bench.returncode, 1)
        self.assertIn("interrupted", err)
        report = json.loads(out)
        self.check(report, 500)
        self.assertGreaterEqual(report["completed"], 2)
        self.assertEqual(list(report["failures"]), ["cancelled"])

    def test_flags(self) -> None:
        for arguments, message in ((["--request-rate", "0"], "--request-rate"), (["--goodput", "itl:3"], "goodput"),
                                   (["--percentiles", "101"], "percentiles"), (["--send-token-ids"], "--tokenizer"),
                                   (["--extra-body", "[]"], "--extra-body"), (["--dataset", "/none"], "/none"),
                                   (["--random-range-ratio", "2"], "--random-range-ratio"), (["-n", "0"], "--num-prompts"),
                                   (["--dataset-name", "random"], "did you mean --dataset-path")):  # fmt: skip
            done = run("serve", "--base-url", self.url, "--model", "x", *arguments)
            self.assertIn(done.returncode, (1, 2), arguments)
            self.assertIn(message, done.stderr)
            self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()
