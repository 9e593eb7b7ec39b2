"""Till receipts: narrow slips, with the questions and the typed target that the jobs ask of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from jobs.nano.synthetic import words
from jobs.nano.synthetic.forms import figure
from jobs.nano.synthetic.layout import Drawn, Look, fits, look
from jobs.nano.synthetic.positions import Line, ask_target, positions, sum_of
from jobs.nano.synthetic.sheet import Sheet
from schemas.targets import Receipt


@dataclass(kw_only=True)
class _Content:
    """What one receipt says."""

    merchant: str = field(default_factory=words.company)
    issued: words.Value = field(default_factory=words.day)
    number: str | None
    cashier: str | None
    symbol: str = field(default_factory=words.symbol)
    lines: list[Line]
    subtotal: float
    tax: float | None
    total: float
    tender: str | None


def _content() -> _Content:
    lines = positions(1, 6)
    subtotal, rate = sum_of(lines), random.choice([0, 0, 5, 7, 8, 10])
    tax = round(subtotal * rate / 100, 2) if rate else None
    return _Content(
        number=str(random.randint(100, 999999)) if random.random() < 0.6 else None,
        cashier=random.choice(words.FIRST_NAMES) if random.random() < 0.4 else None,
        lines=lines,
        subtotal=subtotal,
        tax=tax,
        total=round(subtotal + (tax or 0.0), 2),
        tender=random.choice([None, "Cash", "Card", "VISA"]),
    )


def draw_receipt(width: float, height: float, low: float, high: float) -> Drawn | None:
    """A till receipt: a narrow slip with the merchant on top, positions, a total."""
    style = look(low, high)
    if random.random() < 0.5:
        style = Look("Courier", "Courier-Bold", style.size, style.ink, style.accent)
    sheet, content = Sheet(width, height), _content()
    if not _draw(sheet, style, content):
        return None
    drawn = Drawn(sheet)
    _ask(drawn, content)
    random.shuffle(drawn.exchanges)
    del drawn.exchanges[7:]
    if random.random() < 0.6:
        items = [{"name": line.name, "amount": figure(line.amount)} for line in content.lines]
        values = {"merchant": content.merchant, "date": content.issued.json, "items": items}
        ask_target(drawn, Receipt, values | {"total": figure(content.total)})
    return drawn


def _draw(sheet: Sheet, style: Look, content: _Content) -> bool:
    """Draws all of it from top to bottom; False if it does not fit the slip."""
    margin = random.uniform(0.04, 0.08) * sheet.width
    large = style.size * random.uniform(1.0, 1.5)
    if not fits(sheet, content.merchant, style.bold, large, sheet.width - 2 * margin):
        return False
    y = random.uniform(0.02, 0.06) * sheet.height
    sheet.text(sheet.width / 2, y, content.merchant, style.bold, large, align="center", color=style.ink)
    y = _address(sheet, style, margin, y + large * 1.5) + 0.5 * style.pitch
    facts = [random.choice(["Date: ", "Date ", ""]) + content.issued.shown]
    if content.number:
        facts.append(random.choice(["Receipt No: ", "Receipt # ", "Receipt: "]) + content.number)
    if content.cashier:
        facts.append(f"Cashier: {content.cashier}")
    for text in random.sample(facts, len(facts)):
        sheet.text(margin, y, text, style.regular, style.size, color=style.ink)
        y += style.pitch
    y = _rule(sheet, style, margin, y)
    with_quantity = random.random() < 0.3
    for line in content.lines:
        shown = f"{line.quantity} x {line.name}" if with_quantity else line.name
        amount = words.money(line.amount, content.symbol if random.random() < 0.2 else "")
        if not _entry(sheet, style, style.regular, margin, y, shown, amount):
            return False
        y += style.pitch
    y = _rule(sheet, style, margin, y)
    sums = [] if content.tax is None else [("Subtotal", content.subtotal), ("Tax", content.tax)]
    sums.append((random.choice(["TOTAL", "Total", "Total", "AMOUNT"]), content.total))
    for index, (name, value) in enumerate(sums):
        font = style.bold if index == len(sums) - 1 else style.regular
        if not _entry(sheet, style, font, margin, y, name, words.money(value, content.symbol)):
            return False
        y += style.pitch
    if content.tender:
        sheet.text(margin, y, f"Paid by {content.tender}", style.regular, style.size, color=style.ink)
        y += style.pitch
    return y <= sheet.height - 3


def _address(sheet: Sheet, style: Look, margin: float, y: float) -> float:
    """Up to three centred lines; returns the y below them."""
    for text in [words.street(), words.city(), f"Tel {words.phone()}"][: random.randint(0, 3)]:
        if fits(sheet, text, style.regular, style.size, sheet.width - 2 * margin):
            sheet.text(sheet.width / 2, y, text, style.regular, style.size, align="center", color=style.ink)
            y += style.pitch
    return y


def _entry(sheet: Sheet, style: Look, font: str, margin: float, y: float, name: str, amount: str) -> bool:
    """A name on the left and an amount on the right of one line; False if they do not fit."""
    if not fits(sheet, f"{name}  {amount}", font, style.size, sheet.width - 2 * margin):
        return False
    sheet.text(margin, y, name, font, style.size, color=style.ink)
    sheet.text(sheet.width - margin, y, amount, font, style.size, align="right", color=style.ink)
    return True


def _ask(drawn: Drawn, content: _Content) -> None:
    def ask(answer: str, *questions: str) -> None:
        drawn.ask(random.choice(questions), answer)

    total = words.money(content.total, content.symbol)
    ask(total, "What is the total?", "What is the total amount?", "How much was paid?")
    ask(content.merchant, "What is the name of the store?", "Who is the merchant?", "What is the merchant?")
    ask(content.issued.shown, "What is the date?", "What is the date of the receipt?", "When was it issued?")
    if content.number:
        ask(content.number, "What is the receipt number?")
    if content.cashier:
        ask(content.cashier, "Who is the cashier?", "What is the name of the cashier?")
    if content.tender:
        ask(content.tender, "How was it paid?")
    if content.tax is not None:
        ask(words.money(content.tax, content.symbol), "What is the tax?")
        ask(words.money(content.subtotal, content.symbol), "What is the subtotal?")
    for line in random.sample(content.lines, min(2, len(content.lines))):
        ask(f"{line.amount:,.2f}", f"What is the price of {line.name}?", f"How much is the {line.name}?")


def _rule(sheet: Sheet, style: Look, margin: float, y: float) -> float:
    """A dashed line of the till, drawn or typed."""
    if random.random() < 0.5:
        sheet.line(margin, y + 0.5 * style.size, sheet.width - margin, y + 0.5 * style.size)
    else:
        dash = random.choice("-=*")
        count = int((sheet.width - 2 * margin) / max(sheet.measure(dash, style.regular, style.size), 1))
        sheet.text(margin, y, dash * count, style.regular, style.size, color=style.ink)
    return y + style.pitch
