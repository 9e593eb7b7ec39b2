"""The engine of a Replica of one rank may die in any way: its page fails, and the others are answered."""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from model.engine.request import Branch, Group
from pipeline.infer import engine_process
from pipeline.infer.engine_process import EngineProcess
from pipeline.infer.pending_calls import PendingCalls
from pipeline.infer.ranks import RanksLostError
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.infer.supervisor import Supervisor
from tests.pipeline.plans import PLAN

CONFIG = ReplicaConfig(plan=PLAN)


def page(way: str, side: int = 1) -> Group:
    image = np.zeros((side, side, 3), np.uint8)
    branch = Branch(id=f"{way}.0", ids=[1], max_new_tokens=1)
    return Group(id=way, prefix_ids=[1], images=[image], branches=[branch], max_side=1)


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "MODULE", "tests.pipeline.infer.dying_child")


def reports(ranks: EngineProcess) -> Iterator[str]:
    """The branches that are answered, as long as the ranks live."""
    while True:
        report = ranks.take(0.1)
        if report is not None:
            yield from (one.id for one in report.completions)


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
@pytest.mark.usefixtures("dying")
def test_a_thread_that_waits_for_another_one_soon_sleeps_unless_a_person_says_otherwise(
    given: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    ranks = EngineProcess(CONFIG, Event())
    try:
        text = Path(f"/proc/{ranks._child._process.pid}/environ").read_text()
    finally:
        ranks.close()
    variables = dict(line.split("=", 1) for line in text.split("\0") if line)
    assert variables.get("GOMP_SPINCOUNT") == spins
    assert variables.get("OMP_WAIT_POLICY") == given.get("OMP_WAIT_POLICY")
    assert variables["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("kill", r"its process was killed \(SIGKILL\), as when memory runs out"),
        ("segfault", r"its process crashed \(SIGSEGV\)"),
        ("exit", "its process ended with exit code 3"),
        ("raise", "AcceleratorError: CUDA error: an illegal memory access"),
        ("hang", "no step in 1 s: a rank hangs"),
        ("stop", "no step in 1 s: a rank hangs"),
    ],
)
@pytest.mark.usefixtures("dying")
def test_a_death_says_how_and_keeps_what_was_answered_before(way: str, why: str) -> None:
    config = replace(CONFIG, step_seconds=0.5 if way in ("hang", "stop") else 60)
    ranks = EngineProcess(config, Event())
    answered: list[str] = []
    try:
        ranks.submit([page("first"), page(way)])
        with pytest.raises(RanksLostError, match=why):
            answered.extend(reports(ranks))
    finally:
        ranks.close()
    assert answered == ["first.0"]
    with pytest.raises(RanksLostError, match="ended while it was asked nothing"):
        ranks.check()


@pytest.mark.usefixtures("dying")
def test_a_process_that_reads_no_more_does_not_hold_its_supervisor() -> None:
    """It is asked for more pixels than the kernel keeps on the way."""
    ranks = EngineProcess(replace(CONFIG, step_seconds=0.5), Event())
    ranks.submit([page("stop")])
    try:
        with pytest.raises(RanksLostError, match="hangs"):
            ranks.submit([page(str(number), side=1024) for number in range(10)])
    finally:
        ranks.close()


@pytest.mark.usefixtures("dying")
def test_a_page_arrives_whole_and_a_start_can_be_called_off() -> None:
    ranks = EngineProcess(CONFIG, Event())
    ranks.submit([page("large", side=1024), page("small")])
    found = reports(ranks)
    assert [next(found), next(found)] == ["large.0", "small.0"]
    ranks.check()
    ranks.close()
    closed = Event()
    closed.set()
    with pytest.raises(RanksLostError, match="called off"):
        EngineProcess(CONFIG, closed)


@pytest.mark.processes
def test_a_model_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RanksLostError, match=r"Error: .*params"):
        EngineProcess(replace(CONFIG, plan=replace(PLAN, model=str(tmp_path))), Event())


@pytest.mark.usefixtures("dying")
def test_a_page_that_kills_its_engine_fails_and_the_others_are_answered_once() -> None:
    pages = [page(name) for name in ("a", "exit", "b", "c")]
    calls = PendingCalls()
    worker = Supervisor(partial(EngineProcess, CONFIG), calls.deliver, calls.fail)
    try:
        found, _, _ = calls.ask(pages, worker)
    finally:
        worker.close()
    assert {name: one.error for name, one in found.items()} == {
        **dict.fromkeys(("a.0", "b.0", "c.0")),
        "exit.0": "RanksLostError: its process ended with exit code 3",
    }
