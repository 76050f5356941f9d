"""A model to ask: LMDeploy's pipeline."""

from __future__ import annotations

import asyncio
import atexit
import dataclasses
import itertools
import json
import os
import weakref
from typing import TYPE_CHECKING, Any, AsyncIterator, Iterator

from ingot import _core, aio, pytorch, requests, templates
from ingot.configs import ChatTemplateConfig, GenerationConfig, PytorchEngineConfig, TurbomindEngineConfig, backend_of
from ingot.errors import InvalidArgument, Unsupported
from ingot.messages import Message, Prompt, Response, Session
from ingot.models import find_model
from ingot.progress import ProgressBar
from ingot.tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Pipeline", "pipeline"]

# A text, a conversation or token ids, or a list of these.
Prompts = Any

_open: weakref.WeakSet[Pipeline] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for one in list(_open):
        one.close()
    _core.wait_for_loads()


def pipeline(
    model_path: str | os.PathLike[str],
    backend_config: TurbomindEngineConfig | PytorchEngineConfig | None = None,
    chat_template_config: ChatTemplateConfig | None = None,
    log_level: str = "WARNING",
    **ignored: Any,
) -> Pipeline:
    """Loads a model.

    model_path: a Hugging Face directory, a GGUF file, Org/Name in the local Hugging Face cache, or an alias (smollm2).
    backend_config: how much memory it may use, how long contexts are, ...; its class says which engine loads the model.
        None: Ingot's own where it knows the model, else PyTorch where that is installed.
    chat_template_config: the chat template, where it is not the model's own.
    log_level: DEBUG, INFO, WARNING, ERROR or OFF; logs go to stderr.
    ignored: LMDeploy's max_log_len, trust_remote_code (no code of a model is ever run) and allowed_media_domains.

    Raises NotFound, InvalidFile, Unsupported (what this model needs) or ResourceExhausted (memory: the message says
    what would fit).
    """
    for name, value in ignored.items():
        if name not in ("max_log_len", "trust_remote_code", "allowed_media_domains", "speculative_config"):
            raise TypeError(f"pipeline() has no parameter {name!r}")
        if name == "speculative_config" and value is not None:
            raise Unsupported("speculative_config: speculative decoding is not supported", field=name)
    return Pipeline(model_path, backend_config, chat_template_config, log_level)


def _load_options(model: str, given: TurbomindEngineConfig | PytorchEngineConfig | None, template: ChatTemplateConfig) -> dict[str, Any]:
    config = given or TurbomindEngineConfig()
    config.check()
    options = {
        "model": model,
        "backend": backend_of(given),
        "chat_template": template.model_name,
        "meta_instruction": template.meta_instruction,
    }
    if isinstance(config, PytorchEngineConfig):
        options.update({"pytorch_dtype": config.dtype, "device": config.device})
    else:
        options.update({"exact": config.compute == "exact", "auto_compute": config.compute == "auto", "kv_bf16": config.dtype == "bfloat16", "tokenizer_pre": config.tokenizer_pre, "weights_cache": config.weights_cache})
    same = ("session_len", "max_batch_size", "cache_max_entry_count", "kv_cache_bytes", "cache_block_seq_len",
            "max_prefill_token_num", "quant_policy", "enable_prefix_caching", "num_threads")  # fmt: skip
    options.update({name: getattr(config, name) for name in same})
    return {name: value for name, value in options.items() if value is not None}


def _load(options: dict[str, Any]) -> _core.Engine:
    loading = _core.Loading(json.dumps(options))
    with ProgressBar("loading", unit="B") as bar:
        while not loading.wait(requests.MAX_WAIT_SECONDS):
            bar.update(*loading.progress)
    return loading.take()


