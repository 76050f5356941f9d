"""The PyTorch engine: any decoder of transformers that goes through its attention interface, over Ingot's paged KV cache.

Ingot schedules, owns the blocks of the cache and draws tokens; a Runner computes the forward pass of a step. Nothing here
knows a model: a pass over a few tokens shows what each layer caches, and a second one that the answers are transformers'.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import os
from typing import Any, Callable, Iterator, NamedTuple

import torch
import transformers
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM

from ingot.errors import IngotError, InvalidArgument, InvalidFile, Unsupported
from ingot.paged_attention import Attention, KvBlocks, Sequences

__all__ = ["Runner", "load"]

ATTENTION = "ingot_paged"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LAYER_TYPES = ("full_attention", "sliding_attention")
# A model that states no length gets this one.
DEFAULT_MAX_POSITION = 4096
CHECK_TOKENS, CHECK_CHUNK = 12, 7
# How far a paged pass may be from transformers' own, as a share of the largest logit.
TOLERANCES = {torch.float32: 1e-3, torch.float16: 0.25, torch.bfloat16: 0.25}
QUANTIZED_TOLERANCE = 0.25


@dataclasses.dataclass(frozen=True)
class Layer:
    """What a layer caches, and how its scores are made."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    value_head_dim: int
    window: int  # 0: a query sees all positions before it

    @property
    def group(self) -> tuple[int, ...]:
        """Layers that share blocks have this in common, as models::KvGroupsOf sorts them."""
        return self.window, self.num_kv_heads, self.head_dim, self.value_head_dim

    @property
    def token_numbers(self) -> int:
        return self.num_kv_heads * (self.head_dim + self.value_head_dim)


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # [1, num_heads, T, head_dim]
    key: torch.Tensor,  # [1, num_kv_heads, T, head_dim]
    value: torch.Tensor,  # [1, num_kv_heads, T, value_head_dim]
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in each layer; returns [1, T, num_heads, value_head_dim]."""
    if attention_mask is not None or options.get("position_bias") is not None:
        raise Unsupported(f"{type(module).__name__} has a mask or bias of its own in its attention")
    if options.get("is_causal", None) is False or not getattr(module, "is_causal", True):
        raise Unsupported(f"{type(module).__name__} is an encoder's: its tokens see those after them")
    scale = options.get("scaling")
    attention = Attention(
        scale=query.shape[-1] ** -0.5 if scale is None else float(scale),
        window=options.get("sliding_window") or 0,
        softcap=options.get("softcap") or 0.0,
        sinks=options.get("s_aux"),
    )
    out = _current_pass.get().attend(attention, query[0], key[0], value[0])
    return out.transpose(0, 1).unsqueeze(0).to(query.dtype), None


AttentionInterface.register(ATTENTION, paged_attention)
# Of this thread. Not all models pass arguments of ours on to their attention.
_current_pass: contextvars.ContextVar[Probe | Pass] = contextvars.ContextVar("ingot_pass")


class Probe:
    """A pass that notes what the layers cache, and attends to nothing."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def attend(self, attention: Attention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        num_heads, num_tokens, head_dim = query.shape
        self.layers.append(Layer(num_heads, key.shape[0], head_dim, value.shape[-1], attention.window))
        return query.new_zeros(num_heads, num_tokens, value.shape[-1])


