"""The server against its own OpenAPI document: schemathesis makes requests of it, valid and not, and judges answers."""

import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import urllib.request

import jsonschema
import tiny_internlm

NIGHTLY = bool(os.environ.get("INGOT_NIGHTLY"))
# Of each route and phase; fewer where a route takes little. Together at least CASES.
MAX_EXAMPLES = 4800 if NIGHTLY else 200
CASES = 50_000 if NIGHTLY else 5_000
HANG_SECONDS = 60  # no answer takes as long
# What a valid request may be refused for is described in words where JSON Schema cannot say it (one of two fields, a session
# that is not there, a prompt that does not fit): so not "positive_data_acceptance", but a share, below.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance"
)
VALID_ACCEPTED = 0.6
# Refusals that its defaults do not know: of a deadline that the request itself sets, and of a path that is too long.
CONFIGURATION = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 504]
[checks.negative_data_rejection]
expected-statuses = ["4xx", 504]
"""


def case_outcomes(report: pathlib.Path) -> collections.Counter:
    """(mode of generation, status) of every request in schemathesis's report of events."""
    counts: collections.Counter = collections.Counter()
    with report.open() as lines:
        for line in lines:
            finished = json.loads(line).get("ScenarioFinished")
            if finished is None:
                continue
            recorder = finished["recorder"]
            for case_id, interaction in recorder.get("interactions", {}).items():
                case = recorder["cases"][case_id]["value"]
                mode = ((case.get("meta") or {}).get("generation") or {}).get("mode")
                response = interaction.get("response")
                counts[mode, response["status_code"] if response else None] += 1
    return counts


class Conformance(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        # One that shows tool calls: where they are not shown, they are refused.
        template = cls.folder / "template.jinja"
        template.write_text(
            "{% for message in messages %}<|User|>:{{ message.content }}"
            "{% for call in message.tool_calls or [] %}{{ call | tojson }}{% endfor %}<eoh>\n{% endfor %}"
            "{% if add_generation_prompt %}<|Bot|>:{% endif %}"
        )
        cls.server = tiny_internlm.serve(cls, "--max-output-len", "16", "--chat-template", str(template))

    def test_documented_requests(self) -> None:
        (self.folder / "schemathesis.toml").write_text(CONFIGURATION)
        report = self.folder / "events.ndjson"
        arguments = [
            *("run", self.server.url + "/openapi.json", "--phases", "examples,coverage,fuzzing", "--workers", "1"),
            *("--max-examples", str(MAX_EXAMPLES), "--checks", CHECKS, "--continue-on-failure", "--no-shrink"),
            *("--request-timeout", str(HANG_SECONDS), "--report", "ndjson", "--report-ndjson-path", str(report)),
        ]
        program = pathlib.Path(sys.executable).parent / "schemathesis"
        run = subprocess.run([program, *arguments], cwd=self.folder, capture_output=True, text=True)
        said = run.stdout[-8000:] + run.stderr[-2000:]
        self.assertIsNone(self.server.process.poll(), "the server ended:\n" + "".join(self.server.log[-50:]) + said)
        self.assertEqual(run.returncode, 0, said)

        outcomes = case_outcomes(report)
        self.assertGreaterEqual(sum(outcomes.values()), CASES, said)
        self.assertEqual([status for (_, status) in outcomes if status is None or (status >= 500 and status != 504)], [])
        valid = {status: count for (mode, status), count in outcomes.items() if mode == "positive"}
        accepted = sum(count for status, count in valid.items() if 200 <= status < 300)
        self.assertGreaterEqual(accepted, VALID_ACCEPTED * sum(valid.values()), f"valid requests: {valid}")
        print(f"{sum(outcomes.values())} requests; of {sum(valid.values())} valid ones {accepted} got 2xx", file=sys.stderr)

    def test_paths_are_the_routes(self) -> None:
        """A route that is not documented is a page or its part; a documented path answers."""
        document = json.loads(self.server.get("/openapi.json"))
        for path, operations in document["paths"].items():
            for method in operations:
                concrete = path.replace("{session_id}", "1").replace("{model}", "tiny")
                request = urllib.request.Request(self.server.url + concrete, method="OPTIONS")
                with urllib.request.urlopen(request, timeout=HANG_SECONDS) as response:
                    self.assertIn(method.upper(), response.headers["Allow"].split(", "), path)

    def test_streams_are_as_documented(self) -> None:
        document = json.loads(self.server.get("/openapi.json"))
        chat = {"messages": [{"role": "user", "content": "what"}], "logprobs": True, "top_logprobs": 2}
        for path, body in (
            ("/v1/chat/completions", chat), ("/v1/completions", {"prompt": "what", "logprobs": 2, "echo": True}),
            ("/generate", {"prompt": "what", "return_logprob": True}), ("/v1/chat/interactive", {"prompt": "what"}),
        ):  # fmt: skip
            content = document["paths"][path]["post"]["responses"]["200"]["content"]
            if "completions" in path:
                body |= {"return_token_ids": True, "stream_options": {"include_usage": True}}
            data = json.dumps(body | {"stream": True, "max_tokens": 4}).encode()
            request = urllib.request.Request(self.server.url + path, data, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=HANG_SECONDS) as response:
                media_type = response.headers["Content-Type"]
                text = response.read().decode()
            if media_type.startswith("text/event-stream"):
                event = content[media_type]["schema"]["properties"]["data"]["anyOf"][0]
                self.assertEqual(event["contentMediaType"], "application/json")
                schema = event["contentSchema"]["anyOf"][0]
                pieces = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
                self.assertEqual(pieces.pop(), "[DONE]")
            else:
                schema = content[media_type]["schema"]["anyOf"][0]  # of a line
                self.assertEqual(schema, content["application/json"]["schema"])
                pieces = [line for line in text.splitlines() if line]
            self.assertGreater(len(pieces), 1, text)
            check = jsonschema.Draft202012Validator(schema | {"components": document["components"]})
            for piece in pieces:
                self.assertEqual([error.message for error in check.iter_errors(json.loads(piece))], [], piece)

    def test_every_field_is_typed_and_bounded(self) -> None:
        document = json.loads(self.server.get("/openapi.json"))

        def visit(schema: dict, where: str) -> None:
            if not schema or "$ref" in schema:
                return
            if "anyOf" in schema and "type" not in schema:
                for i, alternative in enumerate(schema["anyOf"]):
                    visit(alternative, f"{where}.anyOf[{i}]")
                return
            types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            if "integer" in types or "number" in types:
                self.assertLessEqual({"minimum", "maximum"}, schema.keys(), where)
            if "array" in types:
                self.assertIn("maxItems", schema, where)
                visit(schema["items"], where + "[]")
            if isinstance(schema.get("additionalProperties"), dict):
                self.assertIn("maxProperties", schema, where)
                visit(schema["additionalProperties"], where + ".*")
            for name, member in schema.get("properties", {}).items():
                visit(member, f"{where}.{name}")

        for name, schema in document["components"]["schemas"].items():
            visit(schema, name)
        for path, operations in document["paths"].items():
            for operation in operations.values():
                for parameter in operation.get("parameters", []):
                    visit(parameter["schema"], f"{path}?{parameter['name']}")


if __name__ == "__main__":
    unittest.main()