class Pipeline:
    """A loaded model. All methods may be called from any thread at once; their requests share the running batch.

    Use it in a `with` block, or call close(): that cancels what runs and frees the memory.

    prompts are a text, a conversation (a list of OpenAI's messages) or token ids, or a list of these. All are checked
    before the first is answered: InvalidArgument and TooLong name the prompt and the field.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str],
        backend_config: TurbomindEngineConfig | PytorchEngineConfig | None = None,
        chat_template_config: ChatTemplateConfig | None = None,
        log_level: str = "WARNING",
    ) -> None:
        _core.set_log_level(log_level)
        pytorch.install(_core)
        config = backend_config or TurbomindEngineConfig()
        model, chosen = find_model(os.fspath(model_path)), chat_template_config or ChatTemplateConfig()
        if config.revision:
            model = f"{model}@{config.revision}"
        with templates.as_file(chosen, model, getattr(config, "tokenizer_pre", "")) as template:
            self._engine = _load(_load_options(model, backend_config, template))
        self._completes_text = chosen.capability == "completion"
        self._template_stops = templates.stop_words_of(chosen, self.tokenizer)
        self._session_ids = itertools.count(1)
        self._loops = aio.Loops(self._engine)
        # Twice the slots: the next request follows at once, and Python has no more of a large batch in flight.
        self._most_at_once = 2 * self._engine.stats()["max_batch_size"]
        _open.add(self)

    # -- one call, all answers

    def __call__(
        self,
        prompts: Prompts,
        gen_config: GenerationConfig | list[GenerationConfig] | None = None,
        do_preprocess: bool = True,
        adapter_name: str | None = None,
        use_tqdm: bool | None = None,
    ) -> Response | list[Response]:
        """The answers: one Response for one prompt, else a list in the order of the prompts (n of them for each).

        gen_config: for all prompts, or a list with one for each; default: GenerationConfig(), which is greedy.
        do_preprocess: render prompts with the chat template; False: texts are completed as they stand. A model without
            a template (a base model) completes them in any case.
        use_tqdm: a bar on stderr; None: for several prompts, where stderr is a terminal and tqdm is installed.

        A request that fails after it was accepted has finish_reason "error", and touches no other. Ctrl-C cancels all.
        """
        one = requests.is_one_prompt(prompts)
        jobs = self._jobs(prompts, gen_config, do_preprocess, adapter_name)
        answers: dict[tuple[int, int], Response] = {}
        show = not one and len(jobs) > 1 if use_tqdm is None else use_tqdm
        with ProgressBar("answers", enabled=show, required=use_tqdm is True) as bar:
            total = sum(job.gen_config.n for job in jobs)
            for response in requests.run(self._engine, jobs, False, self._most_at_once):
                answers[response.index, response.choice] = response
                bar.update(len(answers), total)
        ordered = [answers[key] for key in sorted(answers)]
        return ordered[0] if one and len(ordered) == 1 else ordered

    infer = __call__

    def batch_infer(self, prompts: Prompts, *arguments: Any, **options: Any) -> Response | list[Response]:
        """LMDeploy's former name of a call."""
        return self(prompts, *arguments, **options)

    # -- streams

    def stream_infer(
        self,
        prompts: Prompts,
        sessions: Session | list[Session] | None = None,
        gen_config: GenerationConfig | list[GenerationConfig] | None = None,
        do_preprocess: bool = True,
        adapter_name: str | None = None,
        stream_response: bool = True,
    ) -> Iterator[Response]:
        """Responses as they come: each has what is new of the answer `choice` to the prompt `index`.

        sessions: the prompts are turns of these. stream_response=False: one Response an answer, when it is over.
        Closing the iterator cancels what runs.
        """
        some = [sessions] if isinstance(sessions, Session) else sessions
        jobs = self._jobs(prompts, gen_config, do_preprocess, adapter_name, some)
        return requests.run(self._engine, jobs, stream_response, self._most_at_once)

    async def generate(
        self,
        prompt: Prompt,
        session: Session | None = None,
        gen_config: GenerationConfig | None = None,
        do_preprocess: bool = True,
        stream_response: bool = True,
    ) -> AsyncIterator[Response]:
        """The same in asyncio, for one prompt: `async for response in pipe.generate(...)`.

        No thread waits for it: thousands may run at once. Leaving it (break, cancellation) cancels the request.
        """
        job = self._jobs([prompt], gen_config, do_preprocess, None, None if session is None else [session])[0]
        async for response in self._loops.run(job, stream_response):
            if job.needs_scores(response):
                await asyncio.get_running_loop().run_in_executor(None, job.add_scores, self._engine, response)
            yield response

    # -- conversations

    def session(self, gen_config: GenerationConfig | None = None) -> Session:
        """A conversation that is kept in the engine."""
        return Session(self._engine, next(self._session_ids), gen_config)

    def chat(
        self,
        prompt: str | list[Message],
        session: Session | None = None,
        gen_config: GenerationConfig | None = None,
        stream_response: bool = False,
        adapter_name: str | None = None,
    ) -> Session | Iterator[Response]:
        """The next turn of a conversation. Only `prompt` is new: earlier turns are the session's.

        Returns the session, whose `response` is the answer and whose `history` has all turns; with stream_response an
        iterator over what is new, at whose end the session has them. session None: a new one.

        Raises TooLong where the session is full, and Conflict where another turn of it runs.
        """
        session = session if session is not None else self.session()
        chosen = gen_config or session.gen_config or GenerationConfig()
        jobs = self._jobs([prompt], chosen, True, adapter_name, [session])
        turn = self._turn(session, requests.run(self._engine, jobs, stream_response, 1))
        if stream_response:
            return turn
        for _ in turn:
            pass
        return session

    @staticmethod
    def _turn(session: Session, responses: Iterator[Response]) -> Iterator[Response]:
        session.response = None
        for response in responses:
            if session.response is None:
                session.response = Response()
            session.response.extend(response)
            yield response

    # -- numbers

    def get_ppl(self, input_ids: str | list[int] | list[str] | list[list[int]]) -> list[float]:
        """Mean cross entropy per token, in nats, of each sequence: -log p(token | those before it), over all tokens but
        the first. exp() of it is the perplexity. A text is tokenized as it stands, special tokens included."""
        one = isinstance(input_ids, str) or (len(input_ids) > 0 and not isinstance(input_ids[0], (str, list, tuple)))
        sequences: Sequence[Any] = [input_ids] if one else input_ids
        tokens = [self.tokenizer.encode(part) if isinstance(part, str) else list(part) for part in sequences]
        return [self._engine.mean_cross_entropy(part) for part in tokens]

    def get_reward_score(self, input_ids: Any) -> list[float]:
        """LMDeploy's scores of reward models, which are not supported."""
        raise Unsupported("get_reward_score: reward models are not supported")

    def apply_chat_template(self, prompt: str | list[Message]) -> list[int]:
        """The token ids that a conversation becomes."""
        return self._engine.prepare(*requests.to_body(prompt, GenerationConfig(max_new_tokens=1), True)).token_ids

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return Tokenizer(self._engine.tokenizer())

    @property
    def session_len(self) -> int:
        """The longest context: tokens of prompt and answer."""
        return self._engine.session_len

    @property
    def memory(self) -> str:
        """What the memory is used for, as a table."""
        return self._engine.memory_ledger()

    def stats(self) -> dict[str, int]:
        """What the engine does: running and waiting requests, blocks of the KV cache (total, free, cached), steps."""
        return self._engine.stats()

    def close(self) -> None:
        """Cancels what runs, and frees the model. Every later call raises Unavailable."""
        self._engine.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _jobs(
        self,
        prompts: Prompts,
        gen_config: GenerationConfig | list[GenerationConfig] | None,
        do_preprocess: bool,
        adapter_name: str | None,
        sessions: list[Session] | None = None,
    ) -> list[requests.Job]:
        if adapter_name is not None:
            raise Unsupported(f"adapter_name {adapter_name!r}: adapters are not supported", field="adapter_name")
        many = [prompts] if requests.is_one_prompt(prompts) else list(prompts)
        configs = gen_config if isinstance(gen_config, list) else [gen_config or GenerationConfig()] * len(many)
        for name, given in (("gen_config", configs), ("sessions", sessions if sessions is not None else many)):
            if len(given) != len(many):
                raise InvalidArgument(f"{name} has {len(given)} entries for {len(many)} prompts", field=name)
        configs = [self._with_template_stops(config) for config in configs]
        renders_text = do_preprocess and self._engine.can_chat and not self._completes_text
        return requests.make_jobs(self._engine, many, configs, renders_text, sessions)

    def _with_template_stops(self, gen_config: GenerationConfig) -> GenerationConfig:
        added = {name: [*(getattr(gen_config, name) or []), *stops] for name, stops in self._template_stops.items() if stops}
        return dataclasses.replace(gen_config, **added) if added else gen_config


