"""What one task draws: small documents together, a large one alone, and no row lost."""

from typing import Any

import pyarrow as pa
import pytest

from pipeline.plan import rows
from pipeline.plan.rows import DOCUMENTS, FAILED, RANGE, RANGES, pack, table_of


def ranges(*pages: int, data: bytes | None = None) -> pa.Table:
    """A document's rows, each of which asks for so many pages."""
    found: list[dict[str, Any]] = []
    first = 1
    for count in pages:
        found.append({"kind": RANGE, "page_first": first, "page_last": first + count - 1, "data": data})
        first += count
    return table_of([row | {"source": {"uri": "a.pdf"}} for row in found], RANGES)


FACTS = table_of([{"kind": DOCUMENTS, "documents": [{"source_key": "a", "page_count": 1}]}], RANGES)
BROKEN = table_of([{"kind": FAILED, "left": ["a", "b"]}], RANGES)


@pytest.mark.parametrize(
    ("tables", "sizes"),
    [
        ([ranges(1)] * 40 + [FACTS], [16, 16, 9]),
        ([ranges(16, 16, 3), ranges(1)], [1, 1, 2]),
        ([ranges(200), ranges(1)], [1, 1]),
        ([ranges(1), BROKEN, ranges(15), FACTS], [4]),
        ([FACTS], [1]),
        ([], []),
    ],
)
def test_a_task_draws_small_documents_together(tables: list[pa.Table], sizes: list[int]) -> None:
    packs = list(pack(tables))
    assert [one.num_rows for one in packs] == sizes
    if packs:
        assert pa.concat_tables(packs).equals(pa.concat_tables(tables))


def test_documents_of_many_bytes_are_drawn_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PACK_BYTES", 1000)
    tables = [ranges(1, data=b"x" * size) for size in (300, 100, 5000, 100)]
    packs = list(pack(tables))
    assert [one.num_rows for one in packs] == [2, 1, 1]
    assert packs[1]["data"].to_pylist() == [b"x" * 5000]
