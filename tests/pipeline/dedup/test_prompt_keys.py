"""Identical documents, pages and prompts are asked once, and every item has the answer that is its own."""

from collections import Counter
from pathlib import Path
from typing import Any

import pymupdf
import pytest

from pipeline.dedup.prompt_keys import prompt_keys
from pipeline.dedup.registry import Registry, own
from pipeline.ingest.listing import list_sources
from pipeline.plan import items
from pipeline.plan.plan import Plan
from pipeline.plan.rows import DOCUMENTS, GROUP, RANGE, SHARED, Row
from pipeline.stages import draw_groups, open_sources
from schemas.targets import Question
from tests.pipeline.drawn import corner_image, image_bytes, pdf_bytes
from tests.pipeline.local import Machine
from tests.pipeline.plans import QUESTIONS, plan_for

A, B, C = ([(100, 100)], [(100, 120)], [(100, 140)])  # pages, all of which say "page 1" where they are alone


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def machine(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)


@pytest.fixture(scope="module")
def plan(tiny_checkpoint: Path) -> Plan:
    return plan_for(tiny_checkpoint)


def joined(*parts: bytes) -> bytes:
    """One PDF of the pages of several."""
    with pymupdf.open() as whole:
        for part in parts:
            with pymupdf.open("pdf", part) as pdf:
                whole.insert_pdf(pdf)
        data: bytes = whole.tobytes()
    return data


def opened(folder: Path, plan: Plan, registry: Registry) -> list[Row]:
    sources = list_sources([str(folder)])
    return [row for part in open_sources(sources, plan, registry.claim) for row in part.to_pylist()]


def drawn(folder: Path, plan: Plan, registry: Registry) -> list[Row]:
    sources = list_sources([str(folder)])
    return [
        row
        for part in open_sources(sources, plan, registry.claim)
        for group in draw_groups(part, plan, registry.claim)
        for row in group.to_pylist()
    ]


def shared_keys(rows: list[Row]) -> list[str]:
    return [item["item_key"] for row in rows for item in row["shared"] or ()]


@pytest.mark.parametrize(
    "changes",
    [
        {"prefix_ids": [1, 2, 4]},
        {"branches": [[7, 9]]},
        {"shapes": [(4, 2)]},
        {"pixels": bytes(23) + b"\1"},
        {"prefix_ids": [1, 2], "branches": [[3, 7, 8]]},
    ],
)
def test_whatever_the_model_would_see_is_in_the_key(plan: Plan, changes: dict[str, Any]) -> None:
    given: dict[str, Any] = {"prefix_ids": [1, 2, 3], "branches": [[7, 8]], "shapes": [(2, 4)]}
    given |= {"pixels": bytes(24)}
    keys = prompt_keys([plan.settings_key], **given)
    assert prompt_keys([plan.settings_key], **given) == keys
    assert prompt_keys([plan.settings_key], **given | changes) != keys


def test_keys_depend_on_the_settings(tiny_checkpoint: Path, plan: Plan) -> None:
    other = plan_for(tiny_checkpoint, max_new_tokens=5)
    given: dict[str, Any] = {"prefix_ids": [1], "branches": [[2], [2], [3]], "shapes": [], "pixels": b""}
    first, second, third = prompt_keys([plan.settings_key] * 3, **given)
    assert first == second != third
    assert first not in prompt_keys([other.settings_key] * 3, **given)
    assert prompt_keys([plan.settings_key, other.settings_key, plan.settings_key], **given)[::2] == [
        first,
        third,
    ]


def test_an_identical_document_is_not_even_drawn(folder: Path, plan: Plan) -> None:
    data = pdf_bytes(A * 2)
    for name in ("a.pdf", "b.pdf"):
        (folder / name).write_bytes(data)
    first, both = opened(folder, plan, registry := Registry())
    assert (first["kind"], first["uri"], first["unasked"]) == (RANGE, str(folder / "a.pdf"), None)
    assert (both["kind"], len(both["shared"])) == (DOCUMENTS, 4)
    assert {item["uri"] for item in both["shared"]} == {str(folder / "b.pdf")}
    assert [document["items_expected"] for document in both["documents"]] == [4, 4]
    again = opened(folder, plan, registry)
    timed = {"open_seconds": None}
    assert [row | timed for row in again] == [first | timed, both | timed], "a repeated task says the same"


