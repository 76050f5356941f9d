"""`ingot serve gradio`: two users at once through gradio_client, and a browser.

    gradio_test.py [--screenshots FOLDER]
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import unittest
import urllib.request

from gradio_client import Client
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from support import CONFIG, MODEL, QUESTION

import ingot

PROGRAM = pathlib.Path(ingot.__file__).parent / "bin/ingot"
CHROMIUM, DRIVER = pathlib.Path("/usr/bin/chromium"), pathlib.Path("/usr/bin/chromedriver")
SCREENSHOTS: pathlib.Path | None = None
PATIENCE = 120  # seconds; the machine may be busy
GREEDY = (24, 0.8, 0.0)  # new tokens, top_p, temperature
LONG = (900, 1.0, 0.0)
ENDLESS = "Write a very long story about the sea."


class Demo:
    """`ingot serve gradio` on a free port, as a context manager."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        words = [str(PROGRAM), "serve", "gradio", *arguments, "--server-port", "0"]
        environ = dict(os.environ, INGOT_PYTHON=sys.executable, **environment)
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environ)
        self.log: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        end = time.monotonic() + PATIENCE
        while not (found := re.search(r"^Ingot's demo of .* is on (\S+)$", "".join(self.log), re.MULTILINE)):
            if time.monotonic() > end or self.process.poll() is not None:
                self.process.kill()
                raise RuntimeError("the demo did not start:\n" + "".join(self.log))
            time.sleep(0.05)
        self.url = found.group(1)

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            self.log.extend(iter(stderr.readline, ""))

    def __enter__(self) -> "Demo":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)


def text_of(message: dict) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


class User:
    """A page, without a browser."""

    def __init__(self, url: str) -> None:
        self.client = Client(url, verbose=False)
        self.history: list[dict] = []

    def ask(self, prompt: str, settings=GREEDY) -> str:
        self.history, _ = self.client.predict(prompt, self.history, *settings, api_name="/ask")
        return text_of(self.history[-1])

    def reset(self) -> None:
        self.history = self.client.predict(api_name="/reset")


class WithServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = ingot.serve(MODEL, "smollm2", backend_config=CONFIG, server_name="127.0.0.1", server_port=0)
        cls.addClassCleanup(cls.server.close)
        cls.demo = Demo(cls.server.url)
        cls.addClassCleanup(cls.demo.__exit__)

    def sessions(self) -> list[dict]:
        with urllib.request.urlopen(self.server.url + "/v1/sessions", timeout=60) as answer:
            return json.load(answer)["data"]

    def until(self, condition) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)


