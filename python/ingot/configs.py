"""How answers are drawn, and how a model is loaded: LMDeploy's classes, with the same names, defaults and meanings.

Fields below a line "Ingot's own" have no counterpart there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from typing import Any, Callable, Literal

from ingot.errors import InvalidArgument, InvalidFile, NotFound, Unsupported

__all__ = ["ChatTemplateConfig", "GenerationConfig", "PytorchEngineConfig", "TurbomindEngineConfig"]


@dataclasses.dataclass
class GenerationConfig:
    """How an answer is drawn. Values are checked when they are used; errors name the field and its range.

    n: answers to each prompt (1 to 128); the i-th draws with random_seed + i.
    max_new_tokens: the longest answer, in tokens; None: what the context leaves.
    do_sample: False takes the likeliest token at each step, whatever temperature, top_p, top_k and min_p say.
    top_p: draw from the likeliest tokens that together have this probability (0 to 1).
    top_k: draw from the k likeliest tokens; 0: all.
    min_p: drop tokens less likely than this share of the likeliest (0 to 1).
    temperature: divides the logits (0 to 2); 0: always the likeliest token.
    repetition_penalty: above 1 disfavours tokens of prompt and answer (0.01 to 100).
    ignore_eos: continue after the model ends its answer.
    random_seed: the same seed gives the same answer; None: a random one.
    stop_words: texts that end the answer, which is cut before them.
    bad_words: texts that must not come out.
    stop_token_ids, bad_token_ids: the same, of single tokens.
    min_new_tokens: no end before so many tokens.
    skip_special_tokens: leave special tokens out of the text.
    logprobs: alternatives to each token whose log probabilities are returned in addition to its own (0 to 20); None: none.
    output_logits: "generation": of each token of the answer, the logits that it was drawn from; "all": of the prompt's
        positions, too. The sequence is computed once more for them, so that the cost is that of its prefill.
    output_last_hidden_state: the same of the hidden states after the last norm.
    include_stop_str_in_output: keep the stop word in the text.
    """

    n: int = 1
    max_new_tokens: int | None = 512
    do_sample: bool = False
    top_p: float = 1.0
    top_k: int = 50
    min_p: float = 0.0
    temperature: float = 0.8
    repetition_penalty: float = 1.0
    ignore_eos: bool = False
    random_seed: int | None = None
    stop_words: list[str] | None = None
    bad_words: list[str] | None = None
    stop_token_ids: list[int] | None = None
    bad_token_ids: list[int] | None = None
    min_new_tokens: int | None = None
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    logits_processors: list[Callable[..., Any]] | None = None
    output_logits: Literal["all", "generation"] | None = None
    output_last_hidden_state: Literal["all", "generation"] | None = None
    include_stop_str_in_output: bool = False
    return_ppl: bool = False
    with_cache: bool = False
    preserve_cache: bool = False
    migration_request: Any = None
    return_routed_experts: bool = False
    repetition_ngram_size: int = 0
    repetition_ngram_threshold: int = 0
    # Ingot's own: presence and frequency penalties (-2 to 2); what is added to the logits of tokens (-100 to 100); the
    # seconds after which a request ends with an error; who goes first of those that wait (lower ones); only requests of
    # the same salt share cached prompts.
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] | None = None
    timeout: float | None = None
    priority: int = 0
    cache_salt: str | None = None
    # Parameters of a request to the server that have no field here, under their names there.
    extra_body: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("output_logits", "output_last_hidden_state"):
            if getattr(self, name) not in (None, "all", "generation"):
                raise InvalidArgument(f"{name} {getattr(self, name)!r} is not None, 'all' or 'generation'", field=name)
        if not self.spaces_between_special_tokens:
            raise Unsupported("spaces_between_special_tokens=False: text is decoded with them, as tokenizers do")
        for name in ("logits_processors", "return_ppl", "migration_request"):
            if getattr(self, name):
                raise Unsupported(f"{name} is not supported; leave it out", field=name)

    def to_body(self, chat: bool) -> dict[str, Any]:
        """The parameters as a request of the server has them."""
        body: dict[str, Any] = {
            "n": self.n,
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature if self.do_sample else 0,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "ignore_eos": self.ignore_eos,
            "skip_special_tokens": self.skip_special_tokens,
            "include_stop_str_in_output": self.include_stop_str_in_output,
            "seed": self.random_seed,
            "stop": self.stop_words,
            "bad_words": self.bad_words,
            "stop_token_ids": self.stop_token_ids,
            "min_tokens": self.min_new_tokens,
            "priority": self.priority,
            "timeout": self.timeout,
            "cache_salt": self.cache_salt,
            "response_format": self.response_format,
            "with_cache": self.with_cache,
            "preserve_cache": self.preserve_cache,
            "return_routed_experts": self.return_routed_experts,
            "repetition_ngram_size": self.repetition_ngram_size,
            "repetition_ngram_threshold": self.repetition_ngram_threshold,
        }
        if self.logprobs is not None:
            body.update({"logprobs": True, "top_logprobs": self.logprobs} if chat else {"logprobs": self.logprobs})
        bias = {str(token): value for token, value in (self.logit_bias or {}).items()}
        bias.update({str(token): -100 for token in self.bad_token_ids or []})
        if bias:
            body["logit_bias"] = bias
        return body | (self.extra_body or {})


# What a request of the server calls the fields of GenerationConfig.
WIRE_NAMES = {
    "seed": "random_seed",
    "stop": "stop_words",
    "max_tokens": "max_new_tokens",
    "min_tokens": "min_new_tokens",
    "top_logprobs": "logprobs",
}


@dataclasses.dataclass
class TurbomindEngineConfig:
    """How a model is loaded into Ingot's own engine, under LMDeploy's names.

    dtype: numbers of a KV cache of 16 bits: "auto" and "float16", or "bfloat16", which has the wider range.
    model_format: the checkpoint's kind, which is read from it in any case.
    session_len: the longest context, in tokens; None: the model's, or what fits.
    max_batch_size: requests at once; None: a default by device.
    cache_max_entry_count: the share of free memory that the KV cache may take (above 0, up to 1).
    cache_block_seq_len: tokens of a block of the KV cache, a multiple of 32.
    enable_prefix_caching: share the cache of common beginnings. On by default, unlike there; no answer depends on it.
    quant_policy: bits of the KV cache: 0 (16), 8 or 4.
    max_prefill_token_num: tokens of one forward pass; None: a default by device.
    download_dir, revision: models are read from local files; a revision is one of the local Hugging Face cache.
    """

    dtype: str = "auto"
    model_format: str | None = None
    tp: int = 1
    session_len: int | None = None
    max_batch_size: int | None = None
    cache_max_entry_count: float = 0.8
    cache_block_seq_len: int = 64
    enable_prefix_caching: bool = True
    quant_policy: int = 0
    rope_scaling_factor: float = 0.0
    use_logn_attn: bool = False
    download_dir: str | None = None
    revision: str | None = None
    max_prefill_token_num: int | None = None
    num_tokens_per_iter: int = 0
    max_prefill_iters: int = 1
    dp: int = 1
    cp: int = 1
    ep: int = 1
    nnodes: int = 1
    node_rank: int = 0
    devices: list[int] | None = None
    async_: int = 1
    empty_init: bool = False
    language_model_only: bool = False
    communicator: str = "nccl"
    hf_overrides: dict[str, Any] | None = None
    enable_metrics: bool = True
    # Ingot's own: the size of the KV cache in bytes, instead of a share; threads to compute with (0: what this machine,
    # or its container, allows); activations in fp32 ("exact"), in int8 or bf16 ("fast"), or chosen by the model's size,
    # as the program does ("auto"); how text is split before a GGUF vocabulary, where the file does not say it; a folder that
    # keeps weights as they are packed at the first load, for later ones to map.
    kv_cache_bytes: int = 0
    num_threads: int = 0
    compute: Literal["auto", "fast", "exact"] = "auto"
    tokenizer_pre: str = ""
    weights_cache: str = ""

    def check(self) -> None:
        """Raises Unsupported for what asks for more than one device, and for what is ignored elsewhere."""
        for name in ("tp", "dp", "cp", "ep", "nnodes"):
            if getattr(self, name) != 1:
                raise Unsupported(f"{name} {getattr(self, name)}: Ingot computes on one device; 1 is what it has")
        for name in ("rope_scaling_factor", "use_logn_attn", "download_dir", "empty_init", "hf_overrides"):
            if getattr(self, name):
                raise Unsupported(f"{name} is not supported; leave it out", field=name)
        if self.dtype not in ("auto", "float16", "bfloat16"):
            raise InvalidArgument(f"dtype {self.dtype!r} is not 'auto', 'float16' or 'bfloat16'", field="dtype")
        if self.compute not in ("auto", "fast", "exact"):
            raise InvalidArgument(f"compute {self.compute!r} is not 'auto', 'fast' or 'exact'", field="compute")


@dataclasses.dataclass
class PytorchEngineConfig:
    """How a model is loaded into the PyTorch engine: transformers computes it, over Ingot's KV cache and scheduler. It needs
    torch and transformers (pip install 'ingot-llm[pytorch]').

    dtype: numbers of weights, activations and KV cache: "auto", the checkpoint's; "float32", "float16" or "bfloat16".
    session_len, max_batch_size, cache_max_entry_count: as of TurbomindEngineConfig.
    block_size: tokens of a block of the KV cache, a multiple of 32.
    enable_prefix_caching: share the cache of common beginnings. On by default, unlike there.
    device_type: "cpu", or "cuda" in a build for it.
    eager_mode: there are no graphs in any case.
    """

    dtype: str = "auto"
    tp: int = 1
    session_len: int | None = None
    max_batch_size: int | None = None
    cache_max_entry_count: float = 0.8
    block_size: int = 64
    enable_prefix_caching: bool = True
    quant_policy: int = 0
    device_type: str = "cpu"
    eager_mode: bool = False
    adapters: dict[str, str] | None = None
    download_dir: str | None = None
    revision: str | None = None
    max_prefill_token_num: int | None = None
    # Ingot's own, as of TurbomindEngineConfig.
    kv_cache_bytes: int = 0
    num_threads: int = 0

    @property
    def cache_block_seq_len(self) -> int:
        """What TurbomindEngineConfig calls block_size."""
        return self.block_size

    @property
    def device(self) -> str:
        """What the program calls device_type."""
        return self.device_type

    def check(self) -> None:
        """Raises Unsupported for what the engine does not offer."""
        if self.tp != 1:
            raise Unsupported(f"tp {self.tp}: Ingot computes on one device; 1 is what it has")
        for name in ("adapters", "download_dir"):
            if getattr(self, name):
                raise Unsupported(f"{name} is not supported; leave it out", field=name)
        if self.dtype not in ("auto", "float32", "float16", "bfloat16"):
            raise InvalidArgument(f"dtype {self.dtype!r} is not 'auto', 'float32', 'float16' or 'bfloat16'", field="dtype")


def backend_of(config: TurbomindEngineConfig | PytorchEngineConfig | None) -> str:
    """The engine that a configuration is of, as the program's --backend names it."""
    if config is None:
        return "auto"
    return "pytorch" if isinstance(config, PytorchEngineConfig) else "native"


