"""How charts are drawn: bars up or across, grouped or stacked, lines, pies, with axes, ticks and legends."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from jobs.nano.synthetic.layout import Page, chance
from jobs.nano.synthetic.sheet import Color

WHITE: Color = (1.0, 1.0, 1.0)
_PALETTE: tuple[Color, ...] = (
    (0.18, 0.46, 0.7), (0.05, 0.15, 0.3), (0.6, 0.6, 0.6), (0.75, 0.1, 0.15), (0.4, 0.65, 0.2),
    (0.95, 0.6, 0.15), (0.5, 0.3, 0.6),
    (0.2, 0.6, 0.6), (0.65, 0.5, 0.1), (0.3, 0.3, 0.35),
)  # fmt: skip


@dataclass(kw_only=True)
class Data:
    """What a chart shows: `figures` and `shown` by series, then by category."""

    series: list[str]
    categories: list[str]
    figures: list[list[float]]
    shown: list[list[str]]
    labelled: bool
    ticks: bool
    at: dict[tuple[int, int], int] = field(default_factory=dict)
    """The first glyph of each value that is written."""
    names_at: dict[int, int] = field(default_factory=dict)
    """The first glyph of each category."""
    colors: list[Color] = field(default_factory=list)


def color_of(index: int, accent: Color) -> Color:
    return accent if index == 0 and chance(0.5) else _PALETTE[index % len(_PALETTE)]


def legend(page: Page, data: Data, x: float, y: float, width: float) -> float:
    """The names of the series with their colors in one or more rows; the y below."""
    size, left = page.style.size, x
    for name, color in zip(data.series, data.colors, strict=True):
        wide = page.measure(name) + 2.4 * size
        if left + wide > x + width and left > x:
            left, y = x, y + 1.5 * size
        if chance(0.5):
            page.sheet.box(left, y + 0.15 * size, 0.7 * size, 0.7 * size, fill=color)
        else:
            page.sheet.dot(left + 0.35 * size, y + 0.5 * size, 0.35 * size, fill=color)
        page.put(left + size, y, name)
        left += wide
    return y + 1.7 * size


def tick_text(value: float) -> str:
    return (
        f"{value:,.0f}"
        if value == int(value)
        else f"{value:,.1f}"
        if value * 10 == int(value * 10)
        else f"{value:,.2f}"
    )


def scale(most: float) -> tuple[float, int]:
    """A round step and how many of them reach over the largest value. Example: 83 -> (20, 5)."""
    rough = most / random.randint(3, 7)
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-6)))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough)
    return step, math.ceil(most / step + 1e-9)


def _fitting_size(page: Page, texts: list[str], room: float) -> float:
    """The largest size up to the page's at which all texts fit in `room`, not below 5 points."""
    widest = max(page.measure(text) for text in texts)
    return max(5.0, min(page.style.size, page.style.size * room / max(widest, 1e-6)))


