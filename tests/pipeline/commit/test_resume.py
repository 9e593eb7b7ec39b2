"""An output that was written to before: what is done there is not done again, what has changed is."""

import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.checkpoint import save_model
from pipeline.commit import delta_log
from pipeline.commit.manifest import read_begun, read_record
from pipeline.commit.tables import OutputError
from schemas.targets import Question
from tests.model.tiny import tiny_pixtral
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.local import Killed, Machine
from tests.pipeline.plans import QUESTIONS
from tests.pipeline.s3 import Server

HALF_WRITTEN = Path(__file__).parent / "half_written"
TABLES = ("answers/text", "failures", "documents")
DIFFERS = {
    "run_id",
    "answered_at",
    "failed_at",
    "finished_at",
    "message",
}  # between two runs of the same, or two versions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_three(tmp_path)


def write_three(place: Path) -> Path:
    """Two documents of two and three pages, and one that cannot be opened."""
    folder = place / "in"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(pdf_bytes([(100, 100)] * 2))
    (folder / "b.pdf").write_bytes(pdf_bytes([(100, 120)] * 3))
    (folder / "c.pdf").write_bytes(b"broken")
    return folder


@pytest.fixture
def machine(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)


@pytest.fixture(scope="module")
def undisturbed(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The items of the three documents, of a run that nothing cuts."""
    place = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        machine = Machine(tiny_checkpoint, place / "out", patch)
        machine.run(write_three(place))
        return machine.items()


def dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs from now on says that it is a process that is gone."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    where = delta_log._this_process() | {"pid": pid}
    monkeypatch.setattr(delta_log, "_this_process", lambda: where)


def test_a_finished_output_is_done(machine: Machine, folder: Path) -> None:
    first = machine.run(folder)
    assert (machine.opened, machine.asked) == ([str(folder / f"{name}.pdf") for name in "abc"], 10)
    rows = machine.rows("answers/text") + machine.rows("documents")
    second = machine.run(folder)
    assert (machine.opened, machine.asked) == ([], 0)
    assert second["counts"] == first["counts"] | {"pages": 0}
    assert second["reused"] == {"documents": 3, "items": 12, "run_ids": [first["run_id"]]}
    assert machine.rows("answers/text") + machine.rows("documents") == rows
    assert read_record(machine.output)["run_id"] == second["run_id"]


@pytest.mark.parametrize("batches", range(6))
def test_a_run_that_was_killed_goes_on(
    machine: Machine, folder: Path, batches: int, undisturbed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        dead(patch)
        with pytest.raises(Killed):
            machine.run(folder, kill_after=batches)
    assert read_begun(machine.output)["finished_at"] is None
    with pytest.raises(ValueError, match="has not finished: the same command, given again, continues it"):
        read_record(machine.output)
    there = len(machine.rows("answers/text")) + len(machine.rows("failures"))
    assert there == min(2 * batches, 10)
    machine.run(folder)
    assert machine.asked == 10 - there
    assert [Path(uri).name for uri in machine.opened] == ["a.pdf", "b.pdf", "c.pdf"][
        (batches >= 2) + (batches >= 5) :
    ]
    assert machine.items() == undisturbed


def test_new_and_changed_documents_are_done_and_replace_their_old_rows(
    machine: Machine, folder: Path
) -> None:
    machine.run(folder)
    before = {row["item_key"] for row in machine.rows("answers/text")}
    (folder / "a.pdf").write_bytes(pdf_bytes([(110, 100)]))
    (folder / "d.pdf").write_bytes(pdf_bytes([(90, 90)]))
    (folder / "b.pdf").rename(folder.parent / "b.pdf")
    record = machine.run(folder)
    assert [Path(uri).name for uri in machine.opened] == ["a.pdf", "d.pdf"]
    assert machine.asked == 4
    assert record["counts"]["documents"] == 3
    found = {(name, page) for name, page, _, _ in machine.items()}
    assert found == {("a.pdf", 1), ("b.pdf", 1), ("b.pdf", 2), ("b.pdf", 3), ("c.pdf", None), ("d.pdf", 1)}
    assert len(before & {row["item_key"] for row in machine.rows("answers/text")}) == 6
    assert len(machine.rows("documents")) == 4


def test_a_document_that_breaks_takes_its_answers_with_it(machine: Machine, folder: Path) -> None:
    machine.run(folder)
    (folder / "a.pdf").write_bytes(b"broken now")
    (folder / "c.pdf").write_bytes(pdf_bytes([(90, 90)]))
    machine.run(folder)
    assert {(name, page) for name, page, _, _ in machine.items() if name != "b.pdf"} == {
        ("a.pdf", None),
        ("c.pdf", 1),
    }


def test_a_new_question_alone_is_asked(machine: Machine, folder: Path) -> None:
    machine.run(folder)
    more = (*QUESTIONS, Question(id="who", text="Who?", documents="a.pdf"))
    record = machine.run(folder, questions=more)
    assert [Path(uri).name for uri in machine.opened] == ["a.pdf"]
    assert machine.asked == 2
    assert record["counts"]["expected"] == 14
    machine.items()
    fewer = machine.run(folder, questions=QUESTIONS[:1])
    assert machine.asked == 0
    assert fewer["counts"]["expected"] == 6
    assert len(machine.rows("answers/text") + machine.rows("failures")) == 14


def test_a_changed_question_is_asked_again_and_replaces_its_answers(machine: Machine, folder: Path) -> None:
    machine.run(folder)
    changed = (QUESTIONS[0], Question(id="when", text="Since when?"))
    machine.run(folder, questions=changed)
    assert machine.asked == 5
    assert {question for _, _, _, question in machine.items()} == {QUESTIONS[0].text, "Since when?"}


@pytest.mark.parametrize(
    "changes", [{"max_side": 64}, {"max_new_tokens": 5}, {"scope": "document", "max_pages": 2}]
)
def test_other_settings_redo_all(machine: Machine, folder: Path, changes: dict[str, Any]) -> None:
    before = machine.run(folder)
    after = machine.run(folder, **changes)
    assert len(machine.opened) == 3
    keys = {
        row["settings_key"]
        for name in ("answers/text", "failures", "documents")
        for row in machine.rows(name)
    }
    assert keys == {after["plan"]["settings_key"]} != {before["plan"]["settings_key"]}
    assert len(machine.items()) == after["counts"]["expected"]


def test_a_redo_that_was_killed_goes_on(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.run(folder)
    with monkeypatch.context() as patch:
        dead(patch)
        with pytest.raises(Killed):
            machine.run(folder, kill_after=1, max_side=64)
    sides = {row["uri"]: row["settings_key"] for row in machine.rows("answers/text")}
    assert len(set(sides.values())) == 2, "a.pdf is new, b.pdf as it was"
    machine.run(folder, max_side=64)
    assert machine.asked == 8
    assert len(machine.items()) == 12


def test_rows_that_share_a_uri_keep_their_answers(machine: Machine, folder: Path) -> None:
    table = pa.table(
        {"id": ["x", "y", "z"], "where": [str(folder / name) for name in ("a.pdf", "a.pdf", "b.pdf")]}
    )
    pq.write_table(table, folder / "list.parquet")
    columns: dict[str, Any] = {"column": "where", "id_column": "id"}
    machine.run(folder / "list.parquet", **columns)
    assert len(machine.items()) == 14
    machine.run(folder / "list.parquet", max_side=64, **columns)
    assert len(machine.items()) == 14


def test_what_failed_is_asked_again_by_cause(machine: Machine, folder: Path) -> None:
    machine.run(folder)
    reasons = {row["reason"] for row in machine.rows("failures")}
    (folder / "d.pdf").write_bytes(pdf_bytes())
    machine.carry_out(machine.prepare(folder, frozenset({"timeout"})))
    assert machine.opened == []
    old = machine.rows("failures")
    record = machine.carry_out(machine.prepare(folder, frozenset(reasons)))
    assert [Path(uri).name for uri in machine.opened] == ["c.pdf"]
    assert record["counts"]["documents"] == 3
    assert {row["item_key"] for row in machine.rows("failures")} == {row["item_key"] for row in old}
    assert {row["run_id"] for row in machine.rows("failures")} == {record["run_id"]}
    machine.items()


def test_a_full_disk_breaks_the_run_off_and_it_goes_on_when_there_is_room(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    really = pq.write_table

    def write(rows: pa.Table, path: str, **options: Any) -> None:
        nonlocal written
        written += 1
        if written > 3:
            raise OSError(28, "No space left on device")
        really(rows, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.commit.tables.pq.write_table", write)
        with pytest.raises(OutputError, match=r"cannot be written: .*No space left on device"):
            machine.run(folder)
    there = len(machine.rows("answers/text")) + len(machine.rows("failures"))
    assert 0 < there < 10
    machine.run(folder)
    assert machine.asked == 10 - there
    assert len(machine.items()) == 12


def older_checkpoint(folder: Path) -> Path:
    """The model that the older Quire asked. Its key is remembered, so that files are what counts, not how
    this version of safetensors writes them."""
    save_model(tiny_pixtral(vocab_size=1256), folder)
    shutil.copy(HALF_WRITTEN / "tekken.json", folder)
    stamps = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(folder.iterdir())}
    key = (HALF_WRITTEN / "model_key").read_text()
    (folder / ".model_key.json").write_text(json.dumps({"files": stamps, "key": key}))
    return folder


@pytest.mark.processes
def test_an_output_that_an_older_version_wrote_half_of_is_finished(
    s3_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = older_checkpoint(tmp_path / "tiny")
    shutil.copytree(HALF_WRITTEN / "tables", tmp_path / "out")
    # On S3, since the keys of local documents depend on where they lie.
    uri = s3_server.put("half-written/documents.parquet", (HALF_WRITTEN / "documents.parquet").read_bytes())
    settings: dict[str, Any] = {"dtype": "float64", "column": "bytes", "id_column": "id"}
    machine = Machine(checkpoint, tmp_path / "out", monkeypatch)
    done = {name: machine.rows(name) for name in TABLES}
    assert [len(rows) for rows in done.values()] == [14, 4, 4]

    record = machine.run(uri, **settings)
    asked = sorted((opened.rpartition("#")[2]) for opened in machine.opened)
    assert asked == ["c", "d", "half", "image", "same-image"]
    assert machine.asked == 6
    assert record["reused"]["documents"] == 4

    undisturbed = Machine(checkpoint, tmp_path / "undisturbed", monkeypatch)
    undisturbed.run(uri, **settings)
    assert machine.items() == undisturbed.items()
    for name in TABLES:
        rows = machine.rows(name)
        # Columns that came since: null in the older rows, which may have a value in new ones.
        since = dict.fromkeys(rows[0].keys() - done[name][0].keys())
        assert comparable(rows, since) == comparable(undisturbed.rows(name), since)
        assert [row for row in done[name] if row | since not in rows] == [], (
            "rows of the older version are gone"
        )

    again = machine.run(uri, **settings)
    assert (machine.opened, machine.asked) == ([], 0)
    assert again["reused"]["documents"] == again["counts"]["documents"] == 9


def comparable(rows: list[dict[str, Any]], without: Collection[str]) -> list[dict[str, Any]]:
    """In one order, without some columns, and without what two runs of the same do not have in common."""
    gone = {*DIFFERS, *without}
    kept = [{name: value for name, value in row.items() if name not in gone} for row in rows]
    return sorted(kept, key=lambda row: (row["uri"], row.get("item_key", "")))
