#!/usr/bin/env python3
"""Renders a folder of chat templates over 15 conversations, as Ingot and as transformers do, and counts what agrees.

  sweep_chat_templates.py DIR [--oracle build/release/bin/chat_oracle] [--verbose]

DIR holds one Jinja template a file. Needs the Python of build/venv, with jinja2. A rendering is right where both give
the same text, or both refuse. Where transformers leaves the form of a message to the caller, Ingot chooses it for the
template: content as text or as parts, a call's arguments as an object or as JSON, reasoning as `reasoning_content`,
`reasoning`, `thinking` or `thought`. The reference is then the form of which the template shows the most: each text of a
conversation holds a word of its own. What jinja2 does not compile, or shows no word of any user, is no chat template.
Exits 1 when anything differs.
"""
import argparse
import copy
import itertools
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src" / "chat"))
from chat_oracle_test import TOOLS, make_environment  # noqa: E402

# Each string of a message holds a word of the form Wnn.
SYSTEM = {"role": "system", "content": "W01 Be brief."}
USER = {"role": "user", "content": "W02 What is 2+2?"}
ASSISTANT = {"role": "assistant", "content": "W03 Four."}
AGAIN = {"role": "user", "content": "W04 And 3+3?"}
CALL = {"id": "abcd12345", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "W05 Köln"}}}
RESULT = {"role": "tool", "tool_call_id": "abcd12345", "name": "get_weather", "content": "W06 {\"sky\": \"clear\"}"}


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


def calls(content, number=1, **more):
    listed = [CALL, {**CALL, "id": "efgh67890"}][:number]
    return {"role": "assistant", "content": content, "tool_calls": listed, **more}


