"""A corpus of documents in which no two pages are equal, for runs over many pages.

In: a number of pages. Out: PDF files in a folder, each page with its own number on it, of one shape or of
many. They are written without a library, so that a hundred thousand pages take seconds.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path

PAGE_COUNTS = (1, 2, 1, 3, 5, 1, 8, 2, 40)  # of the documents, in turns
LONGEST = 5_000  # pages of the one document that is long, or half of a smaller corpus
PER_FOLDER = 1_000  # files
SQUARE = ((100, 100),)  # width and height of a page in points
LONG = 256  # points of the longer side of pages that have many shapes
SHAPES = tuple(
    shape for short in range(64, LONG, 16) for shape in ((short, LONG), (LONG, short))
)  # the widths and heights of pages whose grids of patches of 16 points differ


def write_corpus(folder: Path, pages: int) -> int:
    """Writes documents with so many pages of `SHAPES` in all; returns how many documents they are."""
    return write_pdfs(folder, _counts(pages), SHAPES)


def write_pdfs(folder: Path, page_counts: Iterable[int], shapes: Sequence[tuple[int, int]] = SQUARE) -> int:
    """Writes a document for each count of pages, whose shapes take turns; returns how many they are."""
    first, number = 1, -1
    for number, count in enumerate(page_counts):
        place = folder / str(number // PER_FOLDER)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.pdf").write_bytes(pdf(range(first, first + count), shapes))
        first += count
    return number + 1


def _counts(pages: int) -> Iterator[int]:
    """The documents' page counts; the long one comes first."""
    longest = min(LONGEST, -(-pages // 2))
    yield longest
    left = pages - longest
    for count in cycle(PAGE_COUNTS):
        if not left:
            return
        yield min(count, left)
        left -= min(count, left)


def pdf(numbers: range, shapes: Sequence[tuple[int, int]] = SQUARE) -> bytes:
    """A PDF with a page for each number, which stands on it; the number chooses the page's shape, too."""
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {len(numbers)}"
        f"/Kids[{' '.join(f'{4 + 2 * place} 0 R' for place in range(len(numbers)))}]"
        "/Resources<</Font<</F 3 0 R>>>>>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for place, number in enumerate(numbers):
        width, height = shapes[number % len(shapes)]
        unit = min(width, height) / 100
        drawn = f"BT /F {24 * unit} Tf {5 * unit} {40 * unit} Td ({number}) Tj ET"
        box = f"/MediaBox[0 0 {width} {height}]"
        objects.append(f"<</Type/Page/Parent 2 0 R{box}/Contents {5 + 2 * place} 0 R>>")
        objects.append(f"<</Length {len(drawn)}>>stream\n{drawn}\nendstream")
    parts, offsets, at = ["%PDF-1.4\n"], [], 9
    for number, one in enumerate(objects, start=1):
        offsets.append(at)
        parts.append(f"{number} 0 obj{one}endobj\n")
        at += len(parts[-1])
    parts.append(f"xref\n0 {len(offsets) + 1}\n0000000000 65535 f \n")
    parts += [f"{offset:010} 00000 n \n" for offset in offsets]
    parts.append(f"trailer<</Size {len(offsets) + 1}/Root 1 0 R>>\nstartxref\n{at}\n%%EOF\n")
    return "".join(parts).encode("ascii")
