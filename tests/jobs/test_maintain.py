"""The job prints what it made of each table, and refuses what would cost a run, a reader or a version."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import maintain
from pipeline.commit import writer
from pipeline.commit.compaction import TARGET_BYTES
from pipeline.commit.delta_log import Change
from pipeline.commit.lease import Lease
from pipeline.commit.maintenance import RETENTION_HOURS
from pipeline.commit.tables import OutputError, Table, create_tables, handle_of, paths_of
from pipeline.plan.limits import MIB
from tests.pipeline.local import Machine
from tests.pipeline.pile import write_pile
from tests.pipeline.stored import answers_file, visible

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    tables = create_tables(str(tmp_path), None)
    with Lease(tables, "run") as lease:
        for name in "abcdef":
            lease.commit("answers", Change(added=[answers_file(tables, name)]))
    answers_file(tables, "stray")
    return tables


def cells(printed: str, table: str) -> str:
    """What is said of a table, with single spaces."""
    (line,) = [line for line in printed.splitlines() if line.startswith(table)]
    return " ".join(line.split()[1:])


def test_it_prints_what_was_and_what_is(tmp_path: Path, tables: dict[str, Table], capsys: Captured) -> None:
    assert maintain.main([str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.split()[:3] == ["table", "files", "MiB"]
    assert cells(printed.out, "answers/text").startswith("6 > 1 0.05 > 0.01 1 > 7 ")
    assert cells(printed.out, "documents").startswith("0 > 0 ")
    assert cells(printed.out, "failures").startswith("0 > 0 ")
    assert visible(tables["answers"]) == list("abcdef")


def test_with_force_nothing_is_left_of_what_nobody_needs(
    tmp_path: Path, tables: dict[str, Table], capsys: Captured
) -> None:
    assert maintain.main([str(tmp_path), "--retention", "0", "--force"]) == 0
    assert cells(capsys.readouterr().out, "answers/text").startswith("6 > 1 0.05 > 0.01 1 > 0 0.01 > 0.00 ")
    assert visible(tables["answers"]) == list("abcdef")


def test_a_dry_run_changes_nothing(tmp_path: Path, tables: dict[str, Table], capsys: Captured) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert maintain.main([str(tmp_path), "--dry-run", "--retention", "0", "--force"]) == 0
    printed = cells(capsys.readouterr().out, "answers/text")
    assert printed.startswith("6 6 0.05 1 0.01 1 ")  # files, small ones, unused ones, and to remove
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_target_size_is_in_mebibytes(
    tmp_path: Path, tables: dict[str, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    monkeypatch.setattr("pipeline.commit.maintenance.compact", lambda table, size: sizes.append(size))
    assert maintain.main([str(tmp_path), "--target-size", "3"]) == 0
    assert set(sizes) == {3 * MIB}
    assert (maintain.TARGET_MIB * MIB, maintain.RETENTION_HOURS) == (TARGET_BYTES, RETENTION_HOURS)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--retention", "24"],
            r"--retention 24: readers and time travel .*; choose more hours .*, or give --f",
        ),
        (["--retention", "-1", "--force"], "--retention -1: it must be at least 0 hours"),
        (["--target-size", "0"], "--target-size: it must be at least 1 MiB"),
    ],
)
def test_a_mistake_is_one_sentence_and_changes_nothing(
    tmp_path: Path, tables: dict[str, Table], capsys: Captured, flags: list[str], message: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert maintain.main([str(tmp_path), *flags]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert re.match(f"error: {message}", printed.err)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_place_without_an_output_is_one_sentence(tmp_path: Path, capsys: Captured) -> None:
    assert maintain.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: there is no output of a run at ")
    assert list(tmp_path.iterdir()) == []


def test_a_run_at_work_is_left_alone(tmp_path: Path, tables: dict[str, Table], capsys: Captured) -> None:
    with Lease(tables, "at-work") as lease:
        mine = answers_file(tables, "g")
        assert maintain.main([str(tmp_path)]) == 2
        assert "is being written by run at-work" in capsys.readouterr().err
        lease.commit("answers", Change(added=[mine]))
    assert visible(tables["answers"]) == list("abcdefg")
    assert len(paths_of(handle_of(tables["answers"].uri))) == 7


def test_what_cannot_be_written_breaks_it_off(
    tmp_path: Path, tables: dict[str, Table], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.commit.maintenance.STEPS", (refuse,))
        assert maintain.main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("broken off: ")
    assert said.endswith("No space left on device; the same command continues\n")
    assert maintain.main([str(tmp_path)]) == 0  # the lease was released


def test_ctrl_c_releases_the_output(
    tmp_path: Path, tables: dict[str, Table], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.commit.maintenance.STEPS", (interrupt,))
        assert maintain.main([str(tmp_path)]) == 130
    assert capsys.readouterr().err == "stopped: the same command continues\n"
    assert maintain.main([str(tmp_path)]) == 0


KILLED = """
import os, signal, sys
from jobs import maintain
from pipeline.commit import maintenance
kill = lambda table, upkeep: os.kill(os.getpid(), signal.SIGKILL)
maintenance.STEPS = (*maintenance.STEPS[:1], kill)
maintain.main(sys.argv[1:])
"""


def test_after_a_kill_the_same_command_does_the_rest_at_once(
    tmp_path: Path, tables: dict[str, Table], capsys: Captured
) -> None:
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root).returncode == -9
    assert maintain.main([str(tmp_path)]) == 0
    assert cells(capsys.readouterr().out, "answers/text").startswith("1 > 1 ")
    assert visible(tables["answers"]) == list("abcdef")


def test_a_long_run_merges_its_own_files(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes on behind that: it knows where its rows are, and those that the next run replaces."""
    documents = write_pile(tmp_path / "in", 3)
    files = {}
    for name, every in (("never", None), ("often", 2)):
        machine = Machine(tiny_checkpoint, tmp_path / name, monkeypatch)
        machine.run(documents, maintain_every=every)
        items = machine.items()
        machine.run(documents, maintain_every=every, max_new_tokens=5)
        assert machine.items() == items
        table = handle_of(f"{machine.output}/answers/text")
        files[name] = len(paths_of(table))
    assert files["often"] <= 2 < files["never"]


def test_a_table_that_cannot_be_merged_does_not_end_the_run(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(table: Table) -> int:
        raise OutputError(f"{table.uri} cannot be compacted: no")

    monkeypatch.setattr(writer, "compact", refuse)
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    assert machine.run(write_pile(tmp_path / "in", 1), maintain_every=1)["finished_at"]
    assert "answers/text cannot be compacted: no" in caplog.text
