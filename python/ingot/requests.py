"""From prompts to requests of the engine, and from its events to responses."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any, Iterator

from ingot import _core
from ingot.configs import WIRE_NAMES, GenerationConfig
from ingot.errors import IngotError, InvalidArgument
from ingot.messages import Message, Prompt, Response, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_WAIT_SECONDS = 0.05  # after which Python looks for signals


def is_one_prompt(prompts: Any) -> bool:
    """Whether it is a text, a conversation or token ids, rather than a list of such."""
    if isinstance(prompts, str):
        return True
    if not isinstance(prompts, (list, tuple)):
        raise InvalidArgument(
            f"prompts is {type(prompts).__name__}; it is a text, a list of messages ({{'role': ..., 'content': ...}}), a "
            "list of token ids, or a list of such prompts",
            field="prompts",
        )
    return len(prompts) > 0 and (all(isinstance(part, dict) for part in prompts) or are_ids(prompts))


def are_ids(prompt: Any) -> bool:
    return isinstance(prompt, (list, tuple)) and all(type(token) is int for token in prompt)


def to_body(prompt: Prompt, gen_config: GenerationConfig, chat: bool) -> tuple[bool, str]:
    """Whether the prompt is rendered by the chat template, and the body of the server's request for it."""
    is_conversation = isinstance(prompt, (list, tuple)) and len(prompt) > 0 and isinstance(prompt[0], dict)
    if isinstance(prompt, str) and chat:
        prompt = [{"role": "user", "content": prompt}]
        is_conversation = True
    elif not isinstance(prompt, str) and not is_conversation and not are_ids(prompt):
        raise InvalidArgument(f"a prompt is a text, a list of messages or a list of token ids, not {prompt!r:.60}")
    body = gen_config.to_body(is_conversation)
    body["messages" if is_conversation else "prompt"] = prompt
    try:
        return is_conversation, json.dumps({name: value for name, value in body.items() if value is not None})
    except TypeError as error:
        raise InvalidArgument(f"the request cannot be written as JSON: {error}") from None


def check_extra_body(gen_config: GenerationConfig, known: list[str]) -> None:
    """A server ignores fields that it does not know, for clients of other servers; here they are a mistake."""
    for name in gen_config.extra_body or {}:
        if name in ("messages", "prompt", "stream"):
            raise InvalidArgument(f"extra_body: {name} is given by the call itself", field="extra_body")
        if name not in known:
            near = "".join(f"; did you mean {found}?" for found in difflib.get_close_matches(name, known, 1))
            raise InvalidArgument(f"extra_body: {name} is not a parameter of requests{near}", field="extra_body")


def as_the_user_says(error: IngotError, where: str) -> IngotError:
    """The error with LMDeploy's name of the field, and where the prompt is."""
    message = str(error)
    wire_name = error.field.split("[")[0]
    name = WIRE_NAMES.get(wire_name)
    if name is not None and message.startswith(wire_name):
        message = name + message[len(wire_name) :]
    return type(error)(where + message, error.code, name or error.field)


