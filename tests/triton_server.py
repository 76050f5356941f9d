"""A tritonserver (of PyPI's nvidia-pytriton) with Ingot's backend."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

from support import BINARY, ROOT, require_model

WAIT = 240
BACKENDS = os.environ.get("INGOT_TRITON_BACKENDS", str(pathlib.Path(BINARY).parent.parent / "lib/triton"))


def find_tritonserver() -> str:
    found = sorted(ROOT.glob("build/venv-serving/lib/python3*/site-packages/pytriton/tritonserver/bin/tritonserver"))
    if not found:
        print("skipped: no nvidia-pytriton; tools/bootstrap.sh test installs it into build/venv-serving")
        sys.exit(77)
    return str(found[-1])


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Triton:
    """Two models: `m` answers whole, `pieces` is decoupled."""

    def __init__(self, folder: str) -> None:
        self.http, self.grpc, self.metrics = free_ports(3)
        common = [BINARY, "serve", "triton", require_model(), "--model-repository", folder, "--session-len", "2048", "--max-queue", "256",
                  "--backend-directory", BACKENDS]  # fmt: skip
        subprocess.run([*common, "--model-name", "m", "--whole-answers", "--no-start"], check=True, capture_output=True)
        self.process = subprocess.Popen(
            [*common, "--model-name", "pieces", "--tritonserver", find_tritonserver(), "--http-port", str(self.http), "--grpc-port",
             str(self.grpc), "--metrics-port", str(self.metrics)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.log: list[str] = []
        threading.Thread(target=lambda: self.log.extend(iter(self.process.stderr.readline, "")), daemon=True).start()
        end = time.monotonic() + WAIT
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError("tritonserver did not start:\n" + "".join(self.log[-60:]))
            time.sleep(0.1)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/v2/health/ready", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(timeout=90)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()
