"""The scheduler's input and output: a branch's size in, a step's plan out. Plain numbers, no torch.

A plan says which tokens of which sequences a step computes, into which blocks of the cache they go, and after
which of them a token is sampled. The model runner needs to know nothing else of scheduling.
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
    """Number of tokens. All tokens before them have been computed."""
    table: tuple[int, ...]
    """Blocks of all `start + count` tokens: position p is in slot p % size of block table[p // size]."""
    samples: bool
    """Whether the token after the last one is sampled."""


@dataclass(frozen=True)
class Plan:
    """One step: first the copies, all at once, then the chunks, in any order or at the same time."""

    chunks: tuple[Chunk, ...] = ()
    """Chunks that decode come first. No two are of one sequence, and none needs the result of another."""
    copies: tuple[tuple[int, int], ...] = ()
    """Blocks (from, to) whose content is copied before any chunk is computed."""

    @property
    def tokens(self) -> int:
        return sum(chunk.count for chunk in self.chunks)


@dataclass(frozen=True, kw_only=True)
class BranchSize:
    """The only facts about a branch that the scheduler needs."""

    key: Hashable
    tokens: int
    """Tokens of the prefix and of the branch."""
    limit: int
    """Tokens at which the branch is complete: `tokens` and the longest allowed answer."""
