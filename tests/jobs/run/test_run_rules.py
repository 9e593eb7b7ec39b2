"""When a run ends, with which exit code, and what its run.json says before and after."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from jobs import extract
from jobs.run import run_rules, runner
from pipeline.commit import live_record
from pipeline.commit.document_progress import Counts
from pipeline.commit.live_record import LiveRecord
from pipeline.commit.manifest import read_begun, write_record
from pipeline.commit.tables import OutputError, read_table
from pipeline.commit.tally import Tally
from tests.jobs.parrot import save_parrot
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.local import Machine


@pytest.mark.parametrize(
    ("text", "found"), [("2%", 0.02), ("0%", 0), ("100%", 1), ("0.5 %", 0.005), ("7%", 0.07)]
)
def test_a_share_is_a_percentage(text: str, found: float) -> None:
    assert run_rules.share(text) == found
    assert run_rules.share(str(run_rules.share(text))) == found


def test_the_hours_of_a_run_count_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = run_rules.RunRules(max_hours=2, started=1000.0)
    monkeypatch.setattr("jobs.run.run_rules.time.monotonic", lambda: 1000.0 + 3600)
    assert rules.seconds_left == 3600
    monkeypatch.setattr("jobs.run.run_rules.time.monotonic", lambda: 1000.0 + 9999)
    assert rules.seconds_left == 0
    assert run_rules.RunRules().seconds_left is None


def test_hours_without_end_are_no_error_and_do_not_take_the_place_of_a_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(runner, "ask_to_stop", lambda run_id, why: asked.append(why))
    for stopped in ("stopped", None):
        monkeypatch.setattr(runner, "why_stopping", lambda run_id, found=stopped: found)
        with runner._ended_in_time("run", 0.0):
            time.sleep(0.2)
    assert asked == ["max-hours"]
    with runner._ended_in_time("run", run_rules.hours("1e300") * 3600):
        time.sleep(0.1)
    assert asked == ["max-hours"]
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.pdf").write_bytes(pdf_bytes([(100 + number, 100)] * 2))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    return folder


def test_a_run_says_in_run_json_how_far_it_is(
    tiny_checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, Any]] = []

    def write(output: str, record: dict[str, Any]) -> str:
        path = write_record(output, record)
        states.append(json.loads(Path(path).read_text()))
        return path

    monkeypatch.setattr(live_record, "write_record", write)
    monkeypatch.setattr(live_record, "SECONDS", 0.0)
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    last = machine.run(folder)
    assert len(states) > 6
    done = [state["progress"]["counts"]["documents_done"] for state in states]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 4)
    assert {(state["finished_at"], state["ended"], state["run_id"]) for state in states} == {
        (None, None, last["run_id"])
    }
    found = read_begun(machine.output)
    assert "progress" not in found
    assert (found["ended"], found["failures"]) == ("complete", states[-1]["progress"]["failures"])
    assert sum(found["failures"].values()) == found["counts"]["failed"] > 0
    assert not list((tmp_path / "out").glob("*.new"))


def test_a_state_comes_once_in_half_a_minute_and_a_bucket_that_fails_ends_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now, written = [0.0], 0

    def write(output: str, record: dict[str, Any]) -> None:
        nonlocal written
        written += 1
        if written in (2, 3):
            raise ValueError("output s3://bucket/out: slow down")

    monkeypatch.setattr("pipeline.commit.live_record.time.monotonic", lambda: now[0])
    monkeypatch.setattr(live_record, "write_record", write)
    live = LiveRecord("s3://bucket/out", {}, Tally())
    for _ in range(300):
        now[0] += 1.0
        live.note(Counts(documents=1))
    assert written == 10
    assert [record.message for record in caplog.records] == [
        "output s3://bucket/out: slow down; the run goes on"
    ]


def test_a_record_that_cannot_be_written_at_the_end_is_no_mistake(
    tiny_checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(output: str, record: dict[str, Any]) -> str:
        if record["ended"]:
            raise ValueError(f"output {output}: no space left on device")
        return write_record(output, record)

    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.flow.write_record", write)
        with pytest.raises(OutputError, match="no space left"):
            machine.run(folder)
    assert read_begun(machine.output)["ended"] is None
    assert machine.run(folder)["ended"] == "complete"
    assert machine.asked == 0


@pytest.mark.processes
def test_a_run_ends_with_its_hours_and_the_next_one_goes_on(
    folder: Path, tmp_path: Path, one_cpu_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    model, output = save_parrot(tmp_path / "parrot", "Red"), tmp_path / "out"
    flags = f"--input {folder} --output {output} --question What? --model {model}".split()
    assert extract.main([*flags, "--max-hours", "1e-9", "--fail-above", "0%"]) == 0
    record = read_begun(str(output))
    assert (record["ended"], record["finished_at"]) == ("max-hours", None)
    left = 4 - record["counts"]["documents_done"]
    assert left > 0
    assert f"ended after --max-hours: {left} documents are left" in capsys.readouterr().out
    assert extract.main([*flags, "--max-hours", "9", "--fail-above", "10%"]) == 3
    printed = capsys.readouterr()
    assert "1 of the 4 documents of this run failed, more than --fail-above 10% allows" in printed.err
    assert "4 documents: 3 complete, 0 partial, 1 failed" in printed.out
    assert read_begun(str(output))["ended"] == "complete"
    assert read_table(str(output / "answers" / "text")).num_rows == 6
    assert extract.main([*flags, "--fail-above", "0%"]) == 0  # it had no document to do
    (folder / "more.pdf").write_bytes(pdf_bytes([(150, 100)]))
    assert extract.main([*flags, "--fail-above", "0%"]) == 0  # what failed before is no failure of this run
