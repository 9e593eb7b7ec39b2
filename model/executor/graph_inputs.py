"""A step's numbers in arrays of fixed shapes: what a CUDA graph reads, whose inputs stay where they are.

In: a packed batch, and the room that a graph has. Out: arrays, filled up with tokens of no sequence, work
items without keys and segments without tokens; and the inputs that they are once they have a place on the
device. A batch that does not fit is none of a graph's.

Shapes: T tokens, R rows that sample, S tokens whose keys are gathered, B sequences, M blocks of the longest,
I items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.cache.batch import Batch, slots
from model.cache.plan import Chunk
from model.executor.attention_inputs import (
    ITEMS,
    WIDTHS,
    Inputs,
    Long,
    divided,
    last_tokens,
    parted,
    table_of,
    triples,
)
from model.kernels.split_attention import Queries
from model.network.layers import Segments
from model.transfer import Slots


@dataclass(frozen=True, kw_only=True)
class Room:
    """The most that a graph's step holds."""

    tokens: int
    short: int
    """Tokens of short chunks; as many as there are tokens where each decodes and samples."""
    rows: int
    """Tokens that sample."""
    blocks: int
    """Of a sequence."""
    keys: int = 0
    """Of long chunks, with those before them."""
    segments: int = 0
    """Long chunks; 0 where all tokens decode."""

    @property
    def items(self) -> int:
        """Work items of each width. A span adds at most a part of an item to what was aimed at; only prefixes
        that grow step by step, each shared by some, make more than two a token."""
        return ITEMS + 2 * self.rows


def pad(batch: Batch, size: int, room: Room) -> list[NDArray[np.int32]] | None:
    """The batch, whose shorter chunks come first, over a cache of blocks of `size` tokens; None if it takes
    more room."""
    short, long = parted(batch.chunks)
    if len(batch.ids_T) > room.tokens or max(len(one.table) for one in batch.chunks) > room.blocks:
        return None
    arrays = [
        _filled(batch.ids_T, (room.tokens,), 0),
        _filled(batch.positions_T, (room.tokens,), 0),
        _filled(batch.slots_T(size), (room.tokens,), -1),
    ]
    of_short = _pad_queries(short, size, room.short, room)
    if of_short is None:
        return None
    arrays += of_short
    if not room.segments:
        assert not long, long
        return arrays
    of_last = _pad_queries(last_tokens(batch.chunks), size, room.rows, room)
    ends = [one.start + one.count for one in long]
    if of_last is None or len(long) > room.segments or sum(ends) > room.keys:
        return None
    keys = [slots(one, 0, end, size) for one, end in zip(long, ends, strict=True)]
    starts_q, starts_k = batch.starts[len(short) :].astype(np.int32), np.cumsum([0, *ends]).astype(np.int32)
    return [
        *arrays,
        *of_last,
        _filled(batch.rows_R, (room.rows,), 0),
        _filled(starts_q, (room.segments + 1,), starts_q[-1]),
        _filled(starts_k, (room.segments + 1,), starts_k[-1]),
        _filled(np.concatenate([np.zeros(0, np.int32), *keys]), (room.keys,), -1),
    ]


def padded_inputs(there: Slots, room: Room) -> Inputs:
    """The inputs that such arrays are once they have a place on the device."""
    ids_T, positions_T, slots_T, *rest = there.tensors
    queries = 3 + 3 * len(WIDTHS)
    short = _queries(rest[:queries], room)
    if not room.segments:
        return Inputs(
            ids_T=ids_T,
            positions_T=positions_T,
            slots_T=slots_T,
            short=short,
            short_tokens=room.short,
            long=None,
            rows_R=None,
            last=short,
        )
    last = _queries(rest[queries : 2 * queries], room)
    rows_R, starts_q, starts_k, keys_S = rest[2 * queries :]
    segments = Segments(
        lengths_q=(),  # only the device knows
        lengths_k=(),
        causal=True,
        starts_q=starts_q,
        starts_k=starts_k,
        longest_q=room.tokens,
        longest_k=room.keys,
    )
    return Inputs(
        ids_T=ids_T,
        positions_T=positions_T,
        slots_T=slots_T,
        short=short,
        short_tokens=room.short,
        rows_R=rows_R,
        last=last,
        long=Long(segments, keys_S),
    )


def _pad_queries(
    chunks: Sequence[Chunk], size: int, tokens: int, room: Room
) -> list[NDArray[np.int32]] | None:
    """Table, limits, places and work items of chunks of so many tokens at most."""
    count = sum(one.count for one in chunks)
    if count > tokens:
        return None
    arrays = [
        np.zeros((tokens, room.blocks), np.int32),
        np.zeros(tokens, np.int32),
        np.zeros((tokens, 2), np.int32),
    ]
    for width in WIDTHS:
        arrays.append(np.full((room.items, width), -1, np.int32))
        arrays += [np.zeros((room.items, width), np.int32), np.zeros((room.items, 3), np.int32)]
    if not chunks:
        return arrays
    work = divided(chunks, size)
    if any(len(item.spans_I3) > room.items for item in work.items):
        return None
    there = [table_of(chunks)[:, : room.blocks], work.limits_T, work.places_T2]
    there += [part for item in work.items for part in (item.tokens_IQ, item.places_IQ, item.spans_I3)]
    for array, part in zip(arrays, there, strict=True):
        array[tuple(slice(length) for length in part.shape)] = part
    return arrays


def _queries(there: Sequence[Tensor], room: Room) -> Queries:
    table_BM, limits_T, places_T2, *rest = there
    items = triples(rest)
    return Queries(
        table_BM=table_BM,
        items=items,
        limits_T=limits_T,
        places_T2=places_T2,
        # A token has no more spans than blocks, and an item no more places than tokens.
        partials=min(len(limits_T) * room.blocks, sum(tokens_IQ.numel() for tokens_IQ, _, _ in items)),
    )


def _filled(array: NDArray[np.int32], shape: tuple[int, ...], value: int) -> NDArray[np.int32]:
    """The array at the beginning of a larger one of `value`."""
    larger = np.full(shape, value, np.int32)
    larger[: len(array)] = array
    return larger
