"""The paged KV cache's tensors, and attention over block tables.

In: a step's plan as tensors (`Pages`), and each layer's queries, new keys and values. Out: what each query
sees. Keys and values are written into their slots first; then every sequence attends to all of its own,
the last new token to all and each earlier one to one less. `paged_attention` is the boundary behind which
a device's kernels stand; here it is the reference, which everything is tested against.

Shapes: T new tokens of all sequences, R rows that sample, B sequences, M blocks of the longest one, L
layers, C blocks of the cache, S tokens of a block, N query heads, G key and value heads, H head width.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.cache.batch import Batch
from model.config import PixtralConfig
from model.network.attention import softmax_attention
from model.transfer import send

# The rest is for the encoder, graphs, sampling, and what the allocator cannot use.
_GPU_SHARE = 0.93


@dataclass(frozen=True)
class CacheLayer:
    """One layer of the cache, by slots."""

    k_CGH: Tensor
    v_CGH: Tensor
    k_scales_CGS: Tensor
    """The factor of each key, where they are in FP8; by blocks, not by slots, and of none elsewhere."""
    v_scales_CGS: Tensor

    @property
    def is_quantized(self) -> bool:
        return self.k_CGH.dtype == torch.float8_e4m3fn


class PagedCache:
    """Keys and values (L, C, S, G, H) of all sequences; in FP8 with the factor of each (L, C, G, S).

    The factors of a block's keys are read all at a time, for one head: they lie behind one another.
    """

    def __init__(
        self, *, layers: int, blocks: int, size: int, heads: int, width: int, like: Tensor, fp8: bool = False
    ) -> None:
        shape = (layers, blocks, size, heads, width)
        dtype = torch.float8_e4m3fn if fp8 else like.dtype
        self.k_LCSGH, self.v_LCSGH = like.new_empty(shape, dtype=dtype), like.new_empty(shape, dtype=dtype)
        scales = (layers, blocks if fp8 else 0, heads, size)
        self.k_scales_LCGS = like.new_empty(scales, dtype=torch.float32)
        self.v_scales_LCGS = like.new_empty(scales, dtype=torch.float32)
        if like.is_cuda:
            # A kernel may multiply what lies behind a sequence's end by 0, and NaN * 0 is NaN. The reference
            # reads nothing there, and memory that is never written is never taken from a CPU's machine.
            for tensor in self._tensors():
                tensor.zero_()

    @property
    def blocks(self) -> int:
        return self.k_LCSGH.shape[1]

    @property
    def size(self) -> int:
        """Tokens of a block."""
        return self.k_LCSGH.shape[2]

    def layer(self, index: int) -> CacheLayer:
        """One layer, by slots."""
        return CacheLayer(
            k_CGH=self.k_LCSGH[index].flatten(0, 1),
            v_CGH=self.v_LCSGH[index].flatten(0, 1),
            k_scales_CGS=self.k_scales_LCGS[index],
            v_scales_CGS=self.v_scales_LCGS[index],
        )

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy whole blocks (from, to), all at once."""
        if pairs:
            sources, targets = send(torch.tensor(pairs), self.k_LCSGH.device).unbind(1)
            for tensor in self._tensors():
                tensor[:, targets] = tensor[:, sources]

    def _tensors(self) -> list[Tensor]:
        """All that a block has; FP8 as bytes, which can be indexed."""
        keys = [
            one.view(torch.uint8) if one.dtype.itemsize == 1 else one for one in (self.k_LCSGH, self.v_LCSGH)
        ]
        scales = [self.k_scales_LCGS, self.v_scales_LCGS] if self.k_scales_LCGS.numel() else []
        return keys + scales


@dataclass(frozen=True)
class Spans:
    """The queries of one attention over the cache, sequence after sequence.

    A sequence of 5 cached tokens that computes 3 more, of which the last is read: queries 3, or 1 in the last
    layer; new 3; keys 8.
    """

    queries: tuple[int, ...]
    new: tuple[int, ...]
    """Tokens whose keys and values the step computes."""
    keys: tuple[int, ...]
    """Tokens in the cache once they are written."""
    first: tuple[int, ...]
    """Row of each sequence's first new token."""
    table_BM: Tensor
    """Each sequence's blocks, and 0 behind its last."""
    runs: tuple[slice | None, ...]
    """Its blocks where they follow one another in the cache, which spares the reference a copy."""

    def last_queries(self, sampled: Sequence[bool]) -> "Spans":
        """Only the last query of the sequences that sample."""
        kept = [index for index, samples in enumerate(sampled) if samples]
        return Spans(
            queries=(1,) * len(kept),
            new=tuple(self.new[index] for index in kept),
            keys=tuple(self.keys[index] for index in kept),
            first=tuple(self.first[index] for index in kept),
            table_BM=self.table_BM[kept],
            runs=tuple(self.runs[index] for index in kept),
        )


