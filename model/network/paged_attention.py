"""Attention over block tables in plain torch: the reference for a GPU's kernels, and the way of CPUs.

In: a packed batch, the paged cache, and each layer's queries, new keys and values. Out: each query's
attention output. A layer's new keys and values are written into their slots first. Then each sequence attends
to all of its own tokens: the last new token sees all of them, each earlier one sees one less.

Shapes: T new tokens of all sequences, R rows that sample, B sequences, M blocks of the longest one, L layers,
C blocks of the cache, S tokens of a block, N query heads, G key and value heads, H head width, K keys of one
sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.cache.batch import Batch
from model.cache.paged_cache import PagedCache
from model.network.attention import softmax_attention
from model.transfer import send


@dataclass(frozen=True)
class PagedSegments:
    """The sequences of one attention over the cache, in the order of their queries.

    A sequence has 5 tokens in the cache, the step computes 3 more, and a token is sampled after the last one:
    new is 3, keys is 8, and queries is 3, or 1 in the last layer.
    """

    queries: tuple[int, ...]
    new: tuple[int, ...]
    """Tokens whose keys and values the step computes."""
    keys: tuple[int, ...]
    """Tokens in the cache once the new ones are written."""
    first: tuple[int, ...]
    """Row of each sequence's first new token."""
    table_BM: Tensor
    """Each sequence's blocks, and 0 behind its last."""
    runs: tuple[slice | None, ...]
    """Each sequence's blocks as a slice, if they follow one another in the cache: that needs no copy."""

    def last_queries(self, sampled: Sequence[bool]) -> "PagedSegments":
        """Only the last query of the sequences that sample."""
        kept = [index for index, samples in enumerate(sampled) if samples]
        return PagedSegments(
            queries=(1,) * len(kept),
            new=tuple(self.new[index] for index in kept),
            keys=tuple(self.keys[index] for index in kept),
            first=tuple(self.first[index] for index in kept),
            table_BM=self.table_BM[kept],
            runs=tuple(self.runs[index] for index in kept),
        )


class PagedAttention:
    """The attention of one step, layer by layer."""

    def __init__(self, cache: PagedCache, batch: Batch) -> None:
        device = cache.k_LCSGH.device
        chunks = batch.chunks
        table_BM = np.zeros((len(chunks), max(len(chunk.table) for chunk in chunks)), np.int32)
        for row, chunk in zip(table_BM, chunks, strict=True):
            row[: len(chunk.table)] = chunk.table
        self._cache = cache
        self._slots_T = send(torch.from_numpy(batch.slots_T(cache.size)).long(), device)
        self._all = PagedSegments(
            queries=tuple(chunk.count for chunk in chunks),
            new=tuple(chunk.count for chunk in chunks),
            keys=tuple(chunk.start + chunk.count for chunk in chunks),
            first=tuple(batch.starts[:-1].tolist()),
            table_BM=send(torch.from_numpy(table_BM), device),
            runs=tuple(_run(chunk.table) for chunk in chunks),
        )
        self._sampled = self._all
        self.rows_R: Tensor | None = None
        """The rows that sample. None when all do, as in decoding: there is nothing to pick."""
        if len(batch.rows_R) < len(batch.ids_T):
            self.rows_R = send(torch.from_numpy(batch.rows_R).long(), device)
            self._sampled = self._all.last_queries([chunk.samples for chunk in chunks])

    def __call__(self, layer: int, q_TNH: Tensor, k_TGH: Tensor, v_TGH: Tensor) -> Tensor:
        """Write the layer's new keys and values, then attend. In the last layer, q has only `rows_R`."""
        k_CSGH, v_CSGH = self._cache.k_LCSGH[layer], self._cache.v_LCSGH[layer]
        k_CSGH.flatten(0, 1).index_copy_(0, self._slots_T, k_TGH)
        v_CSGH.flatten(0, 1).index_copy_(0, self._slots_T, v_TGH)
        segments = self._sampled if layer == len(self._cache.k_LCSGH) - 1 else self._all
        return paged_attention(q_TNH, k_TGH, v_TGH, k_CSGH, v_CSGH, segments)


def paged_attention(
    q_TNH: Tensor, k_TGH: Tensor, v_TGH: Tensor, k_CSGH: Tensor, v_CSGH: Tensor, segments: PagedSegments
) -> Tensor:
    """Softmax attention (T, N, H) of each sequence's last `queries` tokens, each over all tokens up to it.

    The new keys and values are in the cache already. They are passed as well: a sequence that begins in this
    step reads them directly. Every other sequence reads its blocks from the cache.
    """
    out_TNH = torch.empty_like(q_TNH)
    end = 0
    for index, (queries, new, keys, first, run) in enumerate(
        zip(segments.queries, segments.new, segments.keys, segments.first, segments.runs, strict=True)
    ):
        begin, end = end, end + queries
        if new == keys:
            k_KGH, v_KGH = k_TGH[first : first + new], v_TGH[first : first + new]
        elif run is not None:
            k_KGH, v_KGH = k_CSGH[run].flatten(0, 1)[:keys], v_CSGH[run].flatten(0, 1)[:keys]
        else:
            blocks = segments.table_BM[index, : -(-keys // k_CSGH.shape[1])]
            k_KGH = k_CSGH.index_select(0, blocks).flatten(0, 1)[:keys]
            v_KGH = v_CSGH.index_select(0, blocks).flatten(0, 1)[:keys]
        out_TNH[begin:end] = softmax_attention(q_TNH[begin:end], k_KGH, v_KGH, causal=True)
    return out_TNH


def _run(table: Sequence[int]) -> slice | None:
    first, last = table[0], table[-1]
    return slice(first, last + 1) if list(table) == list(range(first, last + 1)) else None
