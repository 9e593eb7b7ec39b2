"""The scheduler's plans, run on a cache of plain Python values: what a chunk reads is what its tokens say."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from model.cache.plan import BranchSize, Plan
from model.engine import scheduler as scheduling
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


def with_group(
    *, blocks: int, max_num_batched_tokens: int, prompt: int, answer: int, groups: int = 1
) -> Scheduler:
    """Groups of one branch each, in blocks of 64 tokens."""
    scheduler = Scheduler(
        BlockPool(blocks, 64), max_num_batched_tokens=max_num_batched_tokens, max_num_seqs=64
    )
    for key in range(groups):
        names = [bytes([key, block]) for block in range(-(-(prompt - 20) // 64))]
        size = BranchSize(key=f"{key}", tokens=prompt, limit=prompt + answer)
        scheduler.add(key, tokens=prompt - 20, names=names, branches=[size])
    return scheduler


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        (16, 8192),  # the cache could be filled faster than a step computes
        (100, 2432),  # 256,000 tokens hold 79.5 of 3,220: their prompts in 100 steps are 2,480 a step
        (250, 1024),  # 948 a step would fill it, but a GPU would read its weights for too few
    ],
)
def test_prompts_are_computed_as_fast_as_answers_make_room(answer: int, tokens: int) -> None:
    scheduler = with_group(blocks=4000, max_num_batched_tokens=8192, prompt=3120, answer=answer, groups=9)
    assert scheduler._pace() >= tokens
    assert sum(chunk.count for chunk in scheduler.plan().chunks) in range(tokens - 3120, tokens + 1)


def test_short_answers_let_prompts_be_computed_faster() -> None:
    scheduler = with_group(blocks=4000, max_num_batched_tokens=8192, prompt=3120, answer=250, groups=9)
    slow = scheduler._pace()
    while not (sampled := [chunk.key for chunk in scheduler.plan().chunks if chunk.samples]):
        pass
    scheduler.finish(sampled[0])  # ended after its first token, not its 250th
    assert scheduler._pace() > 20 * slow


def test_a_prefix_that_the_rest_of_a_step_cannot_hold_waits_for_the_next() -> None:
    """Then it is computed at once, and what is computed of it need not be read again."""
    scheduler = with_group(blocks=4000, max_num_batched_tokens=8192, prompt=3120, answer=16, groups=3)
    assert [(chunk.key, chunk.start, chunk.count) for chunk in scheduler.plan().chunks] == [
        (0, 0, 3100),
        (1, 0, 3100),
    ]
    assert (2, 0, 3100) in [(chunk.key, chunk.start, chunk.count) for chunk in scheduler.plan().chunks]


def test_a_prefix_longer_than_a_step_is_computed_in_pieces() -> None:
    scheduler = with_group(blocks=4000, max_num_batched_tokens=2048, prompt=3120, answer=16)
    assert [chunk.count for chunk in scheduler.plan().chunks] == [2048]
    assert [chunk.count for chunk in scheduler.plan().chunks] == [1052]


def with_prompts(
    *prompts: int, max_num_batched_tokens: int, answer: int = 16, each: int = 1, blocks: int = 4000
) -> Scheduler:
    """Groups "0", "1", ... of prefixes of so many tokens, with `each` branches of one token more."""
    scheduler = Scheduler(
        BlockPool(blocks, 64), max_num_batched_tokens=max_num_batched_tokens, max_num_seqs=64
    )
    for group, prompt in enumerate(prompts):
        names = [bytes([group, block]) for block in range(-(-prompt // 64))]
        sizes = [
            BranchSize(key=(group, number), tokens=prompt + 1, limit=prompt + 1 + answer)
            for number in range(each)
        ]
        scheduler.add(f"{group}", tokens=prompt, names=names, branches=sizes)
    return scheduler


def counts(plan: Plan) -> list[tuple[Hashable, int]]:
    return [(chunk.key, chunk.count) for chunk in plan.chunks]


def test_a_prefix_is_begun_in_a_step_that_is_half_full() -> None:
    scheduler = with_prompts(1024, 3000, max_num_batched_tokens=2048)
    assert counts(scheduler.plan()) == [("0", 1024), ("1", 1024)]


def test_a_prefix_that_just_fits_is_begun_in_a_fuller_step() -> None:
    scheduler = with_prompts(1500, 548, max_num_batched_tokens=2048)
    assert counts(scheduler.plan()) == [("0", 1500), ("1", 548)]


def test_what_the_cache_holds_of_a_prefix_needs_no_room_in_a_step() -> None:
    scheduler = with_prompts(1024, max_num_batched_tokens=2048)
    scheduler.commit(scheduler.plan())
    scheduler.remove((0, 0))
    scheduler.add(
        "long", tokens=1500, names=[b"new"] * 24, branches=[BranchSize(key=1, tokens=1501, limit=1502)]
    )
    names = [bytes([0, block]) for block in range(16)] + [b"further"]
    scheduler.add("known", tokens=1060, names=names, branches=[BranchSize(key=2, tokens=1061, limit=1062)])
    assert counts(scheduler.plan()) == [("long", 1500), ("known", 36)]


def test_a_short_prefix_does_not_overtake_one_that_waits_for_the_next_step() -> None:
    scheduler = with_prompts(1500, 1500, 100, max_num_batched_tokens=2048)
    assert counts(scheduler.plan()) == [("0", 1500)]


def test_beside_branches_that_decode_a_prefix_is_begun_at_the_pace_of_answers() -> None:
    """Half full means half of what the step computes at that pace, not of what it may."""
    scheduler = with_prompts(1000, 3000, max_num_batched_tokens=8192, answer=250)
    assert scheduler._pace() == 1024
    assert counts(scheduler.plan()) == [("0", 1000)]
    assert counts(scheduler.plan()) == [((0, 0), 1), ("1", 1023)]


def test_branches_that_decode_take_nothing_from_the_pace_of_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "_PACE_STEP", 64)
    scheduler = with_prompts(2000, 2000, max_num_batched_tokens=2048, answer=100, each=64, blocks=8000)
    before = scheduler._pace()
    while len(scheduler.plan().chunks) < 64:
        pass
    assert list(scheduler.queue) == ["1"]
    assert scheduler._pace() == before + 64


def test_the_pace_is_that_of_the_next_group() -> None:
    paces = [
        with_prompts(*prompts, max_num_batched_tokens=8192, answer=100)._pace()
        for prompts in ((3000, 200), (3000,), (200,))
    ]
    assert paces[0] == paces[1] > paces[2]


def test_each_branch_brings_an_answer() -> None:
    """Of 1,280,000 tokens about a half are answers of 500, which end in 500 steps: some 1,300 a step."""
    scheduler = Scheduler(BlockPool(20_000, 64), max_num_batched_tokens=8192, max_num_seqs=64)
    branches = [BranchSize(key=number, tokens=564, limit=1064) for number in range(4)]
    scheduler.add("page", tokens=64, names=[b"page"], branches=branches)
    assert scheduler._pace() in range(1216, 1409)


def test_an_answer_longer_than_the_last_ones_slows_the_pace_by_a_tenth_of_its_length() -> None:
    scheduler = with_prompts(3000, max_num_batched_tokens=8192, each=2)
    while not any(chunk.samples for chunk in scheduler.plan().chunks):
        pass
    scheduler.finish((0, 0))  # 1 token
    fast = scheduler._pace()
    for _ in range(9):
        scheduler.plan()
    scheduler.finish((0, 1))  # 10 tokens: 0.9 * 1 + 0.1 * 10
    assert fast / scheduler._pace() == pytest.approx(1.9, rel=0.01)


def test_a_branch_that_is_given_up_changes_no_pace() -> None:
    """Not before it writes, and not after its first tokens: those are no answer's length."""
    scheduler = with_prompts(3000, 3000, max_num_batched_tokens=8192, answer=100)
    before = scheduler._pace()
    scheduler.remove((1, 0))
    assert scheduler._pace() == before
    scheduler = with_prompts(3000, max_num_batched_tokens=8192, each=2)
    while not any(chunk.samples for chunk in scheduler.plan().chunks):
        pass
    before = scheduler._pace()
    scheduler.remove((0, 0))
    assert scheduler._pace() <= before
