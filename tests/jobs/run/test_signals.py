"""A job that is told to stop commits what it has, says that it can go on, and then does."""

import signal
from pathlib import Path

import psutil
import pytest

from pipeline.commit.manifest import read_begun, read_record
from pipeline.commit.tables import read_table
from tests.environment import without_ray
from tests.jobs.started import END_SECONDS, left_of, start, wait_for_answers, write_documents

pytestmark = pytest.mark.processes

DOCUMENTS, PAGES = 40, 2


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_documents(tmp_path_factory.mktemp("documents") / "in", DOCUMENTS, PAGES)


def test_a_job_that_is_stopped_takes_its_ray_with_it(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """It has work for long enough: what the signal must find is a run that goes on."""
    many = write_documents(tmp_path / "in", 100, 3)
    flags = ("--tensor-parallel", "2", "--dtype", "float32", "--max-new-tokens", "32")
    job = start(many, tmp_path / "out", tiny_checkpoint, without_ray(), *flags)
    wait_for_answers(job)
    came = psutil.Process(job.pid).children(recursive=True)
    assert len([process for process in came if process.name().startswith("ray::Rank")]) == 2
    job.send_signal(signal.SIGINT)
    _, said = job.communicate(timeout=END_SECONDS)
    assert job.returncode == 130, said
    assert left_of(came) == []


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_stops_with_its_rows_and_goes_on(
    documents: Path, tmp_path: Path, tiny_checkpoint: Path, number: signal.Signals
) -> None:
    output = tmp_path / "out"
    job = start(documents, output, tiny_checkpoint, without_ray(), "--max-new-tokens", "16")
    wait_for_answers(job)
    job.send_signal(number)
    _, said = job.communicate(timeout=END_SECONDS)
    assert job.returncode == 130, said
    assert ("finishing what runs" in said) == (number == signal.SIGINT)
    assert "the same command continues" in said
    assert read_begun(str(output))["finished_at"] is None
    there = [read_table(str(output / name)).num_rows for name in ("answers/text", "failures")]
    assert 0 < sum(there) < DOCUMENTS * PAGES
    again = start(documents, output, tiny_checkpoint, without_ray(), "--max-new-tokens", "16")
    _, said = again.communicate(timeout=END_SECONDS)
    assert again.returncode == 0, said
    counts = read_record(str(output))["counts"]
    assert counts["expected"] == DOCUMENTS * PAGES == counts["answered"] + counts["failed"]
    rows = [
        row for name in ("answers/text", "failures") for row in read_table(str(output / name)).to_pylist()
    ]
    assert len({row["item_key"] for row in rows}) == len(rows) == DOCUMENTS * PAGES
    assert len({row["run_id"] for row in rows}) == 2
