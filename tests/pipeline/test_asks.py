"""Several asks in one pass: a page is drawn and prefilled once for all, and each keeps keys of its own."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.commit.tables import is_of_documents
from pipeline.ingest.listing import list_sources
from pipeline.plan.rows import GROUP
from pipeline.rasterize.sandbox import Document
from pipeline.stages import draw_groups, open_sources
from schemas.targets import Question
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.local import Killed, Machine, Rows
from tests.pipeline.plans import QUESTIONS, plan_for

BOTH: dict[str, Any] = {"targets": ("Receipt", "Invoice")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Documents of five and two pages, and one that cannot be opened."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(pdf_bytes([(100, 90 + page) for page in range(5)]))
    (folder / "b.pdf").write_bytes(pdf_bytes([(100, 120), (100, 130)]))
    (folder / "c.pdf").write_bytes(b"broken")
    return folder


@pytest.fixture
def machine(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    """How often each page of each document was drawn."""
    found: Counter[tuple[str, int]] = Counter()
    really = Document.draw

    def draw(self: Document, page: int, **sizes: int) -> Any:
        found[Path(self.name).name, page] += 1
        return really(self, page, **sizes)

    monkeypatch.setattr(Document, "draw", draw)
    return found


def stored(machine: Machine, record: dict[str, Any]) -> Rows:
    """All rows of items of an output."""
    tables = [path for name, path in record["tables"].items() if not is_of_documents(name)]
    rows = [row for path in tables for row in machine.rows(path)]
    assert max(Counter(row["item_key"] for row in rows).values(), default=1) == 1
    return rows


def test_a_page_is_drawn_once_for_windows_of_both_scopes(
    machine: Machine, folder: Path, drawn: Counter[tuple[str, int]]
) -> None:
    record = machine.run(folder, **BOTH)
    assert set(drawn.values()) == {1}
    assert len(drawn) == 7
    # Of 7 pages 2 questions; of 3 windows 2 targets; of what cannot be opened all of them.
    assert record["counts"]["expected"] == 7 * 2 + 3 * 2 + 4
    assert record["counts"]["pages"] == 7
    assert [name.partition("-")[0] for name in record["tables"]] == [
        "answers/text",
        "answers/Receipt",
        "answers/Invoice",
        "failures",
        "merged/Receipt",
        "merged/Invoice",
        "documents",
    ]
    assert [ask["target"] for ask in record["plan"]["asks"]] == [None, "Receipt", "Invoice"]
    assert len(stored(machine, record)) == 24


def test_what_is_asked_by_page_shares_one_prompt(folder: Path, tiny_checkpoint: Path) -> None:
    plan = plan_for(tiny_checkpoint, questions=QUESTIONS, scope="page", **BOTH)
    groups = [
        row
        for part in open_sources(list_sources([str(folder)]), plan)
        for table in draw_groups(part, plan)
        for row in table.to_pylist()
        if row["kind"] == GROUP
    ]
    assert [row["asks"] for row in groups] == [[0, 0, 1, 2]] * 7
    assert {row["question_ids"][2] for row in groups} == {"Receipt"}


@pytest.mark.parametrize("batches", [0, 1, 3, 6])
def test_a_mixed_run_that_was_killed_goes_on(
    machine: Machine,
    folder: Path,
    batches: int,
    drawn: Counter[tuple[str, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Killed):
        machine.run(folder, kill_after=batches, **BOTH)
    monkeypatch.setattr("pipeline.commit.delta_log.is_dead", lambda said: True)
    monkeypatch.setattr("pipeline.commit.lease.is_dead", lambda said: True)
    record = machine.run(folder, **BOTH)
    whole = Machine(Path(machine._values["model"]), tmp_path / "other", monkeypatch)
    expected = stored(whole, whole.run(folder, **BOTH))
    assert {row["item_key"] for row in stored(machine, record)} == {row["item_key"] for row in expected}


def test_a_target_that_is_added_leaves_the_other_answers(machine: Machine, folder: Path) -> None:
    first = machine.run(folder)
    before = stored(machine, first)
    second = machine.run(folder, **BOTH)
    assert machine.asked == 3 * 2
    rows = {row["item_key"]: row for row in stored(machine, second)}
    assert all(rows[row["item_key"]] == row for row in before)
    assert len(rows) == len(before) + 3 * 2 + 2
    third = machine.run(folder, questions=(), targets=("Receipt",))
    assert (machine.asked, third["counts"]["expected"]) == (0, 4)
    assert set(third["tables"]) == {"answers", "failures", "merged", "documents"}
    again = machine.run(folder, **BOTH)
    assert (machine.asked, again["counts"]["expected"]) == (0, 24)
    machine.run(folder, **BOTH)
    assert machine.opened == []


def test_changed_settings_of_one_ask_leave_the_others(machine: Machine, folder: Path) -> None:
    machine.run(folder, **BOTH)
    record = machine.run(folder, style="free", **BOTH)
    assert machine.asked == 7 * 2
    assert len(stored(machine, record)) == 24
    assert Counter(row["run_id"] == record["run_id"] for row in stored(machine, record)) == {
        True: 7 * 2 + 2,
        False: 3 * 2 + 2,
    }


def test_a_question_may_be_called_as_a_target(machine: Machine, folder: Path) -> None:
    questions = (Question(id="Receipt", text="Is this a receipt?"),)
    first = machine.run(folder, questions=questions, targets=("Receipt",))
    assert first["counts"]["expected"] == 7 + 3 + 2
    second = machine.run(folder, questions=questions, targets=("Receipt",), style="free")
    assert machine.asked == 7
    assert len(stored(machine, second)) == 12


def test_the_system_prompt_is_part_of_every_key(tiny_checkpoint: Path) -> None:
    plain, told = (
        plan_for(tiny_checkpoint, questions=QUESTIONS, **BOTH, **more)
        for more in ({}, {"system": "Be brief."})
    )
    assert not {ask.settings_key for ask in plain.asks} & {ask.settings_key for ask in told.asks}


def test_the_keys_of_what_could_always_be_asked_stay(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Literals: rows that people keep are found by them."""
    monkeypatch.setattr("pipeline.config.key_of", lambda folder: "model")
    alone = [
        plan_for(tiny_checkpoint),
        *(plan_for(tiny_checkpoint, targets=(name,)) for name in BOTH["targets"]),
    ]
    keys = [plan.settings_key for plan in alone]
    assert keys == [
        "43c1d4c86f0076b9ed11f5f6c4023e01",
        "72689e4b15941ed13048e12db6b8cec3",
        "b0aca277f7c10b477578475a9b2bd86b",
    ]
    assert [ask.settings_key for ask in plan_for(tiny_checkpoint, questions=QUESTIONS, **BOTH).asks] == keys


def drawn_answers(machine: Machine) -> dict[tuple[str, int, str], str]:
    """The raw text of each answer."""
    rows = machine.rows("answers/text")
    return {(Path(row["uri"]).name, row["page_first"], row["question_id"]): row["raw_text"] for row in rows}


def test_seeds_repeat_whatever_the_batches_and_rows_do_not_correlate(
    machine: Machine, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.pdf").write_bytes(pdf_bytes([(100, 100)] * 2))  # all the same page
    drawing: dict[str, Any] = {"temperature": 1.0, "top_p": 0.95, "seed": 7, "dtype": "float64"}
    record = machine.run(folder, **drawing)
    assert (machine.asked, record["counts"]["shared"]) == (12, 0)
    found = drawn_answers(machine)
    assert len(set(found.values())) > 6
    other = Machine(tiny_checkpoint, tmp_path / "other", monkeypatch)
    other.batch = 5
    other.run(folder, **drawing)
    assert drawn_answers(other) == found
    other.run(folder, **drawing | {"seed": 8})
    assert other.asked == 12
    assert drawn_answers(other) != found
    assert machine.run(folder, **drawing)["reused"]["items"] == 12
