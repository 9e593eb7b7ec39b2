"""The corpus that runs are measured on: pages that differ, in documents that open."""

from pathlib import Path

import pytest

from jobs.bench.synthetic_corpus import LONG, LONGEST, SHAPES, SQUARE, pdf, write_corpus
from pipeline.rasterize.pdf import open_document, rasterize


@pytest.mark.parametrize(("shapes", "side"), [(SQUARE, 64), (SHAPES, LONG)], ids=["square", "many shapes"])
def test_the_pages_of_a_corpus_differ(shapes: tuple[tuple[int, int], ...], side: int) -> None:
    numbers = range(99_950, 100_050)
    with open_document(pdf(numbers, shapes), "x.pdf") as opened:
        assert opened.page_count == len(numbers)
        drawn = [rasterize(opened, page, max_side=side, patch_size=16)[0] for page in range(1, 101)]
    assert len({pixels.tobytes() for pixels in drawn}) == len(numbers)
    assert len({pixels.shape for pixels in drawn}) == len(shapes)


@pytest.mark.parametrize(("pages", "longest"), [(1, 1), (25, 13), (3 * LONGEST, LONGEST)])
def test_a_corpus_has_one_long_document_and_many_short_ones(tmp_path: Path, pages: int, longest: int) -> None:
    count = write_corpus(tmp_path, pages)
    counts = []
    for path in tmp_path.rglob("*.pdf"):
        with open_document(path.read_bytes(), path.name) as opened:
            counts.append(opened.page_count)
    assert (len(counts), sum(counts), max(counts)) == (count, pages, longest)
    assert sorted(counts)[:-1] == [one for one in sorted(counts)[:-1] if one <= 40]
