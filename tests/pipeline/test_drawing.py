"""Small documents are opened once and drawn at once, with the same rows as those that are opened first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import opening
from pipeline.dedup.registry import Claim, Pair, Registry, own
from pipeline.ingest.listing import list_sources, split
from pipeline.opening import drawn_at_once
from pipeline.plan import rows as stream
from pipeline.plan.parcels import unpack
from pipeline.plan.plan import Plan
from pipeline.plan.rows import DOCUMENTS, FAILED, GROUP, RANGE, RANGES, SOURCE, Row
from pipeline.rasterize.sandbox import Document, Sandbox
from pipeline.stages import draw_groups, open_packs, open_sources
from tests.pipeline.drawn import corner_image, image_bytes, pdf_bytes
from tests.pipeline.plans import plan_for


@pytest.fixture(scope="module")
def plan(tiny_checkpoint: Path) -> Plan:
    return plan_for(tiny_checkpoint)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def drawn(table: pa.Table, plan: Plan, claim: Claim = own) -> list[Row]:
    return [row for part in draw_groups(table, plan, claim) for row in part.to_pylist()]


def at_once(folder: Path, plan: Plan, claim: Claim = own) -> list[Row]:
    """All rows, of tasks one after the other."""
    packs = [unpack(pack, RANGES) for pack in open_packs(list_sources([str(folder)]), plan, claim)]
    assert {kind for pack in packs for kind in pack["kind"].to_pylist()} == {SOURCE}
    return [row for pack in packs for row in drawn(pack, plan, claim)]


def opened_first(folder: Path, plan: Plan, claim: Claim = own) -> list[Row]:
    opened = open_sources(list_sources([str(folder)]), plan, claim)
    return [row for part in opened for row in drawn(part, plan, claim)]


def known(rows: list[Row]) -> list[Row]:
    return [document for row in rows for document in row["documents"] or ()]


def items(rows: list[Row]) -> list[tuple[Any, ...]]:
    """What is asked, with its pixels, and what has failed."""
    names = ("kind", "uri", "page_first", "item_keys", "prompt_keys", "pixels", "note", "reason", "left")
    return [tuple(row[name] for name in names) for row in rows if row["kind"] in (GROUP, FAILED)]


def write_all_kinds(folder: Path) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes([(100, 100)] * 3))
    (folder / "b.png").write_bytes(image_bytes(corner_image(), "PNG"))
    (folder / "broken.pdf").write_bytes(b"broken")
    frames = [corner_image(), corner_image(30, 50)]
    two = image_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    (folder / "two.tiff").write_bytes(two[:-1000])  # the second frame's pixels come last


def test_the_rows_are_those_of_documents_that_are_opened_first(folder: Path, plan: Plan) -> None:
    write_all_kinds(folder)
    found, expected = at_once(folder, plan), opened_first(folder, plan)
    assert items(found) == items(expected)
    assert len(items(found)) == 3 + 1 + 1 + 2
    assert known(found) == known(expected)
    assert [row["kind"] for row in found].count(DOCUMENTS) == 1


def groups_of_a(rows: list[Row]) -> list[tuple[int, list[str]]]:
    """The pages of a.pdf, and their items."""
    groups = [row for row in rows if row["kind"] == GROUP and row["uri"].endswith("a.pdf")]
    return [(row["page_first"], row["item_keys"]) for row in groups]


def test_items_that_have_a_row_are_counted_and_not_asked(folder: Path, plan: Plan) -> None:
    write_all_kinds(folder)
    asked = dict(groups_of_a(at_once(folder, plan)))
    sources = list_sources([str(folder)])
    there = [
        [asked[1][0], *asked[2]] if uri.endswith("a.pdf") else None for uri in sources["uri"].to_pylist()
    ]
    failed = [[asked[3][0]] if keys else None for keys in there]
    for name, keys in (("answered", there), ("failed", failed)):
        at = sources.schema.get_field_index(name)
        sources = sources.set_column(at, sources.schema.field(at), pa.array(keys, pa.list_(pa.string())))
    [pack] = [unpack(one, RANGES) for one in open_packs(sources, plan)]
    rows = drawn(pack, plan)
    assert groups_of_a(rows) == [(1, asked[1][1:]), (3, asked[3][1:])]
    assert known(rows)[0]["items_answered"] == 3
    assert known(rows)[0]["items_failed"] == 1
    expected = [row for part in open_sources(sources, plan) for row in drawn(part, plan)]
    assert (items(rows), known(rows)) == (items(expected), known(expected))


class Counted:
    """Counts how often documents are opened."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        opens = Sandbox.open

        def noted(sandbox: Sandbox, data: bytes, name: str, *more: Any, **named: Any) -> Document:
            self.names.append(Path(name).name)
            return opens(sandbox, data, name, *more, **named)

        patch.setattr(Sandbox, "open", noted)


