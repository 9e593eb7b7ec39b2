"""Lines of text, letters, contracts and reports."""

from __future__ import annotations

import random

from jobs.nano.synthetic import blocks, words
from jobs.nano.synthetic.layout import Page, chance, text_value
from jobs.nano.synthetic.tables import ask_cells, draw_grid


def line_of_text(page: Page, width: float, size: float) -> str:
    """Words and values until the line is full, or sooner; empty if not one fits."""
    text, style = "", random.random()
    while True:
        token = words.word() if random.random() < 0.5 else words.value().shown
        token = token.upper() if style < 0.35 else token
        grown = f"{text} {token}" if text else token[:1].upper() + token[1:]
        if not page.fits(grown, width, size=size):
            return text
        text = grown
        if random.random() < 0.15:
            return text


def draw_lines(page: Page) -> bool:
    """Plain lines; asked for by their number, or all at once."""
    style = page.style
    size = min(style.size, page.height * 0.6)
    x, y = (
        random.uniform(1, max(2, page.width / 14)),
        random.uniform(0, max(1, (page.height - 1.2 * size) / 3)),
    )
    pitch = size * random.uniform(1.1, 1.6)
    room = int((page.height - y + pitch - size) / pitch)
    lines: list[tuple[str, int]] = []
    dark = chance(0.08)
    if dark:
        page.sheet.box(0, 0, page.width, page.height, fill=(0.15, 0.15, 0.2))
    for _ in range(random.randint(1, max(1, min(room, 12)))):
        text = line_of_text(page, page.width - x - 1, size)
        if not text or y + size * 1.05 > page.height:
            break
        lines.append((text, page.put(x, y, text, size=size, color=(0.95, 0.95, 0.95) if dark else None)))
        y += pitch
    if not lines:
        return False
    page.say("  \n".join(text for text, _ in lines) if len(lines) > 1 else lines[0][0])
    whole = "\n".join(text for text, _ in lines)
    if len(lines) == 1 or (len(lines) <= 6 and chance(0.4)):
        question = random.choice(
            [
                "Read the text.",
                "Read the text.",
                "What does it say?",
                "What is written here?",
                "What text is shown?",
                "Read it.",
            ]
        )
        page.ask(question, whole, lines[0][1])
    for index in random.sample(range(len(lines)), min(3, len(lines))):
        if len(lines) > 1:
            question = random.choice(
                ["Read line {}.", "What is in line {}?", "What does line {} say?", "Read line number {}."]
            )
            page.ask(question.format(index + 1), *lines[index])
    text, at = random.choice(lines)
    tokens = text.split()
    if len(tokens) > 3 and whole.split().count(tokens[0]) == 1:
        cut = random.randint(1, len(tokens) - 2)
        begin = " ".join(tokens[:cut])
        if whole.count(begin) == 1:
            page.ask(f'What comes after "{begin}"?', tokens[cut], at + len("".join(tokens[:cut])))
    return True


def _signed(page: Page, x: float, y: float) -> float:
    """The end of a letter; returns the y below it."""
    name, job = page.style.cased(words.person()), random.choice(words.JOBS)
    page.put(x, y, random.choice(["Sincerely,", "Yours truly,", "Best regards,", "Very truly yours,"]))
    at = page.put(x, y + 3 * page.style.pitch, name)
    page.put(x, y + 4 * page.style.pitch, job)
    page.fact("", text_value(name), at, "author")
    page.ask(
        random.choice([f"What is the position of {name}?", f"What is the job of {name}?", f"Who is {name}?"]),
        job,
    )
    return y + 5 * page.style.pitch