class Pass:
    """A pass over a step's batch: layer by layer, in the order in which transformers calls them."""

    def __init__(self, layers: list[tuple[KvBlocks, Sequences]]) -> None:
        self._layers = iter(layers)

    def attend(self, attention: Attention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        blocks, sequences = next(self._layers)
        blocks.write(sequences, key, value)
        return attention(blocks, sequences, query)


class Step(NamedTuple):
    """What a pass works on: tokens of S sequences, one after another."""

    token_ids: torch.Tensor  # i32 [T] an id, or ~slot: the token last drawn for that slot
    drawn: torch.Tensor  # i32 [max_batch_size]
    positions: torch.Tensor  # i32 [T]
    cu_seqlens: torch.Tensor  # i32 [S + 1]
    # Of each group of layers: u8 [num_blocks, block_bytes], tokens of a block, i32 [S, stride] block tables, i32 [T] slots
    groups: list[tuple[torch.Tensor, int, torch.Tensor, torch.Tensor]]
    logits_rows: torch.Tensor  # i32 [L] tokens whose logits are wanted


class Runner:
    """A model, for ingot._core.TorchModel: what it reads of this class is named there."""

    def __init__(self, model: Any, num_threads: int, session_len: int) -> None:
        self._model = model.eval()
        self._model.set_attn_implementation(ATTENTION)
        self._device = next(model.parameters()).device
        config = model.config.get_text_config(decoder=True)
        _check_config(config, type(model))
        torch.set_num_threads(num_threads)
        self.dtype = model.dtype
        self.dtype_name = str(self.dtype).removeprefix("torch.")
        if self.dtype_name not in DTYPES:
            raise Unsupported(f"dtype {self.dtype_name} is not one of {', '.join(DTYPES)}")
        self.description = f"PyTorch {torch.__version__}, transformers {transformers.__version__}, {self.dtype_name} on {self._device}"
        self.family: str = config.model_type
        self.hidden_size: int = config.hidden_size
        self.max_position = _max_position(config, session_len)
        self.weight_bytes = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
        self._caches: dict[int, tuple[int, list[KvBlocks]]] = {}
        self.layers, self.vocab_size = self._look_at_layers(config)
        self._groups = list(dict.fromkeys(layer.group for layer in self.layers))
        self._check_against_transformers()
        # What torch's allocator is expected to take: of a step's token, and of a position of the longest context.
        wide = max(self.hidden_size * 4, getattr(config, "intermediate_size", None) or 0)
        self.token_bytes = 4 * (16 * self.hidden_size + 4 * wide) + 8 * self.vocab_size
        heads = max(layer.num_heads * (layer.head_dim + layer.value_head_dim) for layer in self.layers)
        self.context_bytes = 4 * (2 * heads + 3 * Attention.QUERIES * max(layer.num_heads for layer in self.layers))

    def forward(self, batch: tuple[Any, ...], logits: torch.Tensor, want_hidden: bool) -> list[tuple[int, torch.Tensor]]:
        """Computes a step: batch has the fields of a Step, and logits, f32 [L, vocab_size], are written. Returns hidden
        states, where they are wanted: (layer, f32 [T, hidden_size]); -1 is the embedding, len(layers) the last norm; the
        last layer's own are not among them."""
        step = Step(*batch)
        with torch.inference_mode(), _in_order(self._device):
            ids = step.token_ids.to(self._device, torch.int64)
            ids = torch.where(ids < 0, step.drawn[(~ids).clamp(min=0)].to(torch.int64), ids)
            lengths, positions = step.cu_seqlens.tolist(), step.positions.tolist()
            begins = [positions[row] for row in lengths[:-1]]
            of_groups = []
            for index, (data, block_len, tables, slots) in enumerate(step.groups):
                sequences = Sequences(lengths, begins, tables.to(self._device), slots.to(self._device), block_len)
                of_groups.append((self._blocks_of(index, data, block_len), sequences))
            wanted = step.logits_rows.to(self._device, torch.int64)
            out = self._compute(ids, step.positions.to(self._device), self._pass_over(of_groups), wanted, want_hidden)
            if len(wanted) > 0:
                rows = out.logits[0]
                logits.copy_(rows if len(rows) == len(wanted) else rows[wanted])  # a model may not know logits_to_keep
            hidden = out.hidden_states if want_hidden else ()
            return [(index - 1 if index + 1 < len(hidden) else len(self.layers), state[0].float().cpu().contiguous())
                    for index, state in enumerate(hidden)]  # fmt: skip

    def _compute(self, ids: torch.Tensor, positions: torch.Tensor, ingot_pass: Probe | Pass, rows: torch.Tensor, want_hidden: bool = False) -> Any:
        before = _current_pass.set(ingot_pass)
        try:
            return self._model(
                input_ids=ids[None],
                position_ids=positions[None].to(torch.int64),
                use_cache=False,
                logits_to_keep=rows,
                output_hidden_states=want_hidden,
            )
        finally:
            _current_pass.reset(before)

    def _blocks_of(self, group: int, data: torch.Tensor, block_len: int) -> list[KvBlocks]:
        """A group's cache, as its layers see it. The engine's memory stays where it is."""
        known = self._caches.get(group)
        if known is None or known[0] != data.data_ptr():
            numbers = data.view(self.dtype)
            layers = [layer for layer in self.layers if layer.group == self._groups[group]]
            per_layer = layers[0].token_numbers * block_len
            known = data.data_ptr(), [
                KvBlocks(numbers[:, i * per_layer : (i + 1) * per_layer], block_len, layer.num_kv_heads, layer.head_dim, layer.value_head_dim)
                for i, layer in enumerate(layers)
            ]
            self._caches[group] = known
        return known[1]

    def _pass_over(self, of_groups: list[tuple[list[KvBlocks], Sequences]]) -> Pass:
        left = [iter(blocks) for blocks, _ in of_groups]
        where = [self._groups.index(layer.group) for layer in self.layers]
        return Pass([(next(left[group]), of_groups[group][1]) for group in where])

    def _look_at_layers(self, config: Any) -> tuple[list[Layer], int]:
        probe = Probe()
        zeros = torch.zeros(2, dtype=torch.int64, device=self._device)
        with torch.inference_mode():
            out = self._compute(zeros, torch.arange(2, device=self._device), probe, zeros[:1])
        if not probe.layers:
            raise Unsupported(f"{self.family} does not go through transformers' attention interface ({type(self._model).__name__})")
        if len(probe.layers) < config.num_hidden_layers:
            raise Unsupported(f"{self.family}: {len(probe.layers)} of {config.num_hidden_layers} layers have an attention over keys and values; the others keep states, which the PyTorch engine cannot")  # fmt: skip
        layer_types = getattr(config, "layer_types", None) or []
        for index, (kind, layer) in enumerate(zip(layer_types, probe.layers)):
            if (kind == "sliding_attention") != (layer.window > 0):
                raise Unsupported(f"{self.family}: layer {index} is {kind}, and its attention is told of a window of {layer.window}")
        return probe.layers, out.logits.shape[-1]

    def _check_against_transformers(self) -> None:
        """A short text in two chunks is to have the logits that transformers computes from all of it at once."""
        ids = torch.arange(CHECK_TOKENS, dtype=torch.int32) * 7 % self.vocab_size
        self._model.set_attn_implementation("eager")
        with torch.inference_mode():
            expected = self._model(input_ids=ids[None].to(self._device, torch.int64), use_cache=False).logits[0].float()
        self._model.set_attn_implementation(ATTENTION)
        block_len = 32
        size = torch.empty(0, dtype=self.dtype).element_size() * block_len
        groups = []
        for group in self._groups:
            block_bytes = sum(layer.token_numbers for layer in self.layers if layer.group == group) * size
            groups.append(torch.zeros(1, block_bytes, dtype=torch.uint8, device=self._device))
        found = torch.empty_like(expected)
        for begin, end in ((0, CHECK_CHUNK), (CHECK_CHUNK, CHECK_TOKENS)):
            rows = torch.arange(end - begin, dtype=torch.int32)
            table = torch.zeros(1, 1, dtype=torch.int32)
            of_groups = [(data, block_len, table, rows + begin) for data in groups]
            batch = (ids[begin:end], rows, rows + begin, torch.tensor([0, end - begin]), of_groups, rows)
            self.forward(batch, found[begin:end], False)
        self._caches.clear()
        error, largest = float((found - expected).abs().max()), float(expected.abs().max())
        # Where activations are quantized (LLM.int8()), how depends on what else is in a batch.
        tolerance = TOLERANCES[self.dtype] if getattr(self._model, "hf_quantizer", None) is None else QUANTIZED_TOLERANCE
        if not error <= tolerance * largest:
            raise Unsupported(f"{self.family}: its logits over a paged cache are {error:.2g} away from transformers' own (the largest is {largest:.2g}): it keeps more than keys and values, or its attention sees more than a window")  # fmt: skip


@contextlib.contextmanager
def _in_order(device: torch.device) -> Iterator[None]:
    """On a GPU the engine has a stream of its own: each waits for the other."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize()


def _check_config(config: Any, model_class: Any) -> None:
    name = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise Unsupported(f"{name} is an encoder with a decoder; the PyTorch engine computes decoders alone")
    if getattr(model_class, "_is_stateful", False):
        raise Unsupported(f"{name} keeps recurrent states, which the PyTorch engine cannot")
    others = sorted(set(getattr(config, "layer_types", None) or []) - set(LAYER_TYPES))
    if others:
        raise Unsupported(f"{name} has layers of {', '.join(others)}; the PyTorch engine computes {' and '.join(LAYER_TYPES)}")


def _rope_kinds(parameters: Any) -> Iterator[dict[str, Any]]:
    """Those of a configuration, which may have one for each kind of layer."""
    if isinstance(parameters, dict):
        if "rope_type" in parameters:
            yield parameters
        for inner in parameters.values():
            yield from _rope_kinds(inner)


def _max_position(config: Any, session_len: int) -> int:
    names = ("max_position_embeddings", "n_positions", "max_seq_len")
    length = next((value for name in names if (value := getattr(config, name, None))), DEFAULT_MAX_POSITION)
    for rope in _rope_kinds(getattr(config, "rope_parameters", None)):
        # Its factors change with the longest text of a batch: a cache holds keys of one kind only.
        if rope["rope_type"] == "longrope":
            length = min(length, rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", length))
        if rope["rope_type"] in ("longrope", "dynamic") and session_len > length:
            raise InvalidArgument(f"--session-len {session_len}: the PyTorch engine computes {config.model_type} up to {length} tokens, where its {rope['rope_type']} positions begin to change", field="session_len")  # fmt: skip
    return int(length)


def _read(read: Callable[[], Any], path: str) -> Any:
    """What transformers reads, with its errors as ours."""
    try:
        return read()
    except IngotError:
        raise
    except (ImportError, NotImplementedError) as error:  # a kind of quantization whose package is not here
        raise Unsupported(f"{path}: {error}") from error
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        kind = Unsupported if "Unrecognized" in str(error) or "does not recognize" in str(error) else InvalidFile
        raise kind(f"{path}: transformers {transformers.__version__}: {str(error).strip().splitlines()[0]}") from error


def load(path: str, dtype: str, device: str, num_threads: int, session_len: int) -> Runner:
    """Reads a Hugging Face checkpoint. session_len: 0 where none is asked for."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    config = _read(lambda: AutoConfig.from_pretrained(folder, local_files_only=True), folder)
    if getattr(config, "is_encoder_decoder", False):
        _check_config(config, None)
    options = {"dtype": DTYPES.get(dtype, "auto"), "local_files_only": True}
    if device == "cuda" and not torch.cuda.is_available():
        raise Unsupported("--device cuda: this torch finds no GPU (torch.cuda.is_available())")
    model = _read(lambda: AutoModelForCausalLM.from_pretrained(folder, config=config, **options), folder)
    return Runner(model.to(device), num_threads, session_len)
