"""Whole runs on Ray over identical documents and pages, one of them with a registry that dies."""

from pathlib import Path

import pytest
import ray

from pipeline import flow
from pipeline.commit.manifest import read_record
from pipeline.commit.tables import read_table
from pipeline.dedup.registry import SharedClaims
from pipeline.infer.placement import Fleet
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.faults import Disturbance, answers, prepare_run, processes, run_with, undisturbed

pytestmark = pytest.mark.processes

FLEET = Fleet(replicas=1, ready=1, tensor_parallel=1, gpus=0, threads=1, batch_size=2, calls=2)
PILES, PAGES, QUESTIONS = 8, 3, 2
ONE = [(100, 100 + 20 * page) for page in range(PAGES)]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Eight files of the same pages, of which four have the same bytes, and four with a page more."""
    folder = tmp_path / "in"
    folder.mkdir()
    data = pdf_bytes(ONE)
    for number in range(PILES):
        (folder / f"{number}.pdf").write_bytes(
            data if number % 2 else pdf_bytes(ONE)
        )  # with an id of its own
    for number in range(4):
        (folder / f"other {number}.pdf").write_bytes(pdf_bytes([*ONE, (200, 200 + 20 * number)]))
    return folder


def assert_no_registry_is_left() -> None:
    left = processes("ray::Claims")
    for process in left:
        process.wait(timeout=250)


def test_identical_pages_are_asked_once_in_a_run(
    documents: Path, tmp_path: Path, tiny_checkpoint: Path, one_cpu_ray: None
) -> None:
    prepared = prepare_run(tiny_checkpoint, documents, tmp_path / "out", tensor_parallel=1)
    flow.run(prepared, FLEET, lambda counts: None)
    assert_no_registry_is_left()
    assert answers(tmp_path / "out") == without_tokens(tmp_path / "out", undisturbed(prepared))
    counts = read_record(str(tmp_path / "out"))["counts"]
    asked = QUESTIONS * (PAGES + 4)
    assert counts["expected"] - counts["shared"] == asked
    rows = read_table(str(tmp_path / "out" / "answers/text"), ["item_key", "shared_from"]).to_pylist()
    owners = {row["item_key"] for row in rows if row["shared_from"] is None}
    assert len(owners) == asked
    assert {row["shared_from"] for row in rows} - {None} <= owners


def test_a_registry_that_dies_costs_no_item_and_no_answer(
    documents: Path,
    tmp_path: Path,
    tiny_checkpoint: Path,
    one_cpu_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made: list[SharedClaims] = []

    class Watched(SharedClaims):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    class Death(Disturbance):
        def disturb(self) -> None:
            self.wait_until(lambda: self.answered >= 2)
            ray.kill(made[0].actor)
            assert_no_registry_is_left()

    monkeypatch.setattr(flow, "SharedClaims", Watched)
    monkeypatch.setattr(flow, "BLOCKS", 100)  # documents are opened one by one, some after the death
    prepared = prepare_run(tiny_checkpoint, documents, tmp_path / "out", tensor_parallel=1)
    found = run_with(prepared, FLEET, Death(tmp_path / "gate"), monkeypatch)
    assert_no_registry_is_left()
    assert found == without_tokens(tmp_path / "out", undisturbed(prepared))
    said = [record.getMessage() for record in caplog.records if record.name == "pipeline.dedup.registry"]
    assert len(said) == 1
    assert "has died" in said[0]


def without_tokens(
    output: Path, expected: dict[str, tuple[str, int, int]]
) -> dict[str, tuple[str, int, int]]:
    """What is expected, with the tokens that shared rows have: none was written for them."""
    rows = read_table(str(output / "answers/text"), ["item_key", "shared_from"]).to_pylist()
    shared = {row["item_key"] for row in rows if row["shared_from"]}
    return {
        key: (text, 0 if key in shared else tokens, prompt)
        for key, (text, tokens, prompt) in expected.items()
    }
