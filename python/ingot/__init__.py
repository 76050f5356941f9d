"""Ingot quantizes, runs and serves large language models on x86-64 CPUs.

    from ingot import pipeline, GenerationConfig

    with pipeline("smollm2") as pipe:
        print(pipe("What is the capital of France?", gen_config=GenerationConfig(max_new_tokens=64)).text)

The names and meanings are LMDeploy's. Parts are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingot.clients import APIClient, client
    from ingot.commands import plan, quantize
    from ingot.configs import ChatTemplateConfig, GenerationConfig, PytorchEngineConfig, TurbomindEngineConfig
    from ingot.errors import IngotError
    from ingot.messages import Response, Session
    from ingot.pipelines import Pipeline, pipeline
    from ingot.serving import Server, serve
    from ingot.tokenizer import Tokenizer

_HOMES = {
    "APIClient": "clients",
    "ChatTemplateConfig": "configs",
    "GenerationConfig": "configs",
    "IngotError": "errors",
    "Pipeline": "pipelines",
    "PytorchEngineConfig": "configs",
    "Response": "messages",
    "Server": "serving",
    "Session": "messages",
    "Tokenizer": "tokenizer",
    "TurbomindEngineConfig": "configs",
    "client": "clients",
    "pipeline": "pipelines",
    "plan": "commands",
    "quantize": "commands",
    "serve": "serving",
}

__all__ = ["APIClient", "ChatTemplateConfig", "GenerationConfig", "IngotError", "Pipeline", "PytorchEngineConfig",
           "Response", "Server", "Session", "Tokenizer", "TurbomindEngineConfig", "client", "pipeline", "plan",
           "quantize", "serve", "__version__"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from ingot import _core

        return _core.version
    if name not in _HOMES:
        raise AttributeError(f"module 'ingot' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ingot.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
