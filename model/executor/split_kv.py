"""How attention of few queries over many cached keys is cut into pieces of equal work. No torch.

In: a step's short chunks (tokens that decode, questions of a few tokens). Out: work items for the kernel of
`split_attention`: each reads one span of keys once for all the queries that see it, and leaves a partial
result for each in a place of its own; a token's places lie in a row, and are merged at the end. Branches of
one prefix share the items of the blocks that they share.

Three branches of a page of 128 blocks decode: the common blocks are cut into spans, each read once for all
three tokens; what is each branch's own makes one more item each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.cache.plan import Chunk

# Blocks from which on reading them together pays: a common item costs each token one partial result more.
_SHARED_BLOCKS = 4


@dataclass(frozen=True)
class Items:
    """Items of at most Q tokens: arrays over I items."""

    tokens_IQ: NDArray[np.int32]
    """The tokens whose queries an item reads; -1 behind the last."""
    places_IQ: NDArray[np.int32]
    """Where each of them leaves its partial result."""
    spans_I3: NDArray[np.int32]
    """Row of the block table, first key, key after the last."""


@dataclass(frozen=True)
class Work:
    """All items of a step, and arrays over its T tokens."""

    items: tuple[Items, ...]
    """One for each of the sizes asked for, the smallest first."""
    limits_T: NDArray[np.int32]
    """Keys that each token sees."""
    places_T2: NDArray[np.int32]
    """Each token's first place, and the one after its last."""


@dataclass(frozen=True)
class _Span:
    """Keys of one row's table that some tokens read together."""

    row: int
    tokens: Sequence[int]
    start: int
    end: int


def divide(chunks: Sequence[Chunk], *, size: int, widths: Sequence[int], target: int) -> Work:
    """About `target` items, where there are keys enough for so many.

    `size` is the tokens of a block; tokens are numbered in the chunks' order. `widths` are the numbers of
    tokens for which there are kernels, ascending: an item has as many as the narrowest that holds its tokens.
    """
    first = np.cumsum([0, *(chunk.count for chunk in chunks)])
    limits_T = np.concatenate(
        [np.arange(chunk.start, chunk.start + chunk.count, dtype=np.int32) + 1 for chunk in chunks]
    )
    spans = [
        _Span(rows[0], part, start, min(end, int(limits_T[part[-1]])))  # no further than its last token sees
        for rows, start, end in _shared(chunks, range(len(chunks)), 0, size)
        for part in _parts([token for row in rows for token in range(first[row], first[row + 1])], widths[-1])
    ]
    keys = sum(span.end - span.start for span in spans)
    length = max(1, -(-keys // (target * size))) * size
    by_width: list[list[_Span]] = [[] for _ in widths]
    for span in spans:
        pieces = by_width[int(np.searchsorted(widths, len(span.tokens)))]
        # As equal as blocks allow: what a short last piece spares is a long one's wait at the end.
        there = span.end - span.start
        even = -(-there // (-(-there // length) * size)) * size
        for at in range(span.start, span.end, even):
            pieces.append(_Span(span.row, span.tokens, at, min(at + even, span.end)))
    return _numbered(by_width, widths, limits_T)


def _shared(
    chunks: Sequence[Chunk], rows: Sequence[int], done: int, size: int
) -> Iterator[tuple[list[int], int, int]]:
    """Rows that read the same keys from a first one to a last one, `done` blocks being accounted for.

    Within `rows`, which share those: first what some of them share further, then what is each one's own.
    """
    by_block: dict[int, list[int]] = {}
    for row in rows:
        # Only blocks that were full before the step: the ones it writes into are each row's own.
        if chunks[row].start // size >= done + _SHARED_BLOCKS:
            by_block.setdefault(chunks[row].table[done + _SHARED_BLOCKS - 1], []).append(row)
    alone = set(rows)
    for family in by_block.values():
        common = _common(chunks, family, done, size) if len(family) > 1 else done
        if common >= done + _SHARED_BLOCKS:
            alone.difference_update(family)
            yield family, done * size, common * size
            yield from _shared(chunks, family, common, size)
    for row in sorted(alone):
        yield [row], done * size, chunks[row].start + chunks[row].count


def _common(chunks: Sequence[Chunk], rows: Sequence[int], done: int, size: int) -> int:
    """First blocks that all of the rows share."""
    one = chunks[rows[0]].table
    common = min(chunks[row].start // size for row in rows)
    for row in rows[1:]:
        other = chunks[row].table
        common = next((at for at in range(done, common) if one[at] != other[at]), common)
    return common


def _parts(tokens: list[int], most: int) -> Iterator[list[int]]:
    for at in range(0, len(tokens), most):
        yield tokens[at : at + most]


def _numbered(
    by_width: Sequence[Sequence[_Span]], widths: Sequence[int], limits_T: NDArray[np.int32]
) -> Work:
    """The arrays. A token that sees none of an item's keys leaves nothing there."""
    parts = []
    for spans, width in zip(by_width, widths, strict=True):
        tokens_IQ = np.full((len(spans), width), -1, np.int32)
        for index, span in enumerate(spans):
            tokens_IQ[index, : len(span.tokens)] = span.tokens
        spans_I3 = np.array([(one.row, one.start, one.end) for one in spans], np.int32).reshape(-1, 3)
        tokens_IQ[limits_T[tokens_IQ] <= spans_I3[:, 1:2]] = -1
        parts.append((tokens_IQ, spans_I3))
    seen = np.concatenate([tokens_IQ[tokens_IQ >= 0] for tokens_IQ, _ in parts])
    order = np.argsort(seen, kind="stable")
    places = np.empty(len(seen), np.int32)
    places[order] = np.arange(len(seen))  # by token, then by item: each token's lie in a row
    items, taken = [], 0
    for tokens_IQ, spans_I3 in parts:
        places_IQ = np.zeros_like(tokens_IQ)
        used_IQ = tokens_IQ >= 0
        places_IQ[used_IQ] = places[taken : taken + used_IQ.sum()]
        taken += int(used_IQ.sum())
        items.append(Items(tokens_IQ, places_IQ, spans_I3))
    counts_T = np.bincount(seen, minlength=len(limits_T))
    ends_T = np.cumsum(counts_T)
    return Work(tuple(items), limits_T, np.stack((ends_T - counts_T, ends_T), axis=1).astype(np.int32))
