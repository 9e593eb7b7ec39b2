"""What every kind of synthetic document shares: its look, its questions, how its tables are drawn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.nano.synthetic.sheet import BASE_FAMILIES, EMBEDDED_FAMILIES, Align, Color, Sheet, embed
from pipeline.plan.prompts import question_prompt


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question to the model, worded as in use, and the answer that it must give."""

    prompt: str
    answer: str


@dataclass(slots=True)
class Drawn:
    """A finished document of one page and what may be asked of it."""

    sheet: Sheet
    exchanges: list[Exchange] = field(default_factory=list)

    def ask(self, question: str, answer: str) -> None:
        self.exchanges.append(Exchange(question_prompt(question), answer))


@dataclass(frozen=True, slots=True)
class Look:
    """Fonts and colors of a document; `size` is the font size in points."""

    regular: str
    bold: str
    size: float
    ink: Color
    accent: Color

    @property
    def pitch(self) -> float:
        return self.size * 1.35


def look(low: float, high: float) -> Look:
    """A random look with a font size between `low` and `high` points."""
    if random.random() < 0.7:
        regular, bold = random.choices(BASE_FAMILIES, weights=[6, 4, 2, 1, 1])[0]
    else:
        regular, bold = (embed(name) for name in random.choice(EMBEDDED_FAMILIES))
    if random.random() < 0.1:
        regular = bold
    dark = random.uniform(0, 0.3) if random.random() < 0.4 else 0.0
    accent = (random.uniform(0, 0.6), random.uniform(0, 0.5), random.uniform(0, 0.7))
    return Look(regular, bold, round(random.uniform(low, high), 1), (dark, dark, dark), accent)


def what_is(label: str) -> str:
    """A question for the value of a label, in one of the ways people ask."""
    asked = label.rstrip(" :.#")
    if random.random() < 0.5:
        asked = asked[:1].lower() + asked[1:] if asked[1:2].islower() else asked
    return random.choice(
        [f"What is the {asked}?"] * 5
        + [f"{asked}?", f"What is the value of {asked}?", f"Find the {asked}.", f"Which {asked} is shown?"]
    )


def fits(sheet: Sheet, text: str, font: str, size: float, width: float) -> bool:
    return sheet.measure(text, font, size) <= width


def pastel() -> Color:
    return (random.uniform(0.75, 0.95), random.uniform(0.75, 0.95), random.uniform(0.75, 0.95))


def draw_table(
    sheet: Sheet,
    x: float,
    y: float,
    widths: Sequence[float],
    rows: Sequence[Sequence[str]],
    style: Look,
    *,
    align: Sequence[Align],
    pitch: float,
) -> float:
    """Draws `rows`, the first of them the head, from (x, y); returns the y below the table."""
    grid = random.choice(["none", "head", "head", "rows", "full"])
    shade = pastel() if random.random() < 0.4 else None
    total = sum(widths)
    for index, row in enumerate(rows):
        head = index == 0
        if shade and head:
            sheet.box(x, y, total, pitch, fill=shade)
        left = x
        for cell, width, side in zip(row, widths, align, strict=True):
            anchor = {"left": left + 3, "center": left + width / 2, "right": left + width - 3}[side]
            sheet.text(
                anchor,
                y + (pitch - style.size) / 2,
                cell,
                style.bold if head else style.regular,
                style.size,
                align=side,
                color=style.ink,
            )
            left += width
        if grid in ("rows", "full") or (grid == "head" and index in (0, len(rows) - 1)):
            sheet.line(x, y + pitch, x + total, y + pitch)
        y += pitch
    if grid == "full":
        top = y - pitch * len(rows)
        sheet.line(x, top, x + total, top)
        left = x
        for width in [0.0, *widths]:
            left += width
            sheet.line(left, top, left, y)
    return y
