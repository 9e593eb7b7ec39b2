"""Lines of text, alone or as letters and reports with titles and headings."""

from __future__ import annotations

import random

from jobs.nano.synthetic import words
from jobs.nano.synthetic.layout import Drawn, Look, draw_table, fits, look
from jobs.nano.synthetic.sheet import Sheet


def line_of_text(sheet: Sheet, style: Look, width: float, *, prose: bool) -> str:
    """Words until the line is full, or sooner; empty if not one word fits."""
    text = ""
    while True:
        token = words.word() if prose or random.random() < 0.75 else words.value().shown
        grown = f"{text} {token}" if text else token[:1].upper() + token[1:]
        if not fits(sheet, grown, style.regular, style.size, width):
            return text
        text = grown
        if random.random() < (0.02 if prose else 0.12):
            return text


def draw_lines(width: float, height: float, low: float, high: float) -> Drawn | None:
    """Plain lines; asked for by their number, or all at once."""
    style = look(low, high)
    sheet = Sheet(width, height)
    x, y = random.uniform(2, max(3, width / 12)), random.uniform(1, max(2, height / 12))
    pitch = style.size * random.uniform(1.15, 1.7)
    room = int((height - y) / pitch)
    if room < 1:
        return None
    lines = []
    for _ in range(random.randint(1, min(room, 14))):
        text = line_of_text(sheet, style, width - x - 2, prose=False)
        if not text:
            continue
        sheet.text(x, y, text, style.regular, style.size, color=style.ink)
        lines.append(text)
        y += pitch
    if not lines:
        return None
    drawn = Drawn(sheet)
    if len(lines) == 1 or (len(lines) <= 6 and random.random() < 0.4):
        drawn.ask("Read the text.", "\n".join(lines))
    for index in random.sample(range(len(lines)), min(3, len(lines))):
        if len(lines) > 1:
            drawn.ask(f"Read line {index + 1}.", lines[index])
    random.shuffle(drawn.exchanges)
    return drawn


def draw_report(width: float, height: float, low: float, high: float) -> Drawn | None:
    """A page of a report: title, author and date, numbered headings over prose, perhaps a table."""
    style = look(low, high)
    sheet = Sheet(width, height, skew=random.uniform(-0.7, 0.7) if random.random() < 0.15 else 0.0)
    drawn = Drawn(sheet)
    margin = random.uniform(0.06, 0.12) * width
    inner, y = width - 2 * margin, random.uniform(0.04, 0.09) * height
    title = words.phrase(2, 4)
    large = style.size * random.uniform(1.4, 2.0)
    if not fits(sheet, title, style.bold, large, inner):
        return None
    centred = random.random() < 0.4
    sheet.text(
        width / 2 if centred else margin, y, title, style.bold, large, align="center" if centred else "left"
    )
    drawn.ask(random.choice(["What is the title?", "What is the title of the report?"]), title)
    y += large * 1.7
    for label, text in _credits():
        if random.random() < 0.5:
            sheet.text(margin, y, f"{label}: {text}", style.regular, style.size, color=style.ink)
            drawn.ask(*_credit_question(label, text))
            y += style.pitch
    y += style.pitch * random.uniform(0.4, 1.2)
    numbered = random.random() < 0.7
    headings: list[str] = []
    while y + 5 * style.pitch < height - margin and len(headings) < 6:
        heading = words.phrase(1, 3)
        shown = f"{len(headings) + 1}. {heading}" if numbered else heading
        if not fits(sheet, shown, style.bold, style.size * 1.2, inner):
            continue
        sheet.text(margin, y, shown, style.bold, style.size * 1.2, color=style.ink)
        headings.append(heading)
        y += style.pitch * 1.4
        for _ in range(random.randint(2, 6)):
            if y + style.pitch > height - margin:
                break
            sheet.text(
                margin,
                y,
                line_of_text(sheet, style, inner, prose=True),
                style.regular,
                style.size,
                color=style.ink,
            )
            y += style.pitch
        if random.random() < 0.4:
            y = _figures(drawn, style, margin, y + 0.4 * style.pitch, inner, height - margin)
        y += style.pitch * random.uniform(0.4, 1.0)
    if numbered:
        for index, heading in enumerate(headings):
            drawn.ask(f"What is the heading of section {index + 1}?", heading)
    random.shuffle(drawn.exchanges)
    return drawn


def _credits() -> list[tuple[str, str]]:
    return [
        (random.choice(["Author", "Prepared by", "Written by", "From"]), words.person()),
        (random.choice(["Date", "Published"]), words.day().shown),
        (random.choice(["Department", "Division", "To", "Subject"]), words.phrase(1, 2)),
    ]


def _credit_question(label: str, text: str) -> tuple[str, str]:
    if label in ("Prepared by", "Written by"):
        return random.choice(["Who prepared the report?", "Who is the author?"]), text
    if label == "Published":
        return "When was it published?", text
    return f"What is the {label.lower()}?" if label not in ("From", "To") else f"{label}?", text


def _figures(drawn: Drawn, style: Look, x: float, y: float, width: float, bottom: float) -> float:
    """A small two-column table of figures inside the prose; returns the y below it."""
    rows = random.randint(2, 5)
    pitch = style.size * random.uniform(1.4, 1.7)
    if y + pitch * (rows + 1) > bottom:
        return y
    head = [random.choice(["Item", "Year", "Region", "Measure"]), random.choice(["Value", "Amount", "Total"])]
    names = dict.fromkeys(_row_name(head[0]) for _ in range(rows))
    cells = [[name, random.choice([words.number, words.percent, _money])()] for name in names]
    share = random.uniform(0.5, 1.0)
    draw_table(
        drawn.sheet,
        x,
        y,
        [width * share * 0.6, width * share * 0.4],
        [head, *cells],
        style,
        align=["left", random.choice(["left", "right"])],
        pitch=pitch,
    )
    for name, figure in random.sample(cells, min(2, len(cells))):
        question = f"What is the {head[1]} of {name}?" if random.random() < 0.5 else f"What is the {name}?"
        drawn.ask(question, figure)
    return y + pitch * (len(cells) + 1)


def _row_name(head: str) -> str:
    return str(random.randint(1990, 2032)) if head == "Year" else words.phrase(1, 2)


def _money() -> str:
    return words.money(words.amount(), words.symbol())
