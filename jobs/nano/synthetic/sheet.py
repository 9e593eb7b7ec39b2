"""A one-page PDF that remembers where it drew every character.

In: drawing calls in points, the origin at the top left. Out: the PDF's bytes, and one `Glyph` a visible
character, in the page's own coordinates, for the auxiliary loss of training. It draws; it chooses nothing.
"""

from __future__ import annotations

import functools
import io
import math
from dataclasses import dataclass
from typing import Literal

from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont, TTFontFace
from reportlab.pdfgen.canvas import Canvas

Align = Literal["left", "center", "right"]
Color = tuple[float, float, float]


@functools.cache
def embed(font: str) -> str:
    """Registers an embedded font with reportlab, once a process; returns the name to draw with.

    `font` is a path, a file name of reportlab's own Vera, or a short name of pymupdf-fonts.
    """
    if font.endswith(".ttf"):
        pdfmetrics.registerFont(TTFont(font, font))
    else:
        import pymupdf_fonts

        pdfmetrics.registerFont(TTFont(font, io.BytesIO(pymupdf_fonts.myfont(font))))
    return font


@functools.lru_cache(maxsize=200_000)
def _has(character: str, font: str) -> bool:
    """Whether a font can draw a character; those that every viewer has draw all of Latin-1."""
    face = pdfmetrics.getFont(font).face
    return not isinstance(face, TTFontFace) or ord(character) in face.charToGlyph


def drawable(text: str, font: str) -> str:
    """The font, or one that every viewer has, if the font lacks a character of the text."""
    return font if all(_has(character, font) for character in text) else "Helvetica"


@functools.lru_cache(maxsize=200_000)
def advance(character: str, font: str) -> float:
    """The width of a character at a font size of 1."""
    return float(pdfmetrics.stringWidth(character, font, 1.0))


@dataclass(frozen=True, slots=True)
class Glyph:
    """One visible character and the centre of its cell, in points from the top left of the page."""

    x: float
    y: float
    character: str


class Sheet:
    """A page of `width` x `height` points under construction, turned by `skew` degrees about its centre."""

    def __init__(self, width: float, height: float, *, skew: float = 0.0) -> None:
        self.width, self.height = width, height
        self.glyphs: list[Glyph] = []
        self._buffer = io.BytesIO()
        self._canvas = Canvas(self._buffer, pagesize=(width, height), pageCompression=0, invariant=1)
        self._cos, self._sin = math.cos(math.radians(skew)), math.sin(math.radians(skew))
        if skew:
            self._canvas.translate(width / 2, height / 2)
            self._canvas.rotate(skew)
            self._canvas.translate(-width / 2, -height / 2)

    def measure(self, text: str, font: str, size: float, stretch: float = 1.0) -> float:
        font = drawable(text, font)
        return sum([advance(character, font) for character in text]) * size * stretch

    def text(
        self,
        x: float,
        y: float,
        text: str,
        font: str,
        size: float,
        *,
        align: Align = "left",
        color: Color = (0, 0, 0),
        stretch: float = 1.0,
        turn: float = 0.0,
    ) -> float:
        """Draws one line whose cell begins `y` below the top; returns the x where it ends.

        `stretch` widens the letters. `turn` turns the line by degrees about (x, y), counter-clockwise.
        """
        width = self.measure(text, font, size, stretch)
        font = drawable(text, font)
        left = -{"left": 0.0, "center": width / 2, "right": width}[align]
        self._canvas.setFillColorRGB(*color)
        if stretch == 1.0 and not turn:
            self._canvas.setFont(font, size)
            self._canvas.drawString(x + left, self.height - y - 0.8 * size, text)
        else:
            self._canvas.saveState()
            self._canvas.translate(x, self.height - y)
            self._canvas.rotate(turn)
            line = self._canvas.beginText(left, -0.8 * size)
            line.setFont(font, size)
            line.setHorizScale(100 * stretch)
            line.textOut(text)
            self._canvas.drawText(line)
            self._canvas.restoreState()
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        along, down = left, 0.47 * size
        for character in text:
            step = advance(character, font) * size * stretch
            if not character.isspace():
                middle = along + step / 2
                self.glyphs.append(
                    self._glyph(x + middle * cos + down * sin, y - middle * sin + down * cos, character)
                )
            along += step
        return x + along

    def _glyph(self, x: float, y: float, character: str) -> Glyph:
        dx, dy = x - self.width / 2, self.height / 2 - y
        return Glyph(
            self.width / 2 + dx * self._cos - dy * self._sin,
            self.height / 2 - (dx * self._sin + dy * self._cos),
            character,
        )

    def line(
        self, x0: float, y0: float, x1: float, y1: float, *, width: float = 0.7, color: Color = (0, 0, 0)
    ) -> None:
        self._canvas.setStrokeColorRGB(*color)
        self._canvas.setLineWidth(width)
        self._canvas.line(x0, self.height - y0, x1, self.height - y1)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: Color | None = None,
        stroke: Color | None = None,
    ) -> None:
        if fill:
            self._canvas.setFillColorRGB(*fill)
        if stroke:
            self._canvas.setStrokeColorRGB(*stroke)
            self._canvas.setLineWidth(0.7)
        self._canvas.rect(
            x, self.height - y - height, width, height, fill=int(bool(fill)), stroke=int(bool(stroke))
        )

    def wedge(self, x: float, y: float, radius: float, start: float, extent: float, *, fill: Color) -> None:
        """A slice of a pie about (x, y); angles in degrees, counter-clockwise from three o'clock."""
        self._canvas.setFillColorRGB(*fill)
        self._canvas.setStrokeColorRGB(1, 1, 1)
        middle = self.height - y
        self._canvas.wedge(
            x - radius, middle - radius, x + radius, middle + radius, start, extent, stroke=1, fill=1
        )

    def dot(self, x: float, y: float, radius: float, *, fill: Color) -> None:
        self._canvas.setFillColorRGB(*fill)
        self._canvas.circle(x, self.height - y, radius, stroke=0, fill=1)

    def picture(self, png: bytes, x: float, y: float, width: float, height: float) -> None:
        """An image drawn into the page: a scan is a page with nothing else on it."""
        self._canvas.drawImage(ImageReader(io.BytesIO(png)), x, self.height - y - height, width, height)

    def new_page(self) -> None:
        """Ends this page and begins another of the same size; glyphs of former pages are forgotten."""
        self._canvas.showPage()
        self.glyphs = []

    def trim(self, height: float) -> None:
        """Cuts the finished page off at `height` points from its top."""
        self._canvas.setCropBox((0, self.height - height, self.width, self.height))
        self.height = height

    def pdf(self) -> bytes:
        self._canvas.save()
        return self._buffer.getvalue()
