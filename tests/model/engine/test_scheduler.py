"""The scheduler's plans, run on a cache of plain Python values: what a chunk reads is what its tokens say."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from model.cache.plan import BranchSize, Plan
from model.engine.block_pool import BlockPool, block_names
from model.engine.scheduler import Scheduler

SIZE = 4


@dataclass
class World:
    """A scheduler, the tokens that it does not see, and a cache whose slots hold the tokens up to theirs."""

    count: int
    max_num_batched_tokens: int
    max_num_seqs: int = 8
    reserve: float = 1.0
    tokens: dict[Hashable, list[int]] = field(default_factory=dict)
    answers: dict[Hashable, int] = field(default_factory=dict)
    slots: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict)
    prefixes: dict[Hashable, Hashable] = field(default_factory=dict)
    computed: int = 0

    def __post_init__(self) -> None:
        self.blocks = BlockPool(self.count, SIZE)
        self.scheduler = Scheduler(
            self.blocks,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_num_seqs=self.max_num_seqs,
            reserve=self.reserve,
        )

    def add(
        self, key: str, prefix: Sequence[int], branches: Sequence[tuple[Sequence[int], int]]
    ) -> list[Hashable]:
        sizes = []
        for number, (ids, answer) in enumerate(branches):
            branch = (key, number)
            self.tokens[branch] = [*prefix, *ids]
            self.answers[branch] = len(prefix) + len(ids) + answer
            self.prefixes[branch] = key
            sizes.append(
                BranchSize(key=branch, tokens=len(prefix) + len(ids), limit=len(prefix) + len(ids) + answer)
            )
        self.tokens[key] = list(prefix)
        self.scheduler.add(
            key,
            tokens=len(prefix),
            names=block_names(np.array(prefix, np.int32), [], SIZE),
            branches=sizes,
        )
        return [size.key for size in sizes]

    def step(self) -> Plan:
        plan = self.scheduler.plan()
        before = dict(self.slots)
        for source, target in plan.copies:
            for offset in range(SIZE):
                self.slots[target, offset] = before.get((source, offset), ())
        written: set[tuple[int, int]] = set()
        for chunk in plan.chunks:
            tokens = self.tokens[chunk.key]
            assert chunk.count > 0
            for position in range(chunk.start, chunk.start + chunk.count):
                slot = chunk.table[position // SIZE], position % SIZE
                assert slot not in written, (slot, chunk)
                written.add(slot)
                self.slots[slot] = tuple(tokens[: position + 1])
        finished = []
        for chunk in plan.chunks:
            tokens, end = self.tokens[chunk.key], chunk.start + chunk.count
            for position in range(end):
                slot = chunk.table[position // SIZE], position % SIZE
                assert self.slots.get(slot) == tuple(tokens[: position + 1]), (slot, chunk)
            assert chunk.samples == (chunk.key in self.answers and end == len(tokens))
            if chunk.samples:
                tokens.append(sum(tokens) % 7 + 100)
                if len(tokens) == self.answers[chunk.key]:
                    finished.append(chunk.key)
        assert plan.tokens <= self.max_num_batched_tokens
        self.computed += plan.tokens
        self.scheduler.commit(plan)
        for key in finished:
            self.scheduler.finish(key)
        return plan

    def run(self) -> int:
        steps = 0
        while self.scheduler.pending:
            assert self.step().chunks
            steps += 1
        assert self.blocks.free == self.count
        assert not any(self.blocks.references(block) for block in range(self.count))
        return steps


def test_a_prefix_is_computed_once_and_its_branches_start_together() -> None:
    world = World(count=100, max_num_batched_tokens=100)
    branches = world.add("page", range(10), [([20], 3), ([21, 22], 3), ([23], 3)])
    plans = [world.step() for _ in range(4)]
    assert [chunk.key for chunk in plans[0].chunks] == ["page"]
    assert [(chunk.key, chunk.start, chunk.count) for chunk in plans[1].chunks] == [
        (branches[0], 10, 1),
        (branches[1], 10, 2),
        (branches[2], 10, 1),
    ]
    # Two blocks of the three are full and shared; the partial one is copied by all but the last to start.
    tables = [chunk.table for chunk in plans[1].chunks]
    assert len({table[:2] for table in tables}) == 1
    assert len({table[2] for table in tables}) == 3
    assert len(plans[1].copies) == 2
    assert [plan.tokens for plan in plans] == [10, 4, 3, 3]
    assert world.scheduler.pending == 0
    assert world.computed == 20


def test_long_prefixes_are_computed_in_chunks_beside_branches_that_decode() -> None:
    world = World(count=100, max_num_batched_tokens=8)
    world.add("one", range(6), [([20], 6)])
    world.step()
    world.add("two", range(50, 70), [([20], 2)])
    counts = [[chunk.count for chunk in world.step().chunks] for _ in range(4)]
    assert counts == [[1, 7], [1, 7], [1, 6], [1, 1]]
    world.run()


def test_equal_pages_share_even_when_they_come_together() -> None:
    world = World(count=100, max_num_batched_tokens=100)
    for name in ("one", "two", "three"):
        world.add(name, range(10), [([20], 2), ([21], 2)])
    world.run()
    assert world.computed == 10 + 3 * 2 * 2
    world.add("later", range(10), [([22], 2)])
    world.run()
    assert world.computed == 10 + 3 * 2 * 2 + 2


def test_a_common_beginning_is_shared_between_pages() -> None:
    world = World(count=100, max_num_batched_tokens=100)
    world.add("one", [1, 2, 3, 4, 5, 6], [([20], 2)])
    world.run()
    assert world.computed == 6 + 2
    world.add("two", [1, 2, 3, 4, 9, 9, 9], [([20], 2)])
    assert world.scheduler.cached("two") == 4
    world.run()
    assert world.computed == 6 + 2 + 3 + 2


def test_with_a_full_reserve_nobody_is_preempted() -> None:
    world = World(count=12, max_num_batched_tokens=50, reserve=1.0)
    for number in range(6):
        world.add(str(number), [number] * 9, [([20], 9), ([21], 5)])
    world.run()
    assert world.scheduler.preemptions == 0


def test_without_a_reserve_the_latest_gives_its_blocks_back_and_ends_all_the_same() -> None:
    world = World(count=12, max_num_batched_tokens=50, reserve=0.0)
    for number in range(6):
        world.add(str(number), [number] * 9, [([20], 9), ([21], 5)])
    world.run()
    assert world.scheduler.preemptions > 0


def test_a_group_may_fill_the_whole_cache() -> None:
    world = World(count=4, max_num_batched_tokens=50, reserve=0.0)
    branches = world.add("page", range(9), [([20], 6), ([21], 6), ([22], 6)])
    world.run()
    assert [len(world.tokens[branch]) for branch in branches] == [16, 16, 16]


def test_limits_of_the_scheduler_are_checked() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Scheduler(BlockPool(1, SIZE), max_num_batched_tokens=0, max_num_seqs=1)


class SchedulerMachine(RuleBasedStateMachine):
    """Groups come, are aborted and end in any order, in caches that are far too small."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.number = 0

    @precondition(lambda self: self.world is None)
    @rule(
        count=st.integers(4, 14),
        max_num_batched_tokens=st.integers(1, 20),
        max_num_seqs=st.integers(1, 5),
        reserve=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def start(self, count: int, max_num_batched_tokens: int, max_num_seqs: int, reserve: float) -> None:
        self.world = World(
            count=count,
            max_num_batched_tokens=max_num_batched_tokens,
            max_num_seqs=max_num_seqs,
            reserve=reserve,
        )

    @precondition(lambda self: self.world is not None)
    @rule(
        prefix=st.sampled_from(
            [[], [1], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 6, 6, 6, 6, 6], [7] * 7]
        ),
        branches=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 7)), min_size=1, max_size=4),
    )
    def add(self, prefix: list[int], branches: list[tuple[int, int]]) -> None:
        assert self.world is not None
        fitting = [
            ([30 + self.number] * ids, answer)
            for ids, answer in branches
            if self.world.scheduler.fits(len(prefix) + ids + answer)
        ]
        if fitting:
            self.world.add(f"group {self.number}", prefix, fitting)
            self.number += 1

    @precondition(lambda self: self.world is not None and self.world.scheduler.pending)
    @rule()
    def step(self) -> None:
        assert self.world is not None
        assert self.world.step().chunks

    @precondition(lambda self: self.world is not None and self.world.scheduler.pending)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        assert self.world is not None
        pending = list(self.world.scheduler._branches)
        self.world.scheduler.remove(data.draw(st.sampled_from(pending)))

    @invariant()
    def every_reference_has_a_holder(self) -> None:
        if self.world is None:
            return
        scheduler, blocks = self.world.scheduler, self.world.blocks
        groups = scheduler._groups.values()
        sequences = {id(one): one for group in groups for one in (group.prefix, *group.waiting)}
        sequences |= {id(one): one for one in scheduler._running}
        held = [block for one in sequences.values() for block in one.table]
        for block in range(blocks.count):
            assert blocks.references(block) == held.count(block), block
        assert blocks.free == blocks.count - len(set(held))
        for group in groups:
            homes = (group in scheduler._queue, group in scheduler._ready, group.prefix in scheduler._running)
            assert sum(homes) == bool(group.waiting), homes
            assert group.running == sum(
                one.group is group and one.limit is not None for one in scheduler._running
            )

    def teardown(self) -> None:
        if self.world is not None:
            tokens = sum(self.world.answers.values())
            assert self.world.run() <= 10 * tokens


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=200, stateful_step_count=40)
