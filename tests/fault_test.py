"""The server under faults: logs that cannot be written, full disks, every signal, no descriptors, a clock that jumps, a pause.

While each happens, clients ask without a break: every request is answered whole, or with an error that says why.
"""

import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

import tiny_internlm
from support import BINARY, START_SECONDS, Server

PATIENCE_SECONDS = 60  # generous, for what happens at once
QUESTION = {"model": "tiny", "prompt": "abc", "max_tokens": 24, "ignore_eos": True, "temperature": 0}
SANITIZED = bool(os.environ.get("INGOT_SANITIZE"))
FAKETIME = pathlib.Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
SMALL = 4096  # bytes that a full disk has left
NO_LIMIT = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def ask(url: str, **fields) -> tuple[int, str]:
    """(status, text of the answer or code of the error). Anything else is a request that was lost."""
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/completions", json.dumps(QUESTION | fields), {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read().decode()
    if response.status != 200:
        return response.status, json.loads(body)["error"]["code"]
    if not fields.get("stream"):
        return 200, json.loads(body)["choices"][0]["text"]
    events = [line.removeprefix("data: ") for line in body.splitlines() if line]
    if events[-1] != "[DONE]":
        return 200, json.loads(events[-1])["error"]["code"]
    return 200, "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])


class Clients:
    """Ask, whole and streamed, from several threads; `outcomes` are of ask(), or what went wrong."""

    def __init__(self, url: str, count: int = 3) -> None:
        self.url, self.outcomes, self.ends = url, [], False
        self.threads = [threading.Thread(target=self._run, args=(bool(i % 2),), daemon=True) for i in range(count)]

    def _run(self, stream: bool) -> None:
        while not self.ends:
            try:
                self.outcomes.append(ask(self.url, stream=stream))
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.outcomes.append(repr(error))

    def __enter__(self) -> "Clients":
        for thread in self.threads:
            thread.start()
        self.wait_for(2 * len(self.threads))
        return self

    def wait_for(self, more: int) -> None:
        """Until so many more have been answered, lost ones included."""
        wanted, end = len(self.outcomes) + more, time.monotonic() + 2 * PATIENCE_SECONDS
        while len(self.outcomes) < wanted:
            if time.monotonic() > end:
                raise AssertionError(f"no answers any more: {self.outcomes[-5:]}")
            time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self.ends = True
        for thread in self.threads:
            thread.join(2 * PATIENCE_SECONDS)


class FaultTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        tiny_internlm.write_cache(cls.folder)
        cls.environment = {**os.environ, "HF_HOME": folder.name}
        cls.environment.pop("HF_HUB_CACHE", None)
        server = cls.start(cls)
        cls.expected = ask(server.url)[1]
        server.stop()

    def start(self, *arguments: str, **options) -> Server:
        server = Server(tiny_internlm.NAME, "--model-name", "tiny", *arguments, env=self.environment | options.pop("env", {}), **options)
        (self.addClassCleanup if isinstance(self, type) else self.addCleanup)(server.__exit__)
        return server

    def start_with_stderr(self, stderr, preexec_fn=None) -> tuple[subprocess.Popen, str]:
        """The process, and the URL at which it is ready."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [BINARY, "serve", tiny_internlm.NAME, "--model-name", "tiny", "--port", str(port)]
        process = subprocess.Popen(command, stderr=stderr, env=self.environment, preexec_fn=preexec_fn)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
        while True:
            self.assertIsNone(process.poll())
            self.assertLess(time.monotonic(), end)
            with contextlib.suppress(OSError):
                if ask(url)[0] == 200:
                    return process, url
            time.sleep(0.05)

    def until(self, true) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not true():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

    def check_answers(self, clients: Clients) -> None:
        self.assertEqual(set(clients.outcomes), {(200, self.expected)})

    def check_serves(self, process: subprocess.Popen, url: str, requests: int = 20) -> None:
        with Clients(url) as clients:
            clients.wait_for(requests)
        self.check_answers(clients)
        process.terminate()
        self.assertEqual(process.wait(PATIENCE_SECONDS), 0)

    def test_stderr_cannot_be_written_from_the_start(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with open("/dev/full", "w") as full, os.fdopen(writer, "w") as broken:
            for stderr, close in ((full, False), (broken, False), (None, True)):
                process, url = self.start_with_stderr(stderr, preexec_fn=(lambda: os.close(2)) if close else None)
                self.check_serves(process, url)

    def test_stderr_cannot_be_written_any_more(self) -> None:
        for fault in ("broken", "unread", "full"):
            with self.subTest(fault):
                reader, writer = os.pipe()
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, SMALL)
                log = self.folder / "stderr"
                with os.fdopen(writer, "wb") as pipe, log.open("wb") as file:
                    process, url = self.start_with_stderr(file if fault == "full" else pipe, self.little_room if fault == "full" else None)
                if fault == "broken":
                    os.close(reader)
                self.check_serves(process, url, 150)  # lines of more than a pipe or the disk takes
                if fault == "full":
                    self.assertEqual(log.stat().st_size, SMALL)
                if fault != "broken":
                    os.close(reader)

    @staticmethod
    def little_room() -> None:
        """No file grows beyond SMALL bytes: what a full disk says, as a signal and as an error."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, resource.RLIM_INFINITY))

    def test_the_log_files_disk_is_full(self) -> None:
        log = self.folder / "server.log"
        server = self.start("--log-file", str(log), preexec_fn=self.little_room)
        with Clients(server.url) as clients:
            self.until(lambda: log.stat().st_size == SMALL)
            clients.wait_for(20)
            # Moved away and opened again, as logrotate does: there is room.
            moved = log.rename(self.folder / "server.log.1")
            server.process.send_signal(signal.SIGUSR1)
            self.until(lambda: log.exists() and "could not be written" in log.read_text())
            clients.wait_for(20)
        self.check_answers(clients)
        self.assertEqual(moved.stat().st_size, SMALL)
        self.assertIn(" POST /v1/completions 200 ", log.read_text())
        self.assertFalse([line for line in server.log if "/v1/completions" in line])
        # A name that cannot be opened leaves the old file in use.
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, NO_LIMIT)
        log.rename(self.folder / "server.log.2")
        log.mkdir()
        server.process.send_signal(signal.SIGUSR1)
        self.until(lambda: "not opened again" in (self.folder / "server.log.2").read_text())
        self.assertEqual(server.stop(), 0)
        with self.assertRaisesRegex(RuntimeError, "--log-file: .*Is a directory"):
            self.start("--log-file", str(log))

    def test_the_session_dbs_disk_is_full(self) -> None:
        db = self.folder / "sessions.db"
        server = self.start("--session-db", str(db))
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (SMALL, resource.RLIM_INFINITY))

        def turn() -> int:
            address = urllib.parse.urlsplit(server.url)
            with contextlib.closing(http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_SECONDS)) as connection:
                body = {"prompt": "abc " * 40, "session_id": 7, "interactive_mode": True, "request_output_len": 4}
                connection.request("POST", "/v1/chat/interactive", json.dumps(body), {"Content-Type": "application/json"})
                response = connection.getresponse()
                text = response.read().decode()
                self.assertEqual(response.status, 200, text)
                return json.loads(text)["history_tokens"]

        with Clients(server.url) as clients:
            lengths = [turn() for _ in range(4)]
            self.until(lambda: any("sessions are kept in memory alone" in line for line in server.log))
        self.check_answers(clients)
        self.assertEqual(lengths, sorted(set(lengths)))  # it goes on where it was
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, NO_LIMIT)
        last = turn()
        self.assertEqual(server.stop(), 0)
        server = self.start("--session-db", str(db))
        self.assertGreater(turn(), last)  # what could be written again is there

    def test_the_flight_recorders_disk_is_full(self) -> None:
        flight = self.folder / "flight.txt"
        server = self.start("--flight-recorder", str(flight))
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
        server.process.send_signal(signal.SIGABRT)
        self.assertNotEqual(server.process.wait(PATIENCE_SECONDS), 0)  # it ends as it would have, and at once
        self.assertEqual(flight.stat().st_size, 16)

    def test_signals_that_end_nothing(self) -> None:
        server = self.start()
        stopping = {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}
        crashing = {signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS}
        with Clients(server.url) as clients:
            for number in sorted(set(range(1, 32)) - stopping - crashing - {signal.SIGKILL}):
                server.process.send_signal(number)
                if number in (signal.SIGSTOP, signal.SIGTSTP):
                    time.sleep(1)  # it stands still; what comes then waits
                    server.process.send_signal(signal.SIGCONT)
                clients.wait_for(6)
                self.assertIsNone(server.process.poll(), number)
        self.check_answers(clients)
        self.assertEqual(server.stop(), 0)

    def test_signals_that_stop_let_requests_finish(self) -> None:
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            server = self.start()
            address = urllib.parse.urlsplit(server.url)
            with Clients(server.url) as clients, contextlib.closing(http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_SECONDS)) as stream:
                body = QUESTION | {"max_tokens": 500, "stream": True}
                stream.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
                running = stream.getresponse()
                running.read(1)
                server.process.send_signal(number)
                events = running.read().decode().split("\n\n")  # whole, whatever else ends
                self.assertEqual(events[-2], "data: [DONE]")
                self.assertIn('"finish_reason":"length"', events[-3])
                self.assertEqual(server.process.wait(PATIENCE_SECONDS), 0)
                clients.ends = True
            answered = {outcome for outcome in clients.outcomes if isinstance(outcome, tuple)}
            self.assertLessEqual(answered, {(200, self.expected), (503, "draining")}, number)
            # Connections that it had not accepted, or had closed, when it ended.
            closed = ("Connection", "Disconnected", "BrokenPipe")
            others = set(clients.outcomes) - answered
            self.assertTrue(all(any(name in outcome for name in closed) for outcome in others), others)

    def test_signals_of_a_crash_leave_a_report(self) -> None:
        for number in (signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS):
            flight = self.folder / f"flight-{number}.txt"
            server = self.start("--flight-recorder", str(flight))
            ask(server.url)
            server.process.send_signal(number)
            self.assertNotEqual(server.process.wait(PATIENCE_SECONDS), 0)
            self.assertIn(f"ingot flight recorder: {signal.Signals(number).name}", flight.read_text())

    @unittest.skipIf(SANITIZED, "UBSan tries memory with a pipe, for which no descriptor is left")
    def test_no_descriptors_left(self) -> None:
        server = self.start("--max-connections", "4096")
        address = urllib.parse.urlsplit(server.url)
        in_use = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        room = 8
        warnings = lambda: [line for line in server.log if "cannot accept connections" in line]  # noqa: E731
        with contextlib.ExitStack() as stack:
            kept = stack.enter_context(contextlib.closing(http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_SECONDS)))

            def ask_on_kept() -> int:
                kept.request("POST", "/v1/completions", json.dumps(QUESTION), {"Content-Type": "application/json"})
                response = kept.getresponse()
                response.read()
                return response.status

            self.assertEqual(ask_on_kept(), 200)
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (in_use + room, in_use + room))
            crowd = [stack.enter_context(contextlib.closing(socket.create_connection((address.hostname, address.port)))) for _ in range(3 * room)]
            self.until(warnings)
            end = time.monotonic() + 2
            while time.monotonic() < end:  # twenty tries to accept one
                self.assertEqual(ask_on_kept(), 200)
            self.assertEqual(len(warnings()), 1)
            for connection in crowd:
                connection.close()
            self.assertEqual(ask(server.url), (200, self.expected))
        self.assertEqual(server.stop(), 0)

    @unittest.skipUnless(FAKETIME.exists(), "needs Debian's package faketime")
    @unittest.skipIf(SANITIZED, "sanitizers ask for the time before faketime is ready for it")
    def test_the_clock_jumps(self) -> None:
        clock = self.folder / "clock"
        clock.write_text("+0")
        server = self.start(
            "--session-db", str(self.folder / "clock.db"),
            env={"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"},
        )  # fmt: skip
        with Clients(server.url) as clients:
            for jump in ("+3600", "-3600", "+400d", "-20y", "+0"):
                clock.write_text(jump)
                clients.wait_for(20)
        self.check_answers(clients)
        years = {line[:4] for line in server.log if "/v1/completions 200" in line}
        self.assertGreater(len(years), 2)  # its clock did jump
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
