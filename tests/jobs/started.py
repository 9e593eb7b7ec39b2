"""`jobs.extract` as a process of its own, which tests watch and signal."""

import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from tests.pipeline.drawn import pdf_bytes

ROOT = Path(__file__).parents[2]
END_SECONDS = 400  # some on an idle machine, for a job that was told to stop
GONE_SECONDS = 120  # which Ray takes to end what a job has left


def write_documents(folder: Path, count: int, pages: int) -> Path:
    """PDFs of which no two are alike."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.pdf").write_bytes(
            pdf_bytes([(100 + number, 100 + page) for page in range(pages)])
        )
    return folder


def start(
    documents: Path, output: Path, checkpoint: Path, environment: Mapping[str, str], *flags: str
) -> "subprocess.Popen[str]":
    """A job with one question."""
    command = [sys.executable, "-m", "jobs.extract", "--input", str(documents), "--output", str(output)]
    command += ["--model", str(checkpoint), "--question", "What?", *flags]
    return subprocess.Popen(command, cwd=ROOT, env=dict(environment), stderr=subprocess.PIPE, text=True)


def wait_for_answers(job: "subprocess.Popen[str]") -> None:
    """Until it says that there are some."""
    said = []
    assert job.stderr is not None
    for line in job.stderr:
        said.append(line)
        if "items answered" in line and " 0 items" not in line:
            return
    raise AssertionError(f"the job ended: {''.join(said)}")


def left_of(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still live after the time in which all should have gone."""
    deadline = time.monotonic() + GONE_SECONDS
    left = list(processes)
    while (left := [process for process in left if lives(process)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def lives(process: psutil.Process) -> bool:
    """Whether it is there, and not only its exit code."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
