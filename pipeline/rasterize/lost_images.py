"""How much of a damaged page its images have lost, and how much text is on it besides.

In: a PDF page about which MuPDF warned. Out: the share of its area, and a number of glyphs. MuPDF's warnings
do not say which image they are about, so each image of the page is decoded by itself. A decoder that stops
early leaves its last rows all the same: the rows of the picture that are missing.
"""

from typing import Any, Final

import numpy as np
import pymupdf
from numpy.typing import NDArray
from pymupdf import mupdf

from pipeline.rasterize.damage import losses

GRID: Final = 64  # cells of a page's side, on which the areas of its images are counted
WHOLE: Final = 0.02  # of an image's rows may be the same at its end: a margin


class Inventory(mupdf.FzDevice2):  # type: ignore[misc]  # pymupdf ships no types for it
    """A device that draws nothing: it keeps the images of a page with their places, and counts glyphs."""

    def __init__(self) -> None:
        super().__init__()
        self.use_virtual_fill_image()
        self.use_virtual_fill_image_mask()
        self.use_virtual_fill_text()
        self.use_virtual_stroke_text()
        self.images: list[tuple[mupdf.FzImage, mupdf.FzRect]] = []
        self.glyphs = 0

    def fill_image(self, context: Any, image: Any, matrix: Any, *_: Any) -> None:
        """An image."""
        self._keep(image, matrix)

    def fill_image_mask(self, context: Any, image: Any, matrix: Any, *_: Any) -> None:
        """An image of one bit, painted in a colour: how some scanners write pages."""
        self._keep(image, matrix)

    def fill_text(self, context: Any, text: Any, *_: Any) -> None:
        """Text that can be seen; the text that OCR put under a scan comes to another method."""
        self._count(text)

    def stroke_text(self, context: Any, text: Any, *_: Any) -> None:
        """Text drawn as outlines."""
        self._count(text)

    def _keep(self, image: Any, matrix: Any) -> None:
        place = mupdf.FzRect(0, 0, 1, 1).fz_transform_rect(mupdf.FzMatrix(matrix))
        self.images.append((mupdf.FzImage(mupdf.ll_fz_keep_image(image)), place))

    def _count(self, text: Any) -> None:
        span = text.head
        while span:
            self.glyphs += span.len
            span = span.next


def inventory(page: pymupdf.Page) -> Inventory:
    """What is on the page. Raises MuPDF's errors."""
    found = Inventory()
    mupdf.fz_run_page(page.this, found, mupdf.FzMatrix(), mupdf.FzCookie())
    mupdf.fz_close_device(found)
    return found


def lost_area(page: pymupdf.Page, found: Inventory) -> float:
    """The share of the page's area that its images should cover and do not."""
    lost = np.zeros((GRID, GRID), bool)
    bounds = page.rect
    for image, place in found.images:
        share = lost_share(image)
        x0, x1 = (GRID * (x - bounds.x0) / bounds.width for x in (place.x0, place.x1))
        y0, y1 = (
            GRID * (y - bounds.y0) / bounds.height
            for y in (place.y1 - share * (place.y1 - place.y0), place.y1)
        )
        lost[_cells(y0, y1), _cells(x0, x1)] |= share > 0
    return float(lost.mean())


def lost_share(image: mupdf.FzImage) -> float:
    """The share of an image's rows that were lost: 0 for an image that decodes without a warning of loss."""
    pymupdf.TOOLS.store_shrink(100)  # it may keep the image as it was decoded before
    pymupdf.TOOLS.reset_mupdf_warnings()
    try:
        decoded = mupdf.fz_get_unscaled_pixmap_from_image(image)
    except mupdf.FzErrorBase:
        return 1.0
    if not losses(pymupdf.TOOLS.mupdf_warnings()):
        return 0.0
    rows = np.frombuffer(mupdf.fz_pixmap_samples_memoryview(decoded), np.uint8).reshape(decoded.h(), -1)
    share = _even_rows(rows) / len(rows)
    return share if share > WHOLE else 0.0


def _even_rows(rows: NDArray[np.uint8]) -> int:
    """How many of the last rows are all the same."""
    for count, row in enumerate(rows[::-1]):
        if not np.array_equal(row, rows[-1]):
            return count
    return len(rows)


def _cells(start: float, end: float) -> slice:
    return slice(max(0, round(start)), min(GRID, max(0, round(end))))