def draw_letter(page: Page) -> bool:
    """A letter or memo: sender, date, addressee, subject, paragraphs, signature."""
    style = page.style
    margin = random.uniform(0.08, 0.14) * page.width
    y, bottom = blocks.furniture(page, margin)
    inner = page.width - 2 * margin
    if chance(0.6):
        y = blocks.put_heading(
            page,
            margin,
            y,
            inner,
            words.company(),
            style.size * random.uniform(1.1, 1.7),
            role="vendor",
            level=1,
        )
        for line in words.address():
            page.put(margin, y, style.cased(line), size=0.85 * style.size)
            y += style.pitch
    y += style.pitch
    memo = chance(0.4)
    rows = [("Date", style.value(words.day()), "date"),
            ("To", text_value(style.cased(words.person())), "recipient"),
            (random.choice(["Subject", "Subject", "Re"]),
             text_value(style.cased(words.phrase(2, 7))), "subject")]  # fmt: skip
    if memo:
        rows.insert(1, ("From", text_value(style.cased(words.person())), "author"))
        rows += [("cc", text_value(style.cased(words.person())), "")] if chance(0.4) else []
    offset = 6 * style.size
    for name, value, role in rows:
        if not page.fits(value.shown, inner - offset):
            return False
        if memo or role == "subject":
            page.put(margin, y, style.label(name) + ":", bold=True)
            page.fact(name, value, page.put(margin + offset, y, value.shown), role)
            page.say(f"{style.label(name)}: {value.shown}")
        else:
            page.fact("", value, page.put(margin, y, value.shown), role)
            page.say(value.shown)
        y += style.pitch * random.choice([1.0, 1.0, 1.6])
    y += style.pitch
    for _ in range(random.randint(2, 6)):
        y = (
            blocks.paragraph(page, margin, y, inner, bottom - 7 * style.pitch, words.prose(2, 6))
            + 0.7 * style.pitch
        )
    if not memo and y + 6 * style.pitch < bottom:
        page.readable = False
        _signed(page, margin, y)
    return True


def draw_contract(page: Page) -> bool:
    """The first page of an agreement: parties, dates and law stand within dense prose."""
    style = page.style
    margin = random.uniform(0.08, 0.13) * page.width
    y, bottom = blocks.furniture(page, margin)
    inner = page.width - 2 * margin
    kind = random.choice(
        [
            "Confidentiality",
            "Non-Disclosure",
            "Service",
            "License",
            "Supply",
            "Lease",
            "Purchase",
            "Employment",
            "Consulting",
        ]
    )
    y = blocks.put_heading(
        page,
        margin,
        y,
        inner,
        f"{kind} Agreement",
        style.size * random.uniform(1.1, 1.6),
        role="title",
        level=1,
    )
    first, second = words.company(), random.choice([words.company, words.person])()
    day, state = words.day(random.choice([1, 1, 3, 13])).shown, random.choice(words.STATES)
    count, word = random.choice([(1, "one"), (2, "two"), (3, "three"), (5, "five"), (10, "ten")])
    term = f"{word} ({count}) {random.choice(['years', 'months'])}"
    opening = random.choice([
        f'This {kind} Agreement (the "Agreement") is entered into as of {day} by and between '
        f"{first}, a {state} corporation, and {second}.",
        f"THIS AGREEMENT is made on {day}, between {first} and {second} (together the Parties).",
        f'Effective {day}, {first} ("Company") and {second} ("Recipient") agree as follows.',
        f'This Agreement, dated {day} (the "Effective Date"), is between {first}, with its office at '
        f"{words.street()}, {words.town()}, and {second}.",
    ])  # fmt: skip
    sentences = [opening, words.prose(2, 6)]
    law = random.choice(words.STATES)
    sentences.insert(random.choice([1, 2]), random.choice([
        f"This Agreement is governed by the laws of the State of {law}.",
        f"The laws of {law} shall apply to this Agreement.",
    ]))  # fmt: skip
    sentences.append(f"The term of this Agreement is {term} from its date.")
    start, glyphs = y, page.sheet.glyphs
    for index, text in enumerate(sentences):
        number = f"{index}. " if index and chance(0.7) else ""
        y = blocks.paragraph(page, margin, y, inner, bottom, number + text) + 0.5 * style.pitch
    while y + 3 * style.pitch < bottom and chance(0.85):
        y = blocks.paragraph(page, margin, y, inner, bottom, words.prose(2, 7)) + 0.5 * style.pitch
    inked = "".join(glyph.character for glyph in glyphs)
    for role, text in (
        ("effective", day),
        ("law", law),
        ("term", term),
        ("party", random.choice([first, second])),
    ):
        for shown in (text, text.upper()):
            at = inked.find("".join(shown.split()))
            if at >= 0:
                page.fact("", text_value(shown), at, role)
                break
    return bool(page.facts) and y > start