class Job:
    """One prompt on its way through the engine."""

    def __init__(self, index: int, gen_config: GenerationConfig) -> None:
        self.index = index
        self.gen_config = gen_config
        self.prepared: _core.Prompt | None = None
        self.session: Session | None = None
        self.turn_body = (True, "")
        self.prompt: Any = None
        self.prompt_ids: list[int] = []  # where the answer's logits are wanted
        self.input_token_len = 0
        self.num_left = gen_config.n  # choices that have not ended
        self.lengths = [0] * max(1, gen_config.n)
        self.answer_ids: list[list[int]] = [[] for _ in self.lengths]
        self.texts = [""] * len(self.lengths)
        self.handle: _core.Handle | None = None

    @property
    def wants_scores(self) -> bool:
        return self.gen_config.output_logits is not None or self.gen_config.output_last_hidden_state is not None

    def start(self, engine: _core.Engine, destination: _core.Destination) -> None:
        if self.session is None:
            assert self.prepared is not None
            self.handle = engine.submit(self.prepared, destination)
            return
        turn = engine.turn(self.session.session_id, self.turn_body, destination)
        self.handle = self.session._handle = turn.handle
        self.input_token_len = turn.input_tokens

    def cancel(self) -> None:
        if self.handle is not None:
            self.handle.cancel()

    def response(self, event: _core.EventTuple) -> Response:
        """What an event says."""
        _, choice, text, token_ids, logprobs, end = event
        self.lengths[choice] += len(token_ids)
        self.texts[choice] += text
        response = Response(
            text=text,
            generate_token_len=self.lengths[choice],
            input_token_len=self.input_token_len,
            token_ids=token_ids,
            logprobs=logprobs or None,
            index=self.index,
            choice=choice,
        )
        if self.wants_scores:
            self.answer_ids[choice] += token_ids
        if end is not None:
            finish, stop_reason, error_code, error_message, _, completion_tokens, cached_tokens = end
            self.num_left -= 1
            response.finish_reason = "abort" if finish == "cancelled" else finish
            response.generate_token_len = completion_tokens
            response.stop_reason, response.cached_tokens = stop_reason, cached_tokens
            response.error_code, response.error_message = error_code, error_message
            self._end_turn(response)
        return response

    def _end_turn(self, response: Response) -> None:
        if self.session is None:
            return
        self.session._handle = None
        self.session.prompt = self.prompt
        if response.finish_reason != "error":
            self.session.history.append((self.prompt, self.texts[0]))

    def needs_scores(self, response: Response) -> bool:
        return self.wants_scores and response.finish_reason in ("stop", "length") and bool(self.answer_ids[response.choice])

    def add_scores(self, engine: _core.Engine, response: Response) -> None:
        """Computes prompt and answer once more, for the logits and hidden states that were asked for."""
        config = self.gen_config
        token_ids = self.prompt_ids + self.answer_ids[response.choice]
        token_ids.pop()  # nothing was drawn after the last one
        everything = "all" in (config.output_logits, config.output_last_hidden_state)
        first = 0 if everything else len(self.prompt_ids) - 1
        logits, hidden = engine.score(token_ids, first, config.output_logits is not None, config.output_last_hidden_state is not None)
        cut = len(self.prompt_ids) - 1 - first
        response.logits = logits[cut:] if config.output_logits == "generation" and logits is not None else logits
        response.last_hidden_state = hidden[cut:] if config.output_last_hidden_state == "generation" and hidden is not None else hidden


def make_jobs(
    engine: _core.Engine, prompts: Sequence[Prompt], gen_configs: Sequence[GenerationConfig], chat: bool, sessions: Sequence[Session] | None
) -> list[Job]:
    """All prompts, checked and tokenized before the first runs."""
    jobs = []
    for index, (prompt, gen_config) in enumerate(zip(prompts, gen_configs)):
        job = Job(index, gen_config)
        job.prompt = prompt
        try:
            body = to_body(prompt, gen_config, chat)
            check_extra_body(gen_config, engine.fields_of(body[0]) if gen_config.extra_body else [])
            if sessions is not None:
                if job.wants_scores:
                    raise InvalidArgument("output_logits and output_last_hidden_state are for prompts without a session")
                job.session, job.turn_body = sessions[index], body
            else:
                job.prepared = engine.prepare(*body)
                token_ids = job.prepared.token_ids
                job.input_token_len = len(token_ids)
                job.prompt_ids = token_ids if job.wants_scores else []
        except IngotError as error:
            raise as_the_user_says(error, f"prompts[{index}]: " if len(prompts) > 1 else "") from None
        jobs.append(job)
    return jobs


def run(engine: _core.Engine, jobs: list[Job], stream: bool, most_at_once: int) -> Iterator[Response]:
    """Responses as they come. Leaving it cancels what runs."""
    queue = _core.EventQueue()
    running: dict[int, Job] = {}
    waiting = iter(enumerate(jobs))
    try:
        while True:
            while len(running) < most_at_once and (following := next(waiting, None)) is not None:
                tag, job = following
                job.start(engine, _core.Destination(queue, tag, stream))
                running[tag] = job
            if not running:
                return
            for event in queue.take(MAX_WAIT_SECONDS):
                job = running[event[0]]
                response = job.response(event)
                if job.num_left == 0:
                    del running[event[0]]
                if job.needs_scores(response):
                    job.add_scores(engine, response)
                yield response
    finally:
        for job in running.values():
            job.cancel()


__all__ = ["Job", "Message", "is_one_prompt", "make_jobs", "run"]