def test_a_document_is_opened_once_and_a_task_claims_all_prompts_together(
    folder: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (folder / f"{number:02}.pdf").write_bytes(pdf_bytes([(100, 100 + number)]))
    opened, registry = Counted(monkeypatch), Registry()
    claims: list[int] = []

    def claim(pairs: Sequence[Pair]) -> list[str]:
        claims.append(len(pairs))
        return registry.claim(pairs)

    rows = at_once(folder, plan, claim)
    assert len(items(rows)) == 20
    assert opened.names == [f"{number:02}.pdf" for number in range(20)]
    # Of 15 documents, then of 5: themselves; then both questions, by the content and by the prompt.
    assert [count for count in claims if count] == [15, 15 * 4, 5, 5 * 4]


@pytest.mark.parametrize("tasks", [1, 2])
def test_an_identical_document_is_opened_and_not_drawn(
    folder: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch, tasks: int
) -> None:
    if tasks == 2:
        monkeypatch.setattr(stream, "PACK_PAGES", 1)
    for name in ("a.tiff", "b.tiff"):
        frames = [corner_image(), corner_image(30, 50)]
        two = image_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:])
        (folder / name).write_bytes(two[:-1000])
    registry = Registry()
    rows = at_once(folder, plan, registry.claim)
    assert {Path(row["uri"]).name for row in rows if row["kind"] in (GROUP, FAILED)} == {"a.tiff"}
    shared = [item for row in rows for item in row["shared"] or ()]
    assert {Path(item["uri"]).name for item in shared} == {"b.tiff"}
    asked = [key for row in rows for key in row["item_keys"] or row["left"] or ()]
    assert [item["owner"] for item in shared] == asked, "also of the page that cannot be drawn"
    assert {item["prompt_key"] for item in shared} == {None}
    assert [document["items_expected"] for document in known(rows)] == [4, 4]
    again = at_once(folder, plan, registry.claim)
    assert items(again) == items(rows), "a task that Ray repeats says the same"


def test_identical_documents_that_two_tasks_draw_at_a_time_are_asked_once(folder: Path, plan: Plan) -> None:
    """The second one's items are claimed before those of the first are, and then their prompts are."""
    (folder / "a.pdf").write_bytes(pdf_bytes())
    (folder / "b.pdf").write_bytes(pdf_bytes())
    sources = list_sources([str(folder)])
    registry = Registry()
    [first], [second] = (
        [unpack(one, RANGES)] for part in split(sources, 1) for one in open_packs(part, plan)
    )
    inner: list[Row] = []

    def claim(pairs: Sequence[Pair]) -> list[str]:
        owners = registry.claim(pairs)
        if not inner:  # the first task has claimed its document, and no more
            inner.append({})
            inner[:] = [
                row for table in draw_groups(second, plan, registry.claim) for row in table.to_pylist()
            ]
        return owners

    rows = drawn(first, plan, claim)
    assert [row["kind"] for row in inner] == [GROUP, DOCUMENTS]
    assert [row["kind"] for row in rows] == [DOCUMENTS]
    assert [item["owner"] for item in rows[0]["shared"]] == inner[0]["item_keys"]
    assert {item["prompt_key"] for item in rows[0]["shared"]} == set(inner[0]["prompt_keys"])


def test_a_file_that_is_gone_fails_beside_the_others(folder: Path, plan: Plan) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes())
    (folder / "b.pdf").write_bytes(pdf_bytes())
    packs = list(open_packs(list_sources([str(folder)]), plan))
    (folder / "a.pdf").unlink()
    [pack] = [unpack(one, RANGES) for one in packs]
    rows = drawn(pack, plan)
    assert [(row["kind"], row["reason"]) for row in rows][:2] == [(FAILED, "missing"), (GROUP, None)]
    assert [document["items_expected"] for document in known(rows)] == [2, 2]


def test_the_driver_learns_early_of_a_long_document(folder: Path, plan: Plan) -> None:
    (folder / "a.pdf").write_bytes(pdf_bytes([(9, 9 + page) for page in range(40)]))
    kinds = [row["kind"] for row in at_once(folder, plan)]
    assert kinds.count(GROUP) == 40
    assert kinds.index(DOCUMENTS) <= 16


def test_a_run_that_stops_knows_of_the_documents_that_it_has_opened(
    folder: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (folder / f"{number}.pdf").write_bytes(pdf_bytes([(100, 100 + number)] * 2))
    opened = Counted(monkeypatch)
    monkeypatch.setattr("pipeline.drawing.is_stopping", lambda run_id: len(opened.names) == 2)
    rows = at_once(folder, plan)
    assert [Path(document["uri"]).name for document in known(rows)] == ["0.pdf", "1.pdf"]
    assert [row["kind"] for row in rows] == [GROUP, GROUP, DOCUMENTS]


def test_what_is_large_or_lies_in_a_column_is_opened_first(
    folder: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "small.pdf").write_bytes(pdf_bytes())
    (folder / "large.pdf").write_bytes(pdf_bytes([(100, 100)] * 9))
    monkeypatch.setattr(opening, "AT_ONCE_BYTES", (folder / "small.pdf").stat().st_size)
    sources = list_sources([str(folder)])
    assert drawn_at_once(sources, plan).to_pylist() == [
        uri.endswith("small.pdf") for uri in sources["uri"].to_pylist()
    ]
    [pack] = [unpack(one, RANGES) for one in open_packs(sources, plan)]
    assert sorted(pack["kind"].to_pylist()) == [DOCUMENTS, RANGE, SOURCE]
    pq.write_table(pa.table({"page": [pdf_bytes()]}), folder / "pages.parquet")
    column = list_sources([str(folder / "pages.parquet")], column="page")
    assert drawn_at_once(column, plan).to_pylist() == [False]
