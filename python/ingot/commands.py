"""Quantizing and planning: the program's commands as functions."""

from __future__ import annotations

import json
import os
import pathlib
import sys
from typing import Any, Literal

from ingot import program
from ingot.errors import InvalidArgument
from ingot.models import find_model

__all__ = ["plan", "quantize"]

_METHODS = {"awq": "auto_awq", "gptq": "auto_gptq", "smooth_quant": "smooth_quant"}


def quantize(
    model: str | os.PathLike[str],
    work_dir: str | os.PathLike[str],
    method: Literal["awq", "gptq", "smooth_quant"] = "awq",
    verbose: bool | None = None,
    **options: Any,
) -> pathlib.Path:
    """Writes a quantized checkpoint, and returns its folder, which pipeline() takes.

    method: "awq" and "gptq" quantize weights, by default to 4 bits in groups of 128; "smooth_quant" weights and
        activations to 8 bits.
    options: the flags of `ingot lite auto_awq`, `auto_gptq` or `smooth_quant`, with underscores: w_bits=4,
        w_group_size=64, calib_samples=32, calib_seqlen=512, calib_dataset="file.txt", ...
    verbose: show its progress on stderr; None: on a terminal.

    It runs in a process of its own, which takes the memory of one layer. Raises ProgramError with the program's message.
    """
    if method not in _METHODS:
        raise InvalidArgument(f"method {method!r} is not one of {', '.join(_METHODS)}", field="method")
    words = ["lite", _METHODS[method], find_model(os.fspath(model)), "--work-dir", os.fspath(work_dir)]
    program.run(words + program.flags_of(options), sys.stderr.isatty() if verbose is None else verbose)
    return pathlib.Path(work_dir)


def plan(model: str | os.PathLike[str], memory: str | None = None, **options: Any) -> dict[str, Any]:
    """What fits into a given memory, as `ingot plan --json` says it.

    model: a model as for pipeline(), or a known shape ("llama-2-70b", "qwen2.5-7b").
    memory: "24GiB"; None: what this machine has. options: the flags of `ingot plan`, with underscores.

    Raises ProgramError with the program's message.
    """
    words = ["plan", find_model(os.fspath(model)), *program.flags_of({"memory": memory, **options}), "--json"]
    result: dict[str, Any] = json.loads(program.run(words, False))
    return result
