"""gRPC: KServe's service asked by Triton's client, Ingot's own by stubs made from its .proto, health, reflection, keys,
TLS, and the drain."""

import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

from kserve_cases import DRAWN, PROMPT, Cases, InferenceServerException, rest_completion, tensors, text_of, tritonclient
from protocols import PROTOS, compare_protocols, file_of, make_stubs, own_protocol
from support import ROOT, Server, make_certificate, require_model, wait_until

import grpc
import tritonclient.grpc.aio

WAIT = 240

# Messages of which only some fields are known here. Their numbers are compared.
CONFIGURATION = {"ModelConfig", "ModelInput", "ModelOutput", "ModelInstanceGroup", "ModelVersionPolicy"}


class GrpcTest(Cases, unittest.TestCase):
    module = tritonclient.grpc
    model = "m"

    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.pb, cls.stubs = make_stubs(temporary.name)
        cls.server = Server(
            require_model(), "--model-name", "m", "--session-len", "2048", "--max-queue", "2048", "--grpc-port", "0"
        )
        cls.addClassCleanup(cls.server.__exit__)
        cls.rest_url = cls.server.url
        cls.address = cls.server.grpc_address
        cls.client = cls.connect()
        cls.addClassCleanup(cls.client.close)
        cls.channel = grpc.insecure_channel(cls.address)
        cls.addClassCleanup(cls.channel.close)
        cls.generation = cls.stubs.GenerationStub(cls.channel)

    @classmethod
    def connect(cls):
        return tritonclient.grpc.InferenceServerClient(cls.address)

    def connect_aio(self):
        return tritonclient.grpc.aio.InferenceServerClient(self.address)

    def reference(self, **fields) -> dict:
        return rest_completion(self.server.url, **fields)

    def test_server_and_model_are_described(self) -> None:
        self.assertTrue(self.client.is_server_live() and self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("m") and self.client.is_model_ready("m", "1"))
        self.assertFalse(self.client.is_model_ready("other"))
        self.assertIn("binary_tensor_data", self.client.get_server_metadata().extensions)
        metadata = self.client.get_model_metadata("m", as_json=True)
        self.assertIn({"name": "text_input", "datatype": "BYTES", "shape": ["-1", "1"]}, metadata["inputs"])
        with self.assertRaisesRegex(InferenceServerException, "NOT_FOUND.*'other' is not served here"):
            self.client.get_model_metadata("other")
        with self.assertRaisesRegex(InferenceServerException, "UNIMPLEMENTED"):
            self.client.get_trace_settings()

    def test_configuration_and_statistics(self) -> None:
        config = self.client.get_model_config("m", as_json=True)["config"]
        self.assertEqual((config["name"], config["backend"], config["max_batch_size"]), ("m", "ingot", 128))
        self.assertTrue(config["model_transaction_policy"]["decoupled"])
        self.assertIn({"name": "text_input", "data_type": "TYPE_STRING", "dims": ["1"], "optional": True}, config["input"])

        def success() -> int:
            statistics = self.client.get_inference_statistics("m", as_json=True)["model_stats"][0]
            return int(statistics["inference_stats"]["success"]["count"])

        before = success()
        self.infer(max_tokens=2)
        self.assertEqual(success(), before + 1)
        self.assertEqual(self.client.get_inference_statistics(as_json=True)["model_stats"][0]["name"], "m")

    def test_the_protocol_is_the_one_of_tritons_client(self) -> None:
        from tritonclient.grpc import model_config_pb2, service_pb2

        theirs = [file_of(module) for module in (service_pb2, model_config_pb2)]
        compare_protocols(self, own_protocol(), theirs, partial=CONFIGURATION)
        self.assertEqual(len(own_protocol().service[0].method), 9)

    def stream(self, requests: list[dict], empty_final: bool = False) -> list:
        """Responses, and errors, of ModelStreamInfer until each request has ended."""
        results, last = [], threading.Semaphore(0)

        def on_result(result, error) -> None:
            results.append(error if error is not None else result)
            if error is not None or self.is_last(result):
                last.release()

        client = self.connect()
        client.start_stream(on_result)
        for values in requests:
            client.async_stream_infer("m", tensors(tritonclient.grpc, **values), enable_empty_final_response=empty_final)
        for _ in requests:
            self.assertTrue(last.acquire(timeout=WAIT))
        client.stop_stream()
        client.close()
        return results

    @staticmethod
    def is_last(result) -> bool:
        if "triton_final_response" in (parameters := result.get_response().parameters):
            return parameters["triton_final_response"].bool_param
        return result.as_numpy("finish_reason").flatten()[0] != b""

    def test_a_stream_has_the_pieces_of_the_answer(self) -> None:
        expected = self.reference(prompt=PROMPT, **DRAWN)["choices"][0]["text"]
        values = {"text_input": PROMPT, **DRAWN, "exclude_input_in_output": True}
        pieces = self.stream([{**values, "stream": True}])
        self.assertEqual("".join(text_of(piece) for piece in pieces), expected)
        self.assertGreater(len(pieces), 3)
        self.assertEqual([text_of(whole) for whole in self.stream([values])], [expected])
        with_final = self.stream([{**values, "stream": True}], empty_final=True)
        self.assertEqual(len(with_final[-1].get_response().outputs), 0)
        many = self.stream([values] * 20 + [{**values, "temperature": 9.0}])
        self.assertEqual(len(many), 21)
        errors = [one for one in many if isinstance(one, InferenceServerException)]
        self.assertEqual(len(errors), 1)
        self.assertIn("temperature", str(errors[0]))
        self.assertEqual({text_of(one) for one in many if not isinstance(one, InferenceServerException)}, {expected})

    def test_typed_api_answers_as_rest(self) -> None:
        pb = self.pb
        rest = self.reference(prompt=PROMPT, logprobs=2, **DRAWN)
        expected = rest["choices"][0]
        answer = self.generation.Complete(pb.CompleteRequest(prompt=[PROMPT], logprobs=2, **DRAWN))
        self.assertEqual(answer.choices[0].text, expected["text"])
        self.assertEqual(list(answer.choices[0].logprobs.token_logprobs), expected["logprobs"]["token_logprobs"])
        self.assertEqual(answer.usage.completion_tokens, rest["usage"]["completion_tokens"])
        pieces = list(self.generation.CompleteStream(pb.CompleteRequest(prompt=[PROMPT], **DRAWN)))
        self.assertEqual("".join(piece.choices[0].text for piece in pieces if piece.choices), expected["text"])
        messages = [pb.Message(role="user", content="What is the capital of France?")]
        whole = self.generation.Chat(pb.ChatRequest(messages=messages, temperature=0, max_tokens=20))
        self.assertIn("Paris", whole.choices[0].message.content)
        options = pb.StreamOptions(include_usage=True)
        chunks = list(self.generation.ChatStream(pb.ChatRequest(messages=messages, temperature=0, max_tokens=20, stream_options=options)))
        self.assertEqual("".join(chunk.choices[0].delta.content for chunk in chunks if chunk.choices), whole.choices[0].message.content)
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        tokens = self.generation.Tokenize(pb.TokenizeRequest(prompt=PROMPT))
        self.assertEqual(list(tokens.tokens), self.prompt_ids())
        self.assertIn(PROMPT, self.generation.Detokenize(pb.DetokenizeRequest(tokens=tokens.tokens)).prompt)
        self.assertEqual(
            self.generation.Complete(pb.CompleteRequest(prompt_token_ids=tokens.tokens, **DRAWN)).choices[0].text, expected["text"]
        )

    def test_typed_sessions(self) -> None:
        pb = self.pb
        session = self.generation.OpenSession(pb.OpenSessionRequest())
        self.assertGreaterEqual(session.session_id, 10**9)
        with self.assertRaises(grpc.RpcError) as caught:
            self.generation.OpenSession(pb.OpenSessionRequest(session_id=session.session_id))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.ABORTED)
        first = self.generation.Turn(pb.TurnRequest(session_id=session.session_id, prompt="My name is Zebulon. Remember it.", temperature=0, max_tokens=24))
        pieces = list(self.generation.TurnStream(pb.TurnRequest(session_id=session.session_id, prompt="What is my name?", temperature=0, max_tokens=24)))
        self.assertIn("Zebulon", "".join(piece.text for piece in pieces))
        self.assertEqual(pieces[0].history_tokens, first.input_tokens + first.tokens)
        cut = self.generation.RewindSession(pb.RewindSessionRequest(session_id=session.session_id, step=first.input_tokens + first.tokens))
        self.assertEqual((cut.tokens, cut.turns), (first.input_tokens + first.tokens, 1))
        self.assertEqual(self.generation.CloseSession(pb.CloseSessionRequest(session_id=session.session_id)).session_id, session.session_id)
        with self.assertRaises(grpc.RpcError) as caught:
            self.generation.CloseSession(pb.CloseSessionRequest(session_id=session.session_id))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_errors_have_codes_and_the_words_of_rest(self) -> None:
        pb = self.pb
        cases = [
            (pb.CompleteRequest(prompt=["a"], temperature=9), "INVALID_ARGUMENT", "temperature is 9"),
            (pb.CompleteRequest(), "INVALID_ARGUMENT", "prompt"),
            (pb.CompleteRequest(prompt=["word " * 5000], max_tokens=1), "INVALID_ARGUMENT", "tokens"),
            (pb.CompleteRequest(prompt=["a"], model="other"), "NOT_FOUND", "'other' is not served here"),
            (pb.CompleteRequest(prompt=["a"], timeout=1e-5), "DEADLINE_EXCEEDED", ""),
        ]
        for request, code, words in cases:
            with self.subTest(code=code, words=words), self.assertRaises(grpc.RpcError) as caught:
                self.generation.Complete(request)
            self.assertEqual(caught.exception.code().name, code)
            self.assertIn(words, caught.exception.details())
        raw = self.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with self.assertRaises(grpc.RpcError) as caught:
            raw(b"\xff\xff\xff")
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)

    def test_health_and_reflection(self) -> None:
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        for service in (b"", b"\x0a\x13ingot.v1.Generation"):
            self.assertEqual(check(service), b"\x08\x01")  # SERVING
        for version in ("v1alpha", "v1"):
            info = self.channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
            by_symbol = b"\x22\x13ingot.v1.Generation"  # file_containing_symbol
            listed, file = list(info(iter([b"\x3a\x00", by_symbol])))
            self.assertIn(b"inference.GRPCInferenceService", listed)
            self.assertIn(b"ingot/v1/generation.proto", file)


