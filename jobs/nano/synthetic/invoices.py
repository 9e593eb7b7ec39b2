"""Invoices, with the questions and the typed target that the jobs ask of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from jobs.nano.synthetic import words
from jobs.nano.synthetic.forms import figure
from jobs.nano.synthetic.layout import Drawn, Exchange, Look, draw_table, fits, look, what_is
from jobs.nano.synthetic.positions import Line, ask_target, positions, sum_of
from jobs.nano.synthetic.sheet import Align, Sheet
from pipeline.plan.prompts import question_prompt
from schemas.targets import Invoice

NUMBER_LABELS = ["Invoice No", "Invoice Number", "Invoice #", "Number", "No."]


@dataclass(kw_only=True)
class _Content:
    """What one invoice says, and in which words."""

    vendor: str = field(default_factory=words.company)
    customer: str
    number: str = field(default_factory=words.code)
    number_label: str
    issued: words.Value
    due: words.Value | None
    order: str | None
    bill: str
    symbol: str = field(default_factory=words.symbol)
    lines: list[Line]
    sums: list[tuple[str, float]]
    """(label, amount): perhaps a subtotal, perhaps tax, the total last."""
    subtotal: float | None
    tax: float | None
    total: float


def _content() -> _Content:
    style = random.randrange(6)
    lines = positions(1, 6)
    subtotal, rate = sum_of(lines), random.choice([5, 7, 8, 10, 19, 20])
    tax = round(subtotal * rate / 100, 2) if random.random() < 0.7 else None
    total = round(subtotal + (tax or 0.0), 2)
    sums = []
    if tax is not None or random.random() < 0.5:
        sums.append((random.choice(["Subtotal", "Net amount", "Net"]), subtotal))
    if tax is not None:
        sums.append((random.choice([f"Tax ({rate}%)", f"VAT {rate}%", "Tax", "VAT"]), tax))
    shows_subtotal = bool(sums)
    sums.append((random.choice(["Total", "TOTAL", "Total Due", "Amount Due", "Grand Total"]), total))
    return _Content(
        customer=random.choice([words.person, words.company])(),
        number_label=random.choice(NUMBER_LABELS),
        issued=words.day(style),
        due=words.day(style) if random.random() < 0.7 else None,
        order=words.code() if random.random() < 0.4 else None,
        bill=random.choice(["Bill To", "Customer", "Sold To", "Billed to"]),
        lines=lines,
        sums=sums,
        subtotal=subtotal if shows_subtotal else None,
        tax=tax,
        total=total,
    )


def draw_invoice(width: float, height: float, low: float, high: float) -> Drawn | None:
    """An invoice: sender, customer, number and dates, positions, totals; parts vary in place and wording."""
    style = look(low, high)
    sheet = Sheet(width, height, skew=random.uniform(-0.7, 0.7) if random.random() < 0.15 else 0.0)
    content = _content()
    if not _draw(sheet, style, content):
        return None
    drawn = Drawn(sheet)
    _ask(drawn, content)
    random.shuffle(drawn.exchanges)
    del drawn.exchanges[7:]
    if random.random() < 0.6:
        ask_target(drawn, Invoice, _values(content))
    return drawn


def _draw(sheet: Sheet, style: Look, content: _Content) -> bool:
    """Draws all of it from top to bottom; False if it does not fit the page."""
    margin = random.uniform(0.05, 0.1) * sheet.width
    y: float | None = _letterhead(sheet, style, margin, random.uniform(0.03, 0.07) * sheet.height, content)
    facts = [(content.number_label, content.number)]
    facts.append((random.choice(["Date", "Invoice Date", "Issued"]), content.issued.shown))
    if content.due:
        facts.append((random.choice(["Due Date", "Due", "Payment Due"]), content.due.shown))
    if content.order:
        facts.append(("Order No", content.order))
    address = [words.street(), words.city()][: random.randint(0, 2)]
    assert y is not None
    y = _parties(sheet, style, margin, y, content.bill, [content.customer, *address], facts)
    if y is None:
        return False
    y += style.pitch * random.uniform(0.8, 2.0)
    y = _positions(sheet, style, margin, y, content.lines, random.choice([content.symbol, ""]))
    y += style.pitch * random.uniform(0.3, 1.0)
    y = _sums(sheet, style, sheet.width - margin, y, content.sums, content.symbol)
    return y is not None and y <= sheet.height - 4


def _letterhead(sheet: Sheet, style: Look, margin: float, y: float, content: _Content) -> float:
    """The vendor and the word invoice, either of them first; returns the y below the vendor's address."""
    large = style.size * random.uniform(1.5, 2.2)
    left, right = content.vendor, random.choice(["INVOICE", "Invoice", "TAX INVOICE"])
    if sheet.measure(left + right, style.bold, large) > sheet.width - 2 * margin - 20:
        large = style.size * 1.1
    if random.random() < 0.3:
        left, right = right, left
    sheet.text(margin, y, left, style.bold, large, color=style.accent)
    sheet.text(sheet.width - margin, y, right, style.bold, large, align="right", color=style.ink)
    y += large * 1.5
    town = f"{words.city()}, {random.choice(words.STATES)} {random.randint(10000, 99999)}"
    for text in [words.street(), town][: random.randint(0, 2)]:
        sheet.text(margin, y, text, style.regular, style.size, color=style.ink)
        y += style.pitch
    return y + style.pitch * random.uniform(0.5, 1.5)


