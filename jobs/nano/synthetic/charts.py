"""Charts whose values are written on them: bars up or across, lines, pies."""

from __future__ import annotations

import random

from jobs.nano.synthetic import words
from jobs.nano.synthetic.layout import Drawn, Look, fits, look
from jobs.nano.synthetic.sheet import Color, Sheet


def draw_chart(width: float, height: float, low: float, high: float) -> Drawn | None:
    """One series over two to nine categories."""
    style = look(low, max(low, min(high, height / 14)))
    sheet = Sheet(width, height)
    drawn = Drawn(sheet)
    top = 0.3 * style.size
    if random.random() < 0.6 and height > 10 * style.size:
        title, large = words.phrase(1, 5), style.size * random.uniform(1.0, 1.6)
        if fits(sheet, title, style.bold, large, width - 10):
            _title(sheet, title, style, large, top)
            drawn.ask(random.choice(["What is the title?", "What is the title of the chart?"]), title)
            top += large * 1.6
    shape = random.choice(["up", "up", "across", "across", "line", "pie"])
    share = {"up": 0.9, "line": 0.9, "across": 0.32, "pie": 0.35}[shape]
    most = 9 if shape != "pie" else 6
    count = random.randint(2, most)
    room = width * share / (count if shape in ("up", "line") else 1) - 4
    names = _categories(sheet, style, count, room)
    if len(names) < 2:
        return None
    series = _values(len(names), percent=shape == "pie")
    draw = {"up": _bars_up, "across": _bars_across, "line": _line, "pie": _pie}[shape]
    if not draw(sheet, style, top, names, series):
        return None
    _questions(
        drawn, names, series, {"up": "bars", "across": "bars", "line": "points", "pie": "slices"}[shape]
    )
    return drawn


def _title(sheet: Sheet, title: str, style: Look, size: float, top: float) -> None:
    if random.random() < 0.5:
        sheet.text(sheet.width / 2, top, title, style.bold, size, align="center", color=style.ink)
    else:
        sheet.text(5, top, title, style.bold, size, color=style.ink)


def _categories(sheet: Sheet, style: Look, count: int, room: float) -> list[str]:
    years = random.random() < 0.3
    start = random.randint(1985, 2025)
    names: list[str] = []
    for index in range(8 * count):
        name = (
            str(start + index)
            if years
            else random.choice([words.word().capitalize(), words.city(), words.phrase(1, 2)])
        )
        if name not in names and fits(sheet, name, style.regular, style.size, room):
            names.append(name)
        if len(names) == count:
            break
    return names


def _values(count: int, *, percent: bool) -> list[str]:
    """The values as written on the chart, all different, so that highest and lowest are one each."""
    if percent:
        weights = [random.uniform(0.3, 1) for _ in range(count)]
        return _different([f"{100 * weight / sum(weights):.1f}%" for weight in weights])
    scale, decimals = random.choice([10, 100, 1000, 10_000]), random.choice([0, 0, 1, 2])
    if scale == 10:
        decimals = max(decimals, 1)
    unit = random.choice(["", "", "", "%", "M", "k"])
    written = f"{{:,.{decimals}f}}" if random.random() < 0.5 else f"{{:.{decimals}f}}"
    return _different([written.format(random.uniform(0.06, 1) * scale) + unit for _ in range(count)])


def _different(values: list[str]) -> list[str]:
    return values if len(set(values)) == len(values) else []


def size_of(value: str) -> float:
    return float(value.rstrip("%Mk").replace(",", ""))


def _color(style: Look, index: int, many: bool) -> Color:
    if not many:
        return style.accent
    generator = random.Random(f"{style.accent}{index}")
    return (generator.uniform(0.1, 0.8), generator.uniform(0.1, 0.8), generator.uniform(0.1, 0.8))


def _bars_up(sheet: Sheet, style: Look, top: float, names: list[str], series: list[str]) -> bool:
    size, step = style.size, (sheet.width - 10) / len(names)
    base, room = sheet.height - 1.6 * size, sheet.height - top - 3.2 * size
    if not series or room < 2 * size or max(sheet.measure(v, style.regular, size) for v in series) > step:
        return False
    many, peak, share = random.random() < 0.3, max(map(size_of, series)), random.uniform(0.5, 0.85)
    if random.random() < 0.4:
        for k in range(1, 5):
            sheet.line(
                5, base - room * k / 4, sheet.width - 5, base - room * k / 4, width=0.4, color=(0.8, 0.8, 0.8)
            )
    for index, (name, value) in enumerate(zip(names, series, strict=True)):
        x, length = 5 + index * step, room * size_of(value) / peak
        sheet.box(
            x + step * (1 - share) / 2, base - length, step * share, length, fill=_color(style, index, many)
        )
        sheet.text(
            x + step / 2, base + 0.2 * size, name, style.regular, size, align="center", color=style.ink
        )
        sheet.text(
            x + step / 2,
            base - length - 1.2 * size,
            value,
            style.regular,
            size,
            align="center",
            color=style.ink,
        )
    sheet.line(5, base, sheet.width - 5, base)
    return True


