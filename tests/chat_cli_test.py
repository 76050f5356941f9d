"""`ingot chat` at a terminal: editing, history, Ctrl-C, and the commands of a conversation."""

import json
import os
import pathlib
import pty
import select
import subprocess
import tempfile
import termios
import time
import unittest
import urllib.request

from support import BINARY, Server, require_model

MODEL = require_model()
SECONDS = 60


class Terminal:
    """The program behind a terminal, as a context manager."""

    def __init__(self, home: str, *arguments: str, model: str = MODEL) -> None:
        self.output = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            environment = dict(os.environ, HOME=home, TERM="xterm", LC_ALL="C.UTF-8")
            for name in ("NO_COLOR", "XDG_STATE_HOME", "INGOT_NO_HISTORY"):
                environment.pop(name, None)
            os.execve(BINARY, [BINARY, "chat", model, *arguments], environment)

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def read_until(self, wanted: str) -> str:
        """What is printed up to and with `wanted`."""
        end = time.monotonic() + SECONDS
        while wanted.encode() not in self.output:
            ready, _, _ = select.select([self.fd], [], [], 0.2)
            if time.monotonic() > end:
                raise TimeoutError(f"no {wanted!r} in {self.output!r}")
            if ready:
                self.output += os.read(self.fd, 65536)
        at = self.output.index(wanted.encode()) + len(wanted.encode())
        read, self.output = self.output[:at], self.output[at:]
        return read.decode(errors="replace")

    def read_prompt(self) -> str:
        """Up to the prompt, and until the editor has the terminal: libedit shows the prompt first."""
        text = self.read_until("> ")
        end = time.monotonic() + SECONDS
        while termios.tcgetattr(self.fd)[3] & termios.ICANON and time.monotonic() < end:
            time.sleep(0.01)
        return text

    def wait(self) -> int:
        """The exit code; negative: the signal that ended it."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        raise TimeoutError("it did not end")

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.pid:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


class AtATerminal(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = folder.name

    def test_conversation(self) -> None:
        with Terminal(self.home, "--temperature", "0", "--max-tokens", "12", "--compute", "exact") as chat:
            chat.read_prompt()
            chat.send("What is the capital of Frence?\x1b[D\x1b[D\x1b[D\x1b[D\x7fa\n")  # arrows, backspace
            answer = chat.read_until("]")
            self.assertIn("The capital of France is Paris.", answer)
            self.assertIn("tok/s", answer)
            chat.read_prompt()
            chat.send("\x1b[A")  # the last message again
            chat.read_until("capital of France?")
            chat.send("\x03")  # drops the line, not the program
            chat.read_prompt()
            chat.send("/help\n")
            chat.read_until("/regen")
            chat.read_prompt()
            chat.send("\x04")
            self.assertEqual(chat.wait(), 0)
        history = pathlib.Path(self.home, ".local/state/ingot/history").read_text()
        self.assertIn("France", history)

    def test_ctrl_c_stops_the_answer_and_not_the_program(self) -> None:
        with Terminal(self.home, "--ignore-eos") as chat:
            chat.read_prompt()
            chat.send("Tell me a long story.\n")
            chat.read_until("story.\r\n")
            time.sleep(1.5)
            chat.send("\x03")
            chat.read_until("cancelled")
            chat.read_prompt()
            chat.send("/exit\n")
            self.assertEqual(chat.wait(), 0)


    def test_more_ctrl_c_keep_the_conversation(self) -> None:
        with Terminal(self.home, "--ignore-eos") as chat:
            chat.read_prompt()
            chat.send("Tell me a long story.\n")
            chat.read_until("story.\r\n")
            time.sleep(1)
            for _ in range(3):
                chat.send("\x03")
            chat.read_until("cancelled")
            chat.read_prompt()
            saved = pathlib.Path(self.home, "saved.json")
            chat.send(f"/save {saved}\n")
            chat.read_until("2 messages written")
            self.assertEqual(json.loads(saved.read_text())["messages"][0]["content"], "Tell me a long story.")
            chat.read_prompt()
            chat.send(f"/save {saved}\n")  # its own file
            chat.read_until("2 messages written")
            chat.read_prompt()
            other = pathlib.Path(self.home, "other.json")
            other.write_text("precious")
            for answer, told in (("n", "not saved"), ("", "not saved"), ("y", "2 messages written")):
                self.assertEqual(other.read_text(), "precious")
                chat.send(f"/save {other}\n")
                chat.read_until("[y/N] ")
                chat.send(answer + "\n")
                chat.read_until(told)
                chat.read_prompt()
            self.assertNotEqual(other.read_text(), "precious")
            chat.send("/exit\n")
            self.assertEqual(chat.wait(), 0)


class Piped(unittest.TestCase):
    def test_save_overwrites_nothing(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "there.json")
            file.write_text("precious")
            _, errors = self.chat(f"/save {file}")
            self.assertIn("exists, and is not overwritten", errors)
            self.assertEqual(file.read_text(), "precious")

    def chat(self, *lines: str) -> tuple[str, str]:
        done = subprocess.run([BINARY, "chat", MODEL, "--compute", "fast", "--temperature", "0", "--max-tokens", "4"], text=True,
                              input="\n".join(lines) + "\n", capture_output=True, timeout=300)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, done.stderr

    def test_settings_are_checked_when_they_are_set(self) -> None:
        _, errors = self.chat("/set temperature 5", "/set top_k 1.5", "/set max_tokens 0", "/set nonsense 1", "/set seed",
                              "/set parameter min_p 7")  # fmt: skip
        lines = errors.splitlines()
        self.assertEqual(len(lines), 6, errors)
        for line, name in zip(lines, ("temperature", "top_k", "max_tokens", "nonsense", "seed", "min_p")):
            self.assertIn(name, line)

    def test_save_load_regen_clear_and_system(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            first, second = f"{folder}/first.json", f"{folder}/second.json"
            printed, errors = self.chat(
                '/set system "You are a pirate."', '"""What is', 'this?"""', f"/save {first}", "/clear", "/regen",
                f"  /load {first}  ", "/system", "/regen", f"/save {second}", f"/load {folder}/none", "/exit", "Hi")  # fmt: skip
            saved = json.loads(pathlib.Path(first).read_text())["messages"]
            again = json.loads(pathlib.Path(second).read_text())["messages"]
        self.assertEqual([message["role"] for message in saved], ["system", "user", "assistant"])
        self.assertEqual(saved[1]["content"], "What is\nthis?")
        self.assertEqual(saved, again)  # greedy: the same answer again
        self.assertIn("You are a pirate.\n", printed)
        self.assertEqual(saved[0]["content"], "You are a pirate.")
        self.assertEqual(printed.count("answer 4 tokens"), 2)
        self.assertEqual(len(errors.splitlines()), 2, errors)  # nothing to answer again, no such file

    def test_a_context_that_is_full_says_so(self) -> None:
        done = subprocess.run([BINARY, "chat", MODEL, "--session-len", "64"], text=True, input="word " * 100 + "\n",
                              capture_output=True, timeout=300)  # fmt: skip
        self.assertEqual(done.returncode, 1)
        self.assertIn("messages without an answer: 1", done.stderr)
        self.assertIn("64 tokens", done.stderr)
        self.assertIn("/clear", done.stderr)


class OfAServer(unittest.TestCase):
    """The same conversation with a model that a server has."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(MODEL, "--model-name", "smollm2", "--compute", "exact", "--api-keys", "key")
        cls.addClassCleanup(cls.server.__exit__)

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = folder.name

    def chat(self, url: str, *arguments: str, lines: str = "Hi\n", **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run([BINARY, "chat", url, *arguments], text=True, input=lines, capture_output=True, timeout=60,
                              env=dict(os.environ, **environment))  # fmt: skip

    def metric(self, name: str) -> float:
        request = urllib.request.Request(self.server.url + "/metrics", headers={"Authorization": "Bearer key"})
        with urllib.request.urlopen(request, timeout=60) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def test_conversation_and_ctrl_c(self) -> None:
        with Terminal(self.home, "--api-key", "key", "--temperature", "0", "--max-tokens", "12", "--ignore-eos", model=self.server.url) as chat:
            self.assertIn("smollm2 at http://", chat.read_prompt())
            chat.send("What is the capital of France?\n")
            answer = chat.read_until("]")
            self.assertIn("The capital of France is Paris.", answer)
            self.assertRegex(answer, r"prompt \d+ tokens.*answer \d+ tokens, [1-9][0-9.]* tok/s · length")
            chat.read_prompt()
            chat.send("/set max_tokens 8000\n")
            chat.read_prompt()
            chat.send("/set temperature 1\n")
            chat.read_prompt()
            chat.send("Tell me a long story.\n")
            chat.read_until("story.\r\n")
            end = time.monotonic() + SECONDS
            while not self.metric("ingot_num_requests_running") and time.monotonic() < end:
                time.sleep(0.05)
            chat.send("\x03")
            self.assertNotIn("prompt 0", chat.read_until("cancelled"))
            while self.metric("ingot_num_requests_running") and time.monotonic() < end:
                time.sleep(0.05)
            self.assertEqual(self.metric("ingot_num_requests_running"), 0)  # the server saw it
            chat.read_prompt()
            chat.send("/exit\n")
            self.assertEqual(chat.wait(), 0)

    def test_commands(self) -> None:
        saved = pathlib.Path(self.home, "saved.json")
        lines = f"/set\nWhat is this?\n/save {saved}\n/regen\n/system\n/clear\n/save {saved}2\n"
        done = self.chat(self.server.url + "/v1", "--temperature", "0", "--max-tokens", "4", "--meta-instruction", "You are a pirate.",
                         lines=lines, OPENAI_API_KEY="key")  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        messages = json.loads(saved.read_text())["messages"]
        self.assertEqual([message["role"] for message in messages], ["system", "user", "assistant"])
        self.assertEqual(done.stdout.count("answer 4 tokens"), 2)
        self.assertRegex(done.stdout, r"temperature +0 .*\n(.*\n)*top_k +not set ")
        self.assertEqual(len(json.loads(pathlib.Path(f"{saved}2").read_text())["messages"]), 1)

    def test_what_a_server_refuses_is_said(self) -> None:
        for arguments, expected in (((), "with --api-key or as OPENAI_API_KEY"), (("--api-key", "no"), "is not one that it takes"),
                                    (("--model-name", "smollm2"), "with --api-key")):  # fmt: skip
            done = self.chat(self.server.url, *arguments, OPENAI_API_KEY="")
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, "^(ingot: )?HTTP 401")
            self.assertIn(expected, done.stderr)
            self.assertNotIn("one with --model-name", done.stderr)
        done = self.chat(self.server.url, "--api-key", "key", "--model-name", "gpt")
        self.assertEqual(done.returncode, 1)
        self.assertIn("HTTP 404: model 'gpt' is not served here", done.stderr)
        done = self.chat(self.server.url, "--api-key", "key", lines="/set temperature 9\nHi\n")
        self.assertIn("temperature", done.stderr)
        done = self.chat(self.server.url, "--api-key", "key", lines="word " * 9000 + "\n")
        self.assertIn("/clear", done.stderr)
        self.assertIn("cannot connect: Connection refused; is the server running at this address?", self.chat("http://127.0.0.1:1").stderr)
        self.assertIn("no address", self.chat("http://a b").stderr)
        for flags in (("--compute", "exact"), ("--session_len", "64"), ("--threads=2",)):
            done = self.chat(self.server.url, "--api-key", "key", *flags)
            self.assertEqual(done.returncode, 2)
            self.assertIn(flags[0].split("=")[0].replace("_", "-") + ": is for a model that is loaded here", done.stderr)
        self.assertEqual(self.chat(self.server.url, "--api-key", "key", "--max-tokens", "1", INGOT_THREADS="2").returncode, 0)
        self.assertIn("--header", self.chat(self.server.url, "--header", "x").stderr)


if __name__ == "__main__":
    unittest.main()
