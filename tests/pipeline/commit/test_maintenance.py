"""An output that was maintained holds the same rows, in fewer files, and nothing that nobody needs."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from deltalake.table import TableOptimizer

from pipeline.commit.delta_log import Change
from pipeline.commit.lease import Lease
from pipeline.commit.maintenance import (
    STEPS,
    Upkeep,
    find_tables,
    maintain,
    removable,
    remove_files,
    size_of,
)
from pipeline.commit.tables import OutputError, Table, create_tables, handle_of, read_table
from schemas.targets import Invoice, Receipt
from tests.pipeline.commit.simulated import Crash
from tests.pipeline.stored import answers_file, failures_file, visible

ALL = Upkeep(retention_hours=0, force=True)


def write(tables: dict[str, Table], *names: str, commits: int = 5) -> None:
    with Lease(tables, "run") as lease:
        for name in names:
            for number in range(commits):
                lease.commit("answers", Change(added=[answers_file(tables, f"{name}{number}")]))
        lease.commit("failures", Change(added=[failures_file(tables, "x")]))


def do(output: Path, upkeep: Upkeep) -> None:
    tables = find_tables(str(output))
    with Lease(tables, "maintenance") as lease:
        maintain(lease, tables, upkeep)


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[dict[str, Table]]:
    tables = create_tables(str(tmp_path), None)
    write(tables, "a")
    yield tables
    assert visible(tables["answers"]) == [f"a{number}" for number in range(5)]
    assert visible(tables["failures"]) == ["x"]
    write(tables, "b")  # the next run goes on
    assert len(visible(tables["answers"])) == 10


def test_all_tables_that_runs_have_written_are_found(tmp_path: Path) -> None:
    """Also those of targets that are not asked any more."""
    create_tables(str(tmp_path), None, merged=())
    create_tables(str(tmp_path), Receipt, "markdown", merged=[Receipt])
    names = {name.split("-")[0] for name in find_tables(str(tmp_path))}
    assert names == {
        "answers/text",
        "answers/markdown",
        "answers/Receipt",
        "merged/Receipt",
        "failures",
        "documents",
    }


def test_tables_of_somebody_else_are_left_alone(tmp_path: Path, tables: dict[str, Table]) -> None:
    write_deltalake(str(tmp_path / "export" / "mine"), read_table(tables["answers"].uri))
    assert not any("mine" in name for name in find_tables(str(tmp_path)))


def test_an_output_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no output of a run at .*: it has no table documents/"):
        find_tables(str(tmp_path))


def test_small_files_are_merged_and_what_is_young_stays(tmp_path: Path, tables: dict[str, Table]) -> None:
    stray = answers_file(tables, "stray")  # of a run that was cut
    version = handle_of(tables["answers"].uri).version()
    do(tmp_path, Upkeep())
    size = size_of(tables["answers"], Upkeep())
    assert (size.files, size.small, size.unused) == (1, 1, 6)
    assert Path(tables["answers"].uri, stray.path).exists()
    old = handle_of(tables["answers"].uri)
    old.load_as_version(version)
    assert len(old.file_uris()) == 5
    assert all(Path(uri).exists() for uri in old.file_uris())


def test_what_is_older_than_the_retention_leaves(tmp_path: Path, tables: dict[str, Table]) -> None:
    answers_file(tables, "stray")
    do(tmp_path, ALL)
    size = size_of(tables["answers"], ALL)
    assert (size.files, size.unused, size.unused_size) == (1, 0, 0)
    assert size.size == sum(path.stat().st_size for path in Path(tables["answers"].uri).glob("*.parquet"))


def test_a_file_in_whose_midst_deltalake_was_killed_leaves(tmp_path: Path, tables: dict[str, Table]) -> None:
    """Deltalake calls it so until it is whole, and leaves it out when it lists files."""
    folder = Path(tables["answers"].uri)
    old, new = folder / "part-1-c000.zstd.parquet#1", folder / "part-2-c000.zstd.parquet#1"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 8 * 86_400,) * 2)
    assert removable(tables["answers"], Upkeep()) == 1
    do(tmp_path, Upkeep())
    assert [path.exists() for path in (old, new)] == [False, True]
    assert removable(tables["answers"], ALL) == 6  # five files that were merged, and this one
    do(tmp_path, ALL)
    assert not new.exists()


def test_a_half_written_file_also_leaves_an_output_that_is_an_address(tmp_path: Path) -> None:
    create_tables(tmp_path.as_uri(), None)
    half = tmp_path / "failures" / "part-1-c000.zstd.parquet#1"
    half.write_bytes(b"half")
    table = find_tables(tmp_path.as_uri())["failures"]
    assert table.uri.startswith("file://")
    assert removable(table, ALL) == 1
    remove_files(table, ALL)
    assert not half.exists()


def test_the_log_is_cut_behind_a_checkpoint_that_is_old_enough(
    tmp_path: Path, tables: dict[str, Table]
) -> None:
    """Versions that are younger than the retention can still be read."""
    do(tmp_path, Upkeep())
    log = Path(tables["answers"].uri) / "_delta_log"
    first = sorted(log.iterdir())
    for path in first:
        os.utime(path, (time.time() - 9 * 86_400,) * 2)
    version = handle_of(tables["answers"].uri).version()
    with Lease(tables, "later") as lease:
        lease.commit("answers", Change(added=[answers_file(tables, "c")]))
        (file,) = [path for path in handle_of(tables["answers"].uri).file_uris() if "part-0" not in path]
        size = Path(file).stat().st_size
        lease.commit("answers", Change(removed={Path(file).name: size}))
    do(tmp_path, Upkeep())
    left = sorted(log.iterdir())
    assert len([path for path in first if path in left]) < len(first) / 2
    old = handle_of(tables["answers"].uri)
    old.load_as_version(version + 2)
    assert len(old.file_uris()) == 2
    with pytest.raises(DeltaError):
        old.load_as_version(2)


def test_many_days_of_runs_and_maintenance_leave_a_bounded_log(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    counts = []
    for day in range(18):
        write(tables, f"{day}-", commits=1)
        do(tmp_path, Upkeep())
        for path in tmp_path.rglob("*"):
            os.utime(path, (path.stat().st_mtime - 86_400,) * 2)
        counts.append(size_of(tables["answers"], Upkeep()).log_files)
    assert max(counts[10:]) <= max(counts[:10]) + 2
    assert len(visible(tables["answers"])) == 18


@pytest.mark.parametrize("hours", [0, 167])
def test_a_retention_that_readers_and_time_travel_may_need_is_refused(
    tables: dict[str, Table], hours: int
) -> None:
    with pytest.raises(ValueError, match=f"--retention {hours}: readers and time travel may need .* --force"):
        removable(tables["answers"], Upkeep(retention_hours=hours))
    assert removable(tables["answers"], Upkeep(retention_hours=hours, force=True)) == 0


def test_a_longer_retention_of_the_table_itself_holds(tables: dict[str, Table]) -> None:
    wanted = {"delta.deletedFileRetentionDuration": "interval 30 days"}
    handle_of(tables["answers"].uri).alter.set_table_properties(wanted)
    with pytest.raises(ValueError, match="--retention 168: readers and time travel may need"):
        removable(tables["answers"], Upkeep())
    assert removable(tables["answers"], Upkeep(retention_hours=720)) == 0


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_crash_at_each_step_costs_nothing_and_the_next_time_does_the_rest(
    tmp_path: Path, tables: dict[str, Table], monkeypatch: pytest.MonkeyPatch, step: int, behind: bool
) -> None:
    def crash(really: Callable[..., None]) -> Callable[..., None]:
        def do(*args: object) -> None:
            if behind:
                really(*args)
            raise Crash

        return do

    monkeypatch.setattr("pipeline.commit.lease.is_dead", lambda said: True)
    before = visible(tables["answers"])
    steps = [crash(one) if number == step else one for number, one in enumerate(STEPS)]
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.commit.maintenance.STEPS", steps)
        found = find_tables(str(tmp_path))
        lease = Lease(found, "maintenance")
        lease.acquire()
        with pytest.raises(Crash):
            maintain(lease, found, ALL)
        lease._ended.set()
    assert visible(tables["answers"]) == before
    do(tmp_path, ALL)
    size = size_of(tables["answers"], ALL)
    assert (size.files, size.unused) == (1, 0)


def test_maintenance_that_was_taken_over_ends(
    tmp_path: Path, tables: dict[str, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It slept for long, and a run has begun: its files must not be taken for strays."""
    found = find_tables(str(tmp_path))
    lease = Lease(found, "maintenance")
    lease.acquire()
    monkeypatch.setattr("pipeline.commit.lease.LEASE_SECONDS", 0.0)
    with Lease(tables, "run"):
        file = answers_file(tables, "new")
        with pytest.raises(OutputError, match="was taken over by run run"):
            maintain(lease, found, ALL)
        assert Path(tables["answers"].uri, file.path).exists()


def test_a_step_that_fails_is_one_sentence(
    tmp_path: Path, tables: dict[str, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for place, name in (
        (DeltaTable, "vacuum"),
        (DeltaTable, "create_checkpoint"),
        (TableOptimizer, "compact"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, refuse)
            with pytest.raises(OutputError, match=r"documents|answers.* cannot be .*No space left on device"):
                do(tmp_path, Upkeep())


@pytest.mark.processes
def test_an_output_on_s3_is_maintained(bucket: str) -> None:
    tables = create_tables(f"{bucket}/kept up/", None, Invoice)
    with Lease(tables, "run") as lease:
        for name in "abc":
            lease.commit("failures", Change(added=[failures_file(tables, name)]))
    found = find_tables(f"{bucket}/kept up")
    assert found.keys() == tables.keys()
    with Lease(found, "maintenance") as lease:
        maintain(lease, found, ALL)
    size = size_of(found["failures"], ALL)
    assert (size.files, size.unused) == (1, 0)
    assert visible(tables["failures"]) == ["a", "b", "c"]