class Pages:
    """One step's place in the cache."""

    def __init__(self, cache: PagedCache, batch: Batch) -> None:
        device = cache.k_LCSGH.device
        chunks = batch.chunks
        table_BM = np.zeros((len(chunks), max(len(chunk.table) for chunk in chunks)), np.int32)
        for row, chunk in zip(table_BM, chunks, strict=True):
            row[: len(chunk.table)] = chunk.table
        self._cache = cache
        self._slots_T = send(torch.from_numpy(batch.slots_T(cache.k_LCSGH.shape[2])).long(), device)
        self._all = Spans(
            queries=tuple(chunk.count for chunk in chunks),
            new=tuple(chunk.count for chunk in chunks),
            keys=tuple(chunk.start + chunk.count for chunk in chunks),
            first=tuple(batch.starts[:-1].tolist()),
            table_BM=send(torch.from_numpy(table_BM), device),
            runs=tuple(_run(chunk.table) for chunk in chunks),
        )
        # None when every row samples, as in decoding: nothing to pick.
        self.rows_R = None
        self._sampled = self._all
        if len(batch.rows_R) < len(batch.ids_T):
            self.rows_R = send(torch.from_numpy(batch.rows_R).long(), device)
            self._sampled = self._all.last_queries([chunk.samples for chunk in chunks])

    def attend(self, layer: int, sampled: bool, q_TNH: Tensor, k_TGH: Tensor, v_TGH: Tensor) -> Tensor:
        """Write the layer's new keys and values; what the queries see, only `rows_R`'s if `sampled`."""
        k_CSGH, v_CSGH = self._cache.k_LCSGH[layer], self._cache.v_LCSGH[layer]
        k_CSGH.flatten(0, 1).index_copy_(0, self._slots_T, k_TGH)
        v_CSGH.flatten(0, 1).index_copy_(0, self._slots_T, v_TGH)
        spans = self._sampled if sampled else self._all
        return paged_attention(q_TNH, k_TGH, v_TGH, k_CSGH, v_CSGH, spans)


def paged_attention(
    q_TNH: Tensor, k_TGH: Tensor, v_TGH: Tensor, k_CSGH: Tensor, v_CSGH: Tensor, spans: Spans
) -> Tensor:
    """Softmax attention (T, N, H) of each sequence's last `queries` tokens to its tokens up to each.

    The new keys and values are in the cache already. They are passed as well, since a sequence that begins in
    this step reads them where they lie; any other one's are read from its blocks, gathered if need be.
    """
    out_TNH = torch.empty_like(q_TNH)
    end = 0
    for index, (queries, new, keys, first, run) in enumerate(
        zip(spans.queries, spans.new, spans.keys, spans.first, spans.runs, strict=True)
    ):
        begin, end = end, end + queries
        if new == keys:
            k_KGH, v_KGH = k_TGH[first : first + new], v_TGH[first : first + new]
        elif run is not None:
            k_KGH, v_KGH = k_CSGH[run].flatten(0, 1)[:keys], v_CSGH[run].flatten(0, 1)[:keys]
        else:
            blocks = spans.table_BM[index, : -(-keys // k_CSGH.shape[1])]
            k_KGH = k_CSGH.index_select(0, blocks).flatten(0, 1)[:keys]
            v_KGH = v_CSGH.index_select(0, blocks).flatten(0, 1)[:keys]
        out_TNH[begin:end] = softmax_attention(q_TNH[begin:end], k_KGH, v_KGH, causal=True)
    return out_TNH


def _run(table: Sequence[int]) -> slice | None:
    first, last = table[0], table[-1]
    return slice(first, last + 1) if list(table) == list(range(first, last + 1)) else None


def free_memory(device: torch.device) -> int:
    """Bytes that nobody uses."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def cache_tokens(
    config: PixtralConfig,
    like: Tensor,
    step_tokens: int,
    sequences: int,
    *,
    fp8: bool = False,
    ranks: int = 1,
) -> int:
    """Tokens for which a cache of `like`'s dtype, or FP8, has memory on its device, once the model is there,
    or this one's share of it among `ranks`.

    On a GPU most of what is free, less what a step computes with. On a CPU, which others use too, a quarter
    of what is free, and no more than 262,144 tokens, some 80 pages.
    """
    vector = config.head_dim + 4 if fp8 else config.head_dim * like.dtype.itemsize
    token = 2 * config.n_layers * (config.n_kv_heads // ranks) * vector
    if like.is_cuda:
        # Live at a time in a layer: the residual stream twice, and queries, keys, values and what attention
        # gives, or the three of the feed-forward; in the end logits in float32, twice.
        attention = 2 * (config.n_heads + config.n_kv_heads) * config.head_dim
        width = 2 * config.dim + max(attention, 3 * config.hidden_dim) // ranks
        work = step_tokens * width * like.dtype.itemsize + 8 * sequences * config.vocab_size
        free = int(free_memory(like.device) * _GPU_SHARE) - work
        tokens = free // token
    else:
        free = free_memory(like.device)
        tokens = min(free // 4 // token, 262_144)
    if tokens < 1:
        raise ValueError(
            f"{free >> 20} MiB are free beside the model: too little for a cache. Use a smaller model, a "
            "smaller dtype or a larger machine"
        )
    return int(tokens)
