"""Replicas of one rank and of two, on gloo: the same answers whatever dies, each once, and nothing left."""

from pathlib import Path
from random import Random
from signal import SIGKILL, SIGSTOP
from threading import Event
from unittest.mock import patch

import pytest

from model.collectives.world import World
from model.network.pixtral import Pixtral
from pipeline import backpressure
from pipeline.commit.tables import read_table
from pipeline.config import make_plan
from pipeline.infer import tp_group
from pipeline.infer.ranks import RanksLostError
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.infer.tp_worker import TPWorker
from schemas.targets import Question
from tests.pipeline import deadly
from tests.pipeline.faults import (
    LOADED_ENGINE,
    LOADED_RANK,
    RANK,
    REPLICA,
    Disturbance,
    Nothing,
    Strikes,
    placement,
    prepare_run,
    processes,
    run_with,
    undisturbed,
    write_documents,
)
from tests.pipeline.plans import QUESTIONS

# A busy machine takes a minute to start the ranks once; an idle one some ten seconds.
pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("one_cpu_ray"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_documents(tmp_path_factory.mktemp("documents") / "in", count=8, pages=3)


@pytest.mark.soak
def test_ranks_that_are_killed_are_replaced(
    tiny_checkpoint: Path, documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = Random(1).sample(range(2, 30), 3)
    strikes = Strikes(tmp_path / "gate", [(moment, LOADED_RANK, SIGKILL) for moment in moments])
    prepared = prepare_run(tiny_checkpoint, documents, tmp_path / "out")
    found = run_with(prepared, placement(), strikes, monkeypatch)
    assert len(strikes.struck) == 3
    assert found == undisturbed(prepared)
    assert len(found) == 48


class Cramped(TPWorker):
    """A rank that has no room for the cache, if it is not the first."""

    def _follow(self, model: Pixtral, world: World) -> None:
        with patch("model.parallel.lockstep.make_executor", side_effect=RuntimeError("out of memory")):
            super()._follow(model, world)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_rank_that_has_no_room_for_its_part_is_told_of_at_once(
    tiny_checkpoint: Path, documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 0 waited for it for half an hour, and nobody heard of its error."""
    monkeypatch.setattr(tp_group, "TPWorker", Cramped)
    plan = make_plan(prepare_run(tiny_checkpoint, documents, tmp_path / "out"))
    config = ReplicaConfig(plan=plan, tensor_parallel=2, dtype="float32")
    with pytest.raises(RanksLostError, match="RuntimeError: out of memory"):
        tp_group.TPGroup("cramped", config, Event())


def test_ranks_that_are_killed_or_hang_and_a_leader_that_is_killed(
    tiny_checkpoint: Path, documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = [(4, LOADED_RANK, SIGKILL), (14, LOADED_RANK, SIGSTOP), (30, REPLICA, SIGKILL)]
    strikes = Strikes(tmp_path / "gate", moments)
    prepared = prepare_run(tiny_checkpoint, documents, tmp_path / "out")
    found = run_with(prepared, placement(), strikes, monkeypatch, step_seconds=30.0)
    assert len(strikes.struck) == 3
    assert found == undisturbed(prepared)
    assert len(found) == 48


@pytest.mark.soak
def test_the_process_of_one_rank_is_replaced(
    tiny_checkpoint: Path,
    documents: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = [(6, LOADED_ENGINE, SIGKILL), (18, LOADED_ENGINE, SIGSTOP), (30, REPLICA, SIGKILL)]
    strikes = Strikes(tmp_path / "gate", moments)
    prepared = prepare_run(tiny_checkpoint, documents, tmp_path / "out", tensor_parallel=1)
    found = run_with(prepared, placement(ranks=1), strikes, monkeypatch, step_seconds=15.0)
    assert len(strikes.struck) == 3
    assert found == undisturbed(prepared)
    assert len(found) == 48


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_two_replicas_on_one_node_share_the_pages(
    ranks: int, tiny_checkpoint: Path, documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when one of those that are a process each is killed."""

    class Census(Strikes):
        def disturb(self) -> None:
            # Busy or idle: the first Replica may have answered all but the held page before the other comes.
            self.wait_until(lambda: len(processes(RANK if ranks > 1 else LOADED_ENGINE)) == 2 * ranks)
            super().disturb()

    strikes = [(6, LOADED_ENGINE, SIGKILL)] if ranks == 1 else []
    census = Census(tmp_path / "gate", strikes)
    prepared = prepare_run(tiny_checkpoint, documents, tmp_path / "out", tensor_parallel=ranks)
    found = run_with(prepared, placement(replicas=2, ranks=ranks), census, monkeypatch)
    assert len(census.struck) == len(strikes)
    assert found == undisturbed(prepared)
    assert len(found) == 48


def test_answers_are_read_on_one_cpu_while_a_call_lasts(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reader(Disturbance):
        def disturb(self) -> None:
            self.wait_until(lambda: self.answered >= 100)  # while the first page is held

    monkeypatch.setattr(backpressure, "WAITING", 8)
    documents = write_documents(tmp_path / "in", count=30, pages=4)
    prepared = prepare_run(tiny_checkpoint, documents, tmp_path / "out", tensor_parallel=1)
    found = run_with(prepared, placement(ranks=1), Reader(tmp_path / "gate"), monkeypatch)
    assert len(found) == 240


@pytest.mark.soak
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_page_that_kills_its_ranks_is_a_failure_and_the_only_one(
    ranks: int, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = Question(id="deadly", text=deadly.DEADLY, documents="1.pdf", pages=[2])
    prepared = prepare_run(
        tiny_checkpoint,
        write_documents(tmp_path / "in", 3, 3),
        tmp_path / "out",
        questions=(*QUESTIONS, question),
        tensor_parallel=ranks,
    )
    nothing = Nothing(tmp_path / "gate")
    found = run_with(prepared, placement(ranks=ranks), nothing, monkeypatch, hook=deadly.install)
    expected = undisturbed(prepared)
    assert len(found) == 16
    assert found == {key: answer for key, answer in expected.items() if key in found}
    failures = read_table(str(tmp_path / "out" / "failures")).to_pylist()
    assert sorted((row["uri"][-5:], row["page_first"], row["question_id"]) for row in failures) == [
        ("1.pdf", 2, name) for name in ("deadly", "total", "when")
    ]
    assert {(row["stage"], row["reason"]) for row in failures} == {("generate", "ranks_lost_error")}


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_ranks_that_are_killed_ten_times_are_replaced_ten_times(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_documents(tmp_path / "in", count=30, pages=4)
    moments = Random(2).sample(range(2, 200), 10)
    strikes = Strikes(tmp_path / "gate", [(moment, LOADED_RANK, SIGKILL) for moment in moments], seed=2)
    prepared = prepare_run(tiny_checkpoint, folder, tmp_path / "out")
    found = run_with(prepared, placement(), strikes, monkeypatch)
    assert len(strikes.struck) == 10
    assert found == undisturbed(prepared)
    assert len(found) == 240