class Users(WithServer):
    def test_two_at_once_with_sessions_of_their_own(self) -> None:
        users = [User(self.demo.url), User(self.demo.url)]
        answers: dict[int, list[str]] = {}

        def talk(i: int) -> None:
            answers[i] = [users[i].ask(prompt) for prompt in (QUESTION, f"Count to {i + 3}.", "Thank you.")]

        threads = [threading.Thread(target=talk, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([answers[i][0] for i in range(2)], ["The capital of France is Paris."] * 2)
        self.assertEqual([[message["role"] for message in user.history] for user in users], [["user", "assistant"] * 3] * 2)
        self.assertEqual([session["turns"] for session in self.sessions()], [3, 3])
        users[0].reset()
        self.assertEqual(users[0].history, [])
        self.assertEqual(len(self.sessions()), 1)
        self.assertEqual(users[0].ask(QUESTION), answers[0][0])
        for user in users:
            user.reset()
        self.assertEqual(self.sessions(), [])

    def test_cancel_stops_one_answer_and_keeps_the_session(self) -> None:
        busy, other = User(self.demo.url), User(self.demo.url)
        job = busy.client.submit(ENDLESS, [], *LONG, api_name="/ask")
        self.until(lambda: any(session["running"] for session in self.sessions()))
        self.assertEqual(other.ask(QUESTION), "The capital of France is Paris.")
        busy.client.predict(api_name="/cancel")
        history, _ = job.result(timeout=PATIENCE)
        self.assertEqual(sorted(session["turns"] for session in self.sessions()), [1, 1])
        self.assertLess(len(text_of(history[-1]).split()), 700)
        busy.history = history
        busy.ask("Go on.")
        self.assertEqual(sorted(session["turns"] for session in self.sessions()), [1, 2])
        for user in (busy, other):
            user.reset()

    def test_errors_are_shown(self) -> None:
        with self.assertRaisesRegex(Exception, "maximum context length"):
            User(self.demo.url).ask("word " * 3000)


@unittest.skipUnless(CHROMIUM.exists() and DRIVER.exists(), "needs chromium and chromium-driver")
class Browser(WithServer):
    def setUp(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900"):
            options.add_argument(argument)
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
        self.addCleanup(self.driver.quit)
        self.driver.get(self.demo.url)
        self.until(lambda: self.driver.find_elements(By.CSS_SELECTOR, "#prompt textarea, #prompt input"))

    def set(self, slider: str, value: float) -> None:
        (field,) = self.driver.find_elements(By.CSS_SELECTOR, f"#{slider} input[type=number]")
        field.send_keys(Keys.CONTROL + "a")
        field.send_keys(f"{value}\t")

    def ask(self, text: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, "#prompt textarea, #prompt input").send_keys(text + Keys.ENTER)

    def shown(self) -> str:
        return self.driver.execute_script("return document.querySelector('#conversation').innerText")

    def wait_for(self, text: str) -> None:
        WebDriverWait(self.driver, PATIENCE, 0.1).until(lambda _: text in self.shown())

    def click(self, button: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, f"#{button}").click()

    def test_conversation_cancel_reset(self) -> None:
        self.set("temperature", 0)
        self.set("length", 200)
        self.ask(QUESTION)
        self.wait_for("The capital of France is Paris.")
        self.until(lambda: [session["running"] for session in self.sessions()] == [False])
        self.ask("Tell me more about it.")
        self.until(lambda: [session["turns"] for session in self.sessions()] == [2])
        if SCREENSHOTS:
            self.driver.save_screenshot(str(SCREENSHOTS / "gradio.png"))
        self.set("length", 900)
        self.ask(ENDLESS)
        self.until(lambda: [session["running"] for session in self.sessions()] == [True])
        self.click("cancel")
        self.until(lambda: [(session["running"], session["turns"]) for session in self.sessions()] == [(False, 3)])
        self.assertIn(ENDLESS, self.shown())
        self.click("reset")
        self.until(lambda: "Paris" not in self.shown() and self.sessions() == [])


class Commands(unittest.TestCase):
    def test_a_model_is_served_and_ends_with_the_page(self) -> None:
        with Demo(MODEL, "--session_len", "512", "--compute=exact", "--max-batch-size", "2") as demo:
            self.assertEqual(User(demo.url).ask(QUESTION), "The capital of France is Paris.")
            (server,) = re.findall(r"^Ingot serves \S+ on (\S+)$", "".join(demo.log), re.MULTILINE)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(server + "/health", timeout=5).close()
                time.sleep(0.05)
            except OSError:
                return
        self.fail("the server goes on without its page")

    def test_errors(self) -> None:
        for words, message in (
            (["serve", "gradio", "/nonexistent"], "no such file"),
            (["serve", "gradio", "http://127.0.0.1:9"], "127.0.0.1:9"),
        ):
            done = subprocess.run([str(PROGRAM), *words], text=True, stderr=subprocess.PIPE, env=dict(os.environ, INGOT_PYTHON=sys.executable), timeout=PATIENCE)
            self.assertEqual(done.returncode, 1)
            self.assertIn(message, done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def test_without_the_package_it_says_how_to_get_it(self) -> None:
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run([str(PROGRAM), "serve", "gradio", MODEL], text=True, stderr=subprocess.PIPE, env=dict(environ, INGOT_PYTHON="/nonexistent", PATH="/nonexistent"), timeout=PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertIn("pip install", done.stderr)


if __name__ == "__main__":
    if "--screenshots" in sys.argv:
        SCREENSHOTS = pathlib.Path(sys.argv.pop())
        sys.argv.remove("--screenshots")
    unittest.main()