class LimitsTest(unittest.TestCase):
    def test_what_is_too_much_is_refused_and_counted(self) -> None:
        flags = ["--session-len", "8192", "--max-batch-size", "1", "--max-queue", "1", "--max-body-size", "64KiB"]
        with tempfile.TemporaryDirectory() as folder, Server(require_model(), "--model-name", "m", "--grpc-port", "0", *flags) as server:
            pb, stubs = make_stubs(folder)
            with grpc.insecure_channel(server.grpc_address) as channel:
                generation = stubs.GenerationStub(channel)
                long = pb.CompleteRequest(prompt=[PROMPT], max_tokens=8000, ignore_eos=True)

                def exhausted(ask) -> grpc.RpcError:
                    with self.assertRaises(grpc.RpcError) as caught:
                        ask()
                    self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
                    return caught.exception

                exhausted(lambda: generation.Tokenize(pb.TokenizeRequest(prompt="x" * (65 << 10))))
                with grpc.insecure_channel(server.grpc_address, [("grpc.use_local_subchannel_pool", 1)]) as other:  # which gRPC may close
                    long_metadata = (("x-long", "x" * (20 << 10)),)
                    exhausted(lambda: stubs.GenerationStub(other).Tokenize(pb.TokenizeRequest(prompt="x"), metadata=long_metadata))
                running = generation.CompleteStream(long)
                next(running)  # it has the slot
                waiting = generation.CompleteStream(long)
                wait_until(lambda: 'ingot_num_requests_waiting{model_name="m"} 1' in server.get("/metrics"))
                full = exhausted(lambda: generation.Complete(long))
                self.assertIn("the queue holds 1", full.details())
                self.assertGreater(int(dict(full.trailing_metadata())["retry-after"]), 0)
                waiting.cancel()
                wait_until(lambda: 'ingot_num_requests_waiting{model_name="m"} 0' in server.get("/metrics"))
                with self.assertRaises(grpc.RpcError) as late:
                    list(generation.CompleteStream(long, timeout=0.5))  # it waits for the slot
                self.assertEqual(late.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
                wait_until(lambda: 'ingot_num_requests_waiting{model_name="m"} 0' in server.get("/metrics"))
                running.cancel()
                wait_until(lambda: 'ingot_num_requests_running{model_name="m"} 0' in server.get("/metrics"))
                self.assertIn('ingot_http_requests_total{code="429",path="/ingot.v1.Generation/Complete"} 1', server.get("/metrics"))


class DocumentedClients(unittest.TestCase):
    """The programs of docs/grpc.md, with this server's address in place of theirs."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(require_model(), "--model-name", "smollm2", "--session-len", "2048", "--grpc-port", "0")
        cls.addClassCleanup(cls.server.__exit__)
        text = (ROOT / "docs/grpc.md").read_text().replace("127.0.0.1:8001", cls.server.grpc_address)
        cls.programs = {language: re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL) for language in ("python", "cpp")}

    def run_in(self, folder: str, *command: str) -> str:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        return done.stdout

    def test_python(self) -> None:
        tensors_program, typed_program = self.programs["python"]
        with tempfile.TemporaryDirectory() as folder:
            make_stubs(folder)
            self.assertIn("The capital of France is", self.run_in(folder, sys.executable, "-c", tensors_program))
            self.assertIn("Paris", self.run_in(folder, sys.executable, "-c", typed_program))

    def test_cpp(self) -> None:
        (program,) = self.programs["cpp"]
        plugin = shutil.which("grpc_cpp_plugin")
        if plugin is None:
            self.skipTest("no grpc_cpp_plugin; Debian's protobuf-compiler-grpc has it")
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "client.cc").write_text(program)
            self.run_in(folder, "protoc", f"-I{PROTOS}", "--cpp_out=.", "--grpc_out=.", f"--plugin=protoc-gen-grpc={plugin}", "ingot/v1/generation.proto")
            flags = self.run_in(folder, "pkg-config", "--cflags", "--libs", "grpc++", "protobuf").split()
            sources = ["client.cc", "ingot/v1/generation.pb.cc", "ingot/v1/generation.grpc.pb.cc"]
            compiler = shutil.which("clang++-19") or "c++"
            self.run_in(folder, compiler, "-std=c++20", "-O0", "-w", "-I.", *sources, *flags, "-o", "client")
            self.assertIn("Paris", self.run_in(folder, "./client"))


class AccessTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def serve(self, certificate: str, key: str, *flags: str) -> Server:
        files = ["--ssl-certfile", certificate, "--ssl-keyfile", key]
        server = Server(require_model(), "--model-name", "m", "--grpc-port", "0", "--session-len", "2048", *files, *flags)
        self.addCleanup(server.__exit__)
        return server

    def connect(self, server: Server, certificate: str, mine: tuple[str, str] | None = None) -> grpc.Channel:
        """`mine`: the client's certificate and its key."""
        own = [pathlib.Path(file).read_bytes() for file in reversed(mine)] if mine else []
        credentials = grpc.ssl_channel_credentials(pathlib.Path(certificate).read_bytes(), *own)
        channel = grpc.secure_channel(server.grpc_address, credentials, [("grpc.use_local_subchannel_pool", 1)])
        self.addCleanup(channel.close)
        return channel

    def ask(self, channel: grpc.Channel, secret: str = "") -> None:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")
        self.assertIn(b"ingot", call(b"", metadata=(("authorization", f"Bearer {secret}"),) if secret else (), timeout=20))

    def refused(self, channel: grpc.Channel, secret: str = "") -> grpc.RpcError:
        with self.assertRaises(grpc.RpcError) as caught:
            self.ask(channel, secret)
        return caught.exception

    def test_keys_and_certificates_are_read_again_and_the_drain(self) -> None:
        keys = self.folder / "keys"
        keys.write_text("secret\n")
        certificate, key = make_certificate(self.folder, "server", "-nodes")
        server = self.serve(certificate, key, "--api-keys-file", str(keys), "--drain-timeout", "90")
        kept = self.connect(server, certificate)
        self.ask(kept, "secret")
        wrong = self.refused(kept, "wrong")
        self.assertEqual(wrong.code(), grpc.StatusCode.UNAUTHENTICATED)
        self.assertIn("not known here", wrong.details())
        old = self.connect(server, certificate)
        keys.write_text("other\n")
        make_certificate(self.folder, "server", "-nodes")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "were read again" in "".join(server.log))
        renewed = self.connect(server, certificate)
        self.ask(renewed, "other")
        self.ask(kept, "other")  # on its old connection
        self.refused(renewed, "secret")
        self.assertEqual(self.refused(old, "other").code(), grpc.StatusCode.UNAVAILABLE)
        pathlib.Path(key).write_text("broken")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "not read again" in "".join(server.log))
        self.ask(self.connect(server, certificate), "other")
        self.drain(server, renewed)

    def drain(self, server: Server, channel: grpc.Channel) -> None:
        """What runs is finished, and what comes meanwhile refused."""
        metadata = (("authorization", "Bearer other"),)
        # prompt: "a"; max_tokens: 60; ignore_eos
        body = b"\x12\x01a" + b"\x18\x3c" + b"\x80\x01\x01"
        call = channel.unary_stream("/ingot.v1.Generation/CompleteStream")(body, metadata=metadata)
        next(call)
        server.process.terminate()
        wait_until(lambda: "finishing what runs" in "".join(server.log))
        with self.assertRaises(grpc.RpcError) as caught:
            channel.unary_unary("/ingot.v1.Generation/Complete")(body, metadata=metadata, timeout=20)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertGreater(sum(1 for _ in call), 20)
        self.assertEqual(server.process.wait(timeout=120), 0)

    def test_clients_show_certificates(self) -> None:
        """To a server whose key is encrypted."""
        certificate, key = make_certificate(self.folder, "server", "-passout", "pass:open sesame")
        authority, authority_key = make_certificate(self.folder, "authority", "-nodes")
        mine = make_certificate(self.folder, "client", "-nodes", "-CA", authority, "-CAkey", authority_key)
        stranger = make_certificate(self.folder, "stranger", "-nodes")
        server = self.serve(certificate, key, "--ssl-keyfile-password", "open sesame", "--ssl-ca-certs", authority)
        self.ask(self.connect(server, certificate, mine))
        for shown in (stranger, None):
            self.assertEqual(self.refused(self.connect(server, certificate, shown)).code(), grpc.StatusCode.UNAVAILABLE)


if __name__ == "__main__":
    unittest.main()