def test_a_long_document_shares_page_by_page(
    folder: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "RANGE_PAGES", 16)
    for name in ("a.pdf", "b.pdf"):
        (folder / name).write_bytes(pdf_bytes([(100, 100 + page) for page in range(20)]))
    rows = opened(folder, plan, registry := Registry())
    assert [(row["kind"], row["shared"]) for row in rows] == [(RANGE, None)] * 4 + [(DOCUMENTS, [])]
    rows = drawn(folder, plan, registry)
    assert [row["kind"] for row in rows] == [GROUP] * 20 + [SHARED] * 2 + [DOCUMENTS]
    assert len(shared_keys(rows)) == 40
    assert all(row["pixels"] is None for row in rows[20:])
    assert all(row["rasterize_seconds"] > 0 for row in rows[:22]), "those that nobody asks were drawn, too"


def test_a_part_of_a_document_and_of_its_questions_is_shared(folder: Path, plan: Plan) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes(A))
    (folder / "b.pdf").write_bytes(joined(pdf_bytes(B), pdf_bytes(A)))
    registry = Registry()
    a, b, shared, _ = drawn(folder, plan, registry)
    assert (b["page_first"], len(shared["shared"]), shared["shared"][0]["page_first"]) == (1, 2, 2)
    assert [item["owner"] for item in shared["shared"]] == a["item_keys"]
    assert shared["shared"][0]["prompt_key"] == a["prompt_keys"][0]


def test_questions_are_shared_one_by_one(folder: Path, tiny_checkpoint: Path) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes(A))
    (folder / "b.pdf").write_bytes(pdf_bytes(A))
    questions = (*QUESTIONS, Question(id="who", text="Who?", documents="b.pdf"))
    rows = drawn(folder, plan_for(tiny_checkpoint, questions=questions), Registry())
    groups = [row for row in rows if row["kind"] == GROUP]
    assert [row["question_ids"] for row in groups] == [["total", "when"], ["who"]]
    assert [len(row["branch_ids"]) for row in groups] == [2, 1]
    assert len(shared_keys(rows)) == 2


def test_a_window_counts_as_a_whole(folder: Path, tiny_checkpoint: Path) -> None:
    (folder / "a.pdf").write_bytes(joined(pdf_bytes(A), pdf_bytes(B)))
    (folder / "b.pdf").write_bytes(joined(pdf_bytes(B), pdf_bytes(A)))
    (folder / "c.pdf").write_bytes(joined(pdf_bytes(A), pdf_bytes(B), pdf_bytes(C)))
    plan = plan_for(tiny_checkpoint, scope="document", max_pages=2)
    rows = drawn(folder, plan, Registry())
    shared = [(item["page_first"], item["page_last"]) for row in rows for item in row["shared"] or ()]
    assert shared == [(1, 2)] * 2


def test_the_same_words_under_two_ids_are_asked_once(folder: Path, tiny_checkpoint: Path) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes(A))
    questions = (Question(id="one", text="Who?"), Question(id="two", text="Who?"))
    row, shared, _ = drawn(folder, plan_for(tiny_checkpoint, questions=questions), Registry())
    assert row["question_ids"] == ["one"]
    owners = [(item["question_id"], item["owner"]) for item in shared["shared"]]
    assert owners == [("two", row["item_keys"][0])]


def answers(machine: Machine) -> dict[tuple[str, int, str], tuple[object, ...]]:
    names = ("answer", "raw_text", "confidence", "finish_reason", "prompt_tokens", "prompt_key")
    return {
        (Path(row["uri"]).name, row["page_first"], row["question_id"]): tuple(row[name] for name in names)
        for row in machine.rows("answers/text")
    }


