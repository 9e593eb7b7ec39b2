"""Tables of two to eight columns, asked for by row and column, among prose."""

from __future__ import annotations

import random
from collections.abc import Callable

from jobs.nano.synthetic import blocks, words
from jobs.nano.synthetic.blocks import Grid
from jobs.nano.synthetic.layout import Page, chance
from jobs.nano.synthetic.wording import asked, other_case, pick

_FIRST = (
    "Item,Product,Name,Region,Country,Description,Department,City,Year,Station,Category,Account,Employee,"
    "Project,Species,Sample,Month,Quarter,Model,Brand,Division,School,Team,Expense,Segment,Material,Test,"
    "Code"
).split(",")
_OTHER = (
    "Qty,Price,Total,Amount,Rate,Units,Sales,Cost,Stock,Score,Hours,Budget,Q1,Q2,Q3,Q4,2017,2018,2019,"
    "2020,2021,2022,2023,2024,1985,1986,1987,1998,1999,Weight,Actual,Forecast,Variance,Change,Share,Mean,"
    "Median,Max,Min,Number,Percent,Male,Female,Full Time,Part Time,Net,Gross,Tax,Age,Height,Length,Width,"
    "Density,pH,Temp.,Jan,Feb,Mar,Apr,May,Jun,Manager,Status,Location,Phone,Date,Grade,Rank,Points,"
    "Revenue,Profit,Salaries,Rent,Ratio,Index,Yield,Load"
).split(",")
_CELL = (
    "What is the {c} of {r}?", "What is the {c} for {r}?", "What is the {c} of {r}?", "What is {r}'s {c}?",
    "What was the {c} of {r}?", "What is the value of {c} for {r}?", "In the row {r}, what is the {c}?",
    "What value does {r} have under {c}?", "What is given for {r} in the column {c}?",
    "Which {c} does {r} have?", "What is the {r} for {c}?", "What is the {r} in {c}?",
    "How much is {r} in {c}?", "What are the {c} for {r}?", "Give the {c} of {r}.", "{c} of {r}?",
    "What is the {c} value of {r}?", "What is the \"{c}\" of \"{r}\"?", "For {r}, what is the {c}?",
    "What {c} is listed for {r}?", "Find the {c} of {r}.", "What does the table give for {r} under {c}?",
    "What is the entry in row {r}, column {c}?", "Look up {r}: what is the {c}?",
    "What is the {c} listed for {r}?", "Tell me the {c} of {r}.",
    "According to the table, what is the {c} for {r}?", "What number stands at {r} and {c}?",
    "How many {c} does {r} have?", "What is {r} for {c}?",
)  # fmt: skip
_WHICH = (
    "Which {k} has a {c} of {v}?", "Which {k} has {v} as {c}?", "What {k} has the {c} {v}?",
    "For which {k} is the {c} {v}?", "Whose {c} is {v}?", "Which row has {v} under {c}?",
    "Where is the {c} {v}?",
)  # fmt: skip
_MOST = (
    "Which {k} has the highest {c}?", "Which {k} has the largest {c}?", "Which {k} has the most {c}?",
    "Where is the {c} highest?", "What {k} has the maximum {c}?", "Which {k} leads in {c}?",
)  # fmt: skip
_LEAST = (
    "Which {k} has the lowest {c}?", "Which {k} has the smallest {c}?", "Which {k} has the least {c}?",
    "Where is the {c} lowest?", "What {k} has the minimum {c}?", "Which {k} is last in {c}?",
)  # fmt: skip


def draw_table_page(page: Page) -> bool:
    """One or two tables, perhaps under a title and between paragraphs."""
    style = page.style
    margin = random.uniform(0.02, 0.09) * page.width
    y, bottom = blocks.furniture(page, margin)
    inner = page.width - 2 * margin
    if chance(0.5):
        y = blocks.heading(page, margin, y, inner)
    if chance(0.3):
        y = blocks.paragraph(page, margin, y, inner, bottom, words.prose(1, 4)) + 0.5 * style.pitch
    drawn = False
    for _ in range(random.choice([1, 1, 2])):
        if (grid := draw_grid(page, margin, y, inner, bottom)) is None:
            break
        ask_cells(page, grid, key=0, most=14 if not drawn else 7)
        drawn, y = True, grid.bottom + style.pitch
        if chance(0.4):
            y = blocks.paragraph(page, margin, y, inner, bottom, words.prose(1, 4)) + 0.5 * style.pitch
    return drawn


