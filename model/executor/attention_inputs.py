"""A step's numbers: which token goes where, and the work items of its attention.

In: a packed batch. Out: its `StepInputs`, first as arrays on the host; one copy sends them to the device. No
weights and no activations here, and no fixed shapes: `graph_inputs` has those that a CUDA graph needs.

A chunk is short or long. Short chunks are decoding and questions; they are computed by `split_attention`.
Long chunks are prompts; they are computed by FlashAttention, whose tiles they fill.

Shapes: T tokens, R rows that sample, S tokens whose keys are gathered, B sequences, M blocks of the longest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.cache.batch import Batch, slot_mapping
from model.cache.plan import Chunk
from model.executor.split_kv import Work, divide
from model.kernels.split_attention import Array, AttentionWork
from model.network.layers import Segments
from model.transfer import send_numbers

# Tokens up to which a chunk is short: longer ones fill FlashAttention's tiles.
SHORT = 64
# Tokens of a work item: with 4 query heads for each key head, tiles of 16, 32 and 64 rows.
WIDTHS = (4, 8, 16)
# Keys of long chunks that are gathered at a time: those of as many chunks as fit, and at least of one. All of
# them could be millions, where many chunks continue one long prefix.
GATHERED_KEYS = 131_072
# Work items that keep a GPU of 132 multiprocessors busy evenly, times its 8 key heads.
ITEMS = 384


@dataclass(frozen=True)
class LongChunks(Generic[Array]):
    """The long chunks, behind the short ones. The fields are those of `Segments`, but for the slots."""

    starts_q: Array
    starts_k: Array
    slots_S: Array | None
    """Slots of all their keys. None where all of them begin in this step: their keys are packed already."""
    lengths_q: tuple[int, ...]
    lengths_k: tuple[int, ...]
    longest_q: int
    longest_k: int
    skipped: int


@dataclass(frozen=True)
class StepInputs(Generic[Array]):
    """A step's arrays, on the host (NumPy) or on the device (torch), in the order in which they are sent."""

    ids_T: Array
    positions_T: Array
    slots_T: Array
    short: AttentionWork[Array] | None
    """The attention of the short chunks."""
    short_tokens: int
    sampling: AttentionWork[Array] | None
    """The attention of the rows that sample, for the last layer. None where no row samples, or all do."""
    rows_R: Array | None
    """The rows that sample. None where all do."""
    long: LongChunks[Array] | None

    @property
    def last(self) -> AttentionWork[Array] | None:
        """The attention of the last layer."""
        return self.short if self.rows_R is None else self.sampling

    def arrays(self) -> list[Array]:
        """All arrays, in the order of the fields."""
        return list(_arrays_of(self))

    def with_arrays(self, arrays: Sequence[Tensor]) -> "StepInputs[Tensor]":
        """The same inputs with other arrays, which come in the order of `arrays()`."""
        rest = iter(arrays)
        replaced: StepInputs[Tensor] = _with_arrays(self, rest)
        assert next(rest, None) is None, "an array is left over"
        return replaced


def pack(batch: Batch, size: int, *, gather_all: bool = False) -> StepInputs[NDArray[np.int32]]:
    """The batch, whose shorter chunks come first, over a cache of blocks of `size` tokens.

    `gather_all`: name the slots of the long chunks' keys even if all of them begin in this step.
    """
    short, long = parted(batch.chunks)
    short_tokens = int(batch.starts[len(short)])
    sampling = [chunk for chunk in batch.chunks if chunk.samples]
    all_sample = len(batch.rows_R) == len(batch.ids_T)
    return StepInputs(
        ids_T=batch.ids_T,
        positions_T=batch.positions_T,
        slots_T=batch.slots_T(size),
        short=_work(short, size) if short else None,
        short_tokens=short_tokens,
        sampling=_work(_last_tokens(sampling), size) if sampling and not all_sample else None,
        rows_R=None if all_sample else batch.rows_R,
        long=_long_chunks(long, size, short_tokens, gather_all) if long else None,
    )


def send_inputs(inputs: StepInputs[NDArray[np.int32]], device: torch.device) -> StepInputs[Tensor]:
    """The inputs on the device, sent in one copy."""
    return inputs.with_arrays(send_numbers(inputs.arrays(), device))


