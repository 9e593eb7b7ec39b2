"""How charts are drawn: bars up or across, grouped or stacked, lines, pies, with axes, ticks and legends."""

from __future__ import annotations

import math
import random

from jobs.nano.synthetic.chart_data import Data, written
from jobs.nano.synthetic.layout import Page, chance
from jobs.nano.synthetic.sheet import Color

WHITE: Color = (1.0, 1.0, 1.0)
_GREY: Color = (0.4, 0.4, 0.4)
_RULE: Color = (0.87, 0.87, 0.87)


def legend(page: Page, data: Data, x: float, y: float, width: float, *, middle: bool = False) -> float:
    """The names of the series with their colors in one or more rows; the y below."""
    size, bold = page.style.size, chance(0.5)
    rows: list[list[tuple[int, float]]] = [[]]
    for index, name in enumerate(data.series):
        wide = page.measure(name, bold=bold) + 2.4 * size
        if rows[-1] and sum(w for _, w in rows[-1]) + wide > width:
            rows.append([])
        rows[-1].append((index, wide))
    square = chance(0.4)
    for row in rows:
        left = x + (max(0.0, width - sum(w for _, w in row)) / 2 if middle else 0)
        for index, wide in row:
            color = data.color(index, 0)
            if square:
                page.sheet.box(left, y + 0.15 * size, 0.7 * size, 0.7 * size, fill=color)
            else:
                page.sheet.dot(left + 0.35 * size, y + 0.5 * size, 0.35 * size, fill=color)
            data.series_at[index] = page.put(left + size, y, data.series[index], bold=bold)
            left += wide
        y += 1.5 * size
    return y + 0.2 * size


def _tick(data: Data, value: float) -> str:
    decimals = 0 if value == int(value) else 1 if value * 10 == int(value * 10) else 2
    return written(value, decimals, data.grouped, data.unit)


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
    size, sheet, small = page.style.size, page.sheet, page.style.size * random.uniform(0.9, 1.0)
    count, series = len(data.categories), len(data.series)
    stacked = kind == "stacked"
    peaks = [
        sum(row[c] for row in data.figures) if stacked else max(row[c] for row in data.figures)
        for c in range(count)
    ]
    low = 0.0
    step, steps = scale(max(peaks))
    if kind == "lines" and min(map(min, data.figures)) > 0.3 * max(peaks) and chance(0.6):
        step, _ = scale(max(peaks) - 0.9 * min(map(min, data.figures)))
        low = step * math.floor(min(map(min, data.figures)) / step)
        steps = math.ceil((max(peaks) - low) / step + 1e-9)
    data.step = step
    ticks = [_tick(data, low + step * k) for k in range(steps + 1)]
    left = x + (max(page.measure(tick, size=small) for tick in ticks) + 6 if data.ticks else 2)
    ends = kind == "lines" and series > 1 and not data.series_at  # names stand where the lines end
    right = x + width - (max(page.measure(name) for name in data.series) + 6 if ends else 0)
    pitch = (right - left) / count
    if pitch < 4 or right < left + 60:
        return False
    names = [page.wrap(name, pitch - 3, size=small) for name in data.categories]
    widest = max(page.measure(part, size=small) for parts in names for part in parts)
    deepest, turn = max(map(len, names)), 0.0
    if widest > pitch - 2 or deepest > 3:
        names, deepest = [[name] for name in data.categories], 1
        widest = max(page.measure(name, size=small) for name in data.categories)
        turn = random.choice([45.0, 45.0, 90.0]) if pitch > 1.15 * size else 90.0
    every = 1
    if turn and pitch < 1.05 * size:  # too many to name each
        every = math.ceil((widest + 8) / pitch) if kind == "lines" else math.ceil(1.05 * size / pitch)
        turn = 0.0 if kind == "lines" else 90.0
    foot = 1.3 * small * deepest + 0.4 * size
    foot = foot if not turn else widest * math.sin(math.radians(turn)) + 1.4 * size
    room, base = height - foot - 1.6 * size, y + height - foot
    if room < 5 * size:
        return False
    if chance(0.35):
        for c in range(0, count, 2):
            sheet.box(left + c * pitch, base - room, pitch, room, fill=(0.97, 0.97, 0.97))
    if data.ticks:
        ruled = chance(0.85)
        for k, tick in enumerate(ticks):
            line = base - room * k / steps
            page.put(left - 4, line - 0.5 * small, tick, size=small, align="right", color=_GREY)
            if ruled:
                sheet.line(left, line, right, line, width=0.4, color=_RULE)
    for c, parts in enumerate(names):
        middle = left + (c + 0.5) * pitch
        if c % every:
            continue
        if turn:
            data.names_at[c] = page.put(
                middle - 0.4 * size * math.sin(math.radians(turn)), base + 0.3 * size, parts[0],
                size=small, align="right", turn=turn,
            )  # fmt: skip
            continue
        for index, part in enumerate(parts):
            at = page.put(middle, base + 0.3 * size + 1.25 * small * index, part, size=small, align="center")
            data.names_at.setdefault(c, at)
    share = random.uniform(0.55, 0.9)
    bar = pitch * share / (series if kind == "bars" else 1)
    space = bar if kind == "bars" and series > 1 else pitch
    label_size = _fitting_size(page, [text for row in data.shown for text in row], space * 0.98)
    widest = max(page.measure(text, size=label_size, bold=True) for row in data.shown for text in row)
    vertical = data.labelled and widest > space * 1.25
    if vertical and (kind != "bars" or bar < 5):
        return False
    bold = chance(0.6)
    for s in range(series):
        former = None
        for c in range(count):
            value, color = data.figures[s][c], data.color(s, c)
            middle = left + (c + 0.5) * pitch
            foot_y = base - room * sum(data.figures[k][c] for k in range(s)) / step / steps
            foot_y = foot_y if stacked else base
            end = foot_y - room * (value - low) / step / steps
            if kind == "lines":
                if former:
                    sheet.line(*former, middle, end, width=1.6, color=color)
                if chance(0.9):
                    sheet.dot(middle, end, 2.0, fill=color)
                former, place = (middle, end), end - 1.4 * label_size
            else:
                corner = middle - pitch * share / 2 + (bar * s if kind == "bars" else 0)
                sheet.box(corner, end, bar, foot_y - end, fill=color)
                middle = corner + bar / 2
                place = (end + foot_y) / 2 - 0.5 * label_size if stacked else end - 1.2 * label_size
                if stacked and foot_y - end < 1.1 * label_size:
                    continue
            if data.labelled:
                ink = _on(color) if stacked else page.style.ink
                data.at[s, c] = (
                    page.put(middle - 0.5 * label_size, end - 2, data.shown[s][c], size=label_size, turn=90)
                    if vertical
                    else page.put(
                        middle, place, data.shown[s][c], size=label_size, align="center", color=ink, bold=bold
                    )
                )
        if ends and former:
            data.series_at[s] = page.put(
                former[0] + 5, former[1] - 0.5 * size, data.series[s], color=data.color(s, 0)
            )
    sheet.line(left, base, right, base, width=0.6)
    return True