def upright(page: Page, data: Data, box: tuple[float, float, float, float], kind: str) -> bool:
    """Bars upwards or lines in the box (x, y, width, height); False if its texts do not fit."""
    x, y, width, height = box
    size, sheet, ink = page.style.size, page.sheet, page.style.ink
    count, series = len(data.categories), len(data.series)
    stacked = kind == "stacked"
    peaks = (
        [sum(row[c] for row in data.figures) for c in range(count)]
        if stacked
        else [max(row[c] for row in data.figures) for c in range(count)]
    )
    step, steps = scale(max(peaks))
    top = step * steps
    left = x + (max(page.measure(tick_text(step * k)) for k in range(steps + 1)) + 6 if data.ticks else 2)
    pitch = (x + width - left) / count
    widest = max(page.measure(name) for name in data.categories)
    turn = 0.0
    if widest > pitch - 3:
        turn = random.choice([45.0, 90.0, 90.0]) if pitch > 1.15 * size else 90.0
    if turn and pitch < 0.9 * size:
        return False
    foot = 1.5 * size if not turn else widest * math.sin(math.radians(turn)) + 1.4 * size
    room = height - foot - 1.6 * size
    if room < 5 * size:
        return False
    base = y + height - foot
    if data.ticks:
        for k in range(steps + 1):
            line = base - room * k / steps
            page.put(left - 4, line - 0.5 * size, tick_text(step * k), align="right")
            if kind != "bare":
                sheet.line(left, line, x + width, line, width=0.4, color=(0.85, 0.85, 0.85))
    for c, name in enumerate(data.categories):
        middle = left + (c + 0.5) * pitch
        if turn:
            data.names_at[c] = page.put(
                middle - 0.4 * size * math.sin(math.radians(turn)),
                base + 0.3 * size,
                name,
                align="right",
                turn=turn,
            )
        else:
            data.names_at[c] = page.put(middle, base + 0.3 * size, name, align="center")
    share = random.uniform(0.55, 0.88)
    bar = pitch * share / (series if kind == "bars" else 1)
    texts = [text for row in data.shown for text in row]
    label_size = _fitting_size(page, texts, (bar if kind == "bars" and series > 1 else pitch) * 0.98)
    vertical = data.labelled and max(page.measure(t, size=label_size) for t in texts) > (
        bar if series > 1 and kind == "bars" else pitch
    )
    if vertical and (kind != "bars" or bar < 5):
        return False
    for s in range(series):
        former = None
        for c in range(count):
            value = data.figures[s][c]
            middle = left + (c + 0.5) * pitch
            foot_y = base - room * sum(data.figures[k][c] for k in range(s)) / top if stacked else base
            end = foot_y - room * value / top
            if kind == "lines":
                if former:
                    sheet.line(*former, middle, end, width=1.6, color=data.colors[s])
                if chance(0.9):
                    sheet.dot(middle, end, 2.0, fill=data.colors[s])
                former, place, inside = (middle, end), end - 1.3 * label_size, False
            else:
                corner = middle - pitch * share / 2 + (bar * s if kind == "bars" else 0)
                sheet.box(corner, end, bar, foot_y - end, fill=data.colors[s])
                middle = corner + bar / 2
                inside = stacked
                place = (end + foot_y) / 2 - 0.5 * label_size if stacked else end - 1.2 * label_size
                if stacked and foot_y - end < 1.1 * label_size:
                    continue
            if data.labelled:
                color = WHITE if inside and sum(data.colors[s]) < 1.6 else ink
                if vertical:
                    data.at[s, c] = page.put(
                        middle - 0.5 * label_size, end - 2, data.shown[s][c], size=label_size, turn=90
                    )
                else:
                    data.at[s, c] = page.put(
                        middle, place, data.shown[s][c], size=label_size, align="center", color=color
                    )
    sheet.line(left, base, x + width, base, width=0.6)
    return True


