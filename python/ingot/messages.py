"""Prompts, sessions and answers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, Union

if TYPE_CHECKING:
    import numpy
    from typing_extensions import Self

    from ingot import _core
    from ingot.configs import GenerationConfig

__all__ = ["Response", "Session"]

Message = dict[str, Any]
Prompt = Union[str, "list[int]", "list[Message]"]  # text, token ids, or a conversation


@dataclasses.dataclass
class Response:
    """An answer, or in a stream what is new of one.

    text: the answer; in a stream, what is new of it.
    generate_token_len: tokens of the answer so far.
    input_token_len: tokens of the prompt; of a session's turn, those that the turn adds.
    finish_reason: "stop", "length", "abort" (it was cancelled), "error", or None while it goes on.
    token_ids: tokens of the answer; in a stream, new ones.
    logprobs: of each of these tokens, {token id: log probability}: its own first, then the likeliest alternatives.
    logits: float32 [num_rows, vocab_size], as GenerationConfig.output_logits asks: row i of "generation" is what
        token i of the answer was drawn from, before penalties and temperature; "all" has the rows of the prompt's
        positions but the last before them. In a stream, with the last response.
    last_hidden_state: float32 [num_rows, hidden_size], the same rows.
    index: which of the prompts.
    choice: which of the n answers to it.
    cached_tokens: tokens of the prompt that were not computed again.
    stop_reason: the stop word that ended it, or "".
    error_code, error_message: with "error".
    """

    text: str = ""
    generate_token_len: int = 0
    input_token_len: int = 0
    finish_reason: Literal["stop", "length", "error", "abort"] | None = None
    token_ids: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[dict[int, float]] | None = None
    logits: numpy.ndarray | None = None
    last_hidden_state: numpy.ndarray | None = None
    index: int = 0
    choice: int = 0
    cached_tokens: int = 0
    stop_reason: str = ""
    error_code: str = ""
    error_message: str = ""

    def extend(self, other: Response) -> Self:
        """Appends the next response of the same answer's stream."""
        token_ids = self.token_ids + other.token_ids
        logprobs = (self.logprobs or []) + (other.logprobs or []) or None
        text = self.text + other.text
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(other, field.name))
        self.text, self.token_ids, self.logprobs = text, token_ids, logprobs
        return self


class Session:
    """A conversation whose tokens, and while memory allows their KV cache, stay in the engine: a turn sends what is new.

    Made by Pipeline.session(). `history` has the (prompt, answer) pairs of its turns; `prompt` and `response` are the
    last turn's. Closing it frees its memory; the pipeline closes what is left.
    """

    def __init__(self, engine: _core.Engine, session_id: int, gen_config: GenerationConfig | None = None) -> None:
        self.session_id = session_id
        self.gen_config = gen_config
        self.prompt: Any = None
        self.response: Response | None = None
        self.history: list[tuple[Any, str]] = []
        self._engine = engine
        self._handle: _core.Handle | None = None

    def abort(self) -> None:
        """Stops the answer that runs. The session keeps what has come of it."""
        if self._handle is not None:
            self._handle.cancel()

    def close(self) -> None:
        """Stops what runs, and forgets the conversation. What follows is a new one."""
        self._engine.end_session(self.session_id)
        self.history.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Session(session_id={self.session_id}, turns={len(self.history)})"
