"""A large file of a table is read in parts, and is one file all the same."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.commit import chunks
from pipeline.commit import tables as stored_tables
from pipeline.commit.resume import find_remaining
from pipeline.commit.tables import create_tables, stream_files
from pipeline.ingest.sources import SOURCES
from schemas.arrow import to_table
from schemas.rows import Document
from tests.pipeline.plans import PLAN
from tests.pipeline.stored import document, show

URIS = [f"/in/{number}" for number in range(50)]


def test_its_parts_are_all_of_its_rows_and_it_is_noted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_tables, "LARGE_BYTES", 0)
    monkeypatch.setattr(stored_tables, "STREAM_ROWS", 2)
    monkeypatch.setattr(stored_tables, "PART_BATCHES", 2)
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 8)
    tables = create_tables(str(tmp_path), None)
    for start in (0, 25):
        show(tables, tables["documents"], to_table(Document, list(map(document, URIS[start : start + 25]))))
    parts = list(stream_files(tables["documents"], ["uri"]))
    assert sorted(uri for _, part in parts for uri in part["uri"].to_pylist()) == sorted(URIS)
    assert [len(part) for _, part in parts] == [4, 4, 4, 4, 4, 4, 1] * 2
    rows = [{"uri": uri, "source_key": f"{number:032x}"} for number, uri in enumerate(URIS)]
    remaining = find_remaining(pa.Table.from_pylist(rows, schema=SOURCES), tables, PLAN)
    index = remaining.stale_rows._indices["documents"]
    assert sorted(path for path in index.paths if path) == sorted({path for path, _ in parts})
    assert len(index.spans(set(URIS))) == len(URIS)
