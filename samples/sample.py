"""One sample document, and what all of them share: fonts, colours, tables, and sheets as images."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from PIL import Image

from jobs.nano.synthetic.sheet import Align, Sheet
from pipeline.rasterize.pdf import open_document, rasterize

A4 = (595.0, 842.0)
SANS, SANS_BOLD = "Helvetica", "Helvetica-Bold"
SERIF, SERIF_BOLD = "Times-Roman", "Times-Bold"
MONO, MONO_BOLD = "Courier", "Courier-Bold"
BLUE, GREY, GREEN, ORANGE = (0.12, 0.25, 0.5), (0.45, 0.45, 0.45), (0.2, 0.5, 0.3), (0.85, 0.45, 0.1)


@dataclass
class Sample:
    """One document: its file's name and bytes, and (page, question, accepted answers)."""

    name: str
    data: bytes
    asked: list[tuple[int, str, list[str]]] = field(default_factory=list)


def rows(
    sheet: Sheet,
    x: float,
    y: float,
    widths: list[float],
    cells: list[list[str]],
    *,
    fonts: tuple[str, str],
    size: float,
    pitch: float,
    numbers: Align = "right",
) -> float:
    """A table with a bold head and a rule under it, the first column left, the others as `numbers` says."""
    for index, row in enumerate(cells):
        left = x
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            align: Align = "left" if column == 0 else numbers
            anchor = {"left": left + 2, "center": left + width / 2, "right": left + width - 2}[align]
            sheet.text(anchor, y, cell, fonts[1] if index == 0 else fonts[0], size, align=align)
            left += width
        y += pitch
        if index == 0:
            sheet.line(x, y - 3, x + sum(widths), y - 3)
    return y


def picture(sheet: Sheet, longest: int) -> Image.Image:
    """The sheet as an image whose longest edge has about that many pixels."""
    with open_document(sheet.pdf(), "sample.pdf") as opened:
        return Image.fromarray(rasterize(opened, 1, max_side=longest, patch_size=2)[0])


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