REASONED = {**ASSISTANT, "reasoning_content": "W07 Two pairs."}
# name, messages, other inputs
CONVERSATIONS = [
    ("a question", [USER], {}),
    ("with a system message", [SYSTEM, USER], {}),
    ("several turns", [SYSTEM, USER, ASSISTANT, AGAIN], {}),
    ("without a generation prompt", [USER, ASSISTANT], {"add_generation_prompt": False}),
    ("parts", [{**SYSTEM, "content": parts("W01 Be brief.")}, {**USER, "content": parts("W02 What is", "W08 2+2?")}], {}),
    ("parts in a history", [{**USER, "content": parts("W02 What is 2+2?")}, ASSISTANT, AGAIN], {}),
    ("tools", [SYSTEM, USER], {"tools": TOOLS[:1]}),
    ("a tool call", [USER, calls(None)], {"tools": TOOLS[:1], "add_generation_prompt": False}),
    ("a result", [SYSTEM, USER, calls(""), RESULT], {"tools": TOOLS[:1]}),
    ("two calls", [USER, calls("W09 Let me see.", 2), RESULT, {**RESULT, "tool_call_id": "efgh67890"}, ASSISTANT, AGAIN],
     {"tools": TOOLS[:1]}),
    ("reasoning", [USER, REASONED, AGAIN], {}),
    ("reasoning before a call", [USER, calls(None, reasoning_content="W07 I must look."), RESULT],
     {"tools": TOOLS[:1], "kwargs": {"enable_thinking": True}}),
    ("without thinking", [USER, {**ASSISTANT, "content": "<think>\nW10 Two pairs.\n</think>\n\nW03 Four."}, AGAIN],
     {"kwargs": {"enable_thinking": False}}),
    ("unicode", [{**SYSTEM, "content": "W01 Straße, 世界 🙂 e\u0301"}, {**USER, "content": "W02 ǆ \u2028 «ß» İ 'x' \"y\" <b>&</b> \\n"}],
     {}),
    ("white space", [{**USER, "content": "\n  W02 two\n\n lines\t\n"}, {**ASSISTANT, "content": " W03 yes \n"},
                     {**AGAIN, "content": "W04\r\n"}], {}),
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def with_content(messages, form):
    """Content as it is, as a text, or as parts."""
    out = []
    for message in messages:
        content = message.get("content")
        if form == "text" and isinstance(content, list):
            content = "\n".join(part["text"] for part in content)
        if form == "parts" and isinstance(content, str):
            content = parts(content)
        out.append({**message, "content": content})
    return out


def with_arguments(messages, form):
    """Arguments as an object, or as JSON text."""
    out = copy.deepcopy(messages)
    for call in (call for message in out for call in message.get("tool_calls", [])):
        if form == "text":
            text = json.dumps(call["function"]["arguments"], ensure_ascii=False)
            call["function"] = {**call["function"], "arguments": text}
    return out


def with_reasoning(messages, name):
    out = []
    for message in messages:
        message = dict(message)
        if "reasoning_content" in message:
            message[name] = message.pop("reasoning_content")
        out.append(message)
    return out


def forms_of(messages):
    """The conversation in every form that differs, the one that transformers documents first."""
    seen = []
    forms = (["given", "text", "parts"], ["object", "text"], ["reasoning_content", "reasoning", "thinking", "thought"])
    for content, arguments, reasoning in itertools.product(*forms):
        form = with_reasoning(with_arguments(with_content(messages, content), arguments), reasoning)
        if form not in seen:
            seen.append(form)
    return seen


def render(template, messages, more):
    """jinja2's text, or None."""
    inputs = copy.deepcopy({"messages": messages, **more})
    try:
        return template.render(messages=inputs["messages"], tools=inputs.get("tools"), documents=None,
                               add_generation_prompt=inputs.get("add_generation_prompt", True), **TOKENS,
                               **inputs.get("kwargs", {}))
    except Exception:  # anything that a template may raise
        return None


def shown(text, words):
    """How much of the conversation a text shows; a list or a dict as Python or JSON writes it is no text."""
    if text is None:
        return -1000
    text = text.lower()
    as_data = sum(mark in text for mark in ("[{'type': 'text'", '[{"type": "text"', "{'city': 'w05"))
    return sum(word.lower() in text for word in words) - 10 * as_data


def reference(template, messages, more):
    words = [f"W{number:02}" for number in range(1, 11)]
    texts = [render(template, form, more) for form in forms_of(messages)]
    return max(texts, key=lambda text: shown(text, words))  # the first of those that show the most


class Oracle:
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def render(self, source, messages, more):
        """(text or None, error)"""
        # As OpenAI's clients send it.
        inputs = {"add_generation_prompt": True, **TOKENS, **more, "messages": with_arguments(messages, "text")}
        self.process.stdin.write(json.dumps({"template": source, "inputs": inputs}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer.get("text"), answer.get("error")


def first_difference(expected, got):
    at = next((i for i, (a, b) in enumerate(zip(expected, got)) if a != b), min(len(expected), len(got)))
    return f"at {at}: expected {expected[at - 20 if at > 20 else 0:at + 40]!r}, got {got[at - 20 if at > 20 else 0:at + 40]!r}"


def compare(expected, got, error):
    """None where they agree, else what differs."""
    if expected == got:
        return None
    if got is None:
        return f"refused: {error}"
    if expected is None:
        return f"jinja2 refuses, got {got[:60]!r}"
    return first_difference(expected, got)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("dir", type=pathlib.Path)
    arguments.add_argument("--oracle", default=str(ROOT / "build/release/bin/chat_oracle"))
    arguments.add_argument("--verbose", action="store_true", help="print every difference")
    arguments = arguments.parse_args()
    environment, oracle = make_environment(), Oracle(arguments.oracle)
    right = total = templates = skipped = refused = 0
    for path in sorted(file for file in arguments.dir.iterdir() if file.is_file()):
        source = path.read_bytes().decode()
        try:
            template = environment.from_string(source)
            expected = [reference(template, messages, more) for _, messages, more in CONVERSATIONS]
        except Exception:
            skipped += 1
            continue
        if not any("W02" in (text or "") for text in expected):
            skipped += 1
            continue
        templates += 1
        for (name, messages, more), wanted in zip(CONVERSATIONS, expected):
            difference = compare(wanted, *oracle.render(source, messages, more))
            if difference and "strftime_now" in source:  # the second may have ended between the two
                difference = compare(reference(template, messages, more), *oracle.render(source, messages, more))
            total += 1
            right += difference is None
            refused += difference is None and wanted is None
            if difference and arguments.verbose:
                print(f"{path.name}: {name}: {difference}")
    print(f"{right} of {total} right ({refused} of them refused by both): {templates} templates x "
          f"{len(CONVERSATIONS)} conversations; {skipped} files are no chat templates")
    return right < total


if __name__ == "__main__":
    sys.exit(main())