def draw_report(page: Page) -> bool:
    """A page of a report in one or two columns: headings, prose with figures in it, lists, a table."""
    style = page.style
    margin = random.uniform(0.05, 0.12) * page.width
    y, bottom = blocks.furniture(page, margin)
    inner = page.width - 2 * margin
    y = blocks.heading(page, margin, y, inner)
    for name, value, role in (
        (random.choice(["Author", "Prepared by", "Written by", "By"]), text_value(words.person()), "author"),
        (random.choice(["Date", "Published"]), words.day(), "date"),
    ):
        if chance(0.45):
            shown = style.value(value)
            at = page.put(margin, y, f"{name}: {shown.shown}")
            page.fact(name, shown, at + len("".join(name.split())) + 1, role)
            page.say(f"{name}: {shown.shown}")
            y += style.pitch
    columns = 2 if chance(0.3) and page.width > 40 * style.size else 1
    wide = (inner - 14 * (columns - 1)) / columns
    top, headings = y + 0.5 * style.pitch, 0
    for column in range(columns):
        x, y = margin + column * (wide + 14), top
        while y + 4 * style.pitch < bottom:
            kind = random.random()
            if kind < 0.22:
                headings += 1
                y = _section(page, x, y, wide, headings)
            elif kind < 0.37:
                y = _bullets(page, x, y, wide, bottom)
            elif kind < 0.5:
                grid = draw_grid(
                    page, x, y, wide, min(bottom, y + 9 * style.pitch), columns=random.randint(2, 4)
                )
                if grid:
                    ask_cells(page, grid, key=0, most=3)
                    y = grid.bottom
            elif kind < 0.75:
                y = _figures(page, x, y, wide, bottom)
            else:
                y = blocks.paragraph(page, x, y, wide, bottom, words.prose(1, 6))
            y += style.pitch * random.uniform(0.3, 0.9)
            if chance(0.04):
                break
    return True


def _section(page: Page, x: float, y: float, width: float, number: int) -> float:
    text = words.phrase(1, 4)
    shown = page.style.label(text)
    at = page.put(x, y, f"{number}. {shown}", bold=True, size=page.style.size * 1.15)
    page.ask(random.choice([f"What is the heading of section {number}?", f"What is section {number} called?",
                            f"What is the title of section {number}?"]),
             shown, at + len(str(number)) + 1)  # fmt: skip
    page.say(f"## {number}. {shown}")
    return y + 1.5 * page.style.pitch


def _bullets(page: Page, x: float, y: float, width: float, bottom: float) -> float:
    items: list[tuple[str, int]] = []
    for _ in range(random.randint(2, 6)):
        text = words.phrase(2, 6)
        if y + page.style.pitch > bottom or not page.fits(text, width - 1.6 * page.style.size):
            break
        page.put(x, y, "•")
        items.append((text, page.put(x + 1.4 * page.style.size, y, text)))
        y += page.style.pitch
    if items:
        page.say("\n".join(f"- {text}" for text, _ in items))
    if len(items) > 2 and chance(0.5):
        index = random.randrange(len(items))
        order = ["first", "second", "third", "fourth", "fifth", "sixth"][index]
        page.ask(
            random.choice([f"What is the {order} bullet point?", f"What is the {order} item of the list?"]),
            *items[index],
        )
        page.ask(f"Which item comes after {items[0][0]}?", *items[1])
    return y


def _figures(page: Page, x: float, y: float, width: float, bottom: float) -> float:
    """Sentences that say a figure of a thing, which is asked for."""
    thing, year = (
        random.choice(
            ["Revenue", "Net income", "Sales", "Operating profit", "Headcount", "Output", "Exports"]
        ),
        random.randint(1980, 2030),
    )
    place = random.choice(words.COUNTRIES)
    shown = random.choice(
        [
            words.money(words.amount(), "$"),
            f"${random.uniform(1, 99):.1f} million",
            words.percent(),
            words.number(),
        ]
    )
    text = random.choice([
        f"{thing} of {place} in {year} was {shown}.",
        f"In {year}, {thing.lower()} in {place} rose to {shown}.",
        f"{place} reported {thing.lower()} of {shown} for {year}.",
    ])  # fmt: skip
    glyphs = len(page.sheet.glyphs)
    y = blocks.paragraph(page, x, y, width, bottom, f"{words.prose(0, 2)} {text} {words.prose(0, 2)}".strip())
    inked = "".join(glyph.character for glyph in page.sheet.glyphs[glyphs:])
    sentence = "".join(text.split())
    if sentence in inked:
        at = glyphs + inked.index(sentence) + sentence.index("".join(shown.split()))
        page.ask(
            random.choice([f"What was the {thing.lower()} of {place} in {year}?",
                           f"How much was {place}'s {thing.lower()} in {year}?",
                           f"What is the {thing.lower()} in {place} for {year}?"]), shown, at)  # fmt: skip
        if inked.count(str(year)) == 1:
            page.ask(f"In which year was the {thing.lower()} of {place} {shown}?", str(year))
    return y
