"""Prompts are computed at the pace at which answers make room, and a prefix is begun where it fits."""

from collections.abc import Hashable

import pytest

from model.cache.plan import BranchSize, Plan
from model.engine import pacing
from model.engine.block_pool import BlockPool
from model.engine.scheduler import Scheduler


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
    monkeypatch.setattr(pacing, "_PACE_STEP", 64)
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
