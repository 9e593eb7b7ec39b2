"""In which file of a table the old rows of a document lie."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.commit import chunks
from pipeline.commit import tables as stored_tables
from pipeline.commit.resume import find_remaining
from pipeline.commit.stale_rows import Renewed, StaleRows
from pipeline.commit.tables import create_tables, stream_files, write_rows
from pipeline.ingest.sources import SOURCES
from schemas.arrow import to_table
from schemas.rows import Document
from tests.pipeline.plans import PLAN
from tests.pipeline.stored import NOW, show


def test_each_document_of_a_single_file_is_found(tmp_path: Path) -> None:
    """Whatever the order of their hashes, which differs from process to process."""
    tables = create_tables(str(tmp_path), None)
    uris = [f"/in/{number}" for number in range(50)]
    rows = to_table(Document, [_document(uri) for uri in uris])
    file = write_rows(tables["documents"], rows)
    stale_rows = StaleRows(PLAN, tables, {}, frozenset())
    stale_rows.note("documents", file.path, rows["uri"])
    for uri in uris:
        renewed = {uri: Renewed(uri=uri, opened=True)}
        taken = stale_rows.take("documents", renewed, lambda: {file.path})
        assert taken.removed == {file.path: file.size}
        assert [added.rows for added in taken.added] == [len(uris) - 1]


def _document(uri: str) -> Document:
    return Document(
        source_key=uri,
        settings_key="settings",
        asked_key="asked",
        run_id="before",
        uri=uri,
        page_count=1,
        items_expected=1,
        items_answered=1,
        items_failed=0,
        status="complete",
        finished_at=NOW,
    )


def test_a_large_file_is_looked_at_in_parts_and_rewritten_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_tables, "LARGE_BYTES", 0)
    monkeypatch.setattr(stored_tables, "STREAM_ROWS", 2)
    monkeypatch.setattr(stored_tables, "PART_BATCHES", 2)
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 8)
    tables = create_tables(str(tmp_path), None)
    uris = [f"/in/{number}" for number in range(50)]
    for start in (0, 25):
        show(tables, tables["documents"], to_table(Document, list(map(_document, uris[start : start + 25]))))
    parts = list(stream_files(tables["documents"], ["uri"]))
    assert sorted(uri for _, part in parts for uri in part["uri"].to_pylist()) == sorted(uris)
    assert [len(part) for _, part in parts] == [4, 4, 4, 4, 4, 4, 1] * 2
    rows = [{"uri": uri, "source_key": f"{number:032x}"} for number, uri in enumerate(uris)]
    remaining = find_remaining(pa.Table.from_pylist(rows, schema=SOURCES), tables, PLAN)
    names = {path for path, _ in parts}
    renewed = {row["source_key"]: Renewed(uri=row["uri"], opened=True) for row in rows[3::11]}
    taken = remaining.stale_rows.take("documents", renewed, lambda: names)
    assert taken.removed.keys() == names
    assert sum(added.rows for added in taken.added) == 50 - len(renewed)
