"""The stages one after the other, without Ray: whatever fails, every expected item comes out as one row."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pymupdf
import pytest
from PIL import Image

from pipeline import opening
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.ingest.listing import list_sources
from pipeline.ingest.reading import content_key
from pipeline.plan import items
from pipeline.plan import rows as stream
from pipeline.plan.limits import Limits
from pipeline.plan.parcels import unpack
from pipeline.plan.plan import Plan
from pipeline.plan.rows import ANSWER, DOCUMENTS, FAILURE, GROUP, GROUPS, RANGES, result_schema
from pipeline.rasterize.sandbox import Document, Sandbox
from pipeline.stages import draw_groups, draw_packs, open_packs, open_sources, read_answers
from schemas.targets import Question
from tests.jobs.parrot import save_parrot
from tests.pipeline.drawn import corner_image, image_bytes, pdf_bytes
from tests.pipeline.local_replica import LocalReplica
from tests.pipeline.office_files import docx
from tests.pipeline.plans import QUESTIONS, plan_for
from tests.pipeline.rasterize.damaged_pdfs import TEXT, page

Rows = list[dict[str, Any]]


def through(opened: list[pa.Table], plan: Plan) -> Rows:
    """RANGE rows through the stages behind, and out as rows of items."""
    return [row for row in all_through(opened, plan) if row["kind"] != DOCUMENTS]


def known(rows: Rows) -> Rows:
    """What the driver is told of documents."""
    return [document for row in rows for document in row["documents"] or ()]


def all_through(opened: list[pa.Table], plan: Plan) -> Rows:
    replica = LocalReplica(ReplicaConfig(plan=plan, threads=1, dtype="float32"))
    groups = [table for part in opened for table in draw_groups(part, plan)]
    completions = [table for part in groups for table in replica(part)]
    return [row for part in completions for row in read_answers(part, plan).to_pylist()]


def opened_from(folder: Path, plan: Plan) -> list[pa.Table]:
    return list(open_sources(list_sources([str(folder)]), plan))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_a_short_document_travels_with_its_bytes_a_long_one_is_read_again(
    folder: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "RANGE_PAGES", 16)
    (folder / "long.pdf").write_bytes(pdf_bytes([(100, 100)] * 20))
    (folder / "short.pdf").write_bytes(pdf_bytes([(100, 100)] * 3))
    plan = plan_for(tiny_checkpoint)
    long, short, both = opened_from(folder, plan)
    assert [(row["page_first"], row["page_last"], row["data"]) for row in long.to_pylist()] == [
        (1, 16, None),
        (17, 20, None),
    ]
    assert short["data"].to_pylist() == [(folder / "short.pdf").read_bytes()]
    assert long.schema.equals(RANGES)
    assert [document["items_expected"] for document in known(both.to_pylist())] == [40, 6]
    (folder / "short.pdf").unlink()
    found = through([long, short], plan)
    assert len(found) == 46
    assert len({row["item_key"] for row in found}) == 46


def test_an_office_file_is_converted_once_and_travels_as_a_pdf(
    folder: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pdf, converted = pdf_bytes([(100, 100)] * 20), []

    class Converter:
        def to_pdf(self, data: bytes, name: str, media_type: str) -> bytes:
            converted.append((data, name, media_type))
            return pdf

    monkeypatch.setattr(opening, "office_of", lambda limits: Converter())
    file = folder / "list.docx"
    file.write_bytes(docx("a"))
    plan = plan_for(tiny_checkpoint)
    ranges, facts = list(open_sources(list_sources([str(file)]), plan))
    assert [(row["page_first"], row["page_last"], row["data"]) for row in ranges.to_pylist()] == [
        (1, 20, pdf)
    ]
    (document,) = known(facts.to_pylist())
    word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    assert (document["media_type"], document["page_count"]) == (word, 20)
    assert document["content_key"] == content_key(file.read_bytes())
    file.unlink()
    found = through([ranges], plan)
    assert len(found) == 40
    assert {row["kind"] for row in found} == {ANSWER}
    assert converted == [(docx("a"), str(file), word)]


def test_documents_that_a_task_draws_together_are_drawn_as_one_by_one(
    folder: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "RANGE_PAGES", 14)
    monkeypatch.setattr(opening, "AT_ONCE_BYTES", 0)
    (folder / "broken.pdf").write_bytes(b"broken")
    (folder / "long.pdf").write_bytes(pdf_bytes([(100, 100)] * 20))
    for number in range(3):
        (folder / f"{number}.pdf").write_bytes(pdf_bytes([(100 + number, 100)]))
    plan = plan_for(tiny_checkpoint)
    sources = list_sources([str(folder)])

    def drawn(tables: list[pa.Table]) -> Rows:
        found = [row for table in tables for row in table.to_pylist()]
        return [row | dict.fromkeys(("open_seconds", "rasterize_seconds")) for row in found]

    packs = list(open_packs(sources, plan))
    # 0 to broken; long twice, and the facts
    assert [unpack(one, RANGES).num_rows for one in packs] == [4, 1, 2]
    parcels = [table for one in packs for table in draw_packs(one, plan)]
    assert all(len(cell) < 10_000 for table in parcels for cell in table["rows"].to_pylist()), "no pixels"
    together = drawn([unpack(table, GROUPS) for table in parcels])
    apart = drawn([table for one in open_sources(sources, plan) for table in draw_groups(one, plan)])
    order = ("kind", "uri", "page_first")
    assert len(together) == 25
    assert sorted(together, key=lambda row: str([row[name] for name in order])) == sorted(
        apart, key=lambda row: str([row[name] for name in order])
    )


def test_a_parquet_part_that_cannot_be_read_fails_beside_the_others(
    folder: Path, tiny_checkpoint: Path
) -> None:
    pq.write_table(pa.table({"page": [pdf_bytes([(100, 100)])]}), folder / "good.parquet")
    (folder / "empty.parquet").write_bytes(b"")
    plan = plan_for(tiny_checkpoint)
    opened = list(open_sources(list_sources([str(folder)], column="page"), plan))
    documents = known([row for table in opened for row in table.to_pylist()])
    assert {document["uri"]: document["items_expected"] for document in documents} == {
        f"{folder}/good.parquet#0": 2,
        f"{folder}/empty.parquet": 2,
    }
    found = through(opened, plan)
    assert len(found) == 4
    failures = [row["failure"] for row in found if row["kind"] == FAILURE]
    assert [(failure["uri"], failure["reason"]) for failure in failures] == [
        (f"{folder}/empty.parquet", "unreadable")
    ] * 2


def test_a_document_that_changes_while_it_is_read_fails_page_by_page(
    folder: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "RANGE_PAGES", 16)
    (folder / "long.pdf").write_bytes(pdf_bytes([(100, 100)] * 20))
    plan = plan_for(tiny_checkpoint)
    opened = opened_from(folder, plan)
    (folder / "long.pdf").write_bytes(pdf_bytes([(100, 100)] * 21))
    found = through(opened, plan)
    assert {(row["kind"], row["failure"]["reason"]) for row in found} == {(FAILURE, "changed")}
    assert sorted((row["page_first"], row["failure"]["question_id"]) for row in found) == [
        (page, question.id) for page in range(1, 21) for question in QUESTIONS
    ]


def test_a_document_that_is_gone_fails(folder: Path, tiny_checkpoint: Path) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes())
    plan = plan_for(tiny_checkpoint)
    sources = list_sources([str(folder)])
    os.remove(folder / "a.pdf")
    opened = list(open_sources(sources, plan))
    found = through(opened, plan)
    assert [(row["failure"]["stage"], row["failure"]["reason"]) for row in found] == [("open", "missing")] * 2
    assert [document["items_expected"] for document in known(all_through(opened, plan))] == [2]


def test_a_bad_page_fails_and_its_document_goes_on(folder: Path, tiny_checkpoint: Path) -> None:
    frames = [corner_image(), corner_image(30, 50)]
    data = image_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    (folder / "two.tiff").write_bytes(data[:-1000])  # the second frame's pixels come last
    plan = plan_for(tiny_checkpoint)
    found = through(opened_from(folder, plan), plan)
    stages = [(row["page_first"], row["failure"] and row["failure"]["stage"]) for row in found]
    assert sorted(number for number, _ in stages) == [1, 1, 2, 2]
    assert [stage for number, stage in stages if number == 2] == ["rasterize"] * 2
    assert "rasterize" not in [stage for number, stage in stages if number == 1]


def test_a_window_with_a_bad_page_is_asked_about_the_others_and_says_so(
    folder: Path, tiny_checkpoint: Path
) -> None:
    frames = [corner_image(), corner_image(30, 50), corner_image()]
    data = image_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    (folder / "three.tiff").write_bytes(data[:-100])  # the last frame's pixels come last
    plan = plan_for(tiny_checkpoint, scope="document", max_pages=3)
    drawn = [
        row
        for part in opened_from(folder, plan)
        for table in draw_groups(part, plan)
        for row in table.to_pylist()
    ]
    group, _ = drawn
    assert (group["kind"], group["page_first"], group["page_last"]) == (GROUP, 1, 3)
    assert (group["heights"], group["pages_missing"]) == ([24, 50], [3])
    assert "page 3 of" in group["note"]
    plan = plan_for(tiny_checkpoint, scope="document", max_pages=2)
    found = through(opened_from(folder, plan), plan)
    kinds = {
        (row["page_first"], row["page_last"], row["failure"] and row["failure"]["stage"]) for row in found
    }
    assert (3, 3, "rasterize") in kinds  # a window without a good page
    assert (1, 2, "rasterize") not in kinds


def test_of_a_document_nothing_may_be_asked(folder: Path, tiny_checkpoint: Path) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes())
    (folder / "b.pdf").write_bytes(b"would be broken if somebody opened it")
    questions = (
        Question(id="ninth", text="On page 9?", pages=[9], documents="a.pdf"),
        Question(id="other", text="Of another?", documents="c.pdf"),
    )
    plan = plan_for(tiny_checkpoint, questions=questions)
    found = all_through(opened_from(folder, plan), plan)
    assert [row["kind"] for row in found] == [DOCUMENTS]
    assert [document["items_expected"] for document in known(found)] == [0, 0]
    assert [document["page_count"] for document in known(found)] == [1, None]


def test_what_the_model_writes_for_a_target_is_an_answer_or_a_failure_with_its_text(
    folder: Path, tiny_checkpoint: Path
) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes([(100, 100)] * 3))
    plan = plan_for(tiny_checkpoint, targets=("Receipt",), max_pages=2)
    found = through(opened_from(folder, plan), plan)
    assert [(row["page_first"], row["page_last"]) for row in found] == [(1, 2), (3, 3)]
    for row in found:
        failure = row["failure"]  # the model is a random one
        assert (failure["stage"], failure["target"], failure["question_id"]) == (
            "parse",
            "Receipt",
            "Receipt",
        )
        assert failure["raw_text"] is not None


def test_an_image_travels_at_its_own_size_and_a_page_at_the_models(
    folder: Path, tiny_checkpoint: Path
) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes([(100, 200)]))
    (folder / "b.png").write_bytes(image_bytes(corner_image(700, 500), "PNG"))
    plan = plan_for(tiny_checkpoint)
    groups = [
        row
        for part in opened_from(folder, plan)
        for table in draw_groups(part, plan)
        for row in table.to_pylist()
        if row["kind"] != DOCUMENTS
    ]
    assert [row["kind"] for row in groups] == [GROUP, GROUP]
    assert [(row["heights"], row["widths"]) for row in groups] == [([128], [64]), ([500], [700])]
    assert [len(row["pixels"]) for row in groups] == [128 * 64 * 3, 500 * 700 * 3]
    assert [len(row["prefix_ids"]) for row in groups] == [2 + 8 * 5, 2 + 6 * 9]


def test_rows_of_a_parquet_column_are_documents(tmp_path: Path, tiny_checkpoint: Path) -> None:
    table = pa.table({"scan": pa.array([pdf_bytes(), None, b"x"], pa.binary())})
    pq.write_table(table, tmp_path / "scans.parquet")
    plan = plan_for(tiny_checkpoint)
    sources = list_sources([str(tmp_path / "scans.parquet")], column="scan")
    found = through(list(open_sources(sources, plan)), plan)
    failed = [
        row["failure"]["reason"]
        for row in found
        if row["kind"] == FAILURE and row["failure"]["stage"] == "open"
    ]
    assert failed == ["null_value"] * 2 + ["unsupported_type"] * 2
    assert len(found) == 6


def test_an_answer_knows_what_was_done_to_its_page(folder: Path, tmp_path: Path) -> None:
    frames = [corner_image(), Image.new("RGB", (40, 24))]
    (folder / "a.gif").write_bytes(image_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    plan = plan_for(save_parrot(tmp_path / "parrot", "Red"))
    answers = [row["answer"] for row in through(opened_from(folder, plan), plan)]
    assert {(answer["answer"], answer["note"], answer["pages_missing"]) for answer in answers} == {
        ("Red", "page 1: first frame of 2", None)
    }
    assert {answer["page_damaged"] for answer in answers} == {False}


def test_an_answer_about_a_page_that_is_damaged_in_part_says_so(folder: Path, tmp_path: Path) -> None:
    (folder / "a.pdf").write_bytes(page(b"/Gone Do " + TEXT))
    (folder / "b.pdf").write_bytes(page(b"/Gone Do "))
    plan = plan_for(save_parrot(tmp_path / "parrot", "Red"))
    found = through(opened_from(folder, plan), plan)
    marks = {
        (row["answer"]["note"], row["answer"]["page_damaged"]) for row in found if row["kind"] != FAILURE
    }
    assert marks == {("page 1: damaged: syntax error: cannot find XObject resource 'Gone'", True)}
    assert {row["failure"]["reason"] for row in found if row["kind"] == FAILURE} == {"damaged_page"}


def test_tasks_that_draw_a_document_share_out_its_time(
    folder: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes([(9, 9)] * 40))
    monkeypatch.setattr(items, "RANGE_PAGES", 16)
    plan = plan_for(tiny_checkpoint, limits=Limits(document_seconds=100))
    seconds: list[float | None] = []
    opens = Sandbox.open

    def noted(*arguments: Any, **options: Any) -> Document:
        seconds.append(options["seconds"])
        return opens(*arguments, **options)

    monkeypatch.setattr(Sandbox, "open", noted)
    for part in opened_from(folder, plan):
        for _ in draw_groups(part, plan):
            pass
    assert seconds == [None, 40, 40, 20]  # opened; then 16, 16 and 8 pages of it are drawn


SECRET = "hunter2"


def test_a_password_opens_its_document_and_stands_in_no_row(tmp_path: Path, tiny_checkpoint: Path) -> None:
    locked = pdf_bytes(encryption=pymupdf.mupdf.PDF_ENCRYPT_AES_256, user_pw=SECRET, owner_pw="o")
    table = pa.table({"scan": pa.array([locked, locked], pa.binary()), "key": [SECRET, None]})
    pq.write_table(table, tmp_path / "scans.parquet")
    plan = plan_for(tiny_checkpoint)
    sources = list_sources([str(tmp_path / "scans.parquet")], column="scan", password_column="key")
    opened = list(open_sources(sources, plan))
    assert SECRET not in str(
        [table.to_pylist() for table in (sources, *opened)]
    )  # Ray may write rows to disk
    found = through(opened, plan)
    failures = [row["failure"] for row in found if row["kind"] == FAILURE]
    assert [row["reason"] for row in failures if row["stage"] == "open"] == ["needs_password"] * 2
    assert SECRET not in str(found)
    for password, opens in ((SECRET, True), ("another", False)):
        given = plan_for(tiny_checkpoint, passwords=(password,))
        assert password not in repr(given)
        row, _ = list(open_sources(sources.slice(1), given))
        assert (row["reason"].to_pylist() == [None]) == opens
    assert given.settings_key == plan.settings_key


def test_results_have_one_schema(folder: Path, tiny_checkpoint: Path) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes())
    (folder / "b.pdf").write_bytes(b"broken")
    plan = plan_for(tiny_checkpoint)
    replica = LocalReplica(ReplicaConfig(plan=plan, threads=1, dtype="float32"))
    for part in opened_from(folder, plan):
        for group in draw_groups(part, plan):
            for completion in replica(group):
                assert read_answers(completion, plan).schema.equals(result_schema(None))


def test_pages_are_handed_over_some_at_a_time(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each table costs Ray as much as a page, and pixels must not pile up."""
    (tmp_path / "long.pdf").write_bytes(pdf_bytes([(100, 100)] * 16))
    plan = plan_for(tiny_checkpoint)
    opened, _ = opened_from(tmp_path, plan)
    (whole,) = draw_groups(opened, plan)
    assert whole.num_rows == 16
    monkeypatch.setattr(stream, "TABLE_BYTES", 3 * len(whole["pixels"][0].as_py()))
    parts = list(draw_groups(opened, plan))
    assert [part.num_rows for part in parts] == [3, 3, 3, 3, 3, 1]
    columns = [name for name in whole.column_names if name != "rasterize_seconds"]
    assert pa.concat_tables(parts).select(columns) == whole.select(columns)
