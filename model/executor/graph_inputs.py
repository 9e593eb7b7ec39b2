"""A step's inputs in arrays of fixed shapes: a CUDA graph reads the same memory at every replay.

In: a packed batch, and the shape of a graph. Out: inputs of exactly that shape. The room that the batch
leaves is padding: tokens of no sequence, work items without keys, segments without tokens. For a batch that
is too large in any respect, the result is None.

Shapes: T tokens, R rows that sample, S tokens whose keys are gathered, B sequences, M blocks of the longest,
I work items.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.cache.batch import Batch
from model.executor.attention_inputs import ITEMS, WIDTHS, LongChunks, StepInputs, pack, parted
from model.kernels.split_attention import AttentionWork


@dataclass(frozen=True, kw_only=True)
class GraphShape:
    """The most that a step of the graph holds."""

    tokens: int
    short: int
    """Tokens of short chunks; as many as there are tokens where each decodes and samples."""
    rows: int
    """Tokens that sample."""
    blocks: int
    """Blocks of a sequence."""
    keys: int = 0
    """Keys of all long chunks, with those before the chunks."""
    segments: int = 0
    """Long chunks; 0 where all tokens decode."""

    @property
    def items(self) -> int:
        """Work items of each width, at most; `pad` refuses a batch with more.

        `split_kv` cuts the keys of all spans into about ITEMS equal pieces. The end of a span is a shorter
        piece of its own, and a token has up to two spans: the prefix that it shares, and the rest. Prefixes
        inside prefixes, each shared by some sequences, give a token more spans: then a batch may be refused.
        """
        return ITEMS + 2 * self.rows


def pad(batch: Batch, size: int, shape: GraphShape) -> StepInputs[NDArray[np.int32]] | None:
    """The inputs of the batch, whose shorter chunks come first; None if it is too large.

    `size` is the tokens of a cache block.
    """
    short, long = parted(batch.chunks)
    if (
        len(batch.ids_T) > shape.tokens
        or sum(one.count for one in short) > shape.short
        or len(batch.rows_R) > shape.rows
        or max(len(one.table) for one in batch.chunks) > shape.blocks
        or sum(one.start + one.count for one in long) > shape.keys
        or len(long) > shape.segments
    ):
        return None
    inputs = pack(batch, size, gather_all=True)
    works = [work for work in (inputs.short, inputs.last) if work is not None]
    if any(len(spans_I3) > shape.items for work in works for _, _, spans_I3 in work.items):
        return None
    assert shape.segments or inputs.rows_R is None, "where there are no long chunks, all tokens sample"
    return StepInputs(
        ids_T=_filled(inputs.ids_T, (shape.tokens,), 0),
        positions_T=_filled(inputs.positions_T, (shape.tokens,), 0),
        slots_T=_filled(inputs.slots_T, (shape.tokens,), -1),
        short=_padded_work(inputs.short, shape.short, shape),
        short_tokens=shape.short,
        sampling=_padded_work(inputs.last, shape.rows, shape) if shape.segments else None,
        rows_R=_filled(batch.rows_R, (shape.rows,), 0) if shape.segments else None,
        long=_padded_long(inputs, shape) if shape.segments else None,
    )


def _padded_long(inputs: StepInputs[NDArray[np.int32]], shape: GraphShape) -> LongChunks[NDArray[np.int32]]:
    """The lengths are left out: only the device knows them."""
    starts_q, starts_k = np.array([inputs.short_tokens], np.int32), np.zeros(1, np.int32)
    slots_S = np.zeros(0, np.int32)
    if inputs.long is not None:
        assert inputs.long.slots_S is not None, "a graph gathers all keys"
        starts_q, starts_k, slots_S = inputs.long.starts_q, inputs.long.starts_k, inputs.long.slots_S
    return LongChunks(
        starts_q=_filled(starts_q, (shape.segments + 1,), starts_q[-1]),
        starts_k=_filled(starts_k, (shape.segments + 1,), starts_k[-1]),
        slots_S=_filled(slots_S, (shape.keys,), -1),
        lengths_q=(),
        lengths_k=(),
        longest_q=shape.tokens,
        longest_k=shape.keys,
        skipped=0,
    )


def _padded_work(
    work: AttentionWork[NDArray[np.int32]] | None, tokens: int, shape: GraphShape
) -> AttentionWork[NDArray[np.int32]]:
    """The work of at most so many tokens, each in a row of its own of the table."""
    items = work.items if work is not None else ()
    nothing = np.zeros((0, 1), np.int32)
    none = (nothing, nothing, nothing)
    parts = [items[index] if items else none for index in range(len(WIDTHS))]
    return AttentionWork(
        table_BM=_filled(
            nothing if work is None else work.table_BM[:, : shape.blocks], (tokens, shape.blocks), 0
        ),
        limits_T=_filled(nothing[:, 0] if work is None else work.limits_T, (tokens,), 0),
        places_T2=_filled(nothing if work is None else work.places_T2, (tokens, 2), 0),
        items=tuple(
            (
                _filled(tokens_IQ, (shape.items, width), -1),
                _filled(places_IQ, (shape.items, width), 0),
                _filled(spans_I3, (shape.items, 3), 0),
            )
            for width, (tokens_IQ, places_IQ, spans_I3) in zip(WIDTHS, parts, strict=True)
        ),
        # A token has no more spans than blocks, and an item no more places than tokens.
        partials=min(tokens * shape.blocks, sum(shape.items * width for width in WIDTHS)),
    )


def _filled(array: NDArray[np.int32], shape: tuple[int, ...], value: int) -> NDArray[np.int32]:
    """The array in the first corner of a larger one that is `value` elsewhere."""
    larger = np.full(shape, value, np.int32)
    larger[tuple(slice(length) for length in array.shape)] = array
    return larger
