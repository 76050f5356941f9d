"""What operators of a server set: keys that change, logs, metrics under other names, pages of other origins, limits, the end."""

import hashlib
import http.client
import json
import os
import pathlib
import re
import resource
import signal
import socket
import tempfile
import unittest
import unittest.mock
import urllib.error
import urllib.parse
import urllib.request

import tiny_internlm
from support import Server, wait_until

QUESTION = {"model": "tiny", "prompt": "abc", "max_tokens": 2}
PATIENCE_SECONDS = 60  # generous, for what happens at once


def call(server: Server, path: str, body: dict | None = None, key: str = "", method: str | None = None, **headers: str):
    """(status, headers, text)"""
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(server.url + path, None if body is None else json.dumps(body).encode(), headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def samples(text: str) -> dict[str, float]:
    """{"name label=value …": value}, without the labels that all have."""
    values = {}
    for name, labels, value in re.findall(r"(?m)^([\w:]+)(?:\{(.*)\})? (\S+)$", text):
        pairs = sorted(pair for pair in re.findall(r'(\w+)="([^"]*)"', labels) if pair[0] not in ("model_name", "engine"))
        values[" ".join([name, *map("=".join, pairs)])] = float(value)
    return values


def blocks(values: dict[str, float]) -> str:
    return str(int(sum(value for name, value in values.items() if name.startswith("ingot_kv_blocks"))))


class Operations(unittest.TestCase):
    def test_keys_are_read_again(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            keys, admins = pathlib.Path(folder) / "keys", pathlib.Path(folder) / "admins"
            keys.write_bytes(b"\xef\xbb\xbffirst\r\n\r\nthird")  # as editors on Windows write it, and without an end
            admins.write_text("chief\n")
            server = tiny_internlm.serve(self, "--api-keys-file", str(keys), "--admin-keys-file", str(admins))
            statuses = lambda: [call(server, "/v1/models", key=key)[0] for key in ("", "first", "second", "chief", "third")]  # noqa: E731
            self.assertEqual(statuses(), [401, 200, 401, 200, 200])
            self.assertEqual(call(server, "/health/live")[0], 200)
            self.assertEqual(call(server, "/v1/models", X_Api_Key="first")[0], 200)
            keys.write_text("second\n")
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: statuses() == [401, 401, 200, 200, 401])
            keys.unlink()  # what cannot be read leaves the old ones
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: any("not read again" in line for line in server.log))
            self.assertEqual(statuses(), [401, 401, 200, 200, 401])

    def test_a_line_a_request(self) -> None:
        server = tiny_internlm.serve(self)
        call(server, "/v1/completions", QUESTION, X_Request_Id="seen-once")
        wait_until(lambda: any("POST /v1/completions 200" in line and "id=seen-once" in line for line in server.log))

    def test_the_log_names_the_key_by_its_hash(self) -> None:
        shown = lambda key: "key=" + hashlib.sha256(key.encode()).hexdigest()[:8]  # noqa: E731
        server = tiny_internlm.serve(self, "--api-keys", "first", "--admin-keys", "chief")
        for key in ("first", "chief", "unknown", ""):
            call(server, "/v1/completions", QUESTION, key=key, X_Request_Id="of-" + (key or "nobody"))
        line = lambda name: next((line for line in list(server.log) if f"id=of-{name}" in line), "")  # noqa: E731
        wait_until(lambda: all(line(name) for name in ("first", "chief", "unknown", "nobody")))
        self.assertIn(shown("first"), line("first"))
        self.assertIn(shown("chief"), line("chief"))
        self.assertNotIn("key=", line("unknown") + line("nobody"))
        self.assertEqual(server.stop(), 0)
        server = tiny_internlm.serve(self, "--api-keys", "first", "--log-format", "json")
        call(server, "/v1/models", key="first")
        wait_until(lambda: any("/v1/models" in line for line in server.log))
        told = next(json.loads(line) for line in server.log if "/v1/models" in line)
        self.assertEqual("key=" + told["key"], shown("first"))

    def test_the_ledger_is_there_once(self) -> None:
        for level in ("debug", "info", "warning"):
            server = tiny_internlm.serve(self, "--log-level", level)
            self.assertEqual(server.stop(), 0)
            self.assertEqual("".join(server.log).count("KV cache  "), 1, level)

    def test_a_connection_without_a_request_is_closed(self) -> None:
        server = tiny_internlm.serve(self, "--idle-timeout", "1")
        address = urllib.parse.urlsplit(server.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_SECONDS)
        for _ in range(2):
            connection.request("GET", "/health")
            self.assertEqual(connection.getresponse().read(), b'{"status":"healthy"}')
        self.assertEqual(connection.sock.recv(1), b"")  # the end, long before the default of a minute
        connection.close()

    def test_settings_of_a_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            home = pathlib.Path(folder)
            tiny_internlm.write_cache(home)
            config, log = home / "ingot.yaml", home / "server.log"
            environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_CACHE"} | {"HF_HOME": folder}
            config.write_text(
                f"model: {tiny_internlm.NAME}\nmodel_name: tiny\nlog-file: {log}\n"
                'override-generation-config:\n  temperature: 0\n  top_k: 5\n  # a comment\n'
            )
            with Server("--config", str(config), command=("serve",), env=environment) as server:
                texts = {json.loads(call(server, "/v1/completions", QUESTION | {"seed": seed})[2])["choices"][0]["text"] for seed in range(3)}
                self.assertEqual(len(texts), 1)  # it is greedy
                wait_until(lambda: "POST /v1/completions 200" in log.read_text())
            config.write_text("model: not/there\nmodel-name: tiny\n")
            with Server(tiny_internlm.NAME, "--config", str(config), env=environment):
                pass  # what is typed wins
            with self.assertRaisesRegex(RuntimeError, "not/there"), Server("--config", str(config), env=environment):
                pass
            for text, told in (("session-len: {a: 1}", "session-len: must be a plain value or a list"), ("model: [a]", "model: is one name"),
                               ("override-generation-config: {temperature: hot}", "temperature")):  # fmt: skip
                config.write_text(text)
                with self.assertRaisesRegex(RuntimeError, told):
                    Server(tiny_internlm.NAME, "--config", str(config), env=environment)

    def test_requests_that_cannot_be_read_are_told_of(self) -> None:
        server = tiny_internlm.serve(self, "--max-body-size", "2KiB")
        for path in ("/v1/completions", "/secret%0Apath"):
            self.assertEqual(call(server, path, {"prompt": "x" * 3000}, X_Request_Id="too-large")[0], 413)
        address = urllib.parse.urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(b"no HTTP at all\r\n\r\n")
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 400"))
        for wanted in (r"POST /v1/completions 413 code=body_too_large \S+ ms client=127\.0\.0\.1:\d+ id=too-large",
                       r"POST /secret\\npath 413 code=body_too_large", r"- - 400 code=bad_http"):  # fmt: skip
            wait_until(lambda wanted=wanted: any(re.search(wanted, line) for line in server.log))
        counts = [line for line in call(server, "/metrics")[2].splitlines() if line.startswith("ingot_http_requests_total{")]
        self.assertEqual(sorted(line for line in counts if "413" in line or "400" in line),
                         ['ingot_http_requests_total{code="400",path="other"} 1', 'ingot_http_requests_total{code="413",path="/v1/completions"} 1',
                          'ingot_http_requests_total{code="413",path="other"} 1'])  # fmt: skip

    def test_bodies_together_have_a_bound(self) -> None:
        server = tiny_internlm.serve(self, "--max-body-size", "64KiB", "--max-body-memory", "0")
        held = lambda: float(re.search(r"(?m)^ingot_http_body_bytes (\S+)$", call(server, "/metrics")[2])[1])  # noqa: E731
        address = urllib.parse.urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n" + b" " * 60000)
            wait_until(lambda: held() == 60000)
            status, headers, text = call(server, "/v1/completions", QUESTION | {"padding": "x" * 6000})
            self.assertEqual((status, json.loads(text)["error"]["code"]), (503, "body_memory_full"))
            self.assertGreaterEqual(int(headers["Retry-After"]), 1)
            self.assertEqual(call(server, "/v1/completions", QUESTION)[0], 200)  # a small one has room
        wait_until(lambda: held() == 0)
        self.assertEqual(call(server, "/v1/completions", QUESTION | {"padding": "x" * 6000})[0], 200)

    def test_lines_of_json(self) -> None:
        # With more connections than a process may have descriptors for.
        server = tiny_internlm.serve(self, "--log-format", "json", "--max-connections", str(1 << 20))
        call(server, "/v1/completions", QUESTION | {"max_tokens": -1}, X_Request_Id="seen")
        found: list[dict] = []

        def logged() -> bool:
            found[:] = [json.loads(line) for line in list(server.log) if line.startswith("{")]
            return any("/v1/completions 400" in line["message"] for line in found)

        wait_until(logged)
        request = next(line for line in found if line.get("path") == "/v1/completions")
        self.assertEqual((request["method"], request["status"], request["id"], request["complete"]), ("POST", 400, "seen", True))
        self.assertGreater(request["ms"], 0)
        call(server, "/v1/completions", QUESTION | {"max_tokens": 3, "ignore_eos": True})
        server.process.send_signal(signal.SIGHUP)
        self.assertEqual(server.stop(), 0)
        lines = [json.loads(line) for line in server.log]  # all of them, what it says at start and end, too
        self.assertTrue(all(set(line) >= {"time", "level", "message"} for line in lines), lines)
        self.assertEqual([line["answer"] for line in lines if "answer" in line], [3])
        warnings = [line["message"] for line in lines if line["level"] == "warning"]
        self.assertTrue(any("--max-connections 1048576 needs 2097280" in warning for warning in warnings), warnings)

    def test_sampling_defaults(self) -> None:
        server = tiny_internlm.serve(self, "--override-generation-config", '{"temperature": 0}')

        def text(**fields) -> str:
            return json.loads(call(server, "/v1/completions", QUESTION | {"max_tokens": 20} | fields)[2])["choices"][0]["text"]

        greedy = text(temperature=0)
        self.assertEqual([text(seed=seed) for seed in range(3)], [greedy] * 3)
        self.assertNotEqual([text(seed=seed, temperature=2) for seed in range(3)], [greedy] * 3)
        for config, expected in (('{"temperature": 9}', "temperature 9 is outside"), ('{"temp": 1}', 'no "temp"; there are'), ("[", "not JSON"), ('{"top_k": "x"}', "top_k")):
            with self.assertRaisesRegex(RuntimeError, "override-generation-config.*" + expected):
                tiny_internlm.serve(self, "--override-generation-config", config)

    def test_keys_that_are_empty(self) -> None:
        with self.assertRaisesRegex(RuntimeError, "an API key is empty"):
            tiny_internlm.serve(self, "--api-keys", "")
        with unittest.mock.patch.dict(os.environ, INGOT_API_KEYS=""), self.assertRaisesRegex(RuntimeError, "INGOT_API_KEYS is empty"):
            tiny_internlm.serve(self)
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder) / "config.yaml"
            for text in ("api-keys:\n", "admin-keys: []\n"):
                config.write_text(text)
                with self.assertRaisesRegex(RuntimeError, "has no key"):
                    tiny_internlm.serve(self, "--config", str(config))

    def test_no_lines(self) -> None:
        server = tiny_internlm.serve(self, "--log-level", "warning")
        call(server, "/v1/completions", QUESTION, X_Request_Id="unseen")
        self.assertEqual(server.stop(), 0)
        self.assertFalse([line for line in server.log if "unseen" in line])

    def test_metrics_under_other_names(self) -> None:
        prefixes = {"vllm": ["vllm:"], "lmdeploy": ["lmdeploy:"], "both": ["vllm:", "lmdeploy:"]}
        for compat, wanted in prefixes.items():
            with self.subTest(compat):
                server = tiny_internlm.serve(self, "--metrics-compat", compat, "--cache-block-seq-len", "32")
                for _ in range(2):  # the second finds blocks of the first
                    call(server, "/v1/completions", QUESTION | {"prompt": [5] * 100, "ignore_eos": True})
                call(server, "/v1/completions", QUESTION | {"prompt": [5] * 4000})
                call(server, "/v1/completions", QUESTION | {"max_tokens": 1900, "ignore_eos": True, "timeout": 0.001})
                text = call(server, "/metrics")[2]
                for prefix in ("vllm:", "lmdeploy:"):
                    self.assertEqual(prefix in text, prefix in wanted)
                values = samples(text)
                self.assertIn("ingot_num_requests_running", values)
                both = {
                    "num_requests_running": 0, "num_requests_waiting": 0, "request_inference_time_seconds_count": 2,
                    "request_success_total finished_reason=length": 2, "request_success_total finished_reason=error": 1,
                    "request_prompt_tokens_sum": 200, "iteration_tokens_total_count": values["ingot_engine_steps_total"],
                }  # fmt: skip
                of_vllm = {
                    "prompt_tokens_cached_total": 99, "num_requests_waiting_by_reason reason=capacity": 0,
                    "admission_rejections_total reason=context_length_exceeded": 1,
                    "cache_config_info block_size=32 enable_prefix_caching=True num_gpu_blocks=" + blocks(values): 1,
                }  # fmt: skip
                of_lmdeploy = {
                    "num_requests_succeeded": 2, "num_requests_failed": 1, "num_api_requests_routed": 0, "num_api_requests_waiting": 0,
                    "prefix_cache_hit_rate": values["ingot_prefix_cache_hits_total"] / values["ingot_prefix_cache_queries_total"],
                    "request_cached_tokens_sum": 99, "request_cache_hit_ratio_count": 2,
                }  # fmt: skip
                for prefix in wanted:
                    for name, value in (both | (of_vllm if prefix == "vllm:" else of_lmdeploy)).items():
                        self.assertAlmostEqual(values[prefix + name], value, 6, name)
                labels = re.findall(r"(?m)^(?:vllm|lmdeploy):\w+\{(.*)\}", text)
                self.assertTrue(all('model_name="tiny"' in each and 'engine="0"' in each for each in labels))
                steps = [value for name, value in values.items() if name.startswith("ingot_step_tokens_bucket")]
                self.assertEqual(steps, sorted(steps))
                self.assertEqual(steps[-1], values["ingot_step_tokens_count"])
                server.stop()
        self.assertNotIn("vllm:", call(tiny_internlm.serve(self), "/metrics")[2])

    def test_the_model_is_listed_as_it_was_typed(self) -> None:
        listed = json.loads(call(tiny_internlm.serve(self), "/v1/models")[2])["data"][0]
        self.assertEqual((listed["id"], listed["root"], listed["permission"]), ("tiny", tiny_internlm.NAME, []))
        with tempfile.TemporaryDirectory() as folder:
            tiny_internlm.write_cache(pathlib.Path(folder))
            snapshot = next(pathlib.Path(folder).glob("hub/*/snapshots/*"))
            with Server(str(snapshot), "--model-name", "m") as server:
                self.assertEqual(json.loads(call(server, "/v1/models/m")[2])["root"], snapshot.name)

    def test_pages_of_other_origins(self) -> None:
        server = tiny_internlm.serve(self, "--allow-origins", "https://good.example", "--api-keys", "k")
        preflight = {"method": "OPTIONS", "Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization"}
        status, headers, _ = call(server, "/v1/completions", Origin="https://good.example", **preflight)
        self.assertIn(status, (200, 204))
        self.assertEqual(headers["Access-Control-Allow-Origin"], "https://good.example")
        self.assertIn("POST", headers["Access-Control-Allow-Methods"])
        status, headers, _ = call(server, "/v1/completions", QUESTION, key="k", Origin="https://good.example")
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (200, "https://good.example"))
        for origin in ("https://evil.example", "null"):
            headers = call(server, "/v1/completions", QUESTION, key="k", Origin=origin)[1]
            self.assertIsNone(headers["Access-Control-Allow-Origin"])
        self.assertIsNone(call(tiny_internlm.serve(self), "/v1/models", Origin="https://good.example")[1]["Access-Control-Allow-Origin"])

    def test_too_many_connections(self) -> None:
        server = tiny_internlm.serve(self, "--max-connections", "3")
        address = urllib.parse.urlsplit(server.url)
        held = [socket.create_connection((address.hostname, address.port)) for _ in range(3)]
        for connection in held:
            self.addCleanup(connection.close)

        def answer() -> int | None:
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
            try:
                connection.request("GET", "/health")
                return connection.getresponse().status
            except (ConnectionError, http.client.HTTPException):
                return None
            finally:
                connection.close()

        wait_until(lambda: answer() == 503)
        held.pop().close()
        wait_until(lambda: answer() == 200)

    def test_descriptors_for_those_who_are_turned_away_too(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        server = tiny_internlm.serve(self, "--max-connections", "300")
        limits = pathlib.Path(f"/proc/{server.process.pid}/limits").read_text()
        self.assertRegex(limits, r"Max open files +728 ")

    def test_strangers_without_a_key_are_warned_of(self) -> None:
        warnings = lambda server: [line for line in server.log if "reachable from other machines" in line]  # noqa: E731
        open_to_all = tiny_internlm.serve(self, "--server-name", "0.0.0.0")
        wait_until(lambda: warnings(open_to_all))
        self.assertFalse(warnings(tiny_internlm.serve(self, "--server-name", "0.0.0.0", "--api-keys", "k")))
        self.assertFalse(warnings(tiny_internlm.serve(self)))

    def test_administrators_may_end_it(self) -> None:
        server = tiny_internlm.serve(self, "--allow-terminate-by-client", "--api-keys", "user", "--admin-keys", "chief")
        self.assertEqual(call(server, "/terminate", {}, key="user")[0], 403)
        self.assertEqual(call(server, "/terminate", {})[0], 401)
        self.assertEqual(call(server, "/terminate", {}, key="chief")[0], 200)
        self.assertEqual(server.process.wait(timeout=PATIENCE_SECONDS), 0)
        self.assertEqual(call(tiny_internlm.serve(self), "/terminate", {})[0], 404)
        self.assertNotIn("no one can stop", "".join(server.log))
        without = tiny_internlm.serve(self, "--allow-terminate-by-client")
        wait_until(lambda: any("there is none (--admin-keys): no one can stop it" in line for line in without.log))

    def test_no_documents(self) -> None:
        server = tiny_internlm.serve(self, "--disable-fastapi-docs")
        self.assertEqual([call(server, path)[0] for path in ("/openapi.json", "/docs", "/", "/chat")], [404] * 4)
        self.assertEqual(call(server, "/v1/completions", QUESTION)[0], 200)

    def test_what_a_cancelled_request_computed_is_found_again(self) -> None:
        server = tiny_internlm.serve(self, "--cache-block-seq-len", "32")
        hits = lambda: float(re.search(r"(?m)^ingot_prefix_cache_hits_total(?:\{[^}]*\})? (\S+)", call(server, "/metrics")[2]).group(1))  # noqa: E731
        running = lambda: re.search(r"(?m)^ingot_num_requests_running(?:\{[^}]*\})? (\S+)", call(server, "/metrics")[2]).group(1)  # noqa: E731
        ids = [3 + i % 90 for i in range(320)]
        address = urllib.parse.urlsplit(server.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        body = QUESTION | {"prompt": ids, "max_tokens": 1500, "ignore_eos": True, "stream": True}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        connection.getresponse().read(20)
        connection.close()
        wait_until(lambda: running() == "0")
        before = hits()
        self.assertEqual(call(server, "/v1/completions", QUESTION | {"prompt": ids})[0], 200)
        self.assertGreaterEqual(hits() - before, 288)


if __name__ == "__main__":
    unittest.main()
