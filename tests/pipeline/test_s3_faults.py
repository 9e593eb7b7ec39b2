"""Runs whose documents and tables lie on S3, while S3 fails in the ways that it does."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs import extract
from pipeline.commit import writer
from pipeline.ingest import object_stores, outages
from pipeline.ingest.reading import content_key
from pipeline.prepare import Prepared
from tests.pipeline.commit.test_resume import dead
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.local import Killed, Machine
from tests.pipeline.refused import assert_refused_in_a_sentence
from tests.pipeline.s3 import RESET, SECRET, SLOW, Server

pytestmark = pytest.mark.processes


@pytest.fixture
def s3(s3_server: Server) -> Iterator[Server]:
    """The server, with two documents in "in/" and nothing else."""
    for listed in s3_server.client.list_objects_v2(Bucket=s3_server.bucket).get("Contents", []):
        s3_server.client.delete_object(Bucket=s3_server.bucket, Key=listed["Key"])
    s3_server.put("in/a.pdf", pdf_bytes([(100, 100)] * 2))
    s3_server.put("in/b.pdf", pdf_bytes([(100, 120)]))
    yield s3_server
    s3_server.struck()


@pytest.fixture
def machine(tiny_checkpoint: Path, s3: Server, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """It commits as often as a run does: each commit costs this server a second of CPU."""
    rows = writer.COMMIT_ROWS
    machine = Machine(tiny_checkpoint, f"s3://{s3.bucket}/out", monkeypatch)
    monkeypatch.setattr(writer, "COMMIT_ROWS", rows)
    return machine


INPUT = "s3://quire/in"


def test_a_run_that_was_killed_goes_on_on_s3(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(writer, "COMMIT_ROWS", 1)
        dead(patch)
        with pytest.raises(Killed):
            machine.run(INPUT, kill_after=1)
    record = machine.run(INPUT)
    assert machine.asked == 4
    assert record["counts"]["expected"] == len(machine.items()) == 6
    machine.run(INPUT)
    assert machine.opened == []


FAULTS = (500, 503, RESET, SLOW)
PLACES = (("GET", "in/a.pdf"), ("PUT", ".parquet"), ("GET", "_delta_log"))
STRUCK = [  # each fault, and each place, comes once at least; all pairs do in `make soak`
    pytest.param(fault, *place, marks=[] if (row + column) % len(PLACES) == 0 else pytest.mark.soak)
    for row, fault in enumerate(FAULTS)
    for column, place in enumerate(PLACES)
]


@pytest.mark.parametrize(("fault", "method", "part"), STRUCK)
def test_a_fault_that_passes_costs_nothing(
    machine: Machine, s3: Server, fault: int | str, method: str, part: str
) -> None:
    prepared = machine.prepare(INPUT)
    s3.fail(fault, 2, method, part)
    machine.carry_out(prepared)
    assert s3.struck() >= 1
    assert not [row for row in machine.rows("failures") if row["stage"] == "open"]
    assert len(machine.items()) == 6


def test_a_log_that_is_turned_down_for_a_while_is_written_all_the_same(
    machine: Machine, s3: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_stores, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(object_stores, "LONGEST_WAIT", 0.02)
    prepared = machine.prepare(INPUT)
    s3.fail(503, 15, "PUT", "_delta_log")  # the library gives up at 10 by itself
    machine.carry_out(prepared)
    assert s3.struck() == 15
    assert len(machine.items()) == 6


def test_a_fault_that_stays_costs_its_document_and_a_retry_mends_it(
    machine: Machine, s3: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = machine.prepare(INPUT)
    s3.fail(403, 1_000, "", "in/a.pdf")
    machine.carry_out(prepared)
    s3.struck()
    assert {row["reason"] for row in machine.rows("failures") if row["stage"] == "open"} == {"unreadable"}
    machine.carry_out(machine.prepare(INPUT, frozenset({"unreadable"})))
    assert not [row for row in machine.rows("failures") if row["stage"] == "open"]
    assert len(machine.items()) == 6


def test_an_object_that_vanishes_after_the_listing_is_a_failure(machine: Machine, s3: Server) -> None:
    prepared = machine.prepare(INPUT)
    s3.client.delete_object(Bucket=s3.bucket, Key="in/a.pdf")
    machine.carry_out(prepared)
    failures = {(row["uri"], row["reason"]) for row in machine.rows("failures") if row["stage"] == "open"}
    assert failures == {("s3://quire/in/a.pdf", "missing")}


def test_an_object_that_changes_after_the_listing_is_done_anew_by_the_next_run(
    machine: Machine, s3: Server
) -> None:
    prepared = machine.prepare(INPUT)
    later = pdf_bytes([(100, 100)] * 3)
    s3.put("in/a.pdf", later)
    machine.carry_out(prepared)
    (document,) = [row for row in machine.rows("documents") if row["uri"].endswith("a.pdf")]
    assert document["content_key"] == content_key(later)
    machine.run(INPUT)
    assert machine.opened == ["s3://quire/in/a.pdf"]
    assert len(machine.items()) == 8
    assert len(machine.rows("documents")) == 2


@pytest.mark.parametrize("at", ["in", "out"])
def test_refused_credentials_are_one_sentence_before_ray_starts(
    s3: Server,
    tiny_checkpoint: Path,
    at: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused_in_a_sentence(s3, "s3://quire", at, tiny_checkpoint, SECRET, monkeypatch, capsys)


@pytest.mark.soak
@pytest.mark.parametrize("at", ["in", "out"])
@pytest.mark.parametrize("is_over", [True, False])
def test_an_outage_before_a_run_is_waited_for_and_no_mistake(
    s3: Server,
    tiny_checkpoint: Path,
    at: str,
    is_over: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It was exit code 2, which no scheduler gives a second try. pyarrow tries for six seconds by itself."""
    monkeypatch.setattr(outages, "WAITS", (0.0, 0.0))
    clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: is_over and s3.struck())
    monkeypatch.setattr(outages, "time", clock)
    carried = list[Prepared]()

    def carry_out(prepared: Prepared, _: object) -> int:
        carried.append(prepared)
        return 0

    monkeypatch.setattr("jobs.run.runner.carry_out", carry_out)
    s3.fail(503, 1_000, "", at)
    flags = f"--input {INPUT} --output s3://quire/out --model {tiny_checkpoint} --question What?"
    assert extract.main(flags.split()) == (0 if is_over else 1)
    said = capsys.readouterr().err.splitlines()
    tries = [line for line in said if not line.startswith("listing: ")]
    assert len(carried) == is_over
    if not is_over:
        last = tries.pop()
        assert last.startswith("broken off: ")
        assert last.endswith("; the same command continues")
    assert len(tries) == (1 if is_over else 2)
    assert all(line.endswith("; trying again in 0 s") for line in tries)


def test_credentials_stand_in_nothing_that_a_run_writes(machine: Machine, s3: Server) -> None:
    machine.run(INPUT)
    listed = s3.client.list_objects_v2(Bucket=s3.bucket)["Contents"]
    assert len(listed) > 10
    for entry in listed:
        data = s3.client.get_object(Bucket=s3.bucket, Key=entry["Key"])["Body"].read()
        assert SECRET.encode() not in data, entry["Key"]