def _bars_across(sheet: Sheet, style: Look, top: float, names: list[str], series: list[str]) -> bool:
    size, step = style.size, (sheet.height - top - 3) / len(names)
    if not series or step < 1.15 * size:
        return False
    left = 8 + max(sheet.measure(name, style.regular, size) for name in names)
    room = sheet.width - left - 8 - max(sheet.measure(value, style.regular, size) for value in series)
    if room < 10:
        return False
    many, peak, share = random.random() < 0.3, max(map(size_of, series)), random.uniform(0.5, 0.85)
    for index, (name, value) in enumerate(zip(names, series, strict=True)):
        y, length = top + index * step, room * size_of(value) / peak
        middle = y + (step - size) / 2
        sheet.text(left - 4, middle, name, style.regular, size, align="right", color=style.ink)
        sheet.box(left, y + step * (1 - share) / 2, length, step * share, fill=_color(style, index, many))
        sheet.text(left + length + 3, middle, value, style.regular, size, color=style.ink)
    return True


def _line(sheet: Sheet, style: Look, top: float, names: list[str], series: list[str]) -> bool:
    size, step = style.size, (sheet.width - 10) / len(names)
    base, room = sheet.height - 1.6 * size, sheet.height - top - 4 * size
    if not series or room < 3 * size or max(sheet.measure(v, style.regular, size) for v in series) > step:
        return False
    peak, former = max(map(size_of, series)), None
    for index, (name, value) in enumerate(zip(names, series, strict=True)):
        x, y = 5 + (index + 0.5) * step, base - room * size_of(value) / peak
        if former:
            sheet.line(*former, x, y, width=1.5, color=style.accent)
        sheet.dot(x, y, 2.2, fill=style.accent)
        sheet.text(x, y - 1.5 * size, value, style.regular, size, align="center", color=style.ink)
        sheet.text(x, base + 0.2 * size, name, style.regular, size, align="center", color=style.ink)
        former = (x, y)
    sheet.line(5, base, sheet.width - 5, base)
    return True


def _pie(sheet: Sheet, style: Look, top: float, names: list[str], series: list[str]) -> bool:
    """A pie beside its legend; the values stand in the legend."""
    size = style.size
    radius = min((sheet.height - top) / 2, sheet.width * 0.25) - 4
    pitch = size * random.uniform(1.4, 2.0)
    between = random.choice([" ", ": ", " - "])
    text = [name + between + value for name, value in zip(names, series, strict=False)]
    x = 2 * radius + 14
    if not series or radius < 12 or pitch * len(names) > sheet.height - top:
        return False
    if max(sheet.measure(entry, style.regular, size) for entry in text) > sheet.width - x - size - 8:
        return False
    angle, y = 90.0, top + 4
    for index, (entry, value) in enumerate(zip(text, series, strict=True)):
        fill = _color(style, index, True)
        extent = 3.6 * size_of(value)
        sheet.wedge(radius + 5, (sheet.height + top) / 2, radius, angle, extent, fill=fill)
        angle += extent
        sheet.box(x, y + 0.1 * size, 0.8 * size, 0.8 * size, fill=fill)
        sheet.text(x + 1.2 * size, y, entry, style.regular, size, color=style.ink)
        y += pitch
    return True


def _questions(drawn: Drawn, names: list[str], series: list[str], things: str) -> None:
    sizes = list(map(size_of, series))
    for index in random.sample(range(len(names)), min(3, len(names))):
        question = random.choice(
            ["What is the value of {}?", "What is the value of {}?", "What is the value for {}?",
             "What was the value in {}?", "How much is {}?"]
        )  # fmt: skip
        drawn.ask(question.format(names[index]), series[index])
    noun = random.choice(["category", "category", things.rstrip("s")])
    drawn.ask(f"Which {noun} has the highest value?", names[sizes.index(max(sizes))])
    drawn.ask(f"Which {noun} has the lowest value?", names[sizes.index(min(sizes))])
    if random.random() < 0.4:
        drawn.ask("What is the highest value?", series[sizes.index(max(sizes))])
    if random.random() < 0.3:
        drawn.ask(f"How many {things} are there?", str(len(names)))
    random.shuffle(drawn.exchanges)
