"""A step's numbers on a GPU: which token goes where, and the work items of its attention.

In: a packed batch. Out: tensors, sent in one copy, for the layers of `decoder`. No weights and no activations
here, and no fixed shapes: those that a graph needs are `padding`'s.

Shapes: T tokens, R rows that sample, S tokens whose keys are gathered, B sequences, M blocks of the longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.cache.batch import Batch, slots
from model.cache.plan import Chunk
from model.executor.split_kv import Work, divide
from model.kernels.split_attention import Queries
from model.network.layers import Segments
from model.transfer import send_numbers

# Tokens up to which a chunk is short: from there on FlashAttention's tiles are full.
SHORT = 64
# Tokens of a work item: 4 query heads a key head make them tiles of 16, 32 and 64 rows.
WIDTHS = (4, 8, 16)
# Work items that keep a GPU of 132 multiprocessors busy evenly, times its 8 key heads.
ITEMS = 384


@dataclass(frozen=True)
class Long:
    """Chunks of many tokens, behind the short ones."""

    segments: Segments
    slots_S: Tensor | None
    """Of all their keys; None where all begin in this step: then keys and values lie packed already."""


@dataclass(frozen=True)
class Inputs:
    """A step on the device."""

    ids_T: Tensor
    positions_T: Tensor
    slots_T: Tensor
    short: Queries | None
    short_tokens: int
    long: Long | None
    rows_R: Tensor | None
    """None when every token samples."""
    last: Queries | None
    """The attention of the rows that sample, in the last layer."""


def pack(batch: Batch, size: int, device: torch.device) -> Inputs:
    """The batch, whose shorter chunks come first, over a cache of blocks of `size` tokens."""
    chunks = batch.chunks
    short, long = parted(chunks)
    arrays = [batch.ids_T, batch.positions_T, batch.slots_T(size)]
    all_sample = len(batch.rows_R) == len(batch.ids_T)
    # Every kind of attention gets its arrays; which of them are there is known without looking at them.
    kinds: list[Work] = []
    if short:
        kinds.append(divided(short, size))
        arrays += [table_of(short), *_arrays(kinds[-1])]
    sampling = last_tokens(chunks)
    if sampling and not all_sample:
        kinds.append(divided(sampling, size))
        arrays += [table_of(sampling), *_arrays(kinds[-1])]
    if not all_sample:
        arrays.append(batch.rows_R)
    if long:
        ends = [chunk.start + chunk.count for chunk in long]
        starts_q = batch.starts[len(short) :].astype(np.int32)
        arrays += [starts_q, np.cumsum([0, *ends]).astype(np.int32)]
        goes_on = any(chunk.start for chunk in long)
        if goes_on:
            keys = [slots(one, 0, end, size) for one, end in zip(long, ends, strict=True)]
            arrays.append(np.concatenate(keys))
    there = iter(send_numbers(arrays, device))
    ids_T, positions_T, slots_T = next(there), next(there), next(there)
    works = [_queries(work, [next(there) for _ in range(3 + 3 * len(WIDTHS))]) for work in kinds]
    rows_R = None if all_sample else next(there).long()
    return Inputs(
        ids_T=ids_T,
        positions_T=positions_T,
        slots_T=slots_T,
        short=works[0] if short else None,
        short_tokens=int(batch.starts[len(short)]),
        rows_R=rows_R,
        last=works[-1] if sampling else None,
        long=Long(
            Segments(
                lengths_q=tuple(chunk.count for chunk in long),
                lengths_k=tuple(ends),
                causal=True,
                starts_q=next(there),
                starts_k=next(there),
                longest_q=max(chunk.count for chunk in long),
                longest_k=max(ends),
                skipped=int(batch.starts[len(short)]),
            ),
            next(there) if goes_on else None,
        )
        if long
        else None,
    )


def parted(chunks: Sequence[Chunk]) -> tuple[list[Chunk], list[Chunk]]:
    """The short chunks and the long ones behind them."""
    short = [chunk for chunk in chunks if chunk.count <= SHORT]
    long = list(chunks[len(short) :])
    assert all(chunk.count > SHORT for chunk in long), "the short chunks come first"
    return short, long


def last_tokens(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Of the chunks that sample, the tokens after which they do."""
    return [Chunk(one.key, one.start + one.count - 1, 1, one.table, True) for one in chunks if one.samples]


def divided(chunks: Sequence[Chunk], size: int) -> Work:
    return divide(chunks, size=size, widths=WIDTHS, target=ITEMS)


def table_of(chunks: Sequence[Chunk]) -> NDArray[np.int32]:
    """(B, M): each chunk's blocks, 0 behind its last; M in steps, so that kernels are compiled once."""
    table_BM = np.zeros((len(chunks), -(-max(len(one.table) for one in chunks) // 16) * 16), np.int32)
    for row, chunk in zip(table_BM, chunks, strict=True):
        row[: len(chunk.table)] = chunk.table
    return table_BM


def _arrays(work: Work) -> list[NDArray[np.int32]]:
    parts = [array for item in work.items for array in (item.tokens_IQ, item.places_IQ, item.spans_I3)]
    return [work.limits_T, work.places_T2, *parts]


def _queries(work: Work, there: Sequence[Tensor]) -> Queries:
    """`there` are the table and the `_arrays` on the device."""
    return Queries(
        table_BM=there[0],
        limits_T=there[1],
        places_T2=there[2],
        items=triples(there[3:]),
        partials=int(work.places_T2[-1, 1]),
    )


def triples(tensors: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    return list(zip(tensors[::3], tensors[1::3], tensors[2::3], strict=True))