def twins(folder: Path) -> None:
    """Two files of one content, a page of theirs in another, and an image that is a TIFF's second frame."""
    (folder / "a.pdf").write_bytes(joined(pdf_bytes(A), pdf_bytes(B)))
    (folder / "b.pdf").write_bytes((folder / "a.pdf").read_bytes())
    (folder / "c.pdf").write_bytes(joined(pdf_bytes(C), pdf_bytes(B)))
    frames = [corner_image(), corner_image(30, 50)]
    (folder / "d.png").write_bytes(image_bytes(frames[1].copy(), "PNG"))
    (folder / "e.tiff").write_bytes(image_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
    (folder / "f.pdf").write_bytes(b"broken")
    (folder / "g.pdf").write_bytes(b"broken")


def test_shared_answers_are_those_that_each_item_would_have_had(
    machine: Machine, folder: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins(folder)
    record = machine.run(folder, dtype="float64")
    assert machine.asked == 2 * (2 + 0 + 1 + 1 + 1)
    assert record["counts"]["shared"] == 2 * (0 + 2 + 1 + 0 + 1)
    assert record["counts"]["answered"] == 18
    assert Counter(Path(row["uri"]).name for row in machine.rows("answers/text") if row["shared_from"]) == {
        "b.pdf": 4,
        "c.pdf": 2,
        "e.tiff": 2,
    }
    assert [row["shared_from"] for row in machine.rows("failures")] == [None] * 4
    machine.items()
    alone = Machine(tiny_checkpoint, tmp_path / "alone", monkeypatch)
    monkeypatch.setattr(Registry, "claim", lambda self, pairs: own(pairs))
    alone.run(folder, dtype="float64")
    assert alone.asked == 18
    assert answers(alone) == answers(machine)


def test_an_answer_of_an_earlier_run_is_shared(machine: Machine, folder: Path) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes(A))
    first = machine.run(folder)
    (folder / "b.pdf").write_bytes(joined(pdf_bytes(A), pdf_bytes(B)))
    second = machine.run(folder)
    assert (machine.asked, second["counts"]["shared"]) == (2, 2)
    found = {(Path(row["uri"]).name, row["page_first"]): row for row in machine.rows("answers/text")}
    assert found["b.pdf", 1]["shared_from"] in {
        row["item_key"] for row in machine.rows("answers/text") if row["run_id"] == first["run_id"]
    }
    assert found["b.pdf", 1]["answer"] == found["a.pdf", 1]["answer"]
    assert found["b.pdf", 1]["run_id"] == second["run_id"]
    (folder / "a.pdf").write_bytes(pdf_bytes(C))  # the rows that the others came from leave
    (folder / "c.pdf").write_bytes(pdf_bytes(A))
    third = machine.run(folder)
    assert (machine.asked, third["counts"]["shared"]) == (2, 2)
    assert {row["shared_from"] for row in machine.rows("answers/text") if "/c.pdf" in row["uri"]} == {
        row["shared_from"] for row in machine.rows("answers/text") if "/b.pdf" in row["uri"]
    } - {None}, "the row names who was asked, not who shared it"
    machine.run(folder, max_new_tokens=5)
    assert machine.asked == 2 * 3, "other settings share nothing with what is there"
    machine.items()


def test_what_a_stopped_run_promised_the_next_one_does(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes(A))
    (folder / "b.pdf").write_bytes(pdf_bytes(A))
    with monkeypatch.context() as patch:
        # The owner's prompt is drawn, and claimed, and then the run is to end.
        patch.setattr("tests.pipeline.local.LocalReplica.__call__", lambda self, table: iter([]))
        patch.setattr("pipeline.flow.is_stopping", lambda run_id: True)
        assert machine.run(folder)["finished_at"] is None
    assert machine.rows("documents") == machine.rows("answers/text") == []
    record = machine.run(folder)
    assert (machine.asked, record["counts"]["shared"], record["counts"]["complete"]) == (2, 2, 2)
    machine.items()


def test_what_failed_with_its_owner_is_asked_again_with_it(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [corner_image(), corner_image(30, 50)]
    damaged = image_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:])[:-1000]
    for name in ("a.tiff", "b.tiff"):
        (folder / name).write_bytes(damaged)
    machine.run(folder)
    before = {row["uri"][-6:]: row for row in machine.rows("failures") if row["page_first"] == 2}
    assert before["b.tiff"]["reason"] == before["a.tiff"]["reason"]
    assert before["b.tiff"]["stage"] == "rasterize"
    assert before["b.tiff"]["shared_from"] is not None
    assert f"identical to {folder}/a.tiff, page 2, which failed: " in before["b.tiff"]["message"]
    again = machine.carry_out(machine.prepare(folder, frozenset({before["a.tiff"]["reason"]})))
    rows = [row for row in machine.rows("failures") if row["page_first"] == 2]
    assert {row["run_id"] for row in rows} == {again["run_id"]}
    assert len(rows) == 4
    assert again["counts"]["shared"] == 2
    machine.items()
