"""Calls side by side: each gets its own answers, the engine is not idle, nobody waits for a broken one."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from model.engine.request import Branch, Group
from pipeline.infer.engine_loop import Stepper
from pipeline.infer.pending_calls import Desk
from tests.pipeline.seats import SeatsEngine


def calls(count: int, size: int) -> list[list[Group]]:
    """Batches of groups whose answers are of very different lengths."""
    lengths = random.Random(0)
    return [
        [
            Group(
                id=f"{call}-{group}",
                prefix_ids=[1],
                images=[],
                branches=[
                    Branch(
                        id=f"{call}-{group}.0", ids=[1], max_new_tokens=1 + int(lengths.expovariate(1 / 40))
                    )
                ],
                max_side=1,
            )
            for group in range(size)
        ]
        for call in range(count)
    ]


@contextmanager
def desk_over(engine: SeatsEngine) -> Iterator[tuple[Desk, Stepper]]:
    """The two halves of a Replica."""
    desk = Desk()
    stepper = Stepper(engine, desk.deliver, desk.fail)
    try:
        yield desk, stepper
    finally:
        stepper.close()


def ask_all(engine: SeatsEngine, batches: list[list[Group]], at_a_time: int) -> float:
    """Asks them, so many calls at a time; returns the seconds that the calls report."""
    with desk_over(engine) as (desk, stepper), ThreadPoolExecutor(at_a_time) as threads:
        asked = [threads.submit(desk.ask, groups, stepper) for groups in batches]
        for groups, future in zip(batches, asked, strict=True):
            completions, _, _ = future.result(timeout=250)
            assert set(completions) == {branch.id for group in groups for branch in group.branches}
            assert all(id == completion.id for id, completion in completions.items())
    return sum(future.result()[1] for future in asked)


def test_calls_side_by_side_leave_no_seat_empty() -> None:
    batches = calls(24, 4)
    drained, overlapping = SeatsEngine(seats=12), SeatsEngine(seats=12)
    ask_all(drained, batches, at_a_time=1)
    ask_all(overlapping, batches, at_a_time=12)
    assert drained.taken == overlapping.taken
    # One call at a time: 4 of 12 seats, most of them waiting for the longest answer. Together: no tail but
    # the last. Of the seats 17% are taken, and then 83%, or 59% on a machine too busy to bring the next call.
    assert overlapping.steps < drained.steps / 2


def test_the_seconds_of_all_calls_are_those_of_the_engine() -> None:
    """Six calls that each counted all of them would report six times as much as has passed."""
    engine = SeatsEngine(seats=4, step_seconds=0.005)
    started = time.perf_counter()
    seconds = ask_all(engine, calls(6, 4), at_a_time=6)
    assert 0.005 * engine.steps <= seconds <= time.perf_counter() - started


def test_the_wait_between_two_calls_is_idle_and_the_time_before_them_is_not() -> None:
    with desk_over(SeatsEngine(seats=4)) as (desk, stepper):
        first, second, third = calls(3, 2)
        time.sleep(0.2)
        assert desk.ask(first, stepper)[2] == 0
        started = time.perf_counter()
        time.sleep(0.2)
        assert 0.2 <= desk.ask(second, stepper)[2] <= time.perf_counter() - started
        waited = time.perf_counter()
        idle = desk.ask(third, stepper)[2]
        assert idle < 0.2 + time.perf_counter() - waited, "the wait before the second call is counted again"


def test_an_engine_that_breaks_is_heard_of_in_every_call() -> None:
    with desk_over(SeatsEngine(seats=2, breaks_at=9)) as (desk, stepper), ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(desk.ask, groups, stepper) for groups in calls(8, 40)]
        for future in asked:
            with pytest.raises(RuntimeError, match="the engine broke: OSError: the device is gone"):
                future.result(timeout=250)
        with pytest.raises(RuntimeError, match="the device is gone"):  # also in those that come later
            desk.ask(calls(1, 1)[0], stepper)
