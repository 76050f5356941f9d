"""The server under a path of a proxy: nginx passes the path on as it is, or takes it off; pages, their parts and the API work."""

import html.parser
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import support
import tiny_internlm

NGINX = shutil.which("nginx", path=f"{support.ROOT}/build/nginx/usr/sbin:/usr/sbin:/usr/bin:/usr/local/sbin")
ROOT = "/tools/ingot"
PATIENCE_SECONDS = 60
CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  proxy_buffering off;
  server {{ listen 127.0.0.1:{port}; location {root}/ {{ proxy_pass {upstream}{end}; }} }}
}}
"""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def get(url: str, body: dict | None = None):
    """(status, headers, text)"""
    request = urllib.request.Request(url, body and json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=PATIENCE_SECONDS) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


class Links(html.parser.HTMLParser):
    """What a page loads and links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attributes if name in ("href", "src") and value]


class ProxyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = tiny_internlm.serve(cls, "--root-path", ROOT + "/")

    def check_under(self, base: str) -> None:
        """All that there is, for one who knows the server as `base`."""
        status, headers, _ = get(base + "/v1/models")
        self.assertEqual(status, 200)
        self.assertRegex(headers["Date"], r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")
        for page in ("/chat", "/docs", "/"):
            status, _, text = get(base + page)
            self.assertEqual(status, 200, page)
            links = Links(text).links
            self.assertGreater(len(links), 3)
            for link in links:
                url = urllib.parse.urljoin(base + page, link)
                self.assertTrue(url.startswith(base + "/"), (page, link))
                self.assertEqual(get(url)[0], 200, url)
            for script in [link for link in links if link.endswith((".js", "chat.js", "docs.js")) and "bundle" not in link]:
                text = get(urllib.parse.urljoin(base + page, script))[2]
                self.assertNotRegex(text, r"""(?:fetch\(|url: )["'`]/""")  # would leave the path
        document = json.loads(get(base + "/openapi.json")[2])
        self.assertEqual(document["servers"], [{"url": ROOT}])
        for path in ("/v1/models", "/health", "/metrics", "/v1/models/tiny"):
            url = urllib.parse.urljoin(base, document["servers"][0]["url"] + path)
            self.assertEqual(get(url)[0], 200, url)
        body = {"model": "tiny", "prompt": "abc", "max_tokens": 4, "ignore_eos": True}
        answer = json.loads(get(base + "/v1/completions", body)[2])
        self.assertEqual(answer["usage"]["completion_tokens"], 4)
        self.assertIn("data: [DONE]", get(base + "/v1/completions", body | {"stream": True})[2])
        self.assertEqual(get(base + "/v1/nothing")[0], 404)

    def test_with_the_path_and_without_it(self) -> None:
        self.check_under(self.server.url + ROOT)
        for path in ("/v1/models", "/chat", "/docs/docs.js", "/health"):  # as a proxy passes them on that takes it off
            self.assertEqual(get(self.server.url + path)[0], 200)
        status, headers, _ = get(self.server.url + ROOT)
        self.assertEqual((status, headers["Location"]), (308, ROOT + "/"))
        self.assertEqual(get(self.server.url + ROOT + "x/v1/models")[0], 404)
        self.assertEqual(get(self.server.url + ROOT * 2 + "/v1/models")[0], 404)
        counted = get(self.server.url + "/metrics")[2]
        self.assertIn('path="/v1/completions"', counted)
        self.assertNotIn(f'path="{ROOT}/v1/completions"', counted)

    def test_what_is_no_path(self) -> None:
        for path in ("ingot", "/in got", "//ingot", "/a//b", "https://example.com/ingot", "/ingot?x"):
            with self.assertRaisesRegex(RuntimeError, "--root-path '.*' is no path such as /ingot"):
                tiny_internlm.serve(self, "--root-path", path)
        plain = tiny_internlm.serve(self, "--root-path", "/")
        self.assertNotIn("servers", json.loads(get(plain.url + "/openapi.json")[2]))

    @unittest.skipUnless(NGINX, "needs nginx")
    def test_behind_nginx(self) -> None:
        for end in ("", "/"):  # the path is passed on; it is taken off
            folder = tempfile.TemporaryDirectory()
            self.addCleanup(folder.cleanup)
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            configuration = pathlib.Path(folder.name) / "nginx.conf"
            configuration.write_text(CONFIGURATION.format(folder=folder.name, port=port, root=ROOT, upstream=self.server.url, end=end))
            nginx = subprocess.Popen([NGINX, "-c", str(configuration), "-e", folder.name + "/error.log"], stderr=subprocess.DEVNULL)
            self.addCleanup(nginx.wait)
            self.addCleanup(nginx.terminate)
            until = time.monotonic() + PATIENCE_SECONDS
            while True:
                self.assertIsNone(nginx.poll())
                self.assertLess(time.monotonic(), until)
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            with self.subTest(proxy_pass=self.server.url + end):
                self.check_under(f"http://127.0.0.1:{port}{ROOT}")


if __name__ == "__main__":
    unittest.main()
