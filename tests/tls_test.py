"""The server over TLS: what clients see, what is refused, and a certificate that is renewed while it serves."""

import pathlib
import signal
import ssl
import subprocess
import tempfile
import unittest

import httpx
import openai
import tiny_internlm
from support import BINARY, make_certificate, wait_until


class TlsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)

    def test_answers_and_streams(self) -> None:
        certificate, key = make_certificate(self.folder, "serves", "-nodes")
        server = tiny_internlm.serve(self, "--ssl-certfile", certificate, "--ssl-keyfile", key)
        self.assertTrue(server.url.startswith("https://"))
        trust = ssl.create_default_context(cafile=certificate)
        with httpx.Client(verify=trust, timeout=60) as http:
            client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", http_client=http)
            fields = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}
            whole = client.chat.completions.create(**fields, max_tokens=200).choices[0].message.content
            chunks = client.chat.completions.create(**fields, max_tokens=200, stream=True)
            self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks), whole)
            large = http.post(server.url + "/tokenize", json={"prompt": "the capital " * 100_000})
            self.assertEqual(large.status_code, 200)
            self.assertGreater(len(large.json()["tokens"]), 100_000)
        with self.assertRaises(httpx.ConnectError):  # signed by no known authority
            httpx.get(server.url + "/health")
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            old = ssl.create_default_context(cafile=certificate)
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = version
            old.set_ciphers("ALL:@SECLEVEL=0")
            with self.assertRaises(httpx.ConnectError):
                httpx.get(server.url + "/health", verify=old)
        with self.assertRaises(httpx.TransportError):  # plain bytes
            httpx.get(server.url.replace("https", "http") + "/health")
        self.assertEqual(httpx.get(server.url + "/health", verify=trust).status_code, 200)
        self.assertEqual(server.stop(), 0)

    def test_certificate_is_renewed(self) -> None:
        certificate, key = make_certificate(self.folder, "renewed", "-nodes")
        old = ssl.create_default_context(cafile=certificate)
        server = tiny_internlm.serve(self, "--ssl-certfile", certificate, "--ssl-keyfile", key)
        with httpx.Client(verify=old) as kept:
            self.assertEqual(kept.get(server.url + "/health").status_code, 200)
            make_certificate(self.folder, "renewed", "-nodes")
            new = ssl.create_default_context(cafile=certificate)
            with self.assertRaises(httpx.ConnectError):
                httpx.get(server.url + "/health", verify=new)
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "read again" in "".join(server.log))
            self.assertEqual(httpx.get(server.url + "/health", verify=new).status_code, 200)
            self.assertEqual(kept.get(server.url + "/health").status_code, 200)  # on its old connection
        pathlib.Path(key).write_text("broken")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "not read again" in "".join(server.log))
        self.assertEqual(httpx.get(server.url + "/health", verify=new).status_code, 200)

    def test_clients_show_certificates(self) -> None:
        certificate, key = make_certificate(self.folder, "asks", "-nodes")
        authority, authority_key = make_certificate(self.folder, "authority", "-nodes")
        mine = make_certificate(self.folder, "client", "-nodes", "-CA", authority, "-CAkey", authority_key)
        stranger = make_certificate(self.folder, "stranger", "-nodes")
        server = tiny_internlm.serve(self, "--ssl-certfile", certificate, "--ssl-keyfile", key, "--ssl-ca-certs", authority)
        for shown, is_taken in ((mine, True), (stranger, False), (None, False)):
            trust = ssl.create_default_context(cafile=certificate)
            if shown:
                trust.load_cert_chain(*shown)
            if is_taken:
                self.assertEqual(httpx.get(server.url + "/health", verify=trust).status_code, 200)
            else:
                with self.assertRaises(httpx.TransportError):
                    httpx.get(server.url + "/health", verify=trust)

    def test_an_encrypted_key(self) -> None:
        certificate, key = make_certificate(self.folder, "encrypted", "-passout", "pass:open sesame")
        files = ("--ssl-certfile", certificate, "--ssl-keyfile", key)
        server = tiny_internlm.serve(self, *files, "--ssl-keyfile-password", "open sesame")
        trust = ssl.create_default_context(cafile=certificate)
        self.assertEqual(httpx.get(server.url + "/health", verify=trust).status_code, 200)
        self.assert_refused(key, *files)

    def test_a_client_of_ours_says_what_to_do(self) -> None:
        certificate, key = make_certificate(self.folder, "unknown", "-nodes")
        server = tiny_internlm.serve(self, "--ssl-certfile", certificate, "--ssl-keyfile", key)
        for command in (("chat", server.url), ("bench", "serve", "--base-url", server.url, "--num-prompts", "1")):
            for flags, expected in (((), "--cacert FILE trusts the authority"), (("--cacert", certificate), None)):
                done = subprocess.run([BINARY, *command, *flags], capture_output=True, text=True, timeout=60, input="")
                self.assertEqual(done.returncode, 1 if expected else 0, done.stderr)
                self.assertIn(expected or "", done.stderr)
                self.assertNotIn("--model-name", done.stderr)
        plain = subprocess.run([BINARY, "chat", server.url.replace("https", "http")], capture_output=True, text=True, timeout=60, input="")
        self.assertNotIn("--cacert", plain.stderr)

    def test_wrong_files(self) -> None:
        certificate, key = make_certificate(self.folder, "right", "-nodes")
        _, other_key = make_certificate(self.folder, "other", "-nodes")
        self.assert_refused("mismatch", "--ssl-certfile", certificate, "--ssl-keyfile", other_key)
        self.assert_refused("/nowhere.pem", "--ssl-certfile", "/nowhere.pem", "--ssl-keyfile", key)
        self.assert_refused("--ssl-keyfile", "--ssl-certfile", certificate)
        self.assert_refused("--ssl-certfile", "--ssl-keyfile", key)
        self.assert_refused("SSL_CERTFILE", "--ssl")

    def assert_refused(self, word: str, *arguments: str) -> None:
        """At once: before the model is loaded."""
        run = subprocess.run(
            [BINARY, "serve", "api_server", "/no/model", *arguments], capture_output=True, text=True, timeout=60
        )
        self.assertNotEqual(run.returncode, 0)
        self.assertIn(word, run.stderr)


if __name__ == "__main__":
    unittest.main()
