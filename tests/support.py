"""What the tests that drive the program share."""

import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("INGOT_BIN", str(ROOT / "build/release/bin/ingot"))
MODEL = pathlib.Path(os.environ.get("INGOT_MODELS", ROOT / "build/models")) / "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
START_SECONDS = 300  # generous: sanitizers, and tests that run next to this one


def require_model() -> str:
    """The default model's path; without it the whole test file counts as skipped."""
    if not MODEL.exists():
        print(f"skipped: {MODEL} is not here; tools/bootstrap.sh test fetches it")
        sys.exit(77)
    return str(MODEL)


def wait_until(condition, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not after {seconds} s")
        time.sleep(0.02)


def make_certificate(folder: pathlib.Path, name: str, *options: str) -> tuple[str, str]:
    """A certificate and its key; signed by itself unless the options say by whom."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2", "-subj",
         f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate, *options],
        check=True, capture_output=True,
    )  # fmt: skip
    return str(certificate), str(key)


class Server:
    """`ingot serve api_server` on a free port, as a context manager."""

    def __init__(
        self, *arguments: str, command: tuple[str, ...] = ("serve", "api_server"), preexec_fn=None, env: dict[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            [BINARY, *command, *arguments, "--server-port", "0"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=preexec_fn, env=env
        )
        self.log: list[str] = []
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()
        self.url = self._wait_for_url()

    def _read_log(self) -> None:
        for line in self.process.stderr:
            self.log.append(line)

    def _wait_for_url(self) -> str:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            if match := re.search(r"on (https?://[0-9.:\[\]]+:[0-9]+)", "".join(self.log)):
                return match.group(1)
            time.sleep(0.02)
        self.process.kill()
        self._log_reader.join(START_SECONDS)  # the last lines may be unread when the process ends
        raise RuntimeError("the server did not start:\n" + "".join(self.log))

    @property
    def grpc_address(self) -> str:
        """With --grpc-port 0."""
        return "127.0.0.1:" + re.search(r"gRPC is served at \S+:(\d+)", "".join(self.log)).group(1)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=60) as response:
            return response.read().decode()

    def stop(self) -> int:
        """SIGTERM, then its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=60)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.process.kill()
            self.process.wait()
