"""The web pages in a real browser: a person's chat, and Swagger's "try it out".

    web_test.py [--screenshots FOLDER]
"""

import pathlib
import sys
import time
import unittest

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from support import Server, require_model

MODEL = require_model()
CHROMIUM, DRIVER = pathlib.Path("/usr/bin/chromium"), pathlib.Path("/usr/bin/chromedriver")
SCREENSHOTS: pathlib.Path | None = None
PATIENCE = 60  # seconds; the machine may be busy


def browser(width: int = 1200, height: int = 800, *arguments: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--window-size={width},{height}", *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))


@unittest.skipUnless(CHROMIUM.exists() and DRIVER.exists(), "needs chromium and chromium-driver")
class WebTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(MODEL, "--model-name", "smollm2", "--compute", "exact")
        cls.addClassCleanup(cls.server.__exit__)
        cls.driver = browser()
        cls.addClassCleanup(cls.driver.quit)

    def setUp(self) -> None:
        self.driver.get(self.server.url + "/chat")
        self.driver.execute_script("localStorage.clear(); sessionStorage.clear(); localStorage.setItem('language', 'en')")
        self.set(temperature=0, max_tokens=48)

    def set(self, **settings) -> None:
        self.driver.execute_script("localStorage.setItem('settings', JSON.stringify(arguments[0]))", settings)
        self.driver.refresh()

    def find(self, selector: str):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        # In one go: elements are replaced while an answer grows.
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText.trimEnd())"
        return self.driver.execute_script(script, selector)

    def until(self, condition):
        return WebDriverWait(self.driver, PATIENCE, 0.05).until(lambda _: condition())

    def screenshot(self, name: str, driver: webdriver.Chrome | None = None) -> None:
        if SCREENSHOTS:
            (driver or self.driver).save_screenshot(str(SCREENSHOTS / f"{name}.png"))

    def ask(self, text: str) -> None:
        self.find("#input").send_keys(text + Keys.ENTER)

    def answered(self) -> str:
        self.until(lambda: self.texts(".message.assistant .note") and self.find("#send").is_displayed())
        return self.texts(".message.assistant .body")[-1]

    def test_a_conversation(self) -> None:
        self.ask("What is the capital of France?")
        self.assertEqual(self.answered(), "The capital of France is Paris.")
        self.assertRegex(self.texts(".note")[-1], r"\d+ tokens, [\d.–]+ tok/s, first after [\d.]+ s")
        self.assertEqual(self.texts(".message.user .body"), ["What is the capital of France?"])
        self.assertEqual(self.find("#title").text, "What is the capital of France?")
        self.screenshot("chat")
        self.find(".message.assistant .tools button:nth-of-type(2)").click()  # regenerate
        self.until(lambda: not self.texts(".note"))
        self.assertEqual(self.answered(), "The capital of France is Paris.")
        self.find("#new").click()
        self.assertEqual(self.texts(".message .body"), [])
        self.ask("Hi")
        self.answered()
        self.assertEqual(len(self.texts(".conversation")), 2)
        self.driver.refresh()  # the browser keeps them
        self.assertEqual(self.texts(".message.user .body"), ["Hi"])

    def test_it_streams_and_stops(self) -> None:
        self.set(max_tokens=4000)
        self.ask("Tell me a very long story about a dragon.")
        lengths = []
        for _ in range(3):
            self.until(lambda: len(self.texts(".message.assistant .body")[-1]) > (lengths[-1] if lengths else 0) + 20)
            lengths.append(len(self.texts(".message.assistant .body")[-1]))
        self.assertTrue(self.find("#stop").is_displayed())
        self.find("#stop").click()
        self.until(lambda: self.texts(".note") == ["stopped"])
        text = self.texts(".message.assistant .body")[-1]
        time.sleep(0.5)
        self.assertEqual(self.texts(".message.assistant .body")[-1], text)

    def test_editing_asks_again(self) -> None:
        self.ask("What is the capital of Italy?")
        self.answered()
        self.find(".message.user .tools button:nth-of-type(2)").click()
        area = self.find(".message textarea")
        area.clear()
        area.send_keys("What is the capital of France?")
        self.find(".message .tools button").click()
        self.until(lambda: "Paris" in (self.texts(".message.assistant .body") or [""])[-1])
        self.assertEqual(self.texts(".message.user .body"), ["What is the capital of France?"])

    def test_enter_that_ends_a_word_of_an_input_method_does_not_send(self) -> None:
        send = "const e = new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, cancelable: true, %s}); document.getElementById('input').dispatchEvent(e)"
        self.find("#input").send_keys("你好")
        self.driver.execute_script(send % "isComposing: true")
        self.driver.execute_script(send % "keyCode: 229")
        ActionChains(self.driver).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()
        self.assertEqual(self.texts(".message"), [])
        self.assertEqual(self.find("#input").get_property("value"), "你好\n")

    def test_nothing_becomes_markup(self) -> None:
        evil = "<img src=x onerror=document.title='evil'> <script>document.title='evil'</script> [x](javascript:alert(1)) **<b>bold</b>**"
        self.set(temperature=0, max_tokens=1)
        self.ask(evil)
        self.answered()
        self.assertEqual(self.texts(".message.user .body"), [evil])
        script = "const d = document.createElement('div'); d.append(...Markdown.render(arguments[0])); return d.innerHTML"
        made = self.driver.execute_script(script, evil + "\n\n```html\n<script>1</script>\n```\n| a | <i> |\n|---|---|\n| <u> | 2 |")
        for tag in ("<img", "<script", "<b>", "<i>", "<u>", "href=\"javascript"):
            self.assertNotIn(tag, made)
        self.assertIn("<strong>&lt;b&gt;bold&lt;/b&gt;</strong>", made)
        self.assertNotEqual(self.driver.title, "evil")

    def test_markdown(self) -> None:
        script = "const d = document.createElement('div'); d.append(...Markdown.render(arguments[0])); return d.innerHTML"
        for text, expected in {
            "# A\n\nb *c* `d`": "<h1>A</h1><p>b <em>c</em> <code>d</code></p>",
            "1. a\n2. b\n   - c": "<ol><li>a</li><li>b<ul><li>c</li></ul></li></ol>",
            "> q\n> r": "<blockquote>q<br>r</blockquote>",
            "[t](https://x.y/z)": '<p><a href="https://x.y/z" rel="noopener noreferrer nofollow" target="_blank">t</a></p>',
            "3. x": '<ol start="3"><li>x</li></ol>',
            "a\nb": "<p>a<br>b</p>",
        }.items():
            self.assertEqual(self.driver.execute_script(script, text), expected)

    def test_events_that_are_cut_anywhere(self) -> None:
        script = """
            const bytes = new TextEncoder().encode('data: {"a":"é你😀"}\\n\\n: ping\\n\\ndata: [DONE]\\n\\n');
            for (let size = 1; size <= bytes.length; ++size) {
              const seen = [], reader = new EventReader((data) => seen.push(data));
              for (let at = 0; at < bytes.length; at += size) reader.push(bytes.slice(at, at + size));
              if (JSON.stringify(seen) !== JSON.stringify(['{"a":"é你😀"}', '[DONE]'])) return seen;
            }
            return 'same'"""
        self.assertEqual(self.driver.execute_script(script), "same")

    def test_both_languages(self) -> None:
        self.find("#language").click()
        self.assertEqual(self.find("#send").text, "发送")
        self.assertEqual(self.driver.execute_script("return document.documentElement.lang"), "zh-CN")
        self.ask("What is the capital of France?")
        self.answered()
        self.screenshot("chat-zh")
        self.find("#language").click()
        self.assertEqual(self.find("#send").text, "Send")

    def test_errors_say_what_to_do(self) -> None:
        self.set(max_tokens=100_000)
        self.ask("Hi")
        self.until(lambda: self.find("#error").is_displayed())
        self.assertIn("maximum context length", self.find("#error").text)

    def test_a_phones_width(self) -> None:
        driver = browser(500, 800)
        self.addCleanup(driver.quit)
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        driver.get(self.server.url + "/chat")
        driver.execute_script("localStorage.setItem('settings', '{\"temperature\": 0, \"max_tokens\": 32}'); localStorage.setItem('language', 'en')")
        driver.refresh()
        driver.find_element(By.ID, "input").send_keys("What is the capital of France? " + "x" * 200 + Keys.ENTER)
        WebDriverWait(driver, PATIENCE).until(lambda d: d.find_elements(By.CSS_SELECTOR, ".note"))
        self.screenshot("chat-phone", driver)
        self.assertLessEqual(driver.execute_script("return document.documentElement.scrollWidth"), 360)
        self.assertFalse(driver.find_element(By.ID, "new").is_displayed() and driver.find_element(By.ID, "new").location["x"] >= 0)
        driver.find_element(By.ID, "menu").click()
        WebDriverWait(driver, PATIENCE).until(lambda d: d.find_element(By.ID, "new").location["x"] >= 0)

    def test_swagger_tries_it_out(self) -> None:
        self.driver.get(self.server.url + "/docs")
        block = "#operations-OpenAI-post_v1_chat_completions"
        self.until(lambda: self.driver.find_elements(By.CSS_SELECTOR, block))
        self.find(block + " button.opblock-summary-control").click()
        self.until(lambda: self.driver.find_elements(By.CSS_SELECTOR, block + " .try-out__btn"))
        self.find(block + " .try-out__btn").click()
        self.until(lambda: self.driver.find_elements(By.CSS_SELECTOR, block + " .execute"))
        button = self.find(block + " .execute")
        self.driver.execute_script("arguments[0].scrollIntoView()", button)
        button.click()
        self.until(lambda: "Paris" in "".join(self.texts(block + " .live-responses-table .response-col_description")))
        self.assertEqual(self.texts(block + " .live-responses-table .response-col_status")[-1].split()[0], "200")
        self.driver.execute_script("arguments[0].scrollIntoView()", self.find(block + " .responses-wrapper"))
        self.screenshot("swagger")

    def test_no_request_leaves_for_elsewhere(self) -> None:
        for page in ("/chat", "/docs", "/"):
            self.driver.get(self.server.url + page)
            self.until(lambda: self.driver.execute_script("return document.readyState") == "complete")
            names = self.driver.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
            self.assertGreaterEqual(len(names), 2)
            self.assertEqual([n for n in names if not n.startswith((self.server.url, "data:"))], [])
        errors = [entry["message"] for entry in self.driver.get_log("browser") if "Content Security Policy" in entry["message"]]
        self.assertEqual(errors, [])


@unittest.skipUnless(CHROMIUM.exists() and DRIVER.exists(), "needs chromium and chromium-driver")
class KeyTest(unittest.TestCase):
    def test_pages_ask_for_the_key(self) -> None:
        with Server(MODEL, "--model-name", "smollm2", "--compute", "exact", "--api-keys", "secret") as server:
            driver = browser()
            self.addCleanup(driver.quit)
            driver.get(server.url.replace("http://", "http://anybody:secret@") + "/chat")  # as if typed when it asked
            driver.get(server.url + "/chat")
            driver.execute_script("localStorage.setItem('language', 'en'); localStorage.setItem('settings', '{\"temperature\": 0}')")
            driver.refresh()
            driver.find_element(By.ID, "input").send_keys("What is the capital of France?" + Keys.ENTER)
            WebDriverWait(driver, PATIENCE).until(lambda d: "Paris" in d.find_element(By.ID, "messages").text)


if __name__ == "__main__":
    if "--screenshots" in sys.argv:
        at = sys.argv.index("--screenshots")
        SCREENSHOTS = pathlib.Path(sys.argv[at + 1])
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        del sys.argv[at : at + 2]
    unittest.main()
