"""A step's tokens, packed behind one another: what a network is given, on whichever device it computes.

Shapes: T tokens of all chunks, K tokens that only the device knows yet, R rows that sample, P patches, D
width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.cache.plan import Chunk


@dataclass(frozen=True)
class Batch:
    """Chunks and what they are computed from."""

    chunks: Sequence[Chunk]
    ids_T: NDArray[np.int32]
    """0 where the token is one that the step before sampled."""
    unknown_K2: NDArray[np.int32]
    """Those tokens, each with its row among what the step before sampled."""
    sampled_before: Tensor | None
    """Those samples, on the device."""
    patches: Sequence[tuple[NDArray[np.int64], Tensor]]
    """Tokens that are patches, and their features (P, D)."""

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each chunk begins, and where the last one ends."""
        return np.cumsum([0, *(chunk.count for chunk in self.chunks)])

    @cached_property
    def positions_T(self) -> NDArray[np.int32]:
        """Each token's position in its sequence."""
        return np.concatenate(
            [np.arange(one.start, one.start + one.count, dtype=np.int32) for one in self.chunks]
        )

    @cached_property
    def rows_R(self) -> NDArray[np.int32]:
        """The tokens after which one is sampled, in the chunks' order."""
        ends = self.starts[1:] - 1
        return ends[[chunk.samples for chunk in self.chunks]].astype(np.int32)

    def part(self, kept: Sequence[int]) -> "Batch":
        """The chunks `kept`, in that order; none needs what another one computes."""
        tokens = np.concatenate([np.arange(self.starts[one], self.starts[one + 1]) for one in kept])
        places_T = np.full(len(self.ids_T), -1, np.int64)
        places_T[tokens] = np.arange(len(tokens))
        unknown_K2 = self.unknown_K2[places_T[self.unknown_K2[:, 0]] >= 0].copy()
        unknown_K2[:, 0] = places_T[unknown_K2[:, 0]]
        # An image's part lies in one chunk.
        patches = [(places_T[places], features) for places, features in self.patches]
        return Batch(
            chunks=[self.chunks[one] for one in kept],
            ids_T=self.ids_T[tokens],
            unknown_K2=unknown_K2,
            sampled_before=self.sampled_before,
            patches=[(places, features) for places, features in patches if places[0] >= 0],
        )

    def slots_T(self, size: int) -> NDArray[np.int32]:
        """Each token's slot in a cache of blocks of `size`."""
        return np.concatenate([slots(one, one.start, one.start + one.count, size) for one in self.chunks])


def slots(chunk: Chunk, start: int, end: int, size: int) -> NDArray[np.int32]:
    """Where tokens `start` to `end` of the chunk's sequence are: block * size + offset."""
    positions = np.arange(start, end, dtype=np.int32)
    return np.asarray(chunk.table, np.int32)[positions // size] * size + positions % size


def share_out(sizes: Sequence[int], shares: int) -> list[list[int]]:
    """The indices of `sizes` in so many shares of about equal sum.

    The largest size is given out first, and each goes to the share that has least. Sizes 30, 10, 20 and 10 in
    two shares: indices 0 and 3, and indices 1 and 2.
    """
    taken: list[list[int]] = [[] for _ in range(shares)]
    loads = [0] * shares
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        least = loads.index(min(loads))
        taken[least].append(index)
        loads[least] += sizes[index]
    return [sorted(share) for share in taken]
