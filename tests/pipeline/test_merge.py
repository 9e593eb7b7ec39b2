"""One answer a document, of a target that is asked about windows of its pages, whatever happens to them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model.engine.request import Branch, Group
from pipeline.commit import merged_rows
from pipeline.config import FlowConfig
from pipeline.ingest.file_types import PageError
from pipeline.rasterize.sandbox import Document
from tests.pipeline.drawn import image_bytes
from tests.pipeline.local import Killed, Machine, Rows
from tests.pipeline.plans import QUESTIONS, plan_for
from tests.pipeline.scripted import follow_script

PAGES = 30


# A table over many pages, with a number on its first one and a sum on its last one.
LINE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "amount": {"type": "integer"}},
    "required": ["name", "amount"],
}
SCHEMA = {
    "type": "object",
    "properties": {
        "number": {"type": "string"},
        "total": {"type": ["integer", "null"]},
        "lines": {"type": "array", "items": LINE},
    },
    "required": ["number", "lines"],
}
TARGET = json.dumps({"name": "Statement", "schema": json.dumps(SCHEMA)})  # as `target_text` gives it
MERGE: dict[str, Any] = {"questions": (), "targets": (TARGET,), "max_new_tokens": None}


def lines_on(page: int) -> list[dict[str, Any]]:
    """Three rows a page, two of them equal; the last one of page 8 goes on on page 9."""
    if page == 9:
        return [{"name": "from 8 to 9", "amount": 8}, {"name": "only on 9", "amount": 9}]
    last = "from 8 to 9" if page == 8 else f"only on {page}"
    return [*[{"name": f"twice on {page}", "amount": 1}] * 2, {"name": last, "amount": page}]


TABLE = [line for page in range(1, PAGES + 1) for line in lines_on(page)]
TABLE.remove({"name": "from 8 to 9", "amount": 8})
WINDOWS = [(first, min(first + 3, PAGES)) for first in range(1, PAGES + 1, 4)]


def tiff(path: Path, pages: int = PAGES, width: int = 40) -> Path:
    """Pages are told from each other by their heights, as a model does by what is on them."""
    frames = [Image.new("RGB", (width, 20 + page)) for page in range(1, pages + 1)]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(image_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
    return path


def pages_of(group: Group) -> list[int]:
    return [int(image.shape[0]) - 20 for image in group.images]


def statement(group: Group, branch: Branch) -> str:
    """What stands on the pages; each of them has the number."""
    pages = pages_of(group)
    lines = [line for page in pages for line in lines_on(page)]
    return json.dumps({"number": "7", "total": 99 if PAGES in pages else None, "lines": lines})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiff(tmp_path / "in" / "a.tiff").parent


@pytest.fixture
def machine(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    follow_script(statement, monkeypatch)
    return Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)


def merged(machine: Machine, record: dict[str, Any]) -> Rows:
    (path,) = (path for name, path in record["tables"].items() if name.startswith("merged"))
    return machine.rows(path)


def windows(machine: Machine, record: dict[str, Any]) -> Rows:
    (path,) = (path for path in record["tables"].values() if path.startswith("answers/Statement"))
    return sorted(machine.rows(path), key=lambda row: row["page_first"])


def test_a_table_over_30_pages_keeps_each_row_once(machine: Machine, folder: Path) -> None:
    record = machine.run(folder, **MERGE)
    (row,) = merged(machine, record)
    assert row["answer"] == {"number": "7", "total": 99, "lines": TABLE}
    assert (row["page_first"], row["page_last"], row["pages_missing"]) == (1, PAGES, None)
    assert row["conflicts"] == []
    of_windows = windows(machine, record)
    assert [(one["page_first"], one["page_last"]) for one in of_windows] == WINDOWS
    assert row["item_keys"] == [one["item_key"] for one in of_windows]
    places = {field["path"]: field for field in row["fields"]}
    assert len(places) == 2 + 2 * len(TABLE)
    assert (places["total"]["page_first"], places["total"]["page_last"]) == WINDOWS[-1]
    assert (places["lines[87].name"]["page_first"], places["number"]["page_first"]) == (29, 1)
    assert row["confidence"] == min(field["confidence"] for field in row["fields"])
    assert [row[name] for name in ("question", "uri")] == [
        of_windows[0][name] for name in ("question", "uri")
    ]
    counts = record["counts"]
    assert (counts["documents"], counts["expected"], counts["answered"]) == (1, len(WINDOWS), len(WINDOWS))
    again = machine.run(folder, **MERGE)
    assert (machine.opened, merged(machine, again)) == ([], [row])


@pytest.mark.parametrize("batches", [0, 1, 7])
def test_a_cut_run_goes_on_and_merges_what_was_there(
    machine: Machine, folder: Path, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        machine.run(folder, kill_after=batches, **MERGE)
    monkeypatch.setattr("pipeline.commit.lease.is_dead", lambda said: True)
    record = machine.run(folder, **MERGE)
    assert machine.asked == len(WINDOWS) - batches
    (row,) = merged(machine, record)
    assert row["answer"]["lines"] == TABLE


def failing(*firsts: int) -> Callable[[Group, Branch], str]:
    def script(group: Group, branch: Branch) -> str:
        return "no JSON" if pages_of(group)[0] in firsts else statement(group, branch)

    return script


def test_a_window_that_failed_is_missing_until_a_retry_brings_it(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_script(failing(9, 29), monkeypatch)
    record = machine.run(folder, **MERGE)
    (row,) = merged(machine, record)
    assert row["pages_missing"] == [9, 10, 11, 12, 29, 30]
    there = [line for page in range(1, 29) if not 9 <= page <= 12 for line in lines_on(page)]
    assert (row["answer"]["lines"], row["answer"]["total"]) == (there, None)
    assert (record["counts"]["answered"], record["counts"]["failed"]) == (len(WINDOWS) - 2, 2)
    follow_script(failing(29), monkeypatch)
    record = machine.carry_out(machine.prepare(folder, frozenset({"invalid_json"}), **MERGE))
    assert machine.asked == 2
    (row,) = merged(machine, record)
    assert row["pages_missing"] == [29, 30]
    follow_script(statement, monkeypatch)
    record = machine.carry_out(machine.prepare(folder, frozenset({"invalid_json"}), **MERGE))
    (row,) = merged(machine, record)
    assert (row["answer"]["lines"], row["pages_missing"], row["run_id"]) == (TABLE, None, record["run_id"])


def test_a_page_that_cannot_be_drawn_is_missing(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so no seam is closed there."""
    really = Document.draw

    def draw(self: Document, page: int, **sizes: int) -> Any:
        if page == 9:
            raise PageError("damaged_page", "page 9 is damaged")
        return really(self, page, **sizes)

    monkeypatch.setattr(Document, "draw", draw)
    follow_script(as_found, monkeypatch)
    record = machine.run(tiff(tmp_path / "in" / "a.tiff", 10).parent, **MERGE)
    (row,) = merged(machine, record)
    assert (row["pages_missing"], row["note"], row["page_damaged"]) == ([9], "page 9 is damaged", False)
    there = [line for page in (*range(1, 9), 10) for line in lines_on(page)]
    assert row["answer"]["lines"] == there


