"""Attention over a KV cache of blocks, for the PyTorch engine. Shapes are those of one layer."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

try:
    from flash_attn import flash_attn_varlen_func
except ImportError:
    flash_attn_varlen_func = None


class Sequences:
    """The sequences of a step, one after another in its tokens, and where their keys and values are in a group's cache."""

    def __init__(self, cu_seqlens: list[int], begins: list[int], tables: torch.Tensor, slots: torch.Tensor, block_len: int) -> None:
        """cu_seqlens: [S + 1], tokens of sequence s are cu_seqlens[s] to cu_seqlens[s + 1]; begins: [S], the positions of
        their first tokens; tables: [S, stride] blocks; slots: [T] block * block_len + offset of each token."""
        self.block_len = block_len
        self.rows = list(zip(cu_seqlens[:-1], cu_seqlens[1:]))
        self.begins = begins
        self.tables = tables.to(torch.int64)
        self.blocks, self.offsets = slots.to(torch.int64) // block_len, slots.to(torch.int64) % block_len


class KvBlocks:
    """A layer's cache: in each block its keys, then its values."""

    def __init__(self, numbers: torch.Tensor, block_len: int, num_kv_heads: int, head_dim: int, value_head_dim: int) -> None:
        """numbers: [num_blocks, block_len * num_kv_heads * (head_dim + value_head_dim)], a view of the engine's memory."""
        keys = block_len * num_kv_heads * head_dim
        self.keys = numbers[:, :keys].unflatten(1, (block_len, num_kv_heads, head_dim))
        self.values = numbers[:, keys:].unflatten(1, (block_len, num_kv_heads, value_head_dim))

    def write(self, sequences: Sequences, key: torch.Tensor, value: torch.Tensor) -> None:
        """key: [num_kv_heads, T, head_dim]; value: [num_kv_heads, T, value_head_dim]"""
        self.keys[sequences.blocks, sequences.offsets] = key.transpose(0, 1).to(self.keys.dtype)
        self.values[sequences.blocks, sequences.offsets] = value.transpose(0, 1).to(self.values.dtype)

    def read(self, sequences: Sequences, index: int, begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the positions [begin, end) of a sequence: [num_kv_heads, end - begin, ...]"""
        block_len = sequences.block_len
        first = begin // block_len
        table = sequences.tables[index, first : -(-end // block_len)]
        inside = slice(begin - first * block_len, end - first * block_len)
        return self.keys[table].flatten(0, 1)[inside].transpose(0, 1), self.values[table].flatten(0, 1)[inside].transpose(0, 1)


@dataclasses.dataclass(frozen=True)
class Attention:
    """softmax(scale * q k) v, as a layer asks for it: of a window (0: of all before), with scores kept within a softcap
    (0: not), and with sinks: a score of each head that no token has."""

    scale: float
    window: int = 0
    softcap: float = 0.0
    sinks: torch.Tensor | None = None  # [num_heads]

    QUERIES = 128  # whose scores are in memory at once

    def __call__(self, blocks: KvBlocks, sequences: Sequences, query: torch.Tensor) -> torch.Tensor:
        """query: [num_heads, T, head_dim]; returns [num_heads, T, value_head_dim]"""
        if self._suits_flash(blocks, query):
            return self.with_flash(blocks, sequences, query)
        out = query.new_empty(query.shape[0], query.shape[1], blocks.values.shape[-1])
        for index, (row, last) in enumerate(sequences.rows):
            begin = sequences.begins[index]
            seen = self._first_seen(begin)
            key, value = blocks.read(sequences, index, seen, begin + last - row)
            for chunk in range(row, last, self.QUERIES):
                rows = slice(chunk, min(chunk + self.QUERIES, last))
                at = begin + chunk - row  # position of its first query
                end = at + rows.stop - rows.start
                first = self._first_seen(at)
                mask = self._mask(at, first, end, query.device)
                attend = self._with_scores if self.softcap or self.sinks is not None else self._sdpa
                out[:, rows] = attend(query[:, rows], key[:, first - seen : end - seen], value[:, first - seen : end - seen], mask)
        return out

    def _suits_flash(self, blocks: KvBlocks, query: torch.Tensor) -> bool:
        same_heads = query.shape[-1] == blocks.values.shape[-1] <= 256
        return flash_attn_varlen_func is not None and query.is_cuda and query.element_size() == 2 and same_heads and self.sinks is None

    def with_flash(self, blocks: KvBlocks, sequences: Sequences, query: torch.Tensor) -> torch.Tensor:
        """The same in one call of flash-attn, of all sequences. Its last query sees the last key."""
        parts, lengths = [], []
        for index, (row, last) in enumerate(sequences.rows):
            begin = sequences.begins[index]
            parts.append(blocks.read(sequences, index, self._first_seen(begin), begin + last - row))
            lengths.append(parts[-1][0].shape[1])
        key, value = (torch.cat(part, 1).transpose(0, 1) for part in zip(*parts))
        rows = [0, *(last for _, last in sequences.rows)]
        cu_queries = torch.tensor(rows, dtype=torch.int32, device=query.device)
        cu_keys = torch.tensor([0, *lengths], dtype=torch.int32, device=query.device).cumsum(0, dtype=torch.int32)
        window = (self.window - 1, 0) if self.window else (-1, -1)
        out = flash_attn_varlen_func(query.transpose(0, 1), key, value, cu_queries, cu_keys, max(last - row for row, last in sequences.rows),
                                     max(lengths), softmax_scale=self.scale, causal=True, window_size=window, softcap=self.softcap)  # fmt: skip
        return out.transpose(0, 1)

    def _first_seen(self, position: int) -> int:
        return max(0, position - self.window + 1) if self.window else 0

    def _mask(self, at: int, first: int, end: int, device: torch.device) -> torch.Tensor | None:
        """Which positions [first, end) the queries [at, end) see; None: all."""
        if end - at == 1:
            return None
        queries, keys = torch.arange(at, end, device=device)[:, None], torch.arange(first, end, device=device)[None]
        seen = keys <= queries
        return seen & (keys > queries - self.window) if self.window else seen

    def _sdpa(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        grouped = query.shape[0] != key.shape[0]
        return F.scaled_dot_product_attention(query[None], key[None], value[None], mask, scale=self.scale, enable_gqa=grouped)[0]

    def _with_scores(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        repeats = query.shape[0] // key.shape[0]
        key, value = key.repeat_interleave(repeats, 0), value.repeat_interleave(repeats, 0)
        scores = query @ key.transpose(1, 2) * self.scale
        if self.softcap:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        if self.sinks is not None:
            sinks = self.sinks.to(scores.dtype).view(-1, 1, 1).expand(-1, scores.shape[1], 1)
            scores = torch.cat([scores, sinks], -1)
        weights = F.softmax(scores, -1, dtype=torch.float32).to(value.dtype)
        return weights[..., : key.shape[1]] @ value
