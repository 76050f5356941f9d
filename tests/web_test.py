"""The web pages in a real browser: a person's chat, and Swagger's "try it out".

    web_test.py [--screenshots FOLDER]
"""

import pathlib
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

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

    def set_in_page(self, **settings) -> None:
        self.driver.execute_script("Object.assign(store.settings, arguments[0])", settings)

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

    def test_two_conversations_are_answered_at_once(self) -> None:
        self.set(temperature=0, max_tokens=4000)
        self.ask("Tell me a very long story about a dragon.")
        self.until(lambda: self.texts(".message.assistant .body")[-1])
        self.find("#new").click()
        self.set_in_page(max_tokens=24)
        self.ask("What is the capital of France?")
        self.assertEqual(self.answered(), "The capital of France is Paris.")
        self.find(".conversation:nth-of-type(2) .name").click()
        self.assertTrue(self.find("#stop").is_displayed())
        self.find("#stop").click()
        self.until(lambda: self.texts(".note") == ["stopped"])

    def test_conversations_are_renamed_deleted_and_moved(self) -> None:
        self.ask("What is the capital of France?")
        self.answered()
        ActionChains(self.driver).move_to_element(self.find(".conversation")).perform()
        self.find(".conversation .tool").click()
        self.driver.switch_to.alert.send_keys("Capitals")
        self.driver.switch_to.alert.accept()
        self.assertEqual(self.find("#title").text, "Capitals")
        kept = self.driver.execute_script("return JSON.stringify({conversations: store.conversations})")
        self.find(".conversation .tool:last-child").click()
        self.driver.switch_to.alert.accept()
        self.assertEqual(self.texts(".message"), [])
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(kept)
            file.flush()
            self.find("#import-file").send_keys(file.name)
            self.until(lambda: self.texts(".message .body") == ["What is the capital of France?", "The capital of France is Paris."])
        self.assertRegex(self.texts(".note")[-1], r"^\d+ tokens")
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write('{"conversations": [{"name": 1}]}')
            file.flush()
            self.find("#import-file").send_keys(file.name)
            self.until(lambda: "no file" in self.find("#error").text)

    def test_tabs_share_conversations(self) -> None:
        first = self.driver.current_window_handle
        self.driver.switch_to.new_window("tab")
        try:
            self.driver.get(self.server.url + "/chat")
            self.ask("What is the capital of France?")
            self.answered()
        finally:
            self.driver.close()
            self.driver.switch_to.window(first)
        self.until(lambda: self.texts(".conversation .name") == ["What is the capital of France?"])
        self.find("#new").click()
        self.ask("Hi")
        self.answered()
        self.assertEqual(len(self.driver.execute_script("return JSON.parse(localStorage.getItem('conversations'))")), 2)

    def test_pictures(self) -> None:
        if not SCREENSHOTS:
            self.skipTest("for the documentation: --screenshots FOLDER")
        self.driver.set_window_size(1200, 900)
        self.set(temperature=0, max_tokens=300)
        self.ask("Give me three tips to sleep well.")
        self.answered()
        self.find("#new").click()
        for i, text in enumerate(("What is the capital of France?", "Write a Python function that says hello.")):
            self.ask(text)
            self.until(lambda i=i: len(self.texts(".message.assistant .note")) > i)
        ActionChains(self.driver).move_to_element(self.find("#title")).perform()
        self.screenshot("chat")
        self.find("#language").click()
        self.screenshot("chat-zh")

    def test_settings(self) -> None:
        self.find("#open-settings").click()
        self.until(lambda: self.driver.execute_script("return document.getElementById('settings').open"))
        self.assertEqual(self.texts("#s-model option"), ["smollm2"])
        self.screenshot("settings")
        self.find("#s-max_tokens").clear()
        self.find("#s-max_tokens").send_keys("3")
        self.find("#s-system").send_keys("You are terse.")
        self.find("#s-key").send_keys("k")
        self.find("#settings button[value=ok]").click()
        self.ask("What is the capital of France?")
        self.answered()
        self.assertRegex(self.texts(".note")[-1], "^3 tokens.*cut off")
        self.assertEqual(self.driver.execute_script("return [sessionStorage.getItem('key'), localStorage.getItem('key')]"), ["k", None])
        body = self.driver.execute_script("return requestBody(conversation())")
        self.assertEqual((body["max_tokens"], body["messages"][0]), (3, {"role": "system", "content": "You are terse."}))

    def test_it_follows_the_answer_until_the_user_scrolls_up(self) -> None:
        self.set(temperature=0, max_tokens=4000)
        self.driver.execute_script("document.getElementById('messages').style.maxHeight = '120px'")
        self.ask("Tell me a very long story about a dragon.")
        above = "const m = document.getElementById('messages'); return m.scrollHeight - m.clientHeight - m.scrollTop"
        self.until(lambda: len(self.texts(".message.assistant .body")[-1]) > 300)
        self.until(lambda: self.driver.execute_script(above) < 60)
        self.driver.execute_script("document.getElementById('messages').scrollTop = 0")
        length = len(self.texts(".message.assistant .body")[-1])
        self.until(lambda: len(self.texts(".message.assistant .body")[-1]) > length + 60)
        self.assertEqual(self.driver.execute_script("return document.getElementById('messages').scrollTop"), 0)
        self.find("#stop").click()

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
        self.answered()
        ActionChains(self.driver).move_to_element(self.find(".message.user")).perform()
        self.find(".message.user .tools button:nth-of-type(2)").click()
        self.find(".message textarea").clear()
        self.find(".message .tools button").click()  # nothing to send: nothing is lost
        self.find(".message textarea").send_keys("Hi")
        self.find(".message .tools button:nth-of-type(2)").click()  # in a conversation of its own
        self.answered()
        self.assertEqual(self.texts(".message.user .body"), ["Hi"])
        self.find(".conversation:nth-of-type(2) .name").click()
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
            "1. a\n\n2. b\n\n   c": "<ol><li>a</li><li>b<p>c</p></li></ol>",
            "- a\n  - b\n    - c\n- d": "<ul><li>a<ul><li>b<ul><li>c</li></ul></li></ul></li><li>d</li></ul>",
            "> - q\n\n---\nx": "<blockquote><ul><li>q</li></ul></blockquote><hr><p>x</p>",
            "__a__ _b_ a_b_c \\*d\\* ~~e~~ ***f***": "<p><strong>a</strong> <em>b</em> a_b_c *d* <del>e</del> <strong><em>f</em></strong></p>",
            "`` a`b `` 2 * 3 * 4 **open": "<p><code>a`b</code> 2 * 3 * 4 **open</p>",
            "| a | b |\n|---|:-:|\n| `1` | x\\|y |": "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td><code>1</code></td><td>x|y</td></tr></tbody></table>",
            "See https://x.y/a_b_c.": '<p>See <a href="https://x.y/a_b_c" rel="noopener noreferrer nofollow" target="_blank">https://x.y/a_b_c</a>.</p>',
        }.items():
            self.assertEqual(self.driver.execute_script(script, text), expected)
        # Code within an item, and a fence within a longer fence, with all of its spaces.
        script = "const d = document.createElement('div'); d.append(...Markdown.render(arguments[0])); return [...d.querySelectorAll(arguments[1])].map((e) => e.textContent)"
        for text, selector, expected in (
            ("1. Run:\n   ```sh\n   a\n     b\n   ```\n2. x", "ol > li > .code code", ["a\n  b"]),
            ("````\n```js\n1\n```\n````\nx", "code", ["```js\n1\n```"]),
            ("```\n<b>&amp;\n\n  2", "code", ["<b>&amp;\n\n  2"]),
        ):
            self.assertEqual(self.driver.execute_script(script, text, selector), expected)

    def test_markdown_of_any_shape_ends_soon(self) -> None:
        script = "Markdown.render(arguments[0]); return true"
        for text in (
            "".join(" " * i + "- a\n" for i in range(200)), ">" * 5000 + "a", "**a " * 4000, "`" * 8000 + "a", "[" * 8000,
            "|" * 8000 + "\n" + "|-" * 4000, "_a" * 8000, "a\n- b\n" * 4000, "x" * 100_000, "- " * 8000, " " * 20_000 + "|",
        ):
            self.assertTrue(self.driver.execute_script(script, text), text[:20])

    def test_text_that_grows_becomes_what_it_would_be_at_once(self) -> None:
        text = "# T\n\na *b*\n\n- x\n- y\n  - z\n\n- w\n\n1. a\n\n   ```c\n   1\n   ```\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> q\n> r\n\n---\nend"
        script = """
            const text = arguments[0], grown = document.createElement('div'), whole = document.createElement('div'), growing = new Markdown.Growing(grown);
            let head = null;
            for (let end = 0; end <= text.length; ++end) {
              growing.update(text.slice(0, end));
              whole.replaceChildren(...Markdown.render(text.slice(0, end)));
              if (grown.innerHTML !== whole.innerHTML) return [text.slice(0, end), grown.innerHTML, whole.innerHTML];
              if (end === 16) head = grown.firstChild;
            }
            return head === grown.firstChild ? 'same' : 'the first block was made again'"""
        self.assertEqual(self.driver.execute_script(script, text), "same")

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
        self.find("#language").click()
        self.assertEqual(self.find("#send").text, "Send")

    def test_errors_say_what_to_do(self) -> None:
        self.set(max_tokens=100_000)
        self.ask("Hi")
        self.until(lambda: self.find("#error").is_displayed())
        self.assertIn("maximum context length", self.find("#error").text)
        self.set_in_page(max_tokens=2)
        self.find(".message.user .tools button:last-of-type").click()  # try again
        self.answered()
        self.assertFalse(self.find("#error").is_displayed())
        # A server that is gone, busy, or breaks off.
        answer = "window.fetch = async () => { %s }"
        for made, expected in (
            ("throw new TypeError('Failed to fetch')", "does not answer"),
            ("return new Response('{}', {status: 429, headers: {'Retry-After': '7'}})", "Try again in 7 s"),
            ("return new Response('<html>', {status: 502, statusText: 'Bad Gateway'})", "Bad Gateway"),
            ("return new Response('data: {\"choices\": [{\"delta\": {\"content\": \"half\"}}]}\\n\\n')", "broke off"),
        ):
            self.driver.execute_script(answer % made)
            self.ask("Hi")
            self.until(lambda expected=expected: expected in self.find("#error").text)
        self.assertEqual(self.texts(".message.assistant .body")[-1], "half")
        self.assertEqual(self.texts(".message.assistant .note")[-1], "The answer broke off.")

    def test_an_answer_cut_by_a_reload_says_so(self) -> None:
        self.set(max_tokens=4000)
        self.ask("Tell me a very long story about a dragon.")
        self.until(lambda: len(self.texts(".message.assistant .body")[-1]) > 20)
        self.driver.refresh()
        self.assertEqual(self.texts(".message.assistant .note"), ["The answer broke off."])

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

    def test_browsers_ask_for_a_file_once(self) -> None:
        for path, kind in (("/chat", "text/html; charset=utf-8"), ("/chat/chat.js", "text/javascript; charset=utf-8"), ("/favicon.ico", "image/svg+xml")):
            with urllib.request.urlopen(self.server.url + path) as answer:
                body, headers = answer.read(), answer.headers
            self.assertEqual(headers["Content-Type"], kind)
            self.assertIn("frame-ancestors 'none'", headers["Content-Security-Policy"])
            with urllib.request.urlopen(urllib.request.Request(self.server.url + path, method="HEAD")) as answer:
                self.assertEqual((answer.read(), answer.headers["Content-Length"]), (b"", str(len(body))))
            for tag in (headers["ETag"], '"x", W/' + headers["ETag"]):
                with self.assertRaises(urllib.error.HTTPError) as same:
                    urllib.request.urlopen(urllib.request.Request(self.server.url + path, headers={"If-None-Match": tag}))
                self.assertEqual(same.exception.code, 304)
                same.exception.close()

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
            self.wrong_key(driver)
            self.swagger_with_a_key(driver, server.url)

    def wrong_key(self, driver: webdriver.Chrome) -> None:
        WebDriverWait(driver, PATIENCE).until(lambda d: d.execute_script("return running.size === 0"))  # else Enter is ignored
        driver.execute_script("store.setKey('wrong', false)")
        driver.find_element(By.ID, "input").send_keys("Hi" + Keys.ENTER)
        WebDriverWait(driver, PATIENCE).until(lambda d: d.switch_to.active_element.get_attribute("id") == "s-key")
        self.assertIn("API key", driver.find_element(By.ID, "error").text)

    def swagger_with_a_key(self, driver: webdriver.Chrome, url: str) -> None:
        driver.get(url.replace("http://", "http://anybody:secret@") + "/docs")  # it asks again after a refusal
        driver.get(url + "/docs#/Models/get_v1_models")
        wait = WebDriverWait(driver, PATIENCE)
        block = "#operations-Models-get_v1_models "

        def click(selector: str) -> None:
            wait.until(lambda d: d.find_elements(By.CSS_SELECTOR, selector))
            driver.execute_script("document.querySelector(arguments[0]).click()", selector)

        for key, status in (("wrong", "401"), ("secret", "200")):
            click(".btn.authorize")
            wait.until(lambda d: d.find_elements(By.CSS_SELECTOR, ".modal-ux input"))
            driver.find_element(By.CSS_SELECTOR, ".modal-ux input").send_keys(key)
            click(".modal-ux .modal-btn.authorize")
            click(".modal-ux .btn-done")
            if status == "401":
                click(block + ".try-out__btn")
            click(block + ".execute")
            column = block + ".live-responses-table tbody .response-col_status"
            wait.until(lambda d, status=status: d.execute_script("return document.querySelector(arguments[0])?.innerText || ''", column).startswith(status))
            if status == "401":
                click(".btn.authorize")
                click(".modal-ux .modal-btn.auth:not(.authorize):not(.btn-done)")  # log out
                click(".modal-ux .btn-done")


if __name__ == "__main__":
    if "--screenshots" in sys.argv:
        at = sys.argv.index("--screenshots")
        SCREENSHOTS = pathlib.Path(sys.argv[at + 1])
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        del sys.argv[at : at + 2]
    unittest.main()