def segments_of(long: LongChunks[Tensor]) -> list[tuple[Segments, Tensor | None]]:
    """The long chunks as FlashAttention takes them, with the slots of their keys.

    If they have more keys than are gathered at a time, they are parts, one behind the other.
    """
    whole = Segments(
        lengths_q=long.lengths_q,
        lengths_k=long.lengths_k,
        causal=True,
        starts_q=long.starts_q,
        starts_k=long.starts_k,
        longest_q=long.longest_q,
        longest_k=long.longest_k,
        skipped=long.skipped,
    )
    slots_S = long.slots_S
    if slots_S is None or sum(long.lengths_k) <= GATHERED_KEYS:
        return [(whole, slots_S)]
    parts: list[tuple[Segments, Tensor | None]] = []
    row = long.skipped
    for first, end in _shares(long.lengths_k, GATHERED_KEYS):
        lengths_q, lengths_k = long.lengths_q[first:end], long.lengths_k[first:end]
        key = sum(long.lengths_k[:first])
        segments = Segments(
            lengths_q=lengths_q,
            lengths_k=lengths_k,
            causal=True,
            starts_q=long.starts_q[first : end + 1],
            starts_k=long.starts_k[first : end + 1] - key,
            longest_q=max(lengths_q),
            longest_k=max(lengths_k),
            skipped=row,
        )
        parts.append((segments, slots_S[key : key + sum(lengths_k)]))
        row += sum(lengths_q)
    return parts


def _shares(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Where runs of sizes begin and end whose sum is `most` at most, but for sizes that alone are larger."""
    first = total = 0
    for index, size in enumerate(sizes):
        if index > first and total + size > most:
            yield first, index
            first, total = index, 0
        total += size
    yield first, len(sizes)


def parted(chunks: Sequence[Chunk]) -> tuple[list[Chunk], list[Chunk]]:
    """The short chunks and the long ones behind them."""
    short = [chunk for chunk in chunks if chunk.count <= SHORT]
    long = list(chunks[len(short) :])
    assert all(chunk.count > SHORT for chunk in long), "the short chunks come first"
    return short, long


def _long_chunks(
    chunks: Sequence[Chunk], size: int, skipped: int, gather_all: bool
) -> LongChunks[NDArray[np.int32]]:
    counts = [chunk.count for chunk in chunks]
    ends = [chunk.start + chunk.count for chunk in chunks]
    slots_S = None
    if gather_all or any(chunk.start for chunk in chunks):
        slots_S = np.concatenate(
            [slot_mapping(chunk, 0, end, size) for chunk, end in zip(chunks, ends, strict=True)]
        )
    return LongChunks(
        starts_q=np.cumsum([skipped, *counts]).astype(np.int32),
        starts_k=np.cumsum([0, *ends]).astype(np.int32),
        slots_S=slots_S,
        lengths_q=tuple(counts),
        lengths_k=tuple(ends),
        longest_q=max(counts),
        longest_k=max(ends),
        skipped=skipped,
    )


def _last_tokens(chunks: Sequence[Chunk]) -> list[Chunk]:
    """The last token of each chunk, as a chunk."""
    return [Chunk(one.key, one.start + one.count - 1, 1, one.table, True) for one in chunks]


def _work(chunks: Sequence[Chunk], size: int) -> AttentionWork[NDArray[np.int32]]:
    work: Work = divide(chunks, size=size, widths=WIDTHS, target=ITEMS)
    return AttentionWork(
        table_BM=_table_of(chunks),
        limits_T=work.limits_T,
        places_T2=work.places_T2,
        items=tuple((item.tokens_IQ, item.places_IQ, item.spans_I3) for item in work.items),
        partials=int(work.places_T2[-1, 1]),
    )


def _table_of(chunks: Sequence[Chunk]) -> NDArray[np.int32]:
    """(B, M): each chunk's blocks, 0 behind its last; M in steps, so that kernels are compiled once."""
    table_BM = np.zeros((len(chunks), -(-max(len(one.table) for one in chunks) // 16) * 16), np.int32)
    for row, chunk in zip(table_BM, chunks, strict=True):
        row[: len(chunk.table)] = chunk.table
    return table_BM


def _arrays_of(value: Any) -> Iterator[Any]:
    """The arrays in a dataclass or a tuple, field by field."""
    if isinstance(value, np.ndarray | Tensor):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from _arrays_of(one)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _arrays_of(getattr(value, field.name))


def _with_arrays(value: Any, arrays: Iterator[Tensor]) -> Any:
    """The value with its arrays replaced, in the same order. Everything else stays."""
    if isinstance(value, np.ndarray | Tensor):
        return next(arrays)
    if isinstance(value, tuple):
        return tuple(_with_arrays(one, arrays) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(
            **{field.name: _with_arrays(getattr(value, field.name), arrays) for field in fields(value)}
        )
    return value
