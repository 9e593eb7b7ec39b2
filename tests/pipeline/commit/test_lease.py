"""A commit shows all of its rows or none, and one run at a time makes them, on disks and on S3."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field, TableFeatures
from deltalake.exceptions import CommitFailedError
from deltalake.schema import PrimitiveType
from deltalake.table import TableAlterer

from pipeline.commit import delta_log
from pipeline.commit import lease as leases
from pipeline.commit.delta_log import Change, DeltaLog, FilesReplacedError
from pipeline.commit.heartbeat import NAME, last_heartbeat
from pipeline.commit.lease import Lease
from pipeline.commit.tables import OutputError, Table, create_tables, extend_table, handle_of
from tests.pipeline.commit.at_once import assert_one_gets_it
from tests.pipeline.stored import answers_file, failures_file, visible


def test_rows_are_invisible_until_their_commit(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path / "out"), None)
    with Lease(tables, "run") as lease:
        committed, orphan = answers_file(tables, "a", "b"), answers_file(tables, "c")
        assert visible(tables["answers"]) == []
        lease.commit("answers", Change(added=[committed]))
        assert visible(tables["answers"]) == ["a", "b"]
    assert (tmp_path / "out" / "answers" / "text" / orphan.path).exists()


def test_one_commit_takes_a_file_away_and_brings_another(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    with Lease(tables, "run") as lease:
        old = failures_file(tables, "a", "b")
        lease.commit("failures", Change(added=[old]))
        version = handle_of(tables["failures"].uri).version()
        new = failures_file(tables, "b", "c")
        lease.commit("failures", Change(added=[new], removed={old.path: old.size}))
        assert lease.paths("failures") == {new.path}
    assert visible(tables["failures"]) == ["b", "c"]
    before = handle_of(tables["failures"].uri)
    assert before.version() == version + 1
    before.load_as_version(version)
    assert [uri.rsplit("/", 1)[-1] for uri in before.file_uris()] == [old.path]


def test_a_second_run_is_refused_until_the_first_has_left(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    refusal = r"is being written by run first .* wait for its end; if it died"
    with Lease(tables, "first"), pytest.raises(ValueError, match=refusal):
        Lease(tables, "second").acquire()
    with Lease(tables, "second") as lease:
        lease.commit("answers", Change(added=[answers_file(tables, "a")]))


def test_runs_that_start_in_one_instant_do_not_mix(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    asking = [Lease(tables, str(n)) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        taken = [future.exception() for future in [pool.submit(lease.acquire) for lease in asking]]
    for lease in asking:
        lease.release()
    assert sum(error is None for error in taken) == 1
    assert all(isinstance(error, ValueError) for error in taken if error is not None)


KILLED = """
import os, signal, sys
from pipeline.commit.heartbeat import NAME, last_heartbeat
from pipeline.commit.lease import Lease
from pipeline.commit.tables import create_tables
from tests.pipeline.stored import answers_file
tables = create_tables(sys.argv[1], None)
Lease(tables, "killed").acquire()
answers_file(tables, "half")
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_run(output: str) -> None:
    assert (
        subprocess.run([sys.executable, "-c", KILLED, output], cwd=Path(__file__).parents[3]).returncode == -9
    )


def test_a_run_that_was_killed_leaves_nothing_to_see_and_is_replaced_at_once(tmp_path: Path) -> None:
    kill_a_run(str(tmp_path))
    tables = create_tables(str(tmp_path), None)
    with Lease(tables, "next") as lease:
        assert visible(tables["answers"]) == []
        lease.commit("answers", Change(added=[answers_file(tables, "a")]))
    assert visible(tables["answers"]) == ["a"]


def test_a_run_that_was_killed_elsewhere_is_replaced_when_its_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_a_run(str(tmp_path))
    tables = create_tables(str(tmp_path), None)
    monkeypatch.setattr(delta_log, "_machine", lambda: "another")
    with pytest.raises(ValueError, match=r"run killed .* start again in 1[12]\d s"):
        Lease(tables, "next").acquire()
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.0)
    with Lease(tables, "next"):
        pass


def test_a_run_that_was_taken_for_dead_can_commit_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = create_tables(str(tmp_path), None)
    with Lease(tables, "paused") as paused:
        file = answers_file(tables, "a")
        with monkeypatch.context() as patch:
            patch.setattr(leases, "LEASE_SECONDS", 0.0)
            with Lease(tables, "next"):
                for name in ("answers", "documents"):
                    with pytest.raises(OutputError, match="was taken over by run next: two runs never write"):
                        paused.commit(name, Change(added=[file]))
    assert visible(tables["answers"]) == []


def test_a_run_that_has_nothing_to_commit_gives_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.2)
    with Lease(create_tables(str(tmp_path), None), "run"):
        _await_heartbeats(tmp_path, "run")


