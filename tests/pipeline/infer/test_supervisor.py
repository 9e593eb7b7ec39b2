"""The supervisor's own decisions, with ranks that are a list: whom it asks again, and when it gives up."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event
from time import sleep

import pytest

from model.engine.request import Branch, Completion, Group, Progress
from pipeline.infer.pending_calls import PendingCalls
from pipeline.infer.ranks import EngineBrokenError, RanksLostError, Report
from pipeline.infer.supervisor import LIVES, STARTS, Supervisor
from tests.pipeline.seats import completion


class Lives:
    """All lives of the ranks, which answer page by page and die when it is a deadly page's turn."""

    def __init__(self, *, deadly: set[str], failing_starts: int = 0) -> None:
        self.deadly = deadly
        self.failing_starts = failing_starts
        self.started = 0
        self.closed = 0
        self.asked: list[str] = []
        self.aborted: list[str] = []

    def start(self, closed: Event) -> "Life":
        self.started += 1
        if self.started <= self.failing_starts:
            raise RanksLostError("OutOfMemoryError: no room")
        return Life(self)


class Life:
    """One life."""

    def __init__(self, lives: Lives) -> None:
        self._lives = lives
        self._queue: list[Group] = []

    def check(self) -> None:
        assert not self._queue

    def submit(self, groups: Sequence[Group]) -> None:
        self._queue += groups
        self._lives.asked += [group.id for group in groups]

    def abort(self, ids: Sequence[str]) -> None:
        self._lives.aborted += ids
        self._queue = [group for group in self._queue if group.branches[0].id not in ids]

    def take(self, seconds: float) -> Report | None:
        if not self._queue:
            return None
        group = self._queue.pop(0)
        if group.id in self._lives.deadly:
            raise RanksLostError("rank 1 died")
        done = [completion(branch.id) for branch in group.branches]
        return Report(steps=1, completions=done, seconds=0.1)

    def close(self) -> None:
        self._lives.closed += 1


def lead(lives: Lives, calls: list[list[Group]]) -> list[Completion]:
    """Asks calls of a supervisor over these lives; all of their completions."""
    pending = PendingCalls()
    worker = Supervisor(lives.start, pending.deliver, pending.fail)
    try:
        with ThreadPoolExecutor(len(calls)) as threads:
            asked = [threads.submit(pending.ask, groups, worker) for groups in calls]
            return [one for future in asked for one in future.result(timeout=250)[0].values()]
    finally:
        worker.close()


def pages(count: int) -> list[Group]:
    return [
        Group(
            id=str(number),
            prefix_ids=[1],
            images=[],
            branches=[Branch(id=f"{number}.0", ids=[1], max_new_tokens=1)],
            max_side=1,
        )
        for number in range(count)
    ]


def test_a_deadly_page_among_many_fails_alone() -> None:
    lives = Lives(deadly={"11"})
    found = lead(lives, [pages(32)])
    assert [one.id for one in found if one.finish_reason == "error"] == ["11.0"]
    assert {one.error for one in found} == {None, "RanksLostError: rank 1 died"}
    assert len(found) == 32
    # 32 pages, of which 11 are answered before the first death; then halves of 21; then three times alone.
    assert lives.started <= 9
    assert lives.closed == lives.started


def test_calls_side_by_side_survive_the_death_of_their_ranks() -> None:
    lives = Lives(deadly={"3"})
    every = pages(12)
    found = lead(lives, [every[start : start + 2] for start in range(0, 12, 2)])
    assert sorted(one.id for one in found if one.finish_reason != "error") == sorted(
        f"{number}.0" for number in range(12) if number != 3
    )


def test_ranks_that_do_not_start_are_tried_again() -> None:
    lives = Lives(deadly=set(), failing_starts=STARTS - 1)
    assert len(lead(lives, [pages(2)])) == 2
    with pytest.raises(EngineBrokenError, match="the engine does not start: OutOfMemoryError: no room"):
        lead(Lives(deadly=set(), failing_starts=STARTS), [pages(2)])


def test_ranks_that_cannot_be_replaced_end_every_call() -> None:
    class LastLife(Lives):
        def start(self, closed: Event) -> Life:
            self.started += 1
            if self.started > 1:
                raise RanksLostError("CheckpointError: the weights are gone")
            return Life(self)

    every = pages(6)
    with pytest.raises(RuntimeError, match="the engine broke: RanksLostError: CheckpointError: the weights"):
        lead(LastLife(deadly={"0"}), [every[:3], every[3:]])


def test_a_machine_that_kills_every_page_ends_the_run() -> None:
    """Else each of a million pages would take its three lives, and be blamed."""
    lives = Lives(deadly={str(number) for number in range(100)})
    with pytest.raises(RuntimeError, match=f"{LIVES} starts in a row came to no answer"):
        lead(lives, [pages(100)])
    assert lives.started == LIVES


def test_ranks_that_die_while_they_are_asked_nothing_are_not_started_for_ever() -> None:
    class Weak(Life):
        def check(self) -> None:
            raise RanksLostError("rank 0 died")

    class WeakLives(Lives):
        def start(self, closed: Event) -> Life:
            self.started += 1
            return Weak(self)

    with pytest.raises(RuntimeError, match="came to no answer, the last one: rank 0 died"):
        lead(WeakLives(deadly=set()), [pages(2)])


def test_what_is_called_off_leaves_the_ranks_and_brings_no_completion() -> None:
    """The ranks hear of it although nothing else is asked; what was under way may still come."""
    release = Event()

    class Slow(Life):
        def take(self, seconds: float) -> Report | None:
            return super().take(seconds) if release.wait(seconds) else None

    class SlowLives(Lives):
        def start(self, closed: Event) -> Life:
            self.started += 1
            return Slow(self)

    lives = SlowLives(deadly=set())
    delivered: SimpleQueue[str] = SimpleQueue()

    def deliver(done: list[Completion], seconds: float, progress: list[Progress]) -> None:
        for one in done:
            delivered.put(one.id)

    worker = Supervisor(lives.start, deliver, lambda error: pytest.fail(str(error)))
    try:
        worker.submit(pages(2))
        while lives.asked != ["0", "1"]:
            sleep(0.01)
        worker.abort(["0.0", "1.0"])
        while lives.aborted != ["0.0", "1.0"]:
            sleep(0.01)
        release.set()
        worker.submit(pages(3)[2:])
        assert delivered.get(timeout=60) == "2.0"
    finally:
        worker.close()
