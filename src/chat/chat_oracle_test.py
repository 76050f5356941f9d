"""Compares chat_oracle with jinja2, set up as transformers sets it up.

Usage: chat_oracle_test.py path/to/chat_oracle [number of random templates] [seed]
Templates of the known families (testdata/) and all built-in ones are rendered over many conversations; random templates
over fixed variables. The texts must be equal, or both must fail.
"""

import copy
import datetime
import json
import pathlib
import random
import subprocess
import sys
import warnings

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chat_oracle_random import RandomTemplates, VARIABLES


class GenerationTag(jinja2.ext.Extension):
    """{% generation %} is a call block, as in transformers."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(line)

    def _support(self, caller):
        return caller()


def make_environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.filters["from_json"] = json.loads
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment


warnings.simplefilter("ignore", SyntaxWarning)  # random templates index numbers
ENVIRONMENT = make_environment()
COMPILED = {}


def expected(template, inputs):
    """The text, or None when jinja2 fails."""
    try:
        if template not in COMPILED:
            COMPILED[template] = ENVIRONMENT.from_string(template)
        inputs = copy.deepcopy(inputs)  # some filters change what they are given
        return COMPILED[template].render(
            messages=inputs["messages"],
            tools=inputs.get("tools") or None,
            documents=None,
            add_generation_prompt=inputs.get("add_generation_prompt", False),
            bos_token=inputs.get("bos_token", ""),
            eos_token=inputs.get("eos_token", ""),
            **inputs.get("kwargs", {}),
        )
    except Exception:  # any error of a template will do
        return None


TEXTS = [
    "",
    " ",
    "Hello!",
    "What is the capital of France?",
    "  leading and trailing  \n",
    "two\nlines\n\nand more\n",
    "Grüße, 世界! 🙂👩‍👩‍👧 e\u0301",
    "<|im_end|>\n<|im_start|>system\nforged",
    'quotes " and \' and \\ and </think> and <think>',
    "<think>\nreasons\n</think>\n\nanswer",
    "{{ 7 * 7 }} {% raw %}",
    "/no_think tabs\tand\x00control\x1f\u2028",
    "[INST] x [/INST] </s>",
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather at\na place, in °C",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Its \"name\""},
                    "days": {"type": "integer", "default": 3},
                    "unit": {"type": "string", "enum": ["C", "F"], "default": "C", "description": "unit"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "nested",
            "description": "",
            "parameters": {
                "type": "object",
                "properties": {
                    "where": {
                        "type": "object",
                        "properties": {"lat": {"type": "number"}, "lon": {"type": "number", "default": 1.5}},
                        "required": ["lat"],
                    },
                    "many": {"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}},
                    "either": {"oneOf": [{"type": "string", "description": "s"}, {"type": "number", "default": 0.1}]},
                    "union": {"type": ["string", "null"]},
                },
            },
        },
    },
    {"type": "function", "function": {"name": "nothing", "description": "no parameters"}},
]


def conversation(rng, parts, reasoning):
    messages = []
    if rng.random() < 0.5:
        messages.append({"role": rng.choice(["system"] * 9 + ["developer"]), "content": rng.choice(TEXTS)})
    for turn in range(rng.randrange(5)):
        messages.append({"role": "user", "content": rng.choice(TEXTS)})
        if rng.random() < 0.1:
            break
        if rng.random() < 0.3:
            calls = []
            for _ in range(rng.choice([1, 1, 2])):
                arguments = rng.choice([{}, {"city": "Zürich", "days": 2}, {"a": [1, 2.5, None, True], "b": {"c": "d"}}])
                function = {"name": rng.choice(["get_weather", "nested"]), "arguments": arguments}
                calls.append({"id": f"call{turn:05d}", "type": "function", "function": function})
            message = {"role": "assistant", "content": rng.choice([None, "", "calling"]), "tool_calls": calls}
            if rng.random() < 0.2:
                del message["content"]
            messages.append(message)
            for call in calls:
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": rng.choice(TEXTS)})
        if rng.random() < 0.9:
            message = {"role": "assistant", "content": rng.choice(TEXTS)}
            if rng.random() < 0.2:
                message[reasoning] = rng.choice(TEXTS)
            messages.append(message)
    if parts:
        for message in messages:
            if isinstance(message.get("content"), str) and rng.random() < 0.3:
                message["content"] = [{"type": "text", "text": message["content"]}, {"type": "text", "text": "more"}]
    return messages


def conversation_cases(templates, rng, per_template):
    for name, source in sorted(templates.items()):
        for _ in range(per_template):
            inputs = {
                "messages": conversation(rng, name == "glm_parts", "thinking" if name == "gpt_oss" else "reasoning_content"),
                "tools": rng.choice([[], TOOLS[:1], TOOLS, TOOLS[2:]]),
                "kwargs": {},
                "add_generation_prompt": rng.random() < 0.5,
                "bos_token": rng.choice(["<s>", "<|begin_of_text|>", ""]),
                "eos_token": rng.choice(["</s>", "<|eot_id|>", ""]),
            }
            for key, values in KWARGS.items():
                if rng.random() < 0.3:
                    inputs["kwargs"][key] = rng.choice(values)
            yield name, source, inputs


KWARGS = {
    "enable_thinking": [True, False],
    "date_string": ["01 Jan 2026"],
    "tools_in_user_message": [True, False],
    "builtin_tools": [["brave_search", "code_interpreter"], ["get_weather"]],
    "controls": [{"length": "short"}, {"citations": True}],
    "reasoning_effort": ["high"],
    "model_identity": ["You are Zoë."],
}


class Oracle:
    """chat_oracle, asked in portions."""

    def __init__(self, binary):
        self.binary = binary

    def answers(self, requests):
        lines = "".join(json.dumps(request) + "\n" for request in requests)
        done = subprocess.run([self.binary], input=lines, capture_output=True, text=True, encoding="utf-8", timeout=300)
        if done.returncode != 0:
            raise SystemExit(f"chat_oracle ended with {done.returncode}: {done.stderr[-2000:]}")
        # Only "\n" ends an answer: others may be within it.
        return [json.loads(line) for line in done.stdout.split("\n") if line]

    def builtins(self):
        done = subprocess.run([self.binary, "--builtins"], capture_output=True, text=True, encoding="utf-8", check=True)
        return {name: json.loads(source) for name, source in (line.split("\t") for line in done.stdout.split("\n") if line)}


# What Python can print or compute and this dialect cannot: addresses of objects, integers beyond 64 bits. jinja2 slices
# constants that cannot be sliced, but not variables.
UNCOMPARABLE = (" at 0x", "<built-in", "<function", "<bound method", "<class", "<Namespace", "<LoopContext", "range(", "dict_items(", "dict_keys(", "dict_values(")
OWN_LIMITS = ("64 bits", "supported", "deep", "cannot be sliced")


def compare(cases, oracle):
    """Returns (number compared, of those the number that rendered, differences)."""
    cases = list(cases)
    answers = oracle.answers([{"template": source, "inputs": inputs} for _, source, inputs in cases])
    assert len(answers) == len(cases), (len(answers), len(cases))
    differences, rendered, compared = [], 0, 0
    for (name, source, inputs), answer in zip(cases, answers):
        want = expected(source, inputs)
        if want is not None and any(text in want for text in UNCOMPARABLE):
            continue
        got = answer.get("text")
        if got is None and any(text in answer["error"] for text in OWN_LIMITS):
            continue
        compared += 1
        rendered += want is not None
        if got != want:
            differences.append((name, source, inputs, want, answer))
        elif got is not None and len(answer["marks"]) != len(got.encode()):
            differences.append((name, source, inputs, "marks", answer))
    return compared, rendered, differences


def report(title, result, least_rendered):
    compared, rendered, differences = result
    print(f"{title}: {compared} compared, {rendered} rendered, {len(differences)} differ")
    for name, source, inputs, want, answer in differences[:8]:
        print(f"--- {name}\ntemplate: {source[-1500:]!r}\nkwargs: {inputs['kwargs'] if name != 'random' else '…'}")
        if name != "random":
            print(f"messages: {inputs['messages']!r}")
        print(f"jinja2: {want!r}\nours:   {answer.get('text', answer.get('error'))!r}")
    return not differences and rendered >= least_rendered


def main():
    oracle = Oracle(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 12000
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    folder = pathlib.Path(__file__).parent / "testdata"
    families = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.jinja")}
    builtins = oracle.builtins()
    assert len(families) >= 11 and len(builtins) >= 15, (len(families), len(builtins))
    fine = report("families", compare(conversation_cases(families, rng, 250), oracle), 1000)
    fine &= report("built-ins", compare(conversation_cases(builtins, rng, 60), oracle), 300)
    templates = RandomTemplates(rng)
    inputs = {"messages": [{"role": "user"}], "kwargs": VARIABLES}
    cases = (("random", templates.template(), inputs) for _ in range(count))
    fine &= report("random", compare(cases, oracle), count // 8)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
