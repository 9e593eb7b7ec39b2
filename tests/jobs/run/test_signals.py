"""A job that is told to stop commits what it has, says that it can go on, and then does."""

import signal
from pathlib import Path

import psutil
import pytest

from jobs import extract
from jobs.run import notify
from jobs.run.signals import sigterm_stops
from pipeline import prepare
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
    assert len([process for process in came if process.name().startswith("ray::TPWorker")]) == 2
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_stopped_while_it_lists_documents_says_so(
    tmp_path: Path,
    tiny_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    """SIGTERM ended the process without a word, with 143."""
    told: list[dict[str, object]] = []
    monkeypatch.setattr(notify, "notify", lambda url, message: told.append(message))
    monkeypatch.setattr(prepare, "list_sources", lambda *_, **__: signal.raise_signal(number))
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray, in this process, has one
    output = tmp_path / "out"
    words = ["--input", str(tmp_path), "--output", str(output), "--model", str(tiny_checkpoint)]
    words += ["--question", "What?", "--notify", "http://127.0.0.1:1"]
    try:
        assert extract.main(words) == 130
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "stopped: the same command continues\n"
    assert told[0]["exit_code"] == 130


def test_a_program_that_listens_to_sigterm_itself_still_does() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with sigterm_stops():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM]
