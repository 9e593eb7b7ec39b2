"""The tokens of one step, packed behind one another without padding: what an executor computes.

With asynchronous scheduling, a step is launched before the tokens that the step before it samples have
reached the host. A batch then names the places of these unknown tokens, and the device fills them in.

Shapes: T tokens of all chunks, K unknown tokens, R rows that sample, P patches, D width.
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
    """Chunks, and the tokens and image features that they are computed from."""

    chunks: Sequence[Chunk]
    ids_T: NDArray[np.int32]
    """Token ids; 0 in the place of an unknown token."""
    unknown_K2: NDArray[np.int32]
    """Each unknown token's place in `ids_T`, and its index in `sampled_before`."""
    sampled_before: Tensor | None
    """All tokens that the step before sampled, on the device. None if no token is unknown."""
    patches: Sequence[tuple[NDArray[np.int64], Tensor]]
    """For each image: the places of its patches in `ids_T`, and their features (P, D)."""

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The place of each chunk's first token, and at the end T."""
        return np.cumsum([0, *(chunk.count for chunk in self.chunks)])

    @cached_property
    def positions_T(self) -> NDArray[np.int32]:
        """Each token's position in its sequence."""
        return np.concatenate(
            [np.arange(one.start, one.start + one.count, dtype=np.int32) for one in self.chunks]
        )

    @cached_property
    def rows_R(self) -> NDArray[np.int32]:
        """The places of the tokens after which the next one is sampled, in the order of the chunks."""
        ends = self.starts[1:] - 1
        return ends[[chunk.samples for chunk in self.chunks]].astype(np.int32)

    def part(self, kept: Sequence[int]) -> "Batch":
        """A batch of the chunks with the indices `kept`, in that order."""
        tokens = np.concatenate([np.arange(self.starts[one], self.starts[one + 1]) for one in kept])
        places_T = np.full(len(self.ids_T), -1, np.int64)
        places_T[tokens] = np.arange(len(tokens))
        unknown_K2 = self.unknown_K2[places_T[self.unknown_K2[:, 0]] >= 0].copy()
        unknown_K2[:, 0] = places_T[unknown_K2[:, 0]]
        # The patches of an image that a step computes are all in one chunk.
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
        return np.concatenate(
            [slot_mapping(one, one.start, one.start + one.count, size) for one in self.chunks]
        )


def slot_mapping(chunk: Chunk, start: int, end: int, size: int) -> NDArray[np.int32]:
    """The slots of tokens `start` to `end` of the chunk's sequence: block * size + offset."""
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
