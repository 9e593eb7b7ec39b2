"""What one task draws: small documents together, a large one alone, and no row lost."""

import pytest

from pipeline.plan import rows
from pipeline.plan.rows import DOCUMENTS, FAILED, PAGE_BYTES, RANGE, SOURCE, Row, pack


def ranges(*pages: int, data: bytes | None = None) -> list[Row]:
    """A document's rows, each of which asks for so many pages."""
    found: list[Row] = []
    first = 1
    for count in pages:
        found.append({"kind": RANGE, "page_first": first, "page_last": first + count - 1, "data": data})
        first += count
    return found


def sources(*sizes: int, name: str = "a.pdf") -> list[Row]:
    """Documents of so many bytes that were not opened yet."""
    return [{"kind": SOURCE, "uri": name, "source": {"size": size}} for size in sizes]


FACTS: list[Row] = [{"kind": DOCUMENTS, "documents": [{"source_key": "a", "page_count": 1}]}]
BROKEN: list[Row] = [{"kind": FAILED, "left": ["a", "b"]}]


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        (ranges(1) * 40 + FACTS, [15, 15, 11]),
        (ranges(15, 15, 3) + ranges(1), [1, 1, 2]),
        (ranges(200) + ranges(1), [1, 1]),
        (ranges(1) + BROKEN + ranges(14) + FACTS, [4]),
        (FACTS, [1]),
        (sources(*[0] * 16), [15, 1]),
        (sources(0, 5 * PAGE_BYTES, 7 * PAGE_BYTES, 99, 2**22), [3, 1, 1]),
        (sources(0) + sources(0, 0, name="a.DOCX") + sources(0), [1, 1, 1, 1]),  # each is converted
        ([], []),
    ],
)
def test_a_task_draws_small_documents_together(given: list[Row], sizes: list[int]) -> None:
    packs = list(pack(given))
    assert [len(one) for one in packs] == sizes
    assert [row for one in packs for row in one] == given


def test_documents_of_many_bytes_are_drawn_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PACK_BYTES", 1000)
    found = pack(row for size in (300, 100, 5000, 100) for row in ranges(1, data=b"x" * size))
    assert [[len(row["data"]) for row in one] for one in found] == [[300, 100], [5000], [100]]
    assert [len(one) for one in pack(sources(300, 100, 5000, 100))] == [2, 1, 1]
