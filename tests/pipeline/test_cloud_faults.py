"""Runs whose documents and tables lie on Google Cloud Storage or Azure, also while these fail for a while."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import obstore
import pytest

from jobs import extract
from pipeline.commit.delta_log import Change
from pipeline.commit.lease import Lease
from pipeline.commit.maintenance import Upkeep, find_tables, maintain, size_of
from pipeline.commit.manifest import check_reachable, read_record
from pipeline.commit.tables import create_tables
from pipeline.ingest import object_stores, outages
from tests.pipeline.clouds import KEY, Cloud
from tests.pipeline.commit.at_once import assert_one_gets_it
from tests.pipeline.commit.test_resume import dead
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.local import Killed, Machine
from tests.pipeline.refused import assert_refused_in_a_sentence
from tests.pipeline.s3 import RESET
from tests.pipeline.stored import answers_file, failures_file, visible

pytestmark = pytest.mark.processes
FAKES = pytest.mark.parametrize("cloud", ["gs", "az"], indirect=True)  # those that fail on demand


@pytest.fixture
def filled(cloud: Cloud) -> Cloud:
    cloud.put("in/a b#%.pdf", pdf_bytes([(100, 100)] * 2))
    cloud.put("in/b.pdf", pdf_bytes([(100, 120)]))
    return cloud


@pytest.fixture
def machine(tiny_checkpoint: Path, filled: Cloud, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tiny_checkpoint, f"{filled.address}/out", monkeypatch)


def test_a_run_that_was_killed_goes_on(
    machine: Machine, filled: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = f"{filled.address}/in"
    with monkeypatch.context() as patch:
        dead(patch)
        with pytest.raises(Killed):
            machine.run(at, kill_after=1)
    record = machine.run(at)
    assert machine.asked == 4
    assert record["counts"]["expected"] == len(machine.items()) == 6
    assert read_record(machine.output)["counts"] == record["counts"]
    machine.run(at)
    assert machine.opened == []
    for name in filled.names():
        assert KEY.encode() not in bytes(obstore.get(filled.store, name).bytes()), name


@pytest.mark.parametrize(
    ("cloud", "fault", "method", "part"),
    [
        ("gs", 503, "GET", "in/a"),
        ("az", RESET, "GET", "in/a"),
        ("az", 503, "PUT", ".parquet"),
        ("gs", RESET, "GET", "_delta_log"),
    ],
    indirect=["cloud"],
)
def test_a_fault_that_passes_costs_nothing(
    machine: Machine, filled: Cloud, fault: int | str, method: str, part: str
) -> None:
    prepared = machine.prepare(f"{filled.address}/in")
    filled.fail(fault, 2, method, part)
    machine.carry_out(prepared)
    assert filled.struck() >= 1
    assert not [row for row in machine.rows("failures") if row["stage"] == "open"]
    assert len(machine.items()) == 6


@FAKES
def test_a_store_that_turns_everything_down_for_a_while_loses_no_document(
    machine: Machine, filled: Cloud
) -> None:
    prepared = machine.prepare(f"{filled.address}/in")
    filled.fail(503, 15, "", "")
    machine.carry_out(prepared)
    assert filled.struck() == 15
    assert not machine.rows("failures")
    assert len(machine.items()) == 6


@FAKES
def test_a_fault_that_stays_costs_its_document_and_a_retry_mends_it(machine: Machine, filled: Cloud) -> None:
    at = f"{filled.address}/in"
    prepared = machine.prepare(at)
    filled.fail(403, 1_000, "", "in/b.pdf")
    machine.carry_out(prepared)
    filled.struck()
    assert {row["reason"] for row in machine.rows("failures") if row["stage"] == "open"} == {"unreadable"}
    machine.carry_out(machine.prepare(at, frozenset({"unreadable"})))
    assert not machine.rows("failures")
    assert len(machine.items()) == 6


@FAKES
@pytest.mark.parametrize("at", ["in", "out"])
def test_refused_credentials_are_one_sentence_before_ray_starts(
    filled: Cloud,
    tiny_checkpoint: Path,
    at: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused_in_a_sentence(filled, filled.address, at, tiny_checkpoint, KEY, monkeypatch, capsys)


@FAKES
@pytest.mark.parametrize("is_over", [True, False])
def test_an_outage_before_a_run_is_waited_for_and_no_mistake(
    filled: Cloud,
    tiny_checkpoint: Path,
    is_over: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(outages, "WAITS", (0.0,))
    clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: is_over and filled.struck())
    monkeypatch.setattr(outages, "time", clock)
    monkeypatch.setattr(object_stores, "MAX_RETRIES", 1)
    monkeypatch.setattr(object_stores, "FIRST_WAIT", 0.01)
    monkeypatch.setattr("jobs.run.runner.carry_out", lambda prepared, _: 0)
    filled.fail(503, 1_000, "", "")
    places = f"--input {filled.address}/in --output {filled.address}/out"
    code = extract.main(f"{places} --model {tiny_checkpoint} --question What?".split())
    again, *last = capsys.readouterr().err.splitlines()
    assert code == (0 if is_over else 1)
    assert "answered 503; trying again in 0 s" in again
    assert KEY not in again
    if not is_over:
        assert last[0].startswith("broken off: ")
        filled.struck()


def test_of_runs_that_start_at_once_one_gets_the_output(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_one_gets_it(cloud.address, monkeypatch)


def test_an_output_with_odd_characters_is_written_and_maintained(cloud: Cloud) -> None:
    output = f"{cloud.address}/out dir/réponses #1 50% ? [x] a+b&c;d|e^f"
    for _ in range(2):  # the second finds what the first has made
        tables = create_tables(f"{output}/", None)
    with Lease(tables, "run") as lease:
        for name in "abc":
            lease.commit("failures", Change(added=[failures_file(tables, name)]))
    found = find_tables(output)
    assert found.keys() == {"answers/text", "failures", "documents"}
    everything = Upkeep(retention_hours=0, force=True)
    with Lease(found, "maintenance") as lease:
        maintain(lease, found, everything)
    size = size_of(found["failures"], everything)
    assert (size.files, size.unused) == (1, 0)
    assert visible(tables["failures"]) == ["a", "b", "c"]


def test_a_missing_bucket_is_refused(cloud: Cloud) -> None:
    nowhere = f"{cloud.scheme}://nowhere/out"
    with pytest.raises(ValueError, match=f"output {nowhere}: there is no such (bucket|container)"):
        check_reachable(nowhere)


@pytest.mark.soak
@FAKES
def test_short_processes_that_read_a_table_end_well(cloud: Cloud) -> None:
    """Threads of pyarrow's that let go of Python's objects then would abort some of them."""
    tables = create_tables(f"{cloud.address}/out", None)
    with Lease(tables, "run") as lease:
        for number in range(12):
            names = [f"{number}-{row}" for row in range(200)]
            lease.commit("answers", Change(added=[answers_file(tables, *names)]))
    code = f"from pipeline.commit.tables import read_table; print(len(read_table({tables['answers'].uri!r})))"
    for _ in range(20):
        assert (
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"2400\n"
        )
