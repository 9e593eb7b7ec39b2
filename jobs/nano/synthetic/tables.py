"""Tables of two to five columns, asked for by row and column."""

from __future__ import annotations

import random
from collections.abc import Callable

from jobs.nano.synthetic import words
from jobs.nano.synthetic.layout import Drawn, draw_table, fits, look
from jobs.nano.synthetic.sheet import Align, Sheet

_FIRST = [
    "Item",
    "Product",
    "Name",
    "Region",
    "Country",
    "Description",
    "Department",
    "City",
    "Year",
    "Station",
]
_OTHER = (
    "Qty,Price,Total,Amount,Rate,Units,Sales,Cost,Stock,Score,Hours,Budget,Q1,Q2,Q3,Q4,"
    "2019,2020,2021,2022,2023,2024,Code,Weight"
).split(",")


def draw_table_page(width: float, height: float, low: float, high: float) -> Drawn | None:
    """One table, perhaps under a title."""
    style = look(low, high)
    sheet = Sheet(width, height, skew=random.uniform(-0.5, 0.5) if random.random() < 0.1 else 0.0)
    drawn = Drawn(sheet)
    margin = random.uniform(3, max(4.0, width / 12))
    y = random.uniform(2, max(3.0, height / 12))
    if random.random() < 0.4 and height > 10 * style.size:
        title, large = words.phrase(1, 4), style.size * random.uniform(1.1, 1.7)
        if fits(sheet, title, style.bold, large, width - 2 * margin):
            sheet.text(margin, y, title, style.bold, large, color=style.ink)
            drawn.ask("What is the title?", title)
            y += large * 1.8
    columns = random.randint(2, 5)
    share = random.uniform(0.7, 1.0) if width > 300 else 1.0
    first = random.uniform(0.28, 0.45) if columns > 2 else 0.5
    total = (width - 2 * margin) * share
    widths = [total * first] + [total * (1 - first) / (columns - 1)] * (columns - 1)
    pitch = style.size * random.uniform(1.3, 2.0)
    rows = min(random.randint(1, 16), int((height - y - 4) / pitch) - 1)
    if rows < 1:
        return None
    head = _fitting(
        sheet, style.bold, style.size, widths, [lambda: random.choice(_FIRST), *[_head] * (columns - 1)]
    )
    makers = [_entry if head and head[0] != "Year" else _year] + [
        random.choice([words.number, _money, words.percent, words.number, words.code])
        for _ in range(columns - 1)
    ]
    body: list[list[str]] = []
    for _ in range(rows):
        row = _fitting(sheet, style.regular, style.size, widths, makers)
        if row and row[0] not in [other[0] for other in body]:
            body.append(row)
    if not head or not body or len(set(head)) < len(head):
        return None
    side: Align = random.choice(["left", "right", "center"])
    sides: list[Align] = ["left", *[side] * (columns - 1)]
    draw_table(sheet, margin, y, widths, [head, *body], style, align=sides, pitch=pitch)
    asked: set[tuple[int, int]] = set()
    for _ in range(6):
        cell = random.randrange(len(body)), random.randrange(1, columns)
        if cell not in asked:
            asked.add(cell)
            drawn.ask(_cell_question(head[cell[1]], body[cell[0]][0]), body[cell[0]][cell[1]])
    if random.random() < 0.2:
        drawn.ask("How many rows are in the table?", str(len(body)))
    random.shuffle(drawn.exchanges)
    return drawn


def _cell_question(column: str, row: str) -> str:
    return random.choice(
        [f"What is the {column} of {row}?", f"What is the {column} of {row}?",
         f"What is the {column} for {row}?", f"What is {row}'s {column}?", f"What was the {column} of {row}?"]
    )  # fmt: skip


def _fitting(
    sheet: Sheet, font: str, size: float, widths: list[float], makers: list[Callable[[], str]]
) -> list[str] | None:
    """One text a column, each made again until it fits its column."""
    row = []
    for width, make in zip(widths, makers, strict=True):
        for _ in range(20):
            text = make()
            if fits(sheet, text, font, size, width - 6):
                row.append(text)
                break
        else:
            return None
    return row


def _head() -> str:
    return random.choice(_OTHER) if random.random() < 0.8 else words.word().capitalize()


def _entry() -> str:
    return random.choice([words.phrase(1, 2), words.phrase(1, 2), words.city(), words.person()])


def _year() -> str:
    return str(random.randint(1980, 2032))


def _money() -> str:
    return words.money(words.amount(1, 50_000), words.symbol())
