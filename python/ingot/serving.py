"""A server, started from Python."""

from __future__ import annotations

import atexit
import os
import re
import time
import weakref
from typing import Any

from ingot import program, templates
from ingot.clients import APIClient
from ingot.configs import ChatTemplateConfig, PytorchEngineConfig, TurbomindEngineConfig, backend_of
from ingot.errors import ProgramError, Unsupported
from ingot.models import find_model

__all__ = ["Server", "serve"]

LOAD_SECONDS = 600

_open: weakref.WeakSet[Server] = weakref.WeakSet()
# Of both configurations: those that the program has under the same names.
_SAME = ("model_format", "tp", "session_len", "max_batch_size", "cache_max_entry_count", "cache_block_seq_len",
         "quant_policy", "max_prefill_token_num", "compute", "dtype", "tokenizer_pre", "weights_cache", "device")  # fmt: skip


@atexit.register
def _close_all() -> None:
    for one in list(_open):
        one.close()


class Server(APIClient):
    """A server of this process's, and a client of it. Use it in a `with` block, or call close().

    It is a process of its own. When this one ends, the server does, too.
    """

    def __init__(self, process: program.Process, api_key: str | None, seconds: float) -> None:
        self._process = process
        _open.add(self)
        super().__init__(self._wait_for_url(seconds), api_key)

    def _wait_for_url(self, seconds: float) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if match := re.search(r"^Ingot serves .* on (https?://\S+)$", self._process.stderr, re.MULTILINE):
                return match.group(1)
            if self._process.wait(0.02):
                assert self._process.returncode is not None
                raise program.error_of(self._process.stderr, self._process.returncode)
        self.close()
        raise ProgramError(f"the server did not start within {seconds} s")

    @property
    def log(self) -> str:
        """What it has written to its log."""
        return self._process.stderr

    def close(self) -> None:
        """Stops it: what runs is finished first."""
        self._process.stop()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _flags(given: TurbomindEngineConfig | PytorchEngineConfig | None, template: ChatTemplateConfig) -> dict[str, Any]:
    backend = given or TurbomindEngineConfig()
    backend.check()
    defaults = type(backend)()
    names = [name for name in _SAME if hasattr(backend, name)]
    flags: dict[str, Any] = {name: getattr(backend, name) for name in names if getattr(backend, name) != getattr(defaults, name)}
    if given is not None:
        flags["backend"] = backend_of(given)
    if backend.num_threads:
        flags["threads"] = backend.num_threads
    if backend.kv_cache_bytes:
        flags["kv_cache_memory"] = backend.kv_cache_bytes
    if not backend.enable_prefix_caching:
        flags["enable_prefix_caching=false"] = True
    return {**flags, "chat_template": template.model_name, "meta_instruction": template.meta_instruction}


def serve(
    model_path: str | os.PathLike[str],
    model_name: str | None = None,
    backend_config: TurbomindEngineConfig | PytorchEngineConfig | None = None,
    chat_template_config: ChatTemplateConfig | None = None,
    **options: Any,
) -> Server:
    """Starts `ingot serve api_server`, waits until it answers, and returns it.

    model_name: the model's name in requests.
    backend_config: its class says which engine loads the model; so does backend="pytorch" among the options.
    options: the server's flags, with underscores: server_name="0.0.0.0", server_port=23333 (0: any free port),
        api_keys=["..."], session_db="sessions.db", ...; load_seconds: how long loading may take (default 600);
        verbose: show its log.

    Raises ProgramError with the program's message.
    """
    seconds, verbose = options.pop("load_seconds", LOAD_SECONDS), options.pop("verbose", False)
    keys = options.get("api_keys")
    key = keys[0] if isinstance(keys, (list, tuple)) and keys else keys
    backend, chosen = backend_config, chat_template_config or ChatTemplateConfig()
    _check_template(chosen)
    model = find_model(os.fspath(model_path))
    with templates.as_file(chosen, model, getattr(backend, "tokenizer_pre", "")) as template:
        flags = {"model_name": model_name, **options, **_flags(backend, template)}
        return serve_with_flags(model, program.flags_of(flags), key, seconds, verbose)


def _check_template(template: ChatTemplateConfig) -> None:
    """What a server leaves to its requests."""
    if template.stop_words:
        raise Unsupported("stop_words: a server has none of its own; give them to requests, as `stop`", field="stop_words")
    if template.capability == "completion":
        raise Unsupported("capability 'completion': a server completes texts at /v1/completions (completions_v1)", field="capability")


def serve_with_flags(model: str, flags: list[str], api_key: str | None = None, seconds: float = LOAD_SECONDS, verbose: bool = False) -> Server:
    """The same, with the words of the command line."""
    return Server(program.Process(["serve", "api_server", find_model(model), *flags], verbose), api_key, seconds)
