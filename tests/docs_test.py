"""Runs the ```console blocks of the documentation and compares what they print.

A line that begins with "$ " is a command (a trailing backslash continues it); the lines up to the next command are its
output, in which … stands for anything. `make TARGET` is checked to exist and not run, but for `make serve`: from there
on a server answers on its port, and the document's curl lines reach it.
"""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from support import BINARY, MODEL, ROOT, Server, require_model

require_model()
DOCUMENTS = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]
PORT = "127.0.0.1:23333"


def console_commands(text: str) -> list[tuple[str, str]]:
    """(command, expected output) of every console block."""
    commands: list[list[str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        continued = False
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append([line[2:], ""])
            elif continued:
                commands[-1][0] += "\n" + line
            elif commands:
                commands[-1][1] += line + "\n"
            continued = (line.startswith("$ ") or continued) and line.endswith("\\")
    return [(command, output) for command, output in commands]


def matches(expected: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


class Matching(unittest.TestCase):
    def test_commands_and_outputs(self) -> None:
        text = "```console\n$ one \\\n  more\nout\n$ two\n```\n```sh\n$ no\n```\n"
        self.assertEqual(console_commands(text), [("one \\\n  more", "out\n"), ("two", "")])

    def test_dots_stand_for_anything(self) -> None:
        self.assertTrue(matches("a … c\n", "a b\nb c"))
        self.assertFalse(matches("a … c\n", "a b"))
        self.assertFalse(matches("exact", "exactly"))


class Documentation(unittest.TestCase):
    def run_command(self, command: str, folder: str) -> str:
        environment = dict(os.environ, PATH=f"{pathlib.Path(BINARY).parent}:{os.environ['PATH']}")
        environment["INGOT_MODELS_DIR"] = str(MODEL.parent.parent)
        done = subprocess.run(command, shell=True, cwd=folder, env=environment, text=True, timeout=300,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)  # fmt: skip
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr if command.startswith("make") else done.stdout

    def check_document(self, document: pathlib.Path) -> None:
        server = None
        with tempfile.TemporaryDirectory() as folder:
            for command, expected in console_commands(document.read_text()):
                if command.startswith("make "):
                    self.run_command(f"make -n -C {ROOT} {command[5:]}", folder)
                    if command == "make serve" and server is None:
                        server = Server("smollm2", env=dict(os.environ, INGOT_MODELS_DIR=str(MODEL.parent.parent)))  # as make serve
                        self.addCleanup(server.__exit__)
                    continue
                if PORT in command:
                    self.assertIsNotNone(server, f"{document.name}: no server for: {command}")
                    command = command.replace("http://" + PORT, server.url)
                with self.subTest(command=command):
                    printed = self.run_command(command, folder)
                    if expected.strip():
                        self.assertTrue(matches(expected, printed), f"expected:\n{expected}\nprinted:\n{printed}")

    def test_documents(self) -> None:
        for document in DOCUMENTS:
            if document.exists():
                with self.subTest(document=document.name):
                    self.check_document(document)

    def test_links_reach_files(self) -> None:
        for document in DOCUMENTS:
            for target in re.findall(r"\]\(([^)#]+)", document.read_text()) if document.exists() else []:
                if "://" not in target:
                    self.assertTrue((document.parent / target).exists(), f"{document.name}: {target}")


if __name__ == "__main__":
    unittest.main()