def _ask(drawn: Drawn, content: _Content) -> None:
    def ask(answer: str, *questions: str) -> None:
        drawn.ask(random.choice(questions), answer)

    by_label = f"What is the {content.number_label.rstrip(' #.')}?"
    ask(content.number, *["What is the invoice number?"] * 3, by_label)
    ask(
        content.issued.shown,
        "What is the invoice date?",
        "What is the date of the invoice?",
        "What is the date?",
    )
    total = words.money(content.total, content.symbol)
    ask(
        total,
        "What is the total?",
        "What is the total amount?",
        "What is the amount due?",
        "What is the invoice total?",
    )
    ask(content.vendor, "Who sent the invoice?", "Who is the vendor?", "What is the vendor?")
    ask(content.customer, "Who is the customer?", "Who is billed?", f"{content.bill}?")
    if content.due:
        ask(content.due.shown, "What is the due date?", "When is the invoice due?", "When is payment due?")
    if content.order:
        ask(content.order, "What is the order number?")
    named = {content.subtotal: "subtotal", content.tax: "tax"}
    for label, amount in content.sums[:-1]:
        ask(words.money(amount, content.symbol), f"What is the {named[amount]}?", what_is(label))
    drawn.exchanges += _position_questions(content.lines)


def _values(content: _Content) -> dict[str, object]:
    """The fields of the target Invoice."""
    return {
        "number": content.number,
        "date": content.issued.json,
        "vendor": content.vendor,
        "customer": content.customer,
        "total": figure(content.total),
        "due_date": content.due.json if content.due else None,
        "currency": {"$": "USD", "£": "GBP", "€": "EUR"}.get(content.symbol),
        "subtotal": None if content.subtotal is None else figure(content.subtotal),
        "tax": None if content.tax is None else figure(content.tax),
        "items": [
            {
                "description": line.name,
                "quantity": line.quantity,
                "unit_price": figure(line.price),
                "amount": figure(line.amount),
            }
            for line in content.lines
        ],
    }


def _parties(
    sheet: Sheet,
    style: Look,
    margin: float,
    y: float,
    bill: str,
    party: list[str],
    facts: list[tuple[str, str]],
) -> float | None:
    """The customer and the invoice's facts, side by side or stacked; the y below, None if they do not fit."""
    side_by_side = sheet.width > style.size * 34 and random.random() < 0.7
    colon = random.choice([":", ":", ""])
    sheet.text(margin, y, bill + colon, style.bold, style.size, color=style.ink)
    below = y + style.pitch
    for text in party:
        if not fits(
            sheet, text, style.regular, style.size, sheet.width / (2 if side_by_side else 1) - margin
        ):
            return None
        sheet.text(margin, below, text, style.regular, style.size, color=style.ink)
        below += style.pitch
    x, line = (sheet.width * 0.55, y) if side_by_side else (margin, below + style.pitch * 0.6)
    offset = max(sheet.measure(f"{name}{colon} ", style.bold, style.size) for name, _ in facts)
    aligned = random.random() < 0.6
    for name, text in random.sample(facts, len(facts)) if random.random() < 0.3 else facts:
        shown = f"{name}{colon} "
        sheet.text(x, line, shown, style.bold, style.size, color=style.ink)
        step = offset + 4 if aligned else sheet.measure(shown, style.bold, style.size)
        end = sheet.text(x + step, line, text, style.regular, style.size, color=style.ink)
        if end > sheet.width - 4:
            return None
        line += style.pitch
    return max(below, line)


def _positions(sheet: Sheet, style: Look, margin: float, y: float, lines: list[Line], symbol: str) -> float:
    head = [random.choice(["Description", "Item", "Product"]), random.choice(["Qty", "Quantity"]),
            random.choice(["Unit Price", "Price", "Rate"]), random.choice(["Amount", "Total"])]  # fmt: skip
    rows = [
        [line.name, str(line.quantity), words.money(line.price, symbol), words.money(line.amount, symbol)]
        for line in lines
    ]
    total = sheet.width - 2 * margin
    side: Align = random.choice(["right", "right", "left"])
    return draw_table(
        sheet, margin, y, [total * 0.43, total * 0.13, total * 0.21, total * 0.23], [head, *rows], style,
        align=["left", side, side, side], pitch=style.size * random.uniform(1.4, 2.0),
    )  # fmt: skip


def _sums(
    sheet: Sheet, style: Look, right: float, y: float, sums: list[tuple[str, float]], symbol: str
) -> float | None:
    left = right - style.size * random.uniform(13, 17)
    for index, (name, value) in enumerate(sums):
        font = style.bold if index == len(sums) - 1 else style.regular
        end = sheet.text(left, y, name, font, style.size, color=style.ink)
        text = words.money(value, symbol)
        if end + sheet.measure(text, font, style.size) + 4 > right:
            return None
        sheet.text(right, y, text, font, style.size, align="right", color=style.ink)
        y += style.pitch
    return y


def _position_questions(lines: list[Line]) -> list[Exchange]:
    asked = []
    for line in random.sample(lines, min(2, len(lines))):
        kind = random.randrange(3)
        question, answer = [
            (f"What is the quantity of {line.name}?", str(line.quantity)),
            (f"What is the amount for {line.name}?", f"{line.amount:,.2f}"),
            (f"What is the unit price of {line.name}?", f"{line.price:,.2f}"),
        ][kind]
        asked.append(Exchange(question_prompt(question), answer))
    return asked
