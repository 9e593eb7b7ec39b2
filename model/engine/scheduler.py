"""Who runs in this step: counts of tokens in, a plan of the step out. No torch and no token values.

A group is a prefix and the branches that continue it. Its prefix is computed first, in chunks if need be;
then its branches start from the prefix's blocks. Each step gives its token budget first to the branches
that decode, then to prefills begun, then to branches that can start, then to new groups. A group is
admitted when the cache has room for it; when decoding runs out of room all the same, whoever was admitted
last gives its blocks back and is computed again later. Planning needs only counts, so that the next step
can be planned while this one runs.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from model.cache.plan import BranchSize, Chunk, Plan
from model.engine.block_pool import BlockPool

# Tokens of a step below which a GPU reads its weights for too few, and half of a tile of its products.
_LEAST_PACE = 1024
_PACE_STEP = 128  # as the sizes of the graphs that steps are replayed as


@dataclass(eq=False, kw_only=True)
class _Sequence:
    """A prefix or a branch: how long it is, how much of it is computed, and where."""

    key: Hashable
    group: "_Group"
    length: int
    """Tokens known, and those that planned steps sample."""
    limit: int | None
    """None for a prefix."""
    prompt: int = 0
    """Tokens that it began with."""
    computed: int = 0
    table: list[int] = field(default_factory=list)
    order: int = 0
    """When it was admitted: who came last is preempted first."""

    @property
    def wanted(self) -> int:
        """Tokens to compute before it can sample, or be branched from."""
        return 0 if self.length == self.limit else self.length - self.computed


@dataclass(eq=False)
class _Group:
    names: Sequence[bytes]
    waiting: list[_Sequence] = field(default_factory=list)
    running: int = 0
    prefix: _Sequence = field(init=False)


@dataclass
class _Step:
    """A plan in the making."""

    budget: int
    """Tokens that it still has room for."""
    whole: int
    """Tokens that it has room for in all."""
    chunks: list[Chunk] = field(default_factory=list)
    copies: list[tuple[int, int]] = field(default_factory=list)
    computed: list[_Group] = field(default_factory=list)
    """Groups whose prefix this step completes: their branches start in the next."""

    def add(self, sequence: _Sequence, size: int) -> None:
        """As many of the sequence's wanted tokens as the budget allows."""
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