def test_signs_of_life_begin_when_the_output_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the tables are all its own; and then the run looks for what is left, and starts Ray."""
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.2)
    tables = create_tables(str(tmp_path), None)
    really = Lease._fence

    def slowly(self: Lease, name: str) -> None:
        _await_heartbeats(tmp_path, "run")
        really(self, name)

    monkeypatch.setattr(Lease, "_fence", slowly)
    with Lease(tables, "run"):
        pass


def _await_heartbeats(output: Path, run_id: str) -> None:
    """Three of them."""
    seen, deadline = {0.0}, time.monotonic() + 250
    while len(seen) < 4:
        seen.add(last_heartbeat(str(output), run_id))
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_signs_of_life_do_not_fill_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, each was a commit to documents/: 2,880 files a day."""
    tables = create_tables(str(tmp_path), None)
    with Lease(tables, "run") as lease:
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.0)
        for _ in range(50):
            lease.beat()
        assert [path.name for path in sorted(tmp_path.rglob("*")) if path not in before] == [NAME]


def test_a_heartbeat_holds_the_output_when_the_last_commit_is_long_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = create_tables(str(tmp_path), None)
    now = time.time()
    with Lease(tables, "run") as lease:
        monkeypatch.setattr(time, "time", lambda: now + 1000)
        with monkeypatch.context() as patch:
            patch.setattr(leases, "HEARTBEAT_SECONDS", 0.0)
            lease.beat()
        with pytest.raises(ValueError, match=r"is being written by run run .* a sign of life 0 s ago"):
            Lease(tables, "next").acquire()
        monkeypatch.setattr(time, "time", lambda: now + 2000)
        with Lease(tables, "next"):  # whose own signs of life are not the last run's
            lease.beat()
        assert last_heartbeat(str(tmp_path), "run") == now + 1000


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_run_that_does_not_get_all_tables_leaves_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    tables = create_tables(str(tmp_path), None)
    really, calls = DeltaTable.create_write_transaction, 0

    def refuse_the_second(*args: object, **kwargs: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error
        really(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", refuse_the_second)
        with pytest.raises((ValueError, KeyboardInterrupt)):
            Lease(tables, "first").acquire()
    with Lease(tables, "second"):  # this process is alive, and so the first would be
        pass


def test_commits_of_other_tools_do_not_hide_who_holds_the_output(tmp_path: Path) -> None:
    tables = create_tables(str(tmp_path), None)
    with Lease(tables, "first"):
        other = handle_of(tables["documents"].uri)
        for _ in range(delta_log.HISTORY // 2 + 1):
            other.vacuum(dry_run=False)  # two commits
        with pytest.raises(ValueError, match="is being written by run first"):
            Lease(tables, "second").acquire()


def test_a_run_that_sleeps_right_behind_its_commit_is_refused_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it reads of the log then is the other run's."""
    tables = create_tables(str(tmp_path), None)
    really, other = DeltaTable.create_write_transaction, Lease(tables, "next")

    def sleep(*args: object, **kwargs: object) -> None:
        really(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        monkeypatch.setattr(DeltaTable, "create_write_transaction", really)
        monkeypatch.setattr(leases, "LEASE_SECONDS", 0.0)
        other.acquire()
        other.commit("answers", Change(added=[answers_file(tables, "b")]))

    with Lease(tables, "asleep") as asleep:
        monkeypatch.setattr(DeltaTable, "create_write_transaction", sleep)
        asleep.commit("answers", Change(added=[answers_file(tables, "a")]))
        with pytest.raises(OutputError, match="was taken over by run next"):
            asleep.commit("answers", Change(added=[answers_file(tables, "c")]))
    other.commit("answers", Change(added=[answers_file(tables, "d")]))
    other.release()
    assert visible(tables["answers"]) == ["a", "b", "d"]


def test_a_run_that_was_taken_for_dead_and_commits_while_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two commits by which the next run takes documents/ and answers/."""
    tables = create_tables(str(tmp_path), None)
    really = DeltaLog.commit
    with Lease(tables, "first") as first:

        def commit(log: DeltaLog, change: Change, state: str) -> None:
            if log._run_id == "next" and log._table.name == "answers" and not visible(tables["answers"]):
                first.commit("answers", Change(added=[answers_file(tables, "a")]))
            really(log, change, state)

        monkeypatch.setattr(DeltaLog, "commit", commit)
        monkeypatch.setattr(leases, "LEASE_SECONDS", 0.0)
        with Lease(tables, "next") as lease:
            lease.commit("answers", Change(added=[answers_file(tables, "b")]))
            with pytest.raises(OutputError, match="was taken over by run next"):
                first.commit("answers", Change(added=[answers_file(tables, "c")]))
    assert visible(tables["answers"]) == ["a", "b"]


def test_a_heartbeat_that_fails_once_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.0)
    tables = create_tables(str(tmp_path), None)

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("connection reset by peer")

    lease = Lease(tables, "run")
    monkeypatch.setattr(lease, "_heartbeat", lambda: None)
    with lease:
        with monkeypatch.context() as patch:
            patch.setattr(leases, "write_heartbeat", refuse)
            lease.beat()
        lease.commit("answers", Change(added=[answers_file(tables, "a")]))
    assert visible(tables["answers"]) == ["a"]


def test_files_that_another_tool_has_replaced_are_not_removed_a_second_time(tmp_path: Path) -> None:
    """Deltalake does not look: the old rows would stay in the new file, beside those that replace them."""
    tables = create_tables(str(tmp_path), None)
    with Lease(tables, "run") as lease:
        old, more = answers_file(tables, "a"), answers_file(tables, "b")
        lease.commit("answers", Change(added=[old, more]))
        handle_of(tables["answers"].uri).optimize.compact()
        with pytest.raises(FilesReplacedError):
            lease.commit("answers", Change(added=[answers_file(tables, "c")], removed={old.path: old.size}))
        assert visible(tables["answers"]) == ["a", "b"]
        lease.commit("answers", Change(added=[answers_file(tables, "d")]))  # the tool does no other harm
    assert visible(tables["answers"]) == ["a", "b", "d"]


@pytest.mark.parametrize("how", ["column", "feature"])
def test_a_table_that_another_tool_alters_in_mid_run_ends_it_in_a_sentence(tmp_path: Path, how: str) -> None:
    tables = create_tables(str(tmp_path), None)
    with Lease(tables, "run") as lease:
        other = handle_of(tables["answers"].uri)
        if how == "column":
            other.alter.add_columns([Field("more", PrimitiveType("string"))])
        else:
            other.alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)
        with pytest.raises(OutputError, match="was altered by another tool while this run wrote to it"):
            lease.commit("answers", Change(added=[answers_file(tables, "a")]))


@pytest.mark.parametrize(
    "error", [CommitFailedError("Failed to commit transaction: 0"), OSError("connection reset by peer")]
)
def test_a_commit_whose_reply_got_lost_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tables = create_tables(str(tmp_path), None)
    really = DeltaTable.create_write_transaction

    def lose_the_reply(*args: object, **kwargs: object) -> None:
        really(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        raise error

    with Lease(tables, "run") as lease:
        monkeypatch.setattr(DeltaTable, "create_write_transaction", lose_the_reply)
        lease.commit("answers", Change(added=[answers_file(tables, "a")]))
        monkeypatch.undo()
    assert visible(tables["answers"]) == ["a"]


@pytest.mark.parametrize(
    "error", [CommitFailedError("no"), OSError(28, "No space left on device")], ids=["refused", "full"]
)
def test_a_log_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tables = create_tables(str(tmp_path), None)

    def refuse(*args: object, **kwargs: object) -> None:
        raise error

    with Lease(tables, "run") as lease:
        monkeypatch.setattr(DeltaTable, "create_write_transaction", refuse)
        with pytest.raises(OutputError, match=r"answers/text cannot be written: "):
            lease.commit("answers", Change(added=[answers_file(tables, "a")]))
        monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", refuse)
        with pytest.raises(ValueError, match="documents cannot be written"):
            Lease(tables, "next").acquire()


@pytest.mark.processes
def test_runs_on_s3_do_not_mix(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_one_gets_it(bucket, monkeypatch)
    assert os.environ["AWS_ENDPOINT_URL"]


def test_of_two_runs_that_find_an_older_output_free_at_once_one_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other comes when the first has looked, but not committed yet."""
    tables = create_tables(str(tmp_path), None)
    other = Lease(tables, "other")

    def slowly(table: Table) -> None:
        monkeypatch.setattr(leases, "extend_table", extend_table)
        other.acquire()
        extend_table(table)

    monkeypatch.setattr(leases, "extend_table", slowly)
    with pytest.raises(ValueError, match="is being written by run other"):
        Lease(tables, "first").acquire()
    other.commit("answers", Change(added=[answers_file(tables, "a")]))
    other.release()


def test_an_older_output_that_cannot_be_extended_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = create_tables(str(tmp_path), None)
    schema = tables["answers"].schema.append(pa.field("extra", pa.int64()))
    newer = tables | {"answers": Table(name="answers", uri=tables["answers"].uri, schema=schema)}

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(TableAlterer, "add_columns", refuse)
        with pytest.raises(ValueError, match=r"cannot be written: .*No space left on device"):
            Lease(newer, "run").acquire()
    with Lease(newer, "next"):
        pass