@dataclasses.dataclass
class ChatTemplateConfig:
    """Which chat template a conversation is rendered with.

    model_name: a built-in template's name ("internlm2", "qwen", "llama3", ...), or the path of a Jinja file; None: the
        model's own. With pieces, the built-in template whose pieces they replace, or a new name.
    system, eosys: pieces before and after a system message; user, eoh: a user's; assistant, eoa: an answer; tool, eotool:
        a tool's result; separator: between an answer and the next turn. A piece that is None is the template's, or empty:
        {system}{meta_instruction}{eosys}{user}...{eoh}{assistant}...{eoa}{separator}{user}...
    meta_instruction: the system message of conversations that bring none.
    capability: "chat"; "completion": a text is completed as it stands, and messages alone are rendered.
    stop_words: texts that end an answer, in addition to a request's.
    """

    model_name: str | None = None
    system: str | None = None
    meta_instruction: str | None = None
    eosys: str | None = None
    user: str | None = None
    eoh: str | None = None
    assistant: str | None = None
    eoa: str | None = None
    tool: str | None = None
    eotool: str | None = None
    separator: str | None = None
    capability: Literal["completion", "infilling", "chat", "python"] | None = None
    stop_words: list[str] | None = None

    def to_json(self, file_path: str | os.PathLike[str] | None = None) -> str:
        """The fields as a JSON object, which is also written into a file if one is named."""
        text = json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=2)
        if file_path:
            pathlib.Path(file_path).write_text(text, encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, file_or_string: str | os.PathLike[str]) -> ChatTemplateConfig:
        """From a JSON object, or from the file that has it. Fields that it leaves out are None."""
        text = os.fspath(file_or_string)
        try:
            fields = json.loads(text if text.lstrip().startswith("{") else pathlib.Path(text).read_text(encoding="utf-8"))
        except OSError as error:
            raise NotFound(f"{text}: {error.strerror}") from None
        except ValueError as error:
            raise InvalidFile(f"{text:.200}: not a JSON object: {error}") from None
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields if isinstance(fields, dict) else [""]:
            if name not in known:
                raise InvalidArgument(f"{name!r} is not a field of a chat template, which are {', '.join(known)}", field=name)
        return cls(**fields)
