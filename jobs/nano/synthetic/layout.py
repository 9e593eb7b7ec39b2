"""What every kind of synthetic document shares: its look, the page in the making, what may be asked of it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jobs.nano.synthetic import faces
from jobs.nano.synthetic.sheet import Align, Color, Sheet
from jobs.nano.synthetic.words import Value

Cues = tuple[int | None, ...]
"""Glyphs, at most CUES of them."""
CUES = 2


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question to the model, worded as in use, and the answer that it must give.

    `at` is the glyph of the sheet with which the answer begins, if it stands on the page. `cues` are those by
    which a reader finds it: of the label, or the name of the row or bar; of the head of the column.
    """

    prompt: str
    answer: str
    at: int | None = None
    cues: Cues = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """A value on the page, under a label, or in a role that a reader knows without one."""

    label: str
    value: Value
    at: int
    role: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """Fonts, colors and letter case of a document; `size` is the font size in points."""

    regular: str
    bold: str
    typed: str
    """What is filled in: on forms another face than the print."""
    size: float
    ink: Color
    accent: Color
    stretch: float
    caps: str
    """What is in capitals: "", "labels", "values" or "all"."""
    loose: float
    """Distance between lines, in font sizes."""

    @property
    def pitch(self) -> float:
        return self.size * self.loose

    def label(self, text: str) -> str:
        return text.upper() if self.caps in ("labels", "all") else text

    def value(self, value: Value) -> Value:
        return value.upper() if self.caps in ("values", "all") else value

    def cased(self, text: str) -> str:
        """Other text: in capitals where values are."""
        return text.upper() if self.caps in ("values", "all") else text


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a document's faces come from, and whether it has those faces and wordings that training never
    sees."""

    fonts: Path | None = None
    unseen_faces: bool = False
    unseen_wordings: bool = False


def look(source: Source, low: float, high: float, weights: dict[str, float]) -> Look:
    """A random look with a font size between `low` and `high` points; `weights` are those of the faces."""
    regular, bold = faces.family(source.fonts, held_out=source.unseen_faces, weights=weights)
    typed = regular
    if random.random() < 0.3:
        typed, _ = faces.family(
            source.fonts, held_out=source.unseen_faces, weights={"typewriter": 4, "mono": 2, "display": 0.4}
        )
    if random.random() < 0.08:
        regular = bold
    elif random.random() < 0.12:
        bold = regular
    narrow = weights.get("pixel", 0) > 0.5  # a till's paper
    dark = random.uniform(0, 0.35) if random.random() < 0.4 else 0.0
    return Look(
        regular=regular,
        bold=bold,
        typed=typed,
        size=round(random.uniform(low, high), 1),
        ink=(dark, dark, dark),
        accent=(random.uniform(0, 0.6), random.uniform(0, 0.5), random.uniform(0, 0.7)),
        stretch=random.uniform(0.62, 1.0) if narrow or chance(0.17) else 1.0,
        caps=random.choices(["", "labels", "values", "all"], [55, 14, 9, 14 if not narrow else 30])[0],
        loose=random.uniform(1.12, 1.5),
    )  # fmt: skip


class Page:
    """A page in the making: what is drawn on it, what it says in reading order, and what may be asked."""

    def __init__(self, kind: str, width: float, height: float, style: Look, source: Source) -> None:
        self.kind, self.style, self.source = kind, style, source
        skew = random.gauss(0, 0.5) if random.random() < 0.12 else 0.0
        self.sheet = Sheet(width, height, skew=skew)
        self.facts: list[Fact] = []
        self.asks: list[tuple[str, str, int | None, Cues]] = []
        """(question, answer, first glyph, cues) of what is neither a label's nor a role's value."""
        self.links: list[tuple[int, Cues]] = []
        """First glyphs of cells and bars' values, and the cues by which a reader finds each."""
        self.markdown: list[str] = []
        """The page's blocks as Markdown, in reading order; headers and footers are not among them."""
        self.edges: list[str] = []
        """Its header, if any."""
        self.feet: list[str] = []
        self.readable = True
        """False if the page holds what Markdown leaves out, so that it must not be asked for."""
        self.targets: list[Exchange] = []
        """What is asked of the whole document as JSON."""
        self.exchanges: list[Exchange] = []

    @property
    def width(self) -> float:
        return self.sheet.width

    @property
    def height(self) -> float:
        return self.sheet.height

    @property
    def held_out(self) -> bool:
        return self.source.unseen_wordings

    def measure(self, text: str, *, bold: bool = False, size: float | None = None) -> float:
        style = self.style
        font = style.bold if bold else style.regular
        return self.sheet.measure(text, font, size or style.size, style.stretch)

    def put(
        self,
        x: float,
        y: float,
        text: str,
        *,
        bold: bool = False,
        size: float | None = None,
        align: Align = "left",
        color: Color | None = None,
        turn: float = 0.0,
        font: str | None = None,
    ) -> int:
        """Draws a line of text in the page's look; returns the number of its first glyph."""
        style, at = self.style, len(self.sheet.glyphs)
        self.sheet.text(
            x, y, text, font or (style.bold if bold else style.regular), size or style.size,
            align=align, color=color or style.ink, stretch=style.stretch, turn=turn,
        )  # fmt: skip
        return at

    def fact(self, label: str, value: Value, at: int, role: str = "") -> None:
        self.facts.append(Fact(label, value, at, role))

    def ask(self, question: str, answer: str, at: int | None = None, cues: Cues = ()) -> None:
        self.asks.append((question, answer, at, cues))

    def say(self, text: str) -> None:
        """Adds a block of Markdown."""
        self.markdown.append(text)

    def wrap(self, text: str, width: float, *, size: float | None = None, bold: bool = False) -> list[str]:
        """The lines into which a text breaks at `width` points."""
        lines, line = [], ""
        for word in text.split():
            grown = f"{line} {word}" if line else word
            if line and self.measure(grown, size=size, bold=bold) > width:
                lines.append(line)
                line = word
            else:
                line = grown
        return [*lines, line] if line else lines

    def fits(self, text: str, width: float, *, size: float | None = None, bold: bool = False) -> bool:
        return self.measure(text, size=size, bold=bold) <= width


def text_value(text: str) -> Value:
    return Value(text, "string", text)


def pastel() -> Color:
    return (random.uniform(0.72, 0.95), random.uniform(0.72, 0.95), random.uniform(0.72, 0.95))


def chance(probability: float) -> bool:
    return random.random() < probability


def unique(names: Iterable[str]) -> list[str]:
    """Each once, in order: a set's order differs between processes, and equal seeds must draw equally."""
    return list(dict.fromkeys(names))
