"""Chat templates that are made of pieces, as LMDeploy has them: from a ChatTemplateConfig to a Jinja template."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import tempfile
from typing import Any, Iterator

from ingot import _core
from ingot.configs import ChatTemplateConfig
from ingot.errors import InvalidArgument, Unsupported
from ingot.tokenizer import Tokenizer

__all__ = ["as_file", "check"]

PIECES = ("system", "eosys", "user", "eoh", "assistant", "eoa", "tool", "eotool", "separator")

_CHATML = {
    "system": "<|im_start|>system\n", "eosys": "<|im_end|>\n", "user": "<|im_start|>user\n", "eoh": "<|im_end|>\n",
    "assistant": "<|im_start|>assistant\n", "eoa": "<|im_end|>", "separator": "\n",
}  # fmt: skip
# The built-in templates that are made of pieces, which a configuration may replace one by one.
BUILTINS: dict[str, dict[str, str]] = {
    "chatml": _CHATML,
    "internlm": {"system": "<|System|>:", "eosys": "\n", "user": "<|User|>:", "eoh": "<eoh>\n", "assistant": "<|Bot|>:", "eoa": "<eoa>", "separator": "\n"},
    "internlm2": _CHATML,
    "llama3": {
        "system": "<|start_header_id|>system<|end_header_id|>\n\n", "eosys": "<|eot_id|>",
        "user": "<|start_header_id|>user<|end_header_id|>\n\n", "eoh": "<|eot_id|>",
        "assistant": "<|start_header_id|>assistant<|end_header_id|>\n\n", "eoa": "<|eot_id|>",
    },
    "phi3": {"system": "<|system|>\n", "eosys": "<|end|>\n", "user": "<|user|>\n", "eoh": "<|end|>\n", "assistant": "<|assistant|>\n", "eoa": "<|end|>", "separator": "\n"},
    "qwen": {**_CHATML, "meta_instruction": "You are a helpful assistant."},
    "smollm": {**_CHATML, "meta_instruction": "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
}  # fmt: skip


def check(template: ChatTemplateConfig) -> None:
    """Raises InvalidArgument or Unsupported, which name the field."""
    for name in ("model_name", "meta_instruction", *PIECES):
        value = getattr(template, name)
        if value is not None and not isinstance(value, str):
            raise InvalidArgument(f"{name} is {type(value).__name__}; it is a text", field=name)
    if template.capability in ("infilling", "python"):
        raise Unsupported(f"capability {template.capability!r} is not supported; 'chat' and 'completion' are", field="capability")
    if template.capability not in (None, "chat", "completion"):
        raise InvalidArgument(f"capability {template.capability!r} is not 'chat' or 'completion'", field="capability")
    words = template.stop_words
    if words is not None and not (isinstance(words, list) and all(isinstance(word, str) and word for word in words)):
        raise InvalidArgument("stop_words is not a list of texts that are not empty", field="stop_words")


def _given(template: ChatTemplateConfig) -> dict[str, str]:
    return {name: value for name in PIECES if (value := getattr(template, name)) is not None}


def _builtin_pieces(name: str | None, replaced: str) -> dict[str, str]:
    """Those of the template that `name` names; none where it is a new name, as in LMDeploy's JSON files."""
    source = None if name is None else _core.builtin_template(name)
    for builtin, pieces in BUILTINS.items():
        if source is not None and source == _core.builtin_template(builtin):  # also by an alias
            return pieces
    if source is not None or (name is not None and pathlib.Path(name).exists()):
        raise Unsupported(
            f"{replaced}: the template {name} is not made of pieces, so that none can be replaced; give all pieces under a "
            f"new model_name, or replace pieces of {', '.join(BUILTINS)}",
            field=replaced,
        )
    return {}


def to_jinja(pieces: dict[str, str], adds_bos: bool) -> str:
    """{system}{content}{eosys}{user}{content}{eoh}{assistant}{content}{eoa}{separator}{user}... An answer that comes last is
    continued. meta_instruction is not here: the engine puts it before a conversation without a system message.

    adds_bos: the tokenizer begins a text with BOS.
    """
    text = {name: json.dumps(pieces.get(name, "")) for name in PIECES}
    around = {"system": ("system", "eosys"), "developer": ("system", "eosys"), "user": ("user", "eoh"), "tool": ("tool", "eotool")}
    lines = ["{{- bos_token }}"] if adds_bos else []
    lines += ["{%- for message in messages %}", "{%- if message.role == 'assistant' %}{{- " + text["assistant"] + " + message.content }}"]
    lines.append("{%- if not loop.last %}{{- " + text["eoa"] + " + " + text["separator"] + " }}{% endif %}")
    for role, (begin, end) in around.items():
        lines.append("{%- elif message.role == '" + role + "' %}{{- " + text[begin] + " + message.content + " + text[end] + " }}")
    lines += ["{%- else %}{{- raise_exception('the chat template has no pieces for the role ' + message.role) }}", "{%- endif %}", "{%- endfor %}"]
    lines.append("{%- if add_generation_prompt and (not messages or messages[-1].role != 'assistant') %}{{- " + text["assistant"] + " }}{% endif %}")
    return "\n".join(lines)


@contextlib.contextmanager
def as_file(template: ChatTemplateConfig, model: str, tokenizer_pre: str) -> Iterator[ChatTemplateConfig]:
    """The same template without pieces: while the block runs, its model_name is a Jinja file that is made of them."""
    check(template)
    given = _given(template)
    if not given:
        yield template
        return
    builtin = _builtin_pieces(template.model_name, next(iter(given)))
    pieces = {**builtin, **given}
    tokenizer = Tokenizer(model, tokenizer_pre)
    bos = tokenizer.bos_token_id
    adds_bos = bos is not None and tokenizer.encode("")[:1] == [bos]
    if adds_bos and any(pieces.get(name, "").startswith(tokenizer.id_to_token(bos)) for name in ("system", "user")):
        adds_bos = False  # the pieces bring it
    meta = template.meta_instruction if template.meta_instruction is not None else builtin.get("meta_instruction")
    with tempfile.NamedTemporaryFile("w", suffix=".jinja", encoding="utf-8") as file:
        file.write(to_jinja(pieces, adds_bos))
        file.flush()
        yield dataclasses.replace(template, model_name=file.name, meta_instruction=meta, **dict.fromkeys(PIECES))


def stop_words_of(template: ChatTemplateConfig, tokenizer: Tokenizer) -> dict[str, list[Any]]:
    """Its stop words as fields of GenerationConfig: tokens of the vocabulary by their ids, since the text may lack them."""
    words = template.stop_words or []
    ids = {word: tokenizer.token_to_id(word) for word in words}
    return {"stop_words": [word for word in words if ids[word] is None], "stop_token_ids": [id for id in ids.values() if id is not None]}
