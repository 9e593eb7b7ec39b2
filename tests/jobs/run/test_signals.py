"""A job that is told to stop commits what it has, says that it can go on, and then does."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.commit.manifest import read_begun, read_record
from pipeline.commit.tables import read_table
from tests.environment import without_ray
from tests.pipeline.drawn import pdf_bytes

ROOT = Path(__file__).parents[3]
DOCUMENTS, PAGES = 40, 2


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    for number in range(DOCUMENTS):
        (folder / f"{number}.pdf").write_bytes(pdf_bytes([(100 + number, 100)] * PAGES))
    return folder


def start(documents: Path, output: Path, checkpoint: Path) -> subprocess.Popen[str]:
    flags: dict[str, object] = {
        "--input": documents,
        "--output": output,
        "--model": checkpoint,
        "--question": "What?",
    }
    flags |= {"--max-new-tokens": 16}
    command = [sys.executable, "-m", "jobs.extract", *(str(part) for flag in flags.items() for part in flag)]
    return subprocess.Popen(command, cwd=ROOT, env=without_ray(), stderr=subprocess.PIPE, text=True)


def wait_for_answers(job: "subprocess.Popen[str]") -> None:
    assert job.stderr is not None
    for line in job.stderr:
        if "items answered" in line and " 0 items" not in line:
            return
    raise AssertionError("the job ended")


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_stops_with_its_rows_and_goes_on(
    documents: Path, tmp_path: Path, tiny_checkpoint: Path, number: signal.Signals
) -> None:
    output = tmp_path / "out"
    job = start(documents, output, tiny_checkpoint)
    wait_for_answers(job)
    job.send_signal(number)
    _, said = job.communicate(timeout=120)
    assert job.returncode == 130, said
    assert ("finishing what runs" in said) == (number == signal.SIGINT)
    assert "the same command continues" in said
    assert read_begun(str(output))["finished_at"] is None
    there = [read_table(str(output / name)).num_rows for name in ("answers/text", "failures")]
    assert 0 < sum(there) < DOCUMENTS * PAGES
    again = start(documents, output, tiny_checkpoint)
    _, said = again.communicate(timeout=200)
    assert again.returncode == 0, said
    counts = read_record(str(output))["counts"]
    assert counts["expected"] == DOCUMENTS * PAGES == counts["answered"] + counts["failed"]
    rows = [
        row for name in ("answers/text", "failures") for row in read_table(str(output / name)).to_pylist()
    ]
    assert len({row["item_key"] for row in rows}) == len(rows) == DOCUMENTS * PAGES
    assert len({row["run_id"] for row in rows}) == 2