def _on(color: Color) -> Color:
    """What can be read on a color."""
    return WHITE if sum(color) < 1.7 else (0.0, 0.0, 0.0)


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
    top, data.step = step * steps, step
    bold = chance(0.5)
    beside = max(page.measure(text, size=label_size, bold=bold) for row in data.shown for text in row)
    room = x + width - left - (0 if stacked else beside) - 6
    if room < 60:
        return False
    heads = stacked and not data.series_at
    if heads and not _heads_fit(page, data, room, top):
        return False
    if data.ticks:
        widest = max(page.measure(_tick(data, step * k)) for k in range(steps + 1))
        for k in range(0, steps + 1, math.ceil((widest + 6) * steps / room)):
            line = left + room * k / steps
            sheet.line(line, y, line, y + pitch * count, width=0.4, color=_RULE)
            page.put(line, y + pitch * count + 0.3 * size, _tick(data, step * k), align="center", color=_GREY)
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
            color = data.color(s, c)
            sheet.box(begin, corner, length, bar, fill=color)
            text = data.shown[s][c]
            if stacked:
                if c == 0 and heads and length > 0:
                    data.series_at[s] = page.put(
                        begin + length / 2, y - 1.3 * size, data.series[s], align="center", bold=True,
                        color=color if sum(color) < 1.9 else _GREY,
                    )  # fmt: skip
                if data.labelled and page.measure(text, size=label_size) < length:
                    data.at[s, c] = page.put(
                        begin + length / 2, corner + (bar - label_size) / 2, text,
                        size=label_size, align="center", color=_on(color),
                    )  # fmt: skip
                begin += length
            elif data.labelled:
                data.at[s, c] = page.put(
                    begin + length + 3, corner + (bar - label_size) / 2, text, size=label_size, bold=bold
                )
    return True


def _heads_fit(page: Page, data: Data, room: float, top: float) -> bool:
    """Whether the names of stacked series can stand above their parts of the first bar."""
    ends, x = -math.inf, 0.0
    for name, row in zip(data.series, data.figures, strict=True):
        length, wide = room * row[0] / top, page.measure(name, bold=True) + 4
        if x + length / 2 - wide / 2 < ends or x + length / 2 + wide / 2 > room + 6:
            return False
        ends, x = x + length / 2 + wide / 2, x + length
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
        color = data.color(0, c)
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
                    middle_x + inside_x,
                    middle_y - inside_y - 0.5 * size,
                    shown,
                    align="center",
                    color=_on(color),
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
