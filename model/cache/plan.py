"""What a scheduler is told and what it says: a branch's size, a step's plan. Plain numbers, no torch.

A plan is all that the runner needs to know of scheduling: which tokens of which sequence are computed,
into which blocks, and which of them sample.
"""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Chunk:
    """Consecutive tokens of one sequence that a step computes."""

    key: Hashable
    """The branch's key, or the group's for its prefix."""
    start: int
    """Position of the first token."""
    count: int
    """Tokens; the first `start` have been computed."""
    table: tuple[int, ...]
    """Blocks of all `start + count` tokens: position p is in slot p % size of block table[p // size]."""
    samples: bool
    """Whether the token after the last one is wanted."""


@dataclass(frozen=True)
class Plan:
    """One step: first the copies, all at once, then the chunks, in any order or at the same time."""

    chunks: tuple[Chunk, ...] = ()
    """Those that decode come first. No two of one sequence, none needs what another one computes."""
    copies: tuple[tuple[int, int], ...] = ()
    """Blocks (from, to) whose content is copied before any chunk is computed."""

    @property
    def tokens(self) -> int:
        return sum(chunk.count for chunk in self.chunks)


@dataclass(frozen=True, kw_only=True)
class BranchSize:
    """What the scheduler knows of a branch."""

    key: Hashable
    tokens: int
    """Of prefix and branch."""
    limit: int
    """Tokens at which it is complete: those and the longest answer."""
