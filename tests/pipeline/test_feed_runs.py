"""Runs with --since-last-run: each row that came is asked once, wherever a run breaks off."""

import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from PIL import Image

from jobs.retry import _config, make_parser
from pipeline import flow
from pipeline.commit import writer
from pipeline.commit.delta_log import DeltaLog
from pipeline.commit.manifest import write_record
from pipeline.config import FlowConfig
from tests.pipeline.drawn import image_bytes
from tests.pipeline.local import Killed, Machine
from tests.pipeline.plans import QUESTIONS

ONE: dict[str, Any] = {"questions": QUESTIONS[:1], "column": "page", "since_last_run": True}


def add(place: Path, *ids: int) -> None:
    """Rows with a picture each."""
    pages = [image_bytes(Image.new("RGB", (16, 16), (id, id, id)), "PNG") for id in ids]
    write_deltalake(str(place), pa.table({"id": list(ids), "page": pages}), mode="append")


def version(machine: Machine) -> int | None:
    record = json.loads(Path(machine.output, "run.json").read_text())
    positions = [position["version"] for position in record["tables_read"]]
    assert len(positions) <= 1
    return positions[0] if positions else None


def asked(machine: Machine) -> int:
    """How many rows have an answer, after a check that none has two."""
    contents = [row["content_key"] for row in machine.rows("documents")]
    assert len(set(contents)) == len(contents) == len(machine.items())
    return len(contents)


def test_only_what_came_is_opened_and_a_compaction_is_nothing_new(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, machine = tmp_path / "t", Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    add(place, 1, 2)
    machine.run(place, **ONE | {"since_last_run": False})
    assert (asked(machine), version(machine)) == (2, 0)
    assert machine.run(place, **ONE)["counts"]["documents"] == 0
    add(place, 3)
    DeltaTable(str(place)).optimize.compact()
    assert machine.run(place, **ONE)["counts"]["documents"] == 1
    assert (len(machine.opened), asked(machine), version(machine)) == (1, 3, 2)
    add(place, 4)
    DeltaTable(str(place)).delete("id = 4")
    assert machine.run(place, **ONE)["counts"]["documents"] == 0
    assert (asked(machine), version(machine)) == (3, 4)


def test_a_retry_moves_no_position_and_looks_at_all_rows(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, machine = tmp_path / "t", Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    write_deltalake(str(place), pa.table({"id": [0], "page": [b"no image"]}))
    add(place, 1)
    record = machine.run(place, **ONE)
    assert record["counts"]["failed"] == 1
    add(place, 2)
    retry = _config(make_parser().parse_args([machine.output]), json.loads(json.dumps(record)))
    assert isinstance(retry, FlowConfig)
    prepared = machine.prepare(place, again=frozenset({"unsupported_type"}), **ONE)
    assert prepared.remaining.sources.num_rows == 1
    machine.carry_out(prepared)
    assert version(machine) == 1, "the new row was not asked"
    assert machine.run(place, **ONE)["counts"]["documents"] == 1
    assert version(machine) == 2


def test_a_broken_record_of_older_runs_is_none(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, machine = tmp_path / "t", Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    add(place, 1)
    machine.run(place, **ONE)
    Path(machine.output, "run.json").write_text('{"finished_at": ')
    assert machine.run(place, **ONE)["reused"]["documents"] == 1
    assert version(machine) == 0


class Crash:
    """The process ends at its n-th write, before it or behind it."""

    def __init__(self, number: int, *, behind: bool) -> None:
        self._left, self._behind = number, behind
        self.happened = False

    def around(self, write: Callable[..., Any], patch: pytest.MonkeyPatch) -> Callable[..., Any]:
        def crashing(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left < 0 and not self.happened:
                self.happened = True
                if self._behind:
                    write(*arguments, **named)
                # Nothing more is done: neither what is left is committed, nor the output let go.
                patch.setattr(writer.Writer, "commit", lambda self: None)
                patch.setattr("pipeline.commit.lease.Lease.release", lambda self: self._ended.set())
                raise Killed
            return write(*arguments, **named)

        return crashing


@pytest.mark.parametrize("behind", [False, True])
def test_a_run_that_ends_at_any_write_asks_each_row_once_all_the_same(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    monkeypatch.setattr("pipeline.commit.lease.is_dead", lambda said: True)
    begun, world = tmp_path / "begun", tmp_path / "world"
    place, machine = world / "t", Machine(tiny_checkpoint, world / "out", monkeypatch)
    add(place, 1)
    machine.run(place, **ONE)
    add(place, 2, 3)
    DeltaTable(str(place)).optimize.compact()
    world.rename(begun)
    for number in count():
        shutil.rmtree(world, ignore_errors=True)
        shutil.copytree(begun, world)
        crash = Crash(number, behind=behind)
        with monkeypatch.context() as patch:
            patch.setattr(flow, "write_record", crash.around(write_record, patch))
            patch.setattr(DeltaLog, "_attempt", crash.around(DeltaLog._attempt, patch))
            try:
                machine.run(place, **ONE)
            except Killed:
                assert version(machine) == 0 or asked(machine) == 3, "read before it was done"
        add(place, 4)
        DeltaTable(str(place)).optimize.compact()
        machine.run(place, **ONE)
        assert asked(machine) == 4
        assert version(machine) == 4
        if not crash.happened:
            break
    assert number >= 4, "the writes that were cut"


def test_a_file_that_cannot_be_listed_is_tried_by_each_run_and_holds_nothing_up(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, machine = tmp_path / "t", Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    add(place, 1)
    machine.run(place, **ONE)
    before = {file.name for file in place.glob("*.parquet")}
    add(place, 2)
    (new,) = (file for file in place.glob("*.parquet") if file.name not in before)
    add(place, 3)
    new.rename(tmp_path / "kept")
    new.write_bytes(b"PAR1 of which the rest did not come")
    assert machine.run(place, **ONE)["counts"]["failed"] == 1
    assert version(machine) == 2
    for id in (4, 5):
        add(place, id)
        assert machine.run(place, **ONE)["counts"]["documents"] == 2  # the new row, and that file
        assert len(machine.opened) == 1
        assert version(machine) == id - 1
    assert machine.run(place, **ONE)["counts"]["documents"] == 1
    (tmp_path / "kept").rename(new)
    DeltaTable(str(place)).optimize.compact()
    machine.run(place, **ONE)
    assert len(machine.rows("answers/text")) == 5
    assert len(machine.opened) == 1
    assert machine.run(place, **ONE)["counts"]["documents"] == 0
    add(place, 6)
    assert machine.run(place, **ONE)["counts"]["documents"] == 1


def test_a_file_that_cannot_be_listed_and_is_deleted_is_forgotten(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, machine = tmp_path / "t", Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    add(place, 1)
    machine.run(place, **ONE)
    (old,) = place.glob("*.parquet")
    add(place, 2)
    (new,) = (file for file in place.glob("*.parquet") if file != old)
    kept = new.read_bytes()
    new.write_bytes(b"PAR1 of which the rest did not come")
    machine.run(place, **ONE)
    new.write_bytes(kept)
    DeltaTable(str(place)).delete("id = 2")
    assert machine.run(place, **ONE)["counts"]["documents"] == 0
    assert "unread" not in json.loads(Path(machine.output, "run.json").read_text())["tables_read"][0]
