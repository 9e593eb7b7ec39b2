"""The scheduler's record of all that is to be computed: groups, their sequences, and a step in the making.

A sequence is the prefix of a group, or one of its branches from the prefix on. Only counts of tokens and
block numbers here: no token ids, no torch.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from model.cache.plan import Chunk


@dataclass(eq=False, kw_only=True)
class SequenceState:
    """A prefix or a branch: how long it is, how much of it is computed, and in which blocks."""

    key: Hashable
    group: "GroupState"
    length: int
    """Tokens known, and those that planned steps sample."""
    limit: int | None
    """Tokens at which a branch is complete; None for a prefix."""
    prompt: int = 0
    """Tokens that a branch began with."""
    computed: int = 0
    """Tokens whose keys and values are in the cache once all planned steps have run."""
    table: list[int] = field(default_factory=list)
    """Its blocks."""
    order: int = 0
    """When it was admitted: the latest is preempted first."""

    @property
    def wanted(self) -> int:
        """Tokens to compute before it can sample, or be branched from."""
        return 0 if self.length == self.limit else self.length - self.computed


@dataclass(eq=False)
class GroupState:
    """A prefix and its branches."""

    names: Sequence[bytes]
    """The content names of the prefix's blocks."""
    waiting: list[SequenceState] = field(default_factory=list)
    """Branches that have not started, or have been preempted."""
    running: int = 0
    """Branches that run."""
    prefix: SequenceState = field(init=False)


@dataclass
class StepBuilder:
    """A plan in the making."""

    budget: int
    """Tokens for which the step still has room."""
    whole: int
    """Tokens for which it has room in all."""
    chunks: list[Chunk] = field(default_factory=list)
    copies: list[tuple[int, int]] = field(default_factory=list)
    computed: list[GroupState] = field(default_factory=list)
    """Groups whose prefix this step completes: their branches start in the next."""

    def add(self, sequence: SequenceState, size: int) -> None:
        """Plans the tokens that the sequence wants, within the budget. Blocks have `size` tokens."""
        count = min(sequence.wanted, self.budget)
        if not count:
            return
        start, end = sequence.computed, sequence.computed + count
        samples = sequence.limit is not None and end == sequence.length
        table = tuple(sequence.table[: -(-end // size)])
        self.chunks.append(Chunk(sequence.key, start, count, table, samples))
        self.budget -= count
        sequence.computed = end
        if samples:
            sequence.length += 1
        elif end == sequence.length:
            self.computed.append(sequence.group)