class Scheduler:
    """`plan` a step, run it, `commit` it, `remove` who has finished; `add` and `remove` at any time."""

    def __init__(
        self, blocks: BlockPool, *, max_num_batched_tokens: int, max_num_seqs: int, reserve: float = 1.0
    ) -> None:
        """At most `max_num_batched_tokens` tokens a step and `max_num_seqs` sequences at a time.

        `reserve`: see `EngineConfig`.
        """
        if max_num_batched_tokens < 1 or max_num_seqs < 1 or not 0 <= reserve <= 1:
            raise ValueError(
                f"max_num_batched_tokens {max_num_batched_tokens}, max_num_seqs {max_num_seqs}, "
                f"reserve {reserve}: at least 1, 1, and 0 to 1"
            )
        self.preemptions = 0
        self._blocks = blocks
        self._max_num_batched_tokens = max_num_batched_tokens
        self._max_num_seqs = max_num_seqs
        self._reserve = reserve
        self._admitted = 0
        self._written: float | None = None  # tokens of an answer, as the last ones were
        self._groups: dict[Hashable, _Group] = {}
        self._branches: dict[Hashable, _Sequence] = {}
        self._queue: list[_Group] = []  # their prefix holds no blocks
        self._ready: list[_Group] = []  # their prefix is computed, and branches wait to start from it
        self._running: list[_Sequence] = []  # prefixes and branches, in the order of their admission

    @property
    def pending(self) -> int:
        """Branches added and not removed."""
        return len(self._branches)

    @property
    def queued(self) -> int:
        """Tokens of the prefixes that wait to be admitted."""
        return sum(group.prefix.length for group in self._queue)

    @property
    def queue(self) -> Iterator[Hashable]:
        """Keys of the groups that wait to be admitted, the next one first."""
        return (group.prefix.key for group in self._queue)

    def cached(self, key: Hashable) -> int:
        """Tokens of a waiting group's prefix that the cache holds now."""
        group = self._groups[key]
        return min(len(self._blocks.find(group.names)) * self._blocks.size, group.prefix.length)

    def fits(self, tokens: int) -> bool:
        """Whether a sequence can become so long when it is alone."""
        return self._blocks.for_tokens(tokens) <= self._blocks.count

    def add(
        self, key: Hashable, *, tokens: int, names: Sequence[bytes], branches: Sequence[BranchSize]
    ) -> None:
        """A group: its prefix's length and its blocks' names, and its branches, each of which fits."""
        assert key not in self._groups, key
        assert len(names) == self._blocks.for_tokens(tokens), (len(names), tokens)
        assert branches, key
        group = _Group(names)
        group.prefix = _Sequence(key=key, group=group, length=tokens, limit=None)
        for branch in branches:
            assert branch.key not in self._branches, branch
            assert tokens < branch.tokens < branch.limit, (tokens, branch)
            assert self.fits(branch.limit), branch
            sequence = _Sequence(
                key=branch.key, group=group, length=branch.tokens, limit=branch.limit, prompt=branch.tokens
            )
            group.waiting.append(sequence)
            self._branches[branch.key] = sequence
        self._groups[key] = group
        self._queue.append(group)

    def finish(self, key: Hashable) -> None:
        """Forget a branch whose answer is complete: those that follow are taken to be about as long."""
        sequence = self._branches[key]
        written = sequence.length - sequence.prompt
        self._written = written if self._written is None else 0.9 * self._written + 0.1 * written
        self.remove(key)

    def remove(self, key: Hashable) -> None:
        """Forget a branch; its group goes with its last branch."""
        sequence = self._branches.pop(key)
        group = sequence.group
        if sequence in self._running:
            self._running.remove(sequence)
            self._blocks.release(sequence.table)
            group.running -= 1
        else:
            group.waiting.remove(sequence)
        if not group.waiting:
            self._drop_prefix(group)
            if group in self._queue:
                self._queue.remove(group)
            if not group.running:
                del self._groups[group.prefix.key]

    def plan(self) -> Plan:
        """The next step, on the assumption that those before it are done when it runs."""
        budget = min(self._max_num_batched_tokens, self._pace())
        step = _Step(budget, budget)
        self._decode(step)
        for sequence in self._running:
            if sequence.wanted > 1 or sequence.limit is None:
                step.add(sequence, self._blocks.size)
        if self._start_branches(step):
            self._admit(step)
        while not step.chunks and self._force(step):
            pass
        for group in step.computed:
            self._running.remove(group.prefix)
            self._ready.append(group)
        return Plan(tuple(step.chunks), tuple(step.copies))

    def _pace(self) -> int:
        """Tokens of a step with which the cache fills as fast as finished answers empty it.

        The faster prompts are computed, the longer the steps that follow have nothing but decoding to do, in
        which the weights are read for a token a sequence. With room for 300,000 tokens, prompts of 3,200 and
        answers of 256, there are 87 sequences, and 1,085 tokens of prompts a step replace those that end.
        Answers are taken to be as long as the last ones were, the first ones as long as they may.
        """
        branches = [branch for group in self._queue[:1] for branch in group.waiting]
        written = self._written
        if written is None:
            written = max((one.limit - one.prompt for one in branches if one.limit is not None), default=1)
        # Of what a group fills, the share that its prompts are; their prefix is computed and kept once.
        prefix = self._queue[0].prefix.length if branches else 0
        prompts = prefix + sum(branch.prompt - prefix for branch in branches)
        share = prompts / (prompts + len(branches) * written) if branches else 1.0
        decoding = sum(one.limit is not None for one in self._running)
        pace = int(share * self._blocks.count * self._blocks.size / max(1.0, written)) + decoding
        return max(pace // _PACE_STEP * _PACE_STEP, _LEAST_PACE)

    def commit(self, plan: Plan) -> None:
        """The plan's step has run, or runs before all others: what it computed can now be found."""
        size = self._blocks.size
        for chunk in plan.chunks:
            group = self._groups.get(chunk.key)
            end = chunk.start + chunk.count
            if group is None or group.prefix.table[: len(chunk.table)] != list(chunk.table):
                continue
            complete = len(chunk.table) if end == group.prefix.length else end // size
            for index in range(chunk.start // size, complete):
                self._blocks.publish(chunk.table[index], group.names[index])

    def _decode(self, step: _Step) -> None:
        """One token of each branch that writes. Its room comes first from free blocks, then from others."""
        for sequence in [one for one in self._running if one.limit is not None and one.wanted == 1]:
            if not step.budget:
                return
            if sequence not in self._running:
                continue  # preempted by an earlier one
            full = sequence.computed == len(sequence.table) * self._blocks.size
            if not full or self._grow(sequence):
                step.add(sequence, self._blocks.size)

    def _grow(self, sequence: _Sequence) -> bool:
        while not self._blocks.free:
            later = [one for one in self._holders() if one.order > sequence.order]
            # Those that came later; else prefixes that only wait; else itself: an earlier one is at work.
            victims = later or [group.prefix for group in self._ready] or [sequence]
            victim = max(victims, key=lambda one: one.order)
            self._preempt(victim)
            if victim is sequence:
                return False
        sequence.table += self._blocks.allocate(1)
        return True

    def _holders(self) -> list[_Sequence]:
        return self._running + [group.prefix for group in self._ready]

    def _preempt(self, sequence: _Sequence) -> None:
        """Give its blocks back; what it computed is computed again, unless it is still found by its name."""
        self.preemptions += 1
        group = sequence.group
        if sequence is group.prefix:
            self._drop_prefix(group)
        else:
            self._running.remove(sequence)
            self._blocks.release(sequence.table)
            sequence.table, sequence.computed = [], 0
            group.running -= 1
            group.waiting.insert(0, sequence)
        if group not in self._queue and group not in self._ready and group.prefix not in self._running:
            self._queue.insert(0, group)

    def _drop_prefix(self, group: _Group) -> None:
        if group in self._ready:
            self._ready.remove(group)
        if group.prefix in self._running:
            self._running.remove(group.prefix)
        self._blocks.release(group.prefix.table)
        group.prefix.table, group.prefix.computed = [], 0

    def _start_branches(self, step: _Step) -> bool:
        """Branches of computed prefixes; False when one of them could not start for want of blocks."""
        growth = self._growth()
        for group in list(self._ready):
            while group.waiting and step.budget and len(self._running) < self._max_num_seqs:
                new, later = self._room(group)
                if self._blocks.free < new + self._kept(growth + later):
                    return False
                self._start(group, step)
                growth += later
        return True

    def _growth(self) -> int:
        """Blocks that the running branches have yet to take if they write to their limit."""
        return sum(
            self._blocks.for_tokens(one.limit) - len(one.table)
            for one in self._running
            if one.limit is not None
        )

    def _kept(self, blocks: int) -> int:
        return int(self._reserve * blocks)

    def _room(self, group: _Group) -> tuple[int, int]:
        """Blocks that the group's next branch needs to start, and those it may need later."""
        branch, prefix = group.waiting[0], group.prefix
        assert branch.limit is not None, branch.key
        now, limit = self._blocks.for_tokens(branch.length), self._blocks.for_tokens(branch.limit)
        new = now - len(prefix.table)
        partial = prefix.length % self._blocks.size
        # The last branch takes the prefix's own blocks over; the partial one is copied if others have it too.
        last = len(group.waiting) == 1
        if partial and not (last and self._blocks.references(prefix.table[-1]) == 1):
            new += 1
        return new, limit - now

    def _start(self, group: _Group, step: _Step) -> None:
        """The next waiting branch begins from the prefix's blocks."""
        branch, prefix, size = group.waiting.pop(0), group.prefix, self._blocks.size
        branch.table, branch.computed = list(prefix.table), prefix.length
        if group.waiting:
            self._blocks.share(prefix.table)
        else:  # the prefix's references become the branch's
            self._ready.remove(group)
            prefix.table, prefix.computed = [], 0
        if prefix.length % size and self._blocks.references(branch.table[-1]) > 1:
            shared = branch.table[-1]
            branch.table[-1:] = self._blocks.allocate(1)
            step.copies.append((shared, branch.table[-1]))
            self._blocks.release([shared])
        branch.table += self._blocks.allocate(self._blocks.for_tokens(branch.length) - len(branch.table))
        group.running += 1
        self._run(branch, step)

    def _run(self, sequence: _Sequence, step: _Step) -> None:
        self._admitted += 1
        sequence.order = self._admitted
        self._running.append(sequence)
        step.add(sequence, self._blocks.size)

    def _admit(self, step: _Step) -> None:
        """Waiting groups, in order, while there is room."""
        if not self._queue:
            return
        promised = self._growth()
        prefixes = [one for one in self._running if one.limit is None]
        promised += sum(self._private(group) for group in self._ready)
        promised += sum(self._private(one.group) for one in prefixes)
        # Also what this step computes: it is not to be found before it has run.
        underway = {name for one in prefixes for name in one.group.names}
        for group in list(self._queue):
            if not step.budget or len(self._running) >= self._max_num_seqs:
                return
            found = self._blocks.find(group.names)
            missing = group.names[len(found) :]
            if 2 * sum(name in underway for name in missing) > len(missing):
                continue  # an equal page is being computed: wait and share it
            idle = sum(self._blocks.is_idle(block) for block in found)
            private = self._private(group)
            left = group.prefix.length - len(found) * self._blocks.size
            if left > step.budget and 2 * step.budget < step.whole:
                return  # begun in the next step it is computed at once, and its keys need not be read again
            if self._blocks.free < len(missing) + idle + self._kept(promised + private):
                return
            promised += private
            underway |= set(missing)
            self._admit_group(group, step)

    def _private(self, group: _Group) -> int:
        """Blocks beside the prefix's that the group's waiting branches may take while they run at a time."""
        whole = group.prefix.length // self._blocks.size
        limits = (branch.limit or 0 for branch in group.waiting[: self._max_num_seqs])
        return sum(self._blocks.for_tokens(limit) - whole for limit in limits)

    def _admit_group(self, group: _Group, step: _Step) -> None:
        """The group's prefix takes its blocks, those found first, and is computed within the budget."""
        self._queue.remove(group)
        prefix = group.prefix
        prefix.table = self._blocks.find(group.names)
        self._blocks.share(prefix.table)
        prefix.computed = min(len(prefix.table) * self._blocks.size, prefix.length)
        prefix.table += self._blocks.allocate(len(group.names) - len(prefix.table))
        if prefix.wanted:
            self._run(prefix, step)
        else:  # all of it was found
            self._admitted += 1
            prefix.order = self._admitted
            self._ready.append(group)

    def _force(self, step: _Step) -> bool:
        """Nobody runs and nobody could be let in with a reserve: the first one has the cache to itself.

        False when nobody waits. What is kept for others goes, the latest first; each group fits alone.
        """
        if self._running:
            return False
        if self._ready:
            group = min(self._ready, key=lambda one: one.prefix.order)
            while self._blocks.free < self._room(group)[0]:
                others = [one for one in self._ready if one is not group]
                if others:
                    self._preempt(max(others, key=lambda one: one.prefix.order).prefix)
                else:
                    self._start_alone(group, step)
                    return True
            self._start(group, step)
            return True
        if not self._queue:
            return False
        self._admit_group(self._queue[0], step)
        return True

    def _start_alone(self, group: _Group, step: _Step) -> None:
        """The next branch takes the prefix's blocks over, though others wait: they compute it again."""
        others = group.waiting[1:]
        del group.waiting[1:]
        self._start(group, step)
        group.waiting += others
        self._queue.insert(0, group)
