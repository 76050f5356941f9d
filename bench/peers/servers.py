"""Starts a server, sends it requests with `ingot bench serve`, and ends it."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

START_SECONDS = 300
RUN_SECONDS = 1800


class EngineError(Exception):
    """An engine did not do what was asked; the message says what it printed."""


@dataclass
class Load:
    """Requests of one length, so many at once. All answers have the full length."""

    requests: int
    concurrency: int
    input_len: int
    output_len: int
    seed: int = 0

    @property
    def slot(self) -> int:
        """Tokens that a server keeps for a request."""
        return self.input_len + self.output_len + 64


def run_json(command: list[str]) -> list[dict]:
    """The lines of standard output that are JSON objects."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=RUN_SECONDS)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise EngineError(f"{pathlib.Path(command[0]).name} ended with {done.returncode}: {last[0]}")
    return lines


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_ready(url: str, process: subprocess.Popen, log: pathlib.Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(url + "/health", timeout=5).read()
            return
        time.sleep(0.05)
    last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
    raise EngineError(f"{pathlib.Path(process.args[0]).name} did not start: {last[0]}")


def _cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_server(server: list[str], client: list[str], model: str, load: Load) -> dict:
    """`server`: a command that lacks its port; `client`: ingot. The report of `ingot bench serve`."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"

    def send(requests: int, seed: int) -> dict:
        return run_json([*client, "bench", "serve", "--base-url", url, "--tokenizer", model, "--send-token-ids", "--json",
                         "-n", str(requests), "-c", str(load.concurrency), "--input-len", str(load.input_len),
                         "--output-len", str(load.output_len), "--ignore-eos", "--seed", str(seed)])[0]  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder, "log")
        with log.open("wb") as out:
            process = subprocess.Popen([*server, str(port)], stdout=out, stderr=subprocess.STDOUT)
        try:
            _wait_until_ready(url, process, log)
            send(2, load.seed + 1000)  # warms up
            before = _cpu_seconds(process.pid)
            report = send(load.requests, load.seed)
            report["server_cpu_seconds"] = _cpu_seconds(process.pid) - before
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    wanted = load.requests * load.output_len
    if report["total_output_tokens"] != wanted:
        raise EngineError(f"{report['total_output_tokens']} tokens came, not {wanted}")
    return report
