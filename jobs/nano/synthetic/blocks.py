"""Blocks that pages are composed of: headings, paragraphs, tables, furniture. Each returns the y below it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.nano.synthetic import words
from jobs.nano.synthetic.layout import Page, chance, pastel, text_value
from jobs.nano.synthetic.sheet import Align


def heading(page: Page, x: float, y: float, width: float, *, role: str = "title", level: int = 1) -> float:
    """A heading, perhaps in capitals, in reverse type, or underlined."""
    style = page.style
    text = words.phrase(1, 6) if chance(0.8) else words.business().capitalize()
    return put_heading(
        page, x, y, width, text, style.size * random.uniform(1.05, 1.9), role=role, level=level
    )


def put_heading(
    page: Page, x: float, y: float, width: float, text: str, size: float, *, role: str, level: int
) -> float:
    """A given heading; what does not fit on one line is broken into several."""
    style = page.style
    text = text.upper() if chance(0.35) or style.caps == "all" else text
    lines = page.wrap(text, width - 6, size=size, bold=True)
    side: Align = random.choice(["left", "left", "center"])
    reverse = chance(0.1)
    if reverse:
        page.sheet.box(x, y - 0.2 * size, width, (len(lines) * 1.25 + 0.15) * size, fill=style.accent)
    first = None
    for line in lines:
        anchor = x + width / 2 if side == "center" else x + (4 if reverse else 0)
        color = (1.0, 1.0, 1.0) if reverse else style.accent if chance(0.2) else style.ink
        at = page.put(anchor, y, line, bold=True, size=size, align=side, color=color)
        first = at if first is None else first
        y += 1.25 * size
    if chance(0.1) and not reverse:
        page.sheet.line(x, y, x + width, y)
    if role and first is not None:
        page.fact("", text_value(text), first, role)
    page.say("#" * level + " " + text)
    return y + 0.3 * size


def paragraph(
    page: Page, x: float, y: float, width: float, bottom: float, text: str, *, say: bool = True
) -> float:
    """Prose, broken into lines; ends at `bottom` at the latest."""
    shown = []
    for line in page.wrap(page.style.cased(text) if chance(0.3) else text, width):
        if y + page.style.pitch > bottom:
            break
        page.put(x, y, line)
        shown.append(line)
        y += page.style.pitch
    if say and shown:
        page.say(" ".join(shown))
    return y


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A drawn table: its texts, and the first glyph of each cell of the head and of the body."""

    head: list[str]
    body: list[list[str]]
    head_at: list[int]
    at: list[list[int]]
    bottom: float


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rows = [list(head), ["---"] * len(head), *map(list, body)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def put_table(
    page: Page,
    x: float,
    y: float,
    widths: Sequence[float],
    head: Sequence[str],
    body: Sequence[Sequence[str]],
    *,
    align: Sequence[Align] | None = None,
    pitch: float | None = None,
    top_head: Sequence[tuple[str, int]] = (),
) -> Grid:
    """Draws a table in one of many styles. `top_head` are merged cells above the head: (text, columns)."""
    style, sheet = page.style, page.sheet
    pitch = pitch or style.size * random.uniform(1.2, 2.1)
    if align is None:
        side: Align = random.choice(["left", "right", "center"])
        align = ["left", *[side] * (len(widths) - 1)]
    grid = random.choice(["none", "none", "head", "head", "rows", "full", "columns", "dotted"])
    shade = random.choice([None, None, pastel(), pastel(), style.accent])
    zebra = pastel() if chance(0.15) else None
    bold_head, reverse = chance(0.7), shade == style.accent
    total, top = sum(widths), y
    if top_head:
        left, column = x, 0
        for text, span in top_head:
            wide = sum(widths[column : column + span])
            page.put(left + wide / 2, y + (pitch - style.size) / 2, text, bold=True, align="center")
            if grid in ("full", "head", "rows"):
                sheet.line(left + 2, y + pitch, left + wide - 2, y + pitch)
            left, column = left + wide, column + span
        y += pitch
    places: list[list[int]] = []
    for index, row in enumerate([head, *body]):
        is_head = index == 0
        if is_head and shade:
            sheet.box(x, y, total, pitch, fill=shade)
        elif zebra and index % 2:
            sheet.box(x, y, total, pitch, fill=zebra)
        left, found = x, []
        for cell, width, side in zip(row, widths, align, strict=True):
            anchor = {"left": left + 3, "center": left + width / 2, "right": left + width - 3}[side]
            found.append(
                page.put(
                    anchor, y + (pitch - style.size) / 2, cell, bold=is_head and bold_head, align=side,
                    color=(1, 1, 1) if is_head and reverse else None,
                )
            )  # fmt: skip
            left += width
        places.append(found)
        y += pitch
        if grid in ("rows", "full") or (grid == "head" and index in (0, len(body))):
            sheet.line(x, y, x + total, y, width=random.choice([0.4, 0.7]))
        elif grid == "dotted" and not is_head:
            page.put(x, y - 0.6 * pitch, "", size=style.size)
            _dots(page, x, y, total)
    if grid in ("full", "columns"):
        left = x
        for width in [0.0, *widths]:
            left += width
            sheet.line(left, top, left, y, width=0.5)
        sheet.line(x, top, x + total, top)
    page.say(markdown_table(head, body))
    return Grid(head=list(head), body=[list(row) for row in body], head_at=places[0], at=places[1:], bottom=y)


def _dots(page: Page, x: float, y: float, width: float) -> None:
    step = 4.0
    for index in range(int(width / step)):
        page.sheet.line(x + index * step, y, x + index * step + 1.2, y, width=0.6)


def furniture(page: Page, margin: float) -> tuple[float, float]:
    """What surrounds a page: header, footer, page number, rotated marks, fax line. Returns (top, bottom)."""
    style, sheet = page.style, page.sheet
    small = max(5.0, style.size * random.uniform(0.6, 0.85))
    top, bottom = margin, page.height - margin
    if chance(0.25):
        text = f"{words.company()}   {words.day().shown}   {words.phrase(1, 3)}"
        for line in page.wrap(text, page.width - 2 * margin, size=small)[:1]:
            page.put(margin, margin * 0.35, line, size=small)
            page.edges.append(line)
            top += small
    elif chance(0.12):  # what a fax machine prints on the edge
        month = random.choice(words.MONTHS)[:3].upper()
        stamp = f"{month} {random.randint(1, 28)} '{random.randint(80, 99)} {words.clock()}"
        sender = f"FR {words.company().upper()} {words.phone()}"
        line = f"{stamp} {sender} TO {words.phone()} P.{random.randint(1, 9):02d}"
        line = page.wrap(line, page.width - 2 * margin, size=small)[0]
        page.put(margin, 2, line, size=small, font="Courier")
        page.edges.append(line)
        top += small
    if chance(0.4):
        number = str(random.randint(1, 180))
        shown = random.choice(["{}", "- {} -", "Page {}", "{}", "Page {} of 190"]).format(number)
        x = random.choice([margin, page.width / 2, page.width - margin - 40])
        at = page.put(x, page.height - margin * 0.7, shown, size=small)
        page.feet.append(shown)
        page.fact(
            "", text_value(number), at + shown.index(number) - shown[: shown.index(number)].count(" "), "page"
        )
        bottom -= small
    if chance(0.2):
        line = page.wrap(words.sentence(), page.width - 2 * margin - 50, size=small)[0]
        page.put(margin, page.height - margin * 0.7 - 1.3 * small, line, size=small)
        page.feet.insert(0, line)
        bottom -= 2.4 * small
    if chance(0.3):  # archives turn their numbers
        text = random.choice([words.code(), str(random.randint(10_000_000, 999_999_999)), words.phrase(1, 4)])
        turn = random.choice([90.0, -90.0])
        x = margin * 0.25 if chance(0.3) else page.width - margin * 0.3
        page.put(
            x, random.uniform(0.3, 0.7) * page.height, text, size=small * random.uniform(1, 1.4), turn=turn
        )
        page.readable = False
    if chance(0.05):
        sheet.box(
            margin * 0.4,
            margin * 0.4,
            page.width - 0.8 * margin,
            page.height - 0.8 * margin,
            stroke=style.ink,
        )
    return top, bottom


def stamp(page: Page) -> None:
    """A stamp across the page, as "RECEIVED MAR 2 1998"."""
    text = random.choice(["RECEIVED", "PAID", "COPY", "CONFIDENTIAL", "APPROVED", "DRAFT", "FILED"])
    red = random.choice([(0.8, 0.2, 0.2), (0.2, 0.2, 0.7), (0.5, 0.5, 0.5)])
    x, y = random.uniform(0.5, 0.75) * page.width, random.uniform(0.08, 0.9) * page.height
    page.put(
        x,
        y,
        text,
        bold=True,
        size=page.style.size * random.uniform(1.2, 2),
        color=red,
        turn=random.uniform(-25, 25),
    )
    page.readable = False
