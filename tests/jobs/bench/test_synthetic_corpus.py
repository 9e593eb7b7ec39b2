"""The corpus that runs are measured on: pages that differ, in documents that open."""

from pathlib import Path

import pytest

from jobs.bench.synthetic_corpus import LONGEST, pdf, write_corpus
from pipeline.rasterize.pdf import open_document, rasterize


def test_the_pages_of_a_corpus_differ_at_64_pixels() -> None:
    numbers = range(99_950, 100_050)
    with open_document(pdf(numbers), "x.pdf") as opened:
        assert opened.page_count == len(numbers)
        drawn = {rasterize(opened, page, max_side=64, patch_size=16)[0].tobytes() for page in range(1, 101)}
    assert len(drawn) == len(numbers)


@pytest.mark.parametrize(("pages", "longest"), [(1, 1), (25, 13), (3 * LONGEST, LONGEST)])
def test_a_corpus_has_one_long_document_and_many_short_ones(tmp_path: Path, pages: int, longest: int) -> None:
    count = write_corpus(tmp_path, pages)
    counts = []
    for path in tmp_path.rglob("*.pdf"):
        with open_document(path.read_bytes(), path.name) as opened:
            counts.append(opened.page_count)
    assert (len(counts), sum(counts), max(counts)) == (count, pages, longest)
    assert sorted(counts)[:-1] == [one for one in sorted(counts)[:-1] if one <= 40]
