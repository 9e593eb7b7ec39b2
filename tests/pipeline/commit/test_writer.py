"""What has gathered is committed once, whatever interrupts it, and replaces what it should."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.run.signals import graceful
from pipeline.commit import writer
from pipeline.commit.lease import Lease
from tests.pipeline.commit.simulated import NAMES, TIMEOUT, Run, World, fail_behind, lose_the_reply
from tests.pipeline.local import Machine
from tests.pipeline.pile import write_pile


@pytest.mark.parametrize("step", ["write_rows", "commit"])
def test_a_signal_amid_a_commit_waits_for_its_end(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The first signal after the first step of each commit."""
    struck = 0

    def interrupt(really: Callable[..., Any]) -> Callable[..., Any]:
        def do(*args: Any, **kwargs: Any) -> Any:
            nonlocal struck
            done = really(*args, **kwargs)
            struck += 1
            os.kill(os.getpid(), signal.SIGTERM)
            return done

        return do

    documents = write_pile(tmp_path / "in", 2)
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    prepared = machine.prepare(documents)
    with monkeypatch.context() as patch:
        place = writer if step == "write_rows" else Lease
        patch.setattr(place, step, interrupt(getattr(place, step)))
        with graceful(lambda: None), pytest.raises(KeyboardInterrupt):
            machine.carry_out(prepared)
    assert struck
    there = len(machine.items())  # which checks that none is twice
    assert there > 0
    machine.run(documents)
    assert machine.asked > 0
    assert len(machine.items()) > there


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path / "out", monkeypatch)


def start(world: World, again: frozenset[str] | None = None) -> Run:
    run = world.start(again=again)
    assert run is not None
    return run


@pytest.mark.parametrize("strike", [fail_behind, lose_the_reply])
@pytest.mark.parametrize("which", range(3))
def test_rows_whose_commit_was_made_are_not_committed_again(
    world: World, which: int, strike: Callable[[Callable[[], None]], None]
) -> None:
    """Whatever comes behind it. The commits: answers, failures, documents."""
    run = start(world)
    world.deliver(run, 2, fails=True)
    world.deliver(run, len(run.waiting))
    world.fault = (which, strike)
    world.leave(run)
    assert world.struck
    world.check()
    world.finish()


@pytest.mark.parametrize("amid", [False, True])
@pytest.mark.parametrize("vacuum", [False, True])
def test_an_optimize_in_mid_run_leaves_one_generation(world: World, amid: bool, vacuum: bool) -> None:
    def optimize(commit: Callable[[], None] = lambda: None) -> None:
        for name in NAMES:
            world.optimize(name)
            if vacuum:
                world.vacuum(name)
        commit()

    for _ in range(2):  # two files of each table
        world.papers[0].version += 1
        world.finish()
    world.settings += 1
    run = start(world)
    if amid:
        world.deliver(run, 5)
        world.fault = (0, optimize)
    else:
        optimize()
    while run.waiting:
        world.deliver(run, 5)
        world.commit(run)
        world.check()
        optimize()
    world.leave(run)
    world.finish()


def test_a_row_that_failed_again_stays_where_optimize_puts_it_beside_old_ones(world: World) -> None:
    run = start(world)
    world.deliver(run, len(run.waiting), fails=True)
    world.leave(run)
    run = start(world, again=frozenset({TIMEOUT}))
    world.deliver(run, 2, fails=True)  # the facts of a document, and its first item
    world.commit(run)
    world.optimize("failures")
    world.deliver(run, 1, fails=True)
    world.commit(run)
    world.check()
    world.leave(run)
    world.finish()


def test_each_document_of_a_uri_loses_its_old_rows_with_its_own_new_ones(world: World) -> None:
    """Also when the uri's other document had its turn before."""
    run = start(world)
    world.deliver(run, len(run.waiting), fails=True)
    world.leave(run)
    run = start(world, again=frozenset({TIMEOUT}))
    while run.waiting:
        world.deliver(run, 1)
        world.commit(run)
        world.check()
    world.leave(run)
    world.finish()
