"""The `ingot` program of this package, for what it does in a process of its own."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import threading
from typing import Any

from ingot.errors import ProgramError

PROGRAM = pathlib.Path(__file__).parent / "bin/ingot"


def flags_of(options: dict[str, Any]) -> list[str]:
    """{"session_len": 4096, "w_sym": True, "api_keys": ["a", "b"]} as the program's flags. None and False: not given."""
    words: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            for one in value if isinstance(value, (list, tuple)) else [value]:
                words += [flag, str(one)]
    return words


def error_of(text: str, returncode: int) -> ProgramError:
    """What the program said last, as an exception."""
    said = [line for line in text.splitlines() if line.startswith("ingot: ") or line.startswith("error: ")]
    message = said[-1].split(": ", 1)[1] if said else (text.strip().splitlines() or ["it said nothing"])[-1]
    return ProgramError(message if returncode >= 0 else f"ingot was ended by {signal.Signals(-returncode).name}: {message}")


def _command(arguments: list[str]) -> list[str]:
    # The interpreter becomes the program, after it has asked the kernel for its end with this process's. Between fork
    # and exec of a process with threads nothing but exec is safe, so that this is not a preexec_fn.
    return [sys.executable, "-I", str(PROGRAM.parent.parent / "exec_with_parent.py"), str(os.getpid()), str(PROGRAM), *arguments]


class Process:
    """The program, which ends when this process does, however that ends. Its stderr is kept, and shown as `show` says.

    The kernel counts the end of the thread that started it as its parent's: that is one that waits for it.
    """

    def __init__(self, arguments: list[str], show: bool) -> None:
        self.stderr = ""
        self.stdout = ""
        self.returncode: int | None = None
        self._show = show
        self._started = threading.Event()
        self._failure: OSError | None = None
        self._over = threading.Event()
        self.popen: subprocess.Popen[str]
        threading.Thread(target=self._run, args=(_command(arguments),), daemon=True, name="ingot program").start()
        self._started.wait()
        if self._failure is not None:
            raise ProgramError(f"{PROGRAM}: {self._failure.strerror}") from self._failure

    def _run(self, command: list[str]) -> None:
        try:
            # Where the program needs Python, that is this one.
            environment = {"INGOT_PYTHON": sys.executable, **os.environ}
            self.popen = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        except OSError as error:
            self._failure = error
            return
        finally:
            self._started.set()
        reader = threading.Thread(target=self._read_stdout, daemon=True)
        reader.start()
        assert self.popen.stderr is not None
        with self.popen.stderr as stderr:
            for line in stderr:
                self.stderr += line
                if self._show:
                    sys.stderr.write(line)
        reader.join()
        self.returncode = self.popen.wait()
        self._over.set()

    def _read_stdout(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as stdout:
            self.stdout = stdout.read()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it is over, after at most so long."""
        return self._over.wait(seconds)

    def stop(self, seconds: float = 60) -> None:
        """SIGTERM; SIGKILL where that is not enough."""
        if not self._over.is_set():
            self.popen.terminate()
        if not self._over.wait(seconds):
            self.popen.kill()
            self._over.wait()


def run(arguments: list[str], show: bool) -> str:
    """Runs the program to its end; its standard output. Ctrl-C ends it, too."""
    process = Process(arguments, show)
    try:
        while not process.wait(0.1):
            pass
    except BaseException:
        process.stop()
        raise
    if process.returncode != 0:
        assert process.returncode is not None
        raise error_of(process.stderr, process.returncode)
    return process.stdout