def across(page: Page, data: Data, box: tuple[float, float, float, float], kind: str) -> bool:
    """Bars to the right, one or several beside or behind each other a category; False if texts do not fit."""
    x, y, width, height = box
    size, sheet = page.style.size, page.sheet
    count, series = len(data.categories), len(data.series)
    pitch = (height - (1.5 * size if data.ticks else 0)) / count
    stacked = kind == "stacked"
    bar = pitch * random.uniform(0.6, 0.88) / (1 if stacked else series)
    label_size = min(size, bar * 1.1)
    if label_size < 5 or pitch < 0.95 * size:
        return False
    lines = [page.wrap(name, 0.4 * width) for name in data.categories]
    if any(len(parts) * 1.05 * size > pitch + 1 for parts in lines):
        return False
    left = x + 6 + max(page.measure(part) for parts in lines for part in parts)
    peaks = [
        sum(row[c] for row in data.figures) if stacked else max(row[c] for row in data.figures)
        for c in range(count)
    ]
    step, steps = scale(max(peaks))
    top = step * steps
    room = (
        x
        + width
        - left
        - (0 if stacked else max(page.measure(t, size=label_size) for row in data.shown for t in row))
        - 6
    )
    if room < 60:
        return False
    if data.ticks:
        for k in range(steps + 1):
            line = left + room * k / steps
            sheet.line(line, y, line, y + pitch * count, width=0.4, color=(0.85, 0.85, 0.85))
            page.put(line, y + pitch * count + 0.3 * size, tick_text(step * k), align="center")
    for c in range(count):
        middle = y + (c + 0.5) * pitch
        for index, part in enumerate(lines[c]):
            at = page.put(
                left - 4, middle - len(lines[c]) * 0.525 * size + index * 1.05 * size, part, align="right"
            )
            data.names_at.setdefault(c, at)
        begin = left
        for s in range(series):
            length = room * data.figures[s][c] / top
            corner = middle - bar / 2 if stacked else middle - bar * series / 2 + s * bar
            sheet.box(begin, corner, length, bar, fill=data.colors[s])
            text = data.shown[s][c]
            if stacked:
                if data.labelled and page.measure(text, size=label_size) < length:
                    color = WHITE if sum(data.colors[s]) < 1.6 else page.style.ink
                    data.at[s, c] = page.put(
                        begin + length / 2,
                        corner + (bar - label_size) / 2,
                        text,
                        size=label_size,
                        align="center",
                        color=color,
                    )
                begin += length
            elif data.labelled:
                data.at[s, c] = page.put(
                    begin + length + 3, corner + (bar - label_size) / 2, text, size=label_size
                )
    return True


def pie(page: Page, data: Data, box: tuple[float, float, float, float]) -> bool:
    """A pie or a ring; names and values beside the slices, or in a legend."""
    x, y, width, height = box
    size, sheet = page.style.size, page.sheet
    in_legend = chance(0.5)
    radius = min(height / 2 - (0 if in_legend else 1.5 * size), width * (0.24 if in_legend else 0.2))
    middle_x, middle_y = x + (radius + 6 if in_legend else width / 2), y + height / 2
    total, angle = sum(data.figures[0]), 90.0
    entries = [(f"{name}", shown) for name, shown in zip(data.categories, data.shown[0], strict=True)]
    pitch = min(2.0 * size, height / len(entries))
    if radius < 20 or pitch < size:
        return False
    row = y + (height - pitch * len(entries)) / 2
    for c, (name, shown) in enumerate(entries):
        extent = 360 * data.figures[0][c] / total
        color = _PALETTE[(c + 3) % len(_PALETTE)]
        sheet.wedge(middle_x, middle_y, radius, angle, extent, fill=color)
        centre = math.radians(angle + extent / 2)
        angle += extent
        if in_legend:
            left = x + 2 * radius + 20
            if left + page.measure(f"{name}  {shown}") + 1.3 * size > x + width:
                return False
            sheet.box(left, row + 0.1 * size, 0.8 * size, 0.8 * size, fill=color)
            data.names_at[c] = page.put(left + 1.3 * size, row, name)
            if chance(0.5) or extent < 25:
                data.at[0, c] = page.put(left + 1.3 * size + page.measure(name + "  "), row, shown)
            else:
                inside_x, inside_y = 0.65 * radius * math.cos(centre), 0.65 * radius * math.sin(centre)
                data.at[0, c] = page.put(
                    middle_x + inside_x, middle_y - inside_y - 0.5 * size, shown, align="center", color=WHITE
                )
            row += pitch
        else:
            if extent < 14:
                return False
            text_x, text_y = (
                middle_x + 1.12 * radius * math.cos(centre),
                middle_y - 1.12 * radius * math.sin(centre),
            )
            text = f"{name} {shown}"
            right = math.cos(centre) > 0
            if page.measure(text) > (x + width - text_x if right else text_x - x):
                return False
            left = text_x if right else text_x - page.measure(text)
            data.names_at[c] = page.put(left, text_y - 0.5 * size, name)
            data.at[0, c] = page.put(left + page.measure(name + " "), text_y - 0.5 * size, shown)
    if chance(0.3):
        sheet.dot(middle_x, middle_y, radius * 0.35, fill=WHITE)
    return True
