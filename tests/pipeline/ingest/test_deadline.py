"""A read that does not come back ends, and so does the process that waits for it."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, enumerate, get_ident
from typing import NoReturn

import pytest

from pipeline.ingest import deadline, reading
from pipeline.ingest.deadline import Beat, in_time
from pipeline.ingest.listing import list_sources
from pipeline.ingest.reading import read_source
from tests.pipeline.ingest.listed import PDF, parquet, read_reason, write

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def never() -> Iterator[Event]:
    """What a read waits for; it comes at the end of the test."""
    event = Event()
    yield event
    event.set()
    late = time.monotonic() + 5
    # Its thread is done before the next test counts those that are.
    while sum(one.name == "reading" for one in enumerate()) > len(deadline._idle) and time.monotonic() < late:
        time.sleep(0.01)


def test_results_and_errors_come_as_they_are() -> None:
    assert in_time(lambda beat: 7) == 7

    def fail(beat: Beat) -> NoReturn:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        in_time(fail)


def test_a_read_is_given_up_when_nothing_comes_but_not_while_something_does(
    never: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "READ_SECONDS", 0.3)
    with pytest.raises(TimeoutError, match=r"nothing came for 0\.3 s"):
        in_time(lambda beat: never.wait())

    def slow(beat: Beat) -> int:
        for _ in range(5):
            time.sleep(0.1)
            beat()
        return 7

    assert in_time(slow) == 7


def test_a_thread_that_is_done_reads_again_and_one_that_hangs_does_not(
    never: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = in_time(lambda beat: get_ident())
    assert in_time(lambda beat: get_ident()) == first
    hanging: list[int] = []

    def hang(beat: Beat) -> None:
        hanging.append(get_ident())
        never.wait()

    monkeypatch.setattr(deadline, "READ_SECONDS", 0.1)
    with pytest.raises(TimeoutError):
        in_time(hang)
    assert in_time(lambda beat: get_ident()) not in hanging


@pytest.mark.parametrize("kind", ["file", "row", "password"])
def test_a_document_on_a_mount_that_does_not_answer_is_unreadable_and_the_next_is_read(
    tmp_path: Path, never: Event, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = parquet(tmp_path / "x.parquet", page=[PDF], where=["a.pdf"], key=["k"])
    write(tmp_path / "a.pdf")
    (row,) = list_sources(
        [path], column="where" if kind == "file" else "page", password_column="key"
    ).to_pylist()

    def hang(uri: str) -> NoReturn:
        never.wait()
        raise OSError(errno.EIO, "gone")

    with monkeypatch.context() as patch:
        patch.setattr(deadline, "READ_SECONDS", 0.2)
        patch.setattr("pipeline.ingest.storage.open_file", hang)
        if kind == "password":
            with pytest.raises(Exception, match=r"x.parquet#0 cannot be read: nothing came for 0\.2 s"):
                reading.read_password(row)
        else:
            assert read_reason(row) == "unreadable"
    assert read_source(row, ("/",)) == PDF
    assert reading.read_password(row) == "k"


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    names = ["pipe", "folder", "/dev/zero"]
    (tmp_path / "folder").mkdir()
    path = parquet(tmp_path / "x.parquet", where=names)
    rows = list_sources([path], column="where").to_pylist()
    assert [read_reason(row) for row in rows] == ["unreadable"] * 3


def test_a_parquet_file_that_became_a_pipe_is_unreadable(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", page=[b"a"])
    (row,) = list_sources([path], column="page").to_pylist()
    Path(path).unlink()
    os.mkfifo(path)
    assert read_reason(row) == "unreadable"


@pytest.mark.processes
def test_sigterm_ends_a_process_whose_read_hangs() -> None:
    program = """
import signal, threading
from pipeline.ingest.deadline import in_time
def stop(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, stop)
def hang(beat):
    print("reading", flush=True)
    threading.Event().wait()
in_time(hang)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) != 0