def draw_grid(
    page: Page, x: float, y: float, width: float, bottom: float, columns: int | None = None
) -> Grid | None:
    """A table of random content; None if there is no room for two rows."""
    style = page.style
    share = random.uniform(0.6, 1.0) if width > 300 else 1.0
    total = width * share
    columns = columns or random.choices(range(2, 9), [2, 3, 4, 4, 3, 2, 1])[0]
    columns = max(2, min(columns, int(total / (5.5 * style.size))))
    first = random.uniform(0.2, 0.4) if columns > 2 else random.uniform(0.4, 0.65)
    weights = [random.uniform(0.8, 1.25) if chance(0.5) else 1.0 for _ in range(columns - 1)]
    widths = [total * first, *[total * (1 - first) * w / sum(weights) for w in weights]]
    pitch = style.size * random.uniform(1.15, 2.0)
    grouped = columns > 4 and chance(0.15)
    rows = min(random.choice([5, 10, 18, 36]), int((bottom - y - 4) / pitch) - 1 - grouped)
    if rows < 2:
        return None
    head = _fitting(
        page,
        widths,
        [lambda: style.label(random.choice(_FIRST)), *[lambda: _head(page)] * (columns - 1)],
        bold=True,
    )
    years = head is not None and head[0].lower() == "year"
    makers = [_year if years else lambda: style.cased(_entry())]
    makers += [random.choices(_MAKERS, [6, 3, 2, 2, 1, 1, 1])[0] for _ in range(columns - 1)]
    body: list[list[str]] = []
    for _ in range(rows):
        row = _fitting(page, widths, makers)
        if row and row[0] not in [other[0] for other in body]:
            body.append(
                [
                    style.cased(cell) if chance(0.97) else "-" if index else cell
                    for index, cell in enumerate(row)
                ]
            )
    if not head or len(body) < 2 or len(set(head)) < len(head):
        return None
    if chance(0.2):
        total_row = _fitting(page, widths, [lambda: style.label("Total"), *[words.number] * (columns - 1)])
        body += [total_row] if total_row else []
    top_head: list[tuple[str, int]] = []
    if grouped:
        split = random.randint(2, columns - 2)
        top_head = [("", 1), (words.word().title(), split), (words.word().title(), columns - 1 - split)]
        page.readable = False
    return blocks.put_table(page, x, y, widths, head, body, pitch=pitch, top_head=top_head)


def _number(text: str) -> float | None:
    try:
        return float(text.strip("$€£% ").replace(",", ""))
    except ValueError:
        return None


def ask_cells(page: Page, grid: Grid, *, key: int, most: int) -> None:
    """Cells by row and column, rows by a cell, extremes of a column, counts; and links of all cells."""
    head, body = grid.head, grid.body
    names = [row[key] for row in body]
    columns = [index for index in range(len(head)) if index != key]
    page.links += [
        (at[column], (at[key], grid.head_at[column]))
        for row, at in zip(body, grid.at, strict=True)
        for column in columns
        if row[column] and row[key]
    ]
    cells = [(row, column) for row in range(len(body)) for column in columns if names.count(names[row]) == 1]
    chosen = random.sample(cells, min(most, len(cells)))
    if chance(0.6):  # whole rows: only the column tells their questions apart
        order = {row: random.random() for row, _ in cells}
        chosen = sorted(chosen if len(cells) <= most else cells, key=lambda cell: order[cell[0]])[:most]
    for row, column in chosen:
        at, head_at = grid.at[row][column], grid.head_at[column]
        answer, skipped = words.bare(body[row][column])
        if answer == "-":
            continue
        form = pick(_CELL, page.held_out)
        question = form.replace("{c}", other_case(head[column])).replace(
            "{r}", other_case(names[row]) if chance(0.3) else names[row]
        )
        page.ask(asked(question, "table"), answer, at + skipped, (grid.at[row][key], head_at))
        if chance(0.25) and [line[column] for line in body].count(body[row][column]) == 1:
            form = pick(_WHICH, page.held_out).replace("{k}", head[key].lower()).replace("{c}", head[column])
            page.ask(
                asked(form.replace("{v}", body[row][column]), "table"),
                names[row],
                grid.at[row][key],
                (at, head_at),
            )
    column = random.choice(columns)
    values = [_number(row[column]) for row in body]
    if len(body) > 2 and None not in values and names[-1].lower() != "total":
        for forms, extreme in ((_MOST, max), (_LEAST, min)):
            best = extreme(value for value in values if value is not None)
            if values.count(best) == 1 and chance(0.5):
                row = values.index(best)
                form = (
                    pick(forms, page.held_out).replace("{k}", head[key].lower()).replace("{c}", head[column])
                )
                cues = grid.at[row][column], grid.head_at[column]
                page.ask(asked(form, "table"), names[row], grid.at[row][key], cues)
    if chance(0.15):
        page.ask(
            random.choice(["How many columns does the table have?", "How many columns are there?"]),
            str(len(head)),
        )
    if chance(0.15) and len(body) < 13:
        page.ask(
            random.choice(
                ["How many rows are in the table?", "How many rows does the table have without the head?"]
            ),
            str(len(body)),
        )
    if chance(0.15):
        row = random.randrange(len(body))
        page.ask(f"What is the name in row {row + 1}?", names[row], grid.at[row][key])


def _fitting(
    page: Page, widths: list[float], makers: list[Callable[[], str]], *, bold: bool = False
) -> list[str] | None:
    """One text a column, each made again until it fits its column."""
    row = []
    for width, make in zip(widths, makers, strict=True):
        for _ in range(20):
            text = make()
            if page.fits(text, width - 6, bold=bold):
                row.append(text)
                break
        else:
            return None
    return row


def _head(page: Page) -> str:
    text = random.choice(_OTHER) if random.random() < 0.8 else words.phrase(1, 2)
    return page.style.label(text)


def _entry() -> str:
    return random.choice(
        [
            words.phrase(1, 2),
            words.phrase(1, 3),
            words.city(),
            words.person(),
            random.choice(words.COUNTRIES),
            words.company(),
        ]
    )


def _year() -> str:
    return str(random.randint(1960, 2032))


def _money() -> str:
    return words.money(words.amount(1, 50_000), words.symbol())


_MAKERS: list[Callable[[], str]] = [
    words.number, _money, words.percent, words.decimal, words.code, lambda: words.day(0).shown,
    lambda: words.word().title(),
]  # fmt: skip
