"""Decides which tokens each step computes: counts of tokens in, a plan out. No torch and no token ids.

A group is a prefix and the branches that continue it. Its prefix is computed first, in chunks if need be
(chunked prefill). Then its branches start from the prefix's blocks. Each step gives its token budget first to
branches that decode, then to prefills that have begun, then to branches that can start, then to new groups.

A group is admitted when the cache has room for it. If decoding runs out of blocks all the same, the sequence
admitted last is preempted: it gives its blocks back and is computed again later. Planning needs only counts,
so the next step can be planned while this one runs.
"""

from collections.abc import Hashable, Iterator, Sequence

from model.cache.plan import BranchSize, Plan
from model.engine.block_pool import BlockPool
from model.engine.pacing import Pacer
from model.engine.sequences import GroupState, SequenceState, StepBuilder


class Scheduler:
    """For each step: `plan`, run it, `commit`, and `finish` branches. `add` and `remove` at any time."""

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
        self._pacer = Pacer(blocks.count * blocks.size)
        self._groups: dict[Hashable, GroupState] = {}
        self._branches: dict[Hashable, SequenceState] = {}
        self._queue: list[GroupState] = []  # groups that wait: their prefix has no blocks
        self._ready: list[
            GroupState
        ] = []  # groups whose prefix is computed, and whose branches wait to start
        self._running: list[SequenceState] = []  # prefixes and branches, in the order of their admission

    @property
    def pending(self) -> int:
        """Branches added and not removed."""
        return len(self._branches)

    @property
    def queued(self) -> int:
        """Tokens of the prefixes of all groups that wait to be admitted."""
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
        """Whether the whole cache holds so many tokens."""
        return self._blocks.for_tokens(tokens) <= self._blocks.count

    def add(
        self, key: Hashable, *, tokens: int, names: Sequence[bytes], branches: Sequence[BranchSize]
    ) -> None:
        """Adds a group: length and block names of its prefix, and its branches, each of which `fits`."""
        assert key not in self._groups, key
        assert len(names) == self._blocks.for_tokens(tokens), (len(names), tokens)
        assert branches, key
        group = GroupState(names)
        group.prefix = SequenceState(key=key, group=group, length=tokens, limit=None)
        for branch in branches:
            assert branch.key not in self._branches, branch
            assert tokens < branch.tokens < branch.limit, (tokens, branch)
            assert self.fits(branch.limit), branch
            sequence = SequenceState(
                key=branch.key, group=group, length=branch.tokens, limit=branch.limit, prompt=branch.tokens
            )
            group.waiting.append(sequence)
            self._branches[branch.key] = sequence
        self._groups[key] = group
        self._queue.append(group)

    def finish(self, key: Hashable) -> None:
        """Forget a branch whose answer is complete."""
        self._pacer.finished(self._branches[key])
        self.remove(key)

    def remove(self, key: Hashable) -> None:
        """Forget a branch. Its group is forgotten with its last branch."""
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
        """The next step. It may be run once all steps planned before it have run."""
        budget = min(self._max_num_batched_tokens, self._pace())
        step = StepBuilder(budget, budget)
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
        decoding = sum(one.limit is not None for one in self._running)
        return self._pacer.tokens(self._queue[0] if self._queue else None, decoding)

    def commit(self, plan: Plan) -> None:
        """The step has run, or will before all later ones: prefix blocks that it completes can be found."""
        size = self._blocks.size
        for chunk in plan.chunks:
            group = self._groups.get(chunk.key)
            end = chunk.start + chunk.count
            if group is None or group.prefix.table[: len(chunk.table)] != list(chunk.table):
                continue
            complete = len(chunk.table) if end == group.prefix.length else end // size
            for index in range(chunk.start // size, complete):
                self._blocks.publish(chunk.table[index], group.names[index])

    def _decode(self, step: StepBuilder) -> None:
        """One token of each branch that decodes. A new block is a free one, or comes from a preemption."""
        for sequence in [one for one in self._running if one.limit is not None and one.wanted == 1]:
            if not step.budget:
                return
            if sequence not in self._running:
                continue  # preempted by an earlier one
            full = sequence.computed == len(sequence.table) * self._blocks.size
            if not full or self._grow(sequence):
                step.add(sequence, self._blocks.size)

    def _grow(self, sequence: SequenceState) -> bool:
        while not self._blocks.free:
            later = [one for one in self._holders() if one.order > sequence.order]
            # Preempted are later sequences; else prefixes that only wait; else the sequence itself.
            victims = later or [group.prefix for group in self._ready] or [sequence]
            victim = max(victims, key=lambda one: one.order)
            self._preempt(victim)
            if victim is sequence:
                return False
        sequence.table += self._blocks.allocate(1)
        return True

    def _holders(self) -> list[SequenceState]:
        return self._running + [group.prefix for group in self._ready]

    def _preempt(self, sequence: SequenceState) -> None:
        """Give its blocks back. It is computed again later, except blocks that can still be found by name."""
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

    def _drop_prefix(self, group: GroupState) -> None:
        if group in self._ready:
            self._ready.remove(group)
        if group.prefix in self._running:
            self._running.remove(group.prefix)
        self._blocks.release(group.prefix.table)
        group.prefix.table, group.prefix.computed = [], 0

    def _start_branches(self, step: StepBuilder) -> bool:
        """Starts branches of computed prefixes. False if one could not start for want of blocks."""
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
        """Blocks that the running branches will take if all write to their limits."""
        return sum(
            self._blocks.for_tokens(one.limit) - len(one.table)
            for one in self._running
            if one.limit is not None
        )

    def _kept(self, blocks: int) -> int:
        return int(self._reserve * blocks)

    def _room(self, group: GroupState) -> tuple[int, int]:
        """Blocks that the group's next branch needs to start, and blocks that it may need later."""
        branch, prefix = group.waiting[0], group.prefix
        assert branch.limit is not None, branch.key
        now, limit = self._blocks.for_tokens(branch.length), self._blocks.for_tokens(branch.limit)
        new = now - len(prefix.table)
        partial = prefix.length % self._blocks.size
        # The last branch takes the prefix's own blocks. A partial block is copied if others refer to it too.
        last = len(group.waiting) == 1
        if partial and not (last and self._blocks.references(prefix.table[-1]) == 1):
            new += 1
        return new, limit - now

    def _start(self, group: GroupState, step: StepBuilder) -> None:
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

    def _run(self, sequence: SequenceState, step: StepBuilder) -> None:
        self._admitted += 1
        sequence.order = self._admitted
        self._running.append(sequence)
        step.add(sequence, self._blocks.size)

    def _admit(self, step: StepBuilder) -> None:
        """Admits waiting groups, in order, while there is room."""
        if not self._queue:
            return
        promised = self._growth()
        prefixes = [one for one in self._running if one.limit is None]
        promised += sum(self._private(group) for group in self._ready)
        promised += sum(self._private(one.group) for one in prefixes)
        # Contents that are being computed, in this step too: they are not found before it has run.
        underway = {name for one in prefixes for name in one.group.names}
        for group in list(self._queue):
            if not step.budget or len(self._running) >= self._max_num_seqs:
                return
            found = self._blocks.find(group.names)
            missing = group.names[len(found) :]
            if 2 * sum(name in underway for name in missing) > len(missing):
                continue  # an equal page is being computed: the group waits and shares it
            idle = sum(self._blocks.is_idle(block) for block in found)
            private = self._private(group)
            left = group.prefix.length - len(found) * self._blocks.size
            if left > step.budget and 2 * step.budget < step.whole:
                return  # the next step computes it in one piece, without reading its first keys again
            if self._blocks.free < len(missing) + idle + self._kept(promised + private):
                return
            promised += private
            underway |= set(missing)
            self._admit_group(group, step)

    def _private(self, group: GroupState) -> int:
        """Blocks of their own that the group's waiting branches may take, as many as can run at a time."""
        whole = group.prefix.length // self._blocks.size
        limits = (branch.limit or 0 for branch in group.waiting[: self._max_num_seqs])
        return sum(self._blocks.for_tokens(limit) - whole for limit in limits)

    def _admit_group(self, group: GroupState, step: StepBuilder) -> None:
        """Gives the group's prefix its blocks, those found by name first, and plans it within the budget."""
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

    def _force(self, step: StepBuilder) -> bool:
        """If nothing runs and the reserve lets nothing start, the first group gets the cache to itself.

        Prefixes kept for other groups are preempted, the latest first; each group fits alone. False if no
        group waits.
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

    def _start_alone(self, group: GroupState, step: StepBuilder) -> None:
        """Starts the next branch with the prefix's own blocks. The others will compute the prefix again."""
        others = group.waiting[1:]
        del group.waiting[1:]
        self._start(group, step)
        group.waiting += others
        self._queue.insert(0, group)
