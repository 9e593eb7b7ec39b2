"""Split-KV: cuts the attention of few queries over many cached keys into work items of equal size. No torch.

In: a step's short chunks (tokens that decode, questions of a few tokens). Out: work items for the kernel of
`split_attention`. An item reads one span of keys once, for all queries that see it, and writes a partial
result for each query into a place of its own. All places of a token are neighbours; the kernel merges them at
the end. Where branches of one prefix share blocks, they share the items of these blocks.

Example: three branches of a page of 128 blocks decode. The common blocks are cut into spans, each of which is
read once for all three tokens. The blocks of each branch's own make one more item for each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.cache.plan import Chunk

# Fewer shared blocks are not worth an item of their own: it costs each token one more partial result.
_SHARED_BLOCKS = 4


@dataclass(frozen=True)
class Items:
    """Work items of at most Q tokens: arrays over I items."""

    tokens_IQ: NDArray[np.int32]
    """The tokens whose queries an item reads; -1 behind the last."""
    places_IQ: NDArray[np.int32]
    """The place of each token's partial result."""
    spans_I3: NDArray[np.int32]
    """Row of the block table, first key, and the key after the last."""


@dataclass(frozen=True)
class Work:
    """All items of a step, and arrays over its T tokens."""

    items: tuple[Items, ...]
    """The items of each width, the narrowest first."""
    limits_T: NDArray[np.int32]
    """The number of keys that each token sees."""
    places_T2: NDArray[np.int32]
    """Each token's first place, and the one after its last."""


@dataclass(frozen=True)
class _Span:
    """Keys that some tokens read together, by the block table of one row."""

    row: int
    tokens: Sequence[int]
    start: int
    end: int


def divide(chunks: Sequence[Chunk], *, size: int, widths: Sequence[int], target: int) -> Work:
    """About `target` items, if there are keys enough for so many.

    `size` is the tokens of a block. Tokens are numbered in the order of the chunks. `widths`, ascending, are
    the numbers of tokens for which there are kernels: an item has the smallest width that holds its tokens.
    """
    first = np.cumsum([0, *(chunk.count for chunk in chunks)])
    limits_T = np.concatenate(
        [np.arange(chunk.start, chunk.start + chunk.count, dtype=np.int32) + 1 for chunk in chunks]
    )
    spans = [
        _Span(
            rows[0], part, start, min(end, int(limits_T[part[-1]]))
        )  # up to the last key that its last token sees
        for rows, start, end in _shared(chunks, range(len(chunks)), 0, size)
        for part in _parts([token for row in rows for token in range(first[row], first[row + 1])], widths[-1])
    ]
    keys = sum(span.end - span.start for span in spans)
    length = max(1, -(-keys // (target * size))) * size
    by_width: list[list[_Span]] = [[] for _ in widths]
    for span in spans:
        pieces = by_width[int(np.searchsorted(widths, len(span.tokens)))]
        # Pieces are as equal as blocks allow: otherwise the GPU waits for the longest one at the end.
        there = span.end - span.start
        even = -(-there // (-(-there // length) * size)) * size
        for at in range(span.start, span.end, even):
            pieces.append(_Span(span.row, span.tokens, at, min(at + even, span.end)))
    return _numbered(by_width, widths, limits_T)


def _shared(
    chunks: Sequence[Chunk], rows: Sequence[int], done: int, size: int
) -> Iterator[tuple[list[int], int, int]]:
    """Yields rows that read the same keys, with the first of these keys and the one after the last.

    All `rows` share their first `done` blocks, which are left out. First come the further blocks that some of
    the rows share, then the keys that each row has alone.
    """
    by_block: dict[int, list[int]] = {}
    for row in rows:
        # Only blocks that were full before the step count: the step writes into later ones.
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
    """The number of first blocks that all of the rows share."""
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
    """The arrays of the spans. A token that sees none of an item's keys is taken out of it."""
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
    places[order] = np.arange(len(seen))  # by token, then by item: each token's places are neighbours
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
