"""In which file of a table the old rows of a document lie."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.commit.stale_rows import Renewed, StaleRows
from pipeline.commit.tables import Table, create_tables, handle_of, paths_of, read_table, write_rows
from pipeline.ingest.sources import SOURCES
from schemas.arrow import to_table
from schemas.rows import Document
from tests.pipeline.commit.simulated import Paper, World
from tests.pipeline.plans import PLAN
from tests.pipeline.stored import document


def test_each_document_of_a_single_file_is_found(tmp_path: Path) -> None:
    """Whatever the order of their hashes, which differs from process to process."""
    tables = create_tables(str(tmp_path), None)
    uris = [f"/in/{number}" for number in range(50)]
    rows = to_table(Document, [document(uri) for uri in uris])
    file = write_rows(tables["documents"], rows)
    stale_rows = StaleRows(PLAN, tables, {}, frozenset())
    stale_rows.note("documents", file.path, rows["uri"])
    for uri in uris:
        renewed = {uri: Renewed(uri=uri, opened=True)}
        taken = stale_rows.take("documents", renewed, lambda: {file.path})
        assert taken.removed == {file.path: file.size}
        assert [added.rows for added in taken.added] == [len(uris) - 1]


@pytest.mark.parametrize(("column", "names"), [(None, "cab"), ("scan", "abc")])
def test_documents_in_a_parquet_file_stay_as_listed(tmp_path: Path, column: str | None, names: str) -> None:
    """Their reader would decode a row group again for each step back."""
    tables = create_tables(str(tmp_path), None)
    stale_rows = StaleRows(PLAN, tables, {}, frozenset())
    stale_rows.note("failures", "old.parquet", pa.chunked_array([list("cab")]))
    rows = [{"uri": name, "source_key": name, "column": column} for name in "abc"]
    found = stale_rows.ordered(pa.Table.from_pylist(rows, schema=SOURCES))
    assert "".join(found["uri"].to_pylist()) == names


FILES, PER_FILE = 8, 12


@pytest.mark.parametrize("order", ["stored", "listed", "random"])
def test_rows_in_any_order_are_replaced_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """Before, each commit wrote each of the files anew: of 16 files 256, 8.6 times the table."""
    world = World(tmp_path / "out", monkeypatch)
    monkeypatch.setattr("pipeline.commit.rests.FILE_ROWS", 2 * PER_FILE)
    world.papers = [Paper(f"/in/{number}", 1) for number in range(FILES * PER_FILE)]
    world.gone = []
    if order == "listed":  # the first run was done with them in another order
        random.Random(0).shuffle(world.papers)
    _do(world, "listed")
    world.papers.sort(key=lambda paper: paper.uri)
    world.settings += 1
    before = handle_of(world.tables["answers"].uri)
    _do(world, order)
    world.check()
    removed = _removed(world.tables["answers"], before.version())
    table = sum(before.get_add_actions()["size_bytes"].to_pylist())
    assert len(paths_of(handle_of(world.tables["answers"].uri))) <= FILES + 1
    if order == "random":  # of rows that come in no order, each file has some at each commit
        assert len(removed) <= FILES * FILES
    else:
        assert len(removed) <= 2 * FILES
        assert sum(removed.values()) < 2 * table


def test_of_a_large_file_only_what_is_replaced_later_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that was compacted: each commit would write most of it."""
    world = World(tmp_path / "out", monkeypatch)
    monkeypatch.setattr("pipeline.commit.rests.FILE_ROWS", 2 * PER_FILE)
    world.papers = [Paper(f"/in/{number:03}", 1) for number in range(2 * FILES * PER_FILE)]
    world.gone = []
    _do(world, "listed")
    world.optimize("answers")
    for paper in world.papers[::2]:
        paper.version += 1
    (before,) = paths_of(handle_of(world.tables["answers"].uri))
    version = handle_of(world.tables["answers"].uri).version()
    _do(world, "listed")
    world.check()
    removed = _removed(world.tables["answers"], version)
    assert removed.pop(before)
    assert len(removed) <= FILES
    assert len(read_table(world.tables["answers"].uri)) == 2 * len(world.papers)


def _do(world: World, order: str) -> None:
    """A run, which commits after so many documents as were in a file."""
    run = world.start()
    assert run is not None
    papers = [run.waiting[at : at + 3] for at in range(0, len(run.waiting), 3)]  # facts and two answers
    if order == "random":
        random.Random(1).shuffle(papers)
    run.waiting = [row for paper in papers for row in paper]
    while run.waiting:
        world.deliver(run, 3 * PER_FILE)
        world.commit(run)
    world.leave(run)


def _removed(table: Table, version: int) -> dict[str, int]:
    """The files that left a table behind a version, and their bytes."""
    log = Path(table.uri) / "_delta_log"
    lines = [
        line
        for path in log.glob("*.json")
        if int(path.stem) > version
        for line in path.read_text().splitlines()
    ]
    gone = [json.loads(line)["remove"] for line in lines if "remove" in json.loads(line)]
    assert len({one["path"] for one in gone}) == len(gone)
    return {one["path"]: one["size"] for one in gone}