def as_found(group: Group, branch: Branch) -> str:
    """The number stands on the first page alone."""
    said = json.loads(statement(group, branch))
    return json.dumps(said if 1 in pages_of(group) else said | {"number": None})


def test_a_field_that_one_window_has_is_enough(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows without it are failures, as ever, but their pages have been read."""
    follow_script(as_found, monkeypatch)
    record = machine.run(folder, **MERGE)
    (row,) = merged(machine, record)
    assert row["answer"] == {"number": "7", "total": 99, "lines": TABLE}
    assert row["pages_missing"] is None
    failures = sorted(machine.rows("failures"), key=lambda one: one["page_first"])
    assert [one["reason"] for one in failures] == ["missing_field"] * (len(WINDOWS) - 1)
    assert row["item_keys"][1:] == [one["item_key"] for one in failures]
    assert json.loads(failures[0]["partial"]).keys() == {"lines"}
    places = {field["path"]: field["page_first"] for field in row["fields"]}
    assert (places["number"], places["lines[87].name"]) == (1, 29)
    assert record["counts"]["answered"] == 1


def test_a_document_without_a_field_that_it_needs_has_no_merged_row(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_script(lambda group, branch: json.dumps({"number": None, "total": 1, "lines": []}), monkeypatch)
    record = machine.run(folder, **MERGE)
    assert (merged(machine, record), record["counts"]["failed"]) == ([], len(WINDOWS))
    machine.run(folder, **MERGE)
    assert machine.opened == []


def test_windows_that_differ_are_a_conflict(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differ(group: Group, branch: Branch) -> str:
        return json.dumps({"number": str(pages_of(group)[0] % 3), "lines": []})

    follow_script(differ, monkeypatch)
    (row,) = merged(machine, machine.run(folder, **MERGE))
    assert row["answer"]["number"] == "1"
    assert [(one["path"], one["answer"], one["page_first"]) for one in row["conflicts"]] == [
        ("number", '"2"', 5),
        ("number", '"0"', 9),
    ]


def test_other_content_settings_and_windows_replace_the_row(machine: Machine, folder: Path) -> None:
    tiff(folder / "a.tiff", 6)
    machine.run(folder, **MERGE)
    for changes in ({"pages": (1, 5)}, {"max_pages": 2}, {"scope": "page", "merge": True}):
        record = machine.run(folder, **MERGE | changes)
        (row,) = merged(machine, record)
        assert row["run_id"] == record["run_id"], changes
        assert row["settings_key"] == record["plan"]["asks"][0]["settings_key"]
        last = row["page_last"]
        assert last == (5 if "pages" in changes else 6)
        assert row["answer"]["lines"] == [line for page in range(1, last + 1) for line in lines_on(page)]
    tiff(folder / "a.tiff", 3)
    record = machine.run(folder, **MERGE)
    (row,) = merged(machine, record)
    assert (row["page_last"], len(row["answer"]["lines"])) == (3, 9)


def test_a_question_beside_it_leaves_the_answer_and_makes_the_row_anew(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def either(group: Group, branch: Branch) -> str:
        return statement(group, branch) if branch.grammar else "42"

    follow_script(either, monkeypatch)
    first = merged(machine, machine.run(folder, **MERGE))
    record = machine.run(folder, **MERGE | {"questions": QUESTIONS})
    assert machine.asked == 2 * PAGES
    (row,) = merged(machine, record)
    stable = ("answer", "fields", "item_keys", "settings_key", "confidence")
    assert [row[name] for name in stable] == [first[0][name] for name in stable]


def test_an_output_from_before_is_merged_without_asking_or_opening(
    machine: Machine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        tiff(folder / f"more {number}.tiff", 9 + number, 41 + number)
    record = machine.run(folder, merge=False, **MERGE)
    assert "merged" not in record["tables"]
    monkeypatch.setattr(merged_rows, "GROUP_WINDOWS", 3)
    record = machine.run(folder, **MERGE)
    assert (machine.opened, machine.asked, record["reused"]["documents"]) == ([], 0, 6)
    rows = merged(machine, record)
    assert sorted(row["page_last"] for row in rows) == [9, 10, 11, 12, 13, PAGES]
    assert max(rows, key=lambda row: row["page_last"])["answer"]["lines"] == TABLE
    assert merged(machine, machine.run(folder, **MERGE)) == rows


def test_a_table_that_is_there_is_kept_up_to_date(machine: Machine, folder: Path) -> None:
    machine.run(folder, **MERGE)
    tiff(folder / "a.tiff", 4)
    record = machine.run(folder, merge=False, **MERGE)
    assert [row["page_last"] for row in merged(machine, record)] == [4]
    machine.run(folder, scope="page", **MERGE)
    (row,) = merged(machine, record)
    assert (row["page_last"], len(row["item_keys"])) == (4, 4)


def test_shared_answers_are_merged_too(machine: Machine, folder: Path) -> None:
    (folder / "b.tiff").write_bytes((folder / "a.tiff").read_bytes())
    record = machine.run(folder, **MERGE)
    assert (machine.asked, record["counts"]["shared"]) == (len(WINDOWS), len(WINDOWS))
    assert [row["answer"]["lines"] for row in merged(machine, record)] == [TABLE] * 2


def test_shared_failures_are_merged_too(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_script(as_found, monkeypatch)
    (folder / "b.tiff").write_bytes((folder / "a.tiff").read_bytes())
    record = machine.run(folder, **MERGE)
    assert machine.asked == len(WINDOWS)
    assert [row["answer"]["lines"] for row in merged(machine, record)] == [TABLE] * 2


def test_merging_is_no_part_of_what_is_asked(tiny_checkpoint: Path) -> None:
    keys = {plan_for(tiny_checkpoint, **MERGE, merge=merge).settings_key for merge in (None, True, False)}
    assert len(keys) == 1
    asks = [plan_for(tiny_checkpoint, **MERGE, scope=scope).asks[0] for scope in ("document", "page")]
    assert [ask.merge for ask in asks] == [True, False]


def test_there_must_be_something_to_merge() -> None:
    for asked in ({"questions": QUESTIONS}, {"targets": ("markdown",)}):
        with pytest.raises(ValueError, match="--merge is about the answers to a target, and there is none"):
            FlowConfig(inputs=("in",), output="out", model="nano", merge=True, **asked)
