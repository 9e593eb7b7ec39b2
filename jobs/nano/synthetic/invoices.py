"""Invoices, composed of a letterhead, parties, facts, positions and sums, with distractors among them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from jobs.nano.synthetic import abroad, blocks, letterhead, words
from jobs.nano.synthetic.asking import target
from jobs.nano.synthetic.layout import Page, chance, text_value
from jobs.nano.synthetic.sheet import Align
from jobs.nano.synthetic.tables import ask_cells
from jobs.nano.synthetic.trade import Line, figure, positions, price, sum_of
from jobs.nano.synthetic.words import CURRENCIES, Value
from schemas.targets import Invoice

Row = tuple[str, Value, str]
"""Label, value and role."""


@dataclass(kw_only=True)
class _Content:
    """What one invoice says."""

    vendor: str
    customer: str
    number: str
    issued: Value
    due: Value | None
    symbol: str
    lines: list[Line]
    language: str = ""
    """Of its labels, if not English."""
    amounts_alone: bool = False
    """The positions have neither quantity nor price."""
    subtotal: float | None = None
    tax: float | None = None
    total: float = 0.0


def draw_invoice(page: Page) -> bool:
    """An invoice from top to bottom; False if it does not fit the page."""
    style = page.style
    content = _Content(
        vendor=style.cased(words.company()),
        customer=style.cased(random.choice([words.person, words.company, words.company])()),
        number=style.cased(words.code()),
        issued=style.value(words.day()),
        due=style.value(words.day()) if chance(0.6) else None,
        symbol=words.symbol(),
        language=random.choice(list(abroad.LABELS)) if chance(0.25) else "",
        lines=positions(1, random.choice([2, 6, 14]), caps=style.caps in ("values", "all")),
    )
    if content.language:
        content.symbol = random.choice(["eu€", "eu€", "eu", "€ ", "€"])
    margin = random.uniform(0.04, 0.1) * page.width
    y, bottom = blocks.furniture(page, margin)
    at_foot = chance(0.15)
    y = letterhead.head(page, margin, y, "" if at_foot else content.vendor, content.language)
    facts = _facts(page, content)
    if (below := _parties(page, margin, y, content, facts)) is None:
        return False
    y = below + style.pitch * random.uniform(0.4, 1.6)
    if chance(0.2):
        y = (
            blocks.paragraph(page, margin, y, page.width - 2 * margin, bottom, words.prose(1, 2))
            + style.pitch
        )
    y = _positions(page, margin, y, content)
    y += style.pitch * random.uniform(0.2, 1.0)
    sums = _sums(content)
    place = "below" if chance(0.85) else "left"
    if (
        below := _column(page, sums, page.width - margin if place == "below" else page.width * 0.6, y)
    ) is None:
        return False
    y = _payment(page, margin, below + style.pitch, bottom)
    if at_foot:
        y = letterhead.foot(page, margin, y + style.pitch, content.vendor)
    if y > page.height - 3:
        return False
    if chance(0.15):
        blocks.stamp(page)
    if chance(0.9):
        page.targets.append(target(Invoice, _values(content)))
    return True


def _facts(page: Page, content: _Content) -> list[Row]:
    style = page.style
    rows: list[Row] = [
        (random.choice(["Invoice No", "Invoice Number", "Invoice #", "Number", "No.", "Bill No"]),
         text_value(content.number), "number"),
        (random.choice(["Date", "Invoice Date", "Issued", "Date of Issue", "Invoice date", "Billing Date"]),
         content.issued, "date"),
    ]  # fmt: skip
    if content.due:
        rows.append(
            (random.choice(["Due Date", "Due", "Payment Due", "Due on", "Pay by"]), content.due, "due")
        )
    for chance_of, names, make, role in (
        (0.35, ["Order No", "PO Number", "Your Order", "P.O. No"], words.code, "order"),
        (0.3, ["Customer No", "Account No", "Client ID", "Customer ID"], words.code, ""),
        (0.25, ["Terms", "Payment Terms"], lambda: random.choice(["Net 30", "14 days", "Due on receipt"]),
         "terms"),
        (0.2, ["Delivery Date", "Order Date", "Ship Date", "Service Period"], lambda: words.day().shown, ""),
        (0.2, ["Delivery Note", "Ref", "Your Ref", "Project", "Contract"], words.code, ""),
        (0.15, ["Contact", "Sales Rep", "Handled by"], words.person, ""),
    ):  # fmt: skip
        if chance(chance_of):
            rows.append((random.choice(names), style.value(text_value(make())), role))
    rows = [
        (style.label(abroad.label(content.language, role, name)), value, role) for name, value, role in rows
    ]
    return random.sample(rows, len(rows)) if chance(0.4) else rows


def _parties(page: Page, margin: float, y: float, content: _Content, facts: list[Row]) -> float | None:
    """The customer and the facts: side by side, stacked, or the facts as a table; the y below."""
    style = page.style
    bill = random.choice(["Bill To", "Customer", "Sold To", "Billed to", "Invoice to", "Client", "To", ""])
    bill = style.label(abroad.label(content.language, "customer", bill))
    party = [content.customer, *[style.cased(line) for line in words.address()]]
    side_by_side = chance(0.65)
    room = page.width * (0.48 if side_by_side else 0.9) - margin
    if any(not page.fits(line, room) for line in party):
        return None
    x, below = margin, y
    swap = side_by_side and chance(0.25)
    if swap:
        x = page.width * 0.55
    if bill:
        page.put(x, below, bill + random.choice([":", ""]), bold=chance(0.6))
        below += style.pitch
    at = page.put(x, below, party[0])
    page.fact(bill, text_value(content.customer), at, "customer")
    for line in party[1:]:
        below += style.pitch
        page.put(x, below, line)
    below += style.pitch
    page.say("  \n".join([bill, *party]).strip())
    if (
        chance(0.18)
        and not side_by_side
        and all(page.fits(value.shown, 70) and page.fits(name, 70) for name, value, _ in facts)
    ):
        width = (page.width - 2 * margin) / len(facts)
        if any(
            not page.fits(name, width - 6, bold=True) or not page.fits(value.shown, width - 6)
            for name, value, _ in facts
        ):
            return None
        grid = blocks.put_table(
            page,
            margin,
            below + style.pitch,
            [width] * len(facts),
            [row[0] for row in facts],
            [[row[1].shown for row in facts]],
        )
        for (name, value, role), place in zip(facts, grid.at[0], strict=True):
            page.fact(name, value, place, role)
        return grid.bottom
    left = (margin if swap else page.width * 0.55) if side_by_side else margin
    row_y = y if side_by_side else below + style.pitch
    separator = random.choice([": ", ": ", "  ", " : "]) if side_by_side else ": "
    bold, aligned = chance(0.5), chance(0.6)
    offset = max(page.measure(name + separator, bold=bold) for name, _, _ in facts)
    for name, value, role in facts:
        page.put(left, row_y, name + separator.rstrip(), bold=bold)
        step = offset + 4 if aligned else page.measure(name + separator, bold=bold)
        if left + step + page.measure(value.shown) > page.width - 4:
            return None
        page.fact(name, value, page.put(left + step, row_y, value.shown), role)
        row_y += style.pitch
    page.say("  \n".join(f"{name}{separator}{value.shown}" for name, value, _ in facts))
    return max(below, row_y)


def _positions(page: Page, margin: float, y: float, content: _Content) -> float:
    """The positions, in three to eight columns."""
    style, symbol = page.style, random.choice([content.symbol, "", "plain"])
    amount: dict[str, Callable[[int, Line], str]] = {
        "name": lambda index, line: line.name,
        "quantity": lambda index, line: str(line.quantity),
        "price": lambda index, line: words.money(line.price, symbol),
        "amount": lambda index, line: words.money(line.amount, symbol),
        "index": lambda index, line: str(index + 1),
        "code": lambda index, line: words.code(),
        "unit": lambda index, line: random.choice(["pcs", "ea", "kg", "h", "box"]),
        "tax": lambda index, line: f"{random.choice([0, 5, 7, 10, 19, 20])}%",
        "date": lambda index, line: words.day(6).shown,
    }  # fmt: skip
    heads = {
        "name": ["Description", "Item", "Product", "Service", "Details"],
        "quantity": ["Qty", "Quantity", "Units", "Qty."],
        "price": ["Unit Price", "Price", "Rate", "Price each", "Unit cost"],
        "amount": ["Amount", "Total", "Line Total", "Net amount", "Sum"],
        "index": ["#", "Pos", "No", "Line"],
        "code": ["Code", "SKU", "Item No", "Article"],
        "unit": ["Unit", "UoM"],
        "tax": ["VAT", "Tax", "Tax %"],
        "date": ["Date"],
    }
    columns = ["name", "quantity", "price", "amount"]
    for extra, place in (("index", 0), ("code", 1), ("unit", -2), ("tax", -1), ("date", 0)):
        if chance(0.25) and page.width > style.size * 42:
            columns.insert(place if place >= 0 else len(columns) + place + 1, extra)
    if chance(0.15):
        content.amounts_alone = True
        columns.remove("quantity")
        columns.remove("price")
    body = [[amount[name](index, line) for name in columns] for index, line in enumerate(content.lines)]
    head = [style.label(abroad.label(content.language, name, random.choice(heads[name]))) for name in columns]
    wide = [
        max(page.measure(row[i], bold=not k) for k, row in enumerate([head, *body])) + 8
        for i in range(len(columns))
    ]
    spare = page.width - 2 * margin - sum(wide)
    wide[columns.index("name")] += max(0.0, spare * random.uniform(0.3, 1))
    side: Align = random.choice(["right", "right", "left"])
    align: list[Align] = ["left" if name in ("name", "code", "date") else side for name in columns]
    grid = blocks.put_table(page, margin, y, wide, head, body, align=align)
    ask_cells(page, grid, key=columns.index("name"), most=4)
    return grid.bottom


def _sums(content: _Content) -> list[Row]:
    """Subtotal, tax, shipping, the total, and perhaps what was paid; keeps the amounts in `content`."""
    subtotal, rate = sum_of(content.lines), random.choice([5, 6, 7, 8, 10, 19, 20, 21])
    rows: list[Row] = []
    taxed = chance(0.7)
    if taxed or chance(0.5):
        content.subtotal = subtotal
        rows.append(
            (
                random.choice(["Subtotal", "Net amount", "Net", "Total net", "Sub Total"]),
                price(subtotal, content.symbol),
                "subtotal",
            )
        )
    total = subtotal
    if chance(0.2):
        extra = words.amount(1, 50)
        rows.append((random.choice(["Shipping", "Freight", "Handling"]), price(extra, content.symbol), ""))
        total += extra
    if taxed:
        content.tax = round(subtotal * rate / 100, 2)
        total += content.tax
        rows.append(
            (
                random.choice([f"Tax ({rate}%)", f"VAT {rate}%", "Tax", "VAT", f"{rate}% GST"]),
                price(content.tax, content.symbol),
                "tax",
            )
        )
    content.total = round(total, 2)
    names = [
        "Total",
        "TOTAL",
        "Total Due",
        "Amount Due",
        "Grand Total",
        "Total amount",
        "Invoice total",
        "Balance Due",
        "Total incl. VAT",
    ]
    rows.append((random.choice(names), price(content.total, content.symbol), "total"))
    if chance(0.12):
        rows.append(
            (
                random.choice(["Paid", "Deposit", "Payments received"]),
                price(words.amount(1, 90), content.symbol),
                "",
            )
        )
    return [
        (abroad.label(content.language, role, name) if role else name, value, role)
        for name, value, role in rows
    ]


def _column(page: Page, rows: list[Row], right: float, y: float) -> float | None:
    """Labels and amounts, aligned at the right; the y below, None if they do not fit."""
    style = page.style
    left = right - style.size * random.uniform(14, 20)
    for name, value, role in rows:
        bold = role == "total" and chance(0.7)
        name = style.label(name)
        if left < 3 or page.measure(f"{name}  {value.shown}", bold=bold) > right - left:
            return None
        page.put(left, y, name, bold=bold)
        page.fact(name, value, page.put(right, y, value.shown, bold=bold, align="right"), role)
        page.say(f"{name} {value.shown}")
        y += style.pitch
    return y


def _payment(page: Page, margin: float, y: float, bottom: float) -> float:
    """Bank details and conditions in small type, as far as the page has room."""
    style = page.style
    for name, make, role in (
        ("Bank", words.company, ""), ("IBAN", _iban, "bank"),
        ("BIC", words.code, ""), ("Account", words.code, ""),
    ):  # fmt: skip
        if chance(0.2) and y + style.pitch < bottom:
            value = style.cased(make())
            at = page.put(margin, y, f"{name}: {value}")
            page.fact(name, text_value(value), at + len(name) + 1, role)
            page.say(f"{name}: {value}")
            y += style.pitch
    if chance(0.3):
        y = blocks.paragraph(page, margin, y, page.width - 2 * margin, bottom, words.prose(1, 3))
    return y


def _iban() -> str:
    return " ".join([f"DE{random.randint(10, 99)}", *[str(random.randint(1000, 9999)) for _ in range(3)]])


def _values(content: _Content) -> dict[str, object]:
    """The fields of the target Invoice."""
    return {
        "number": content.number,
        "date": content.issued.json,
        "vendor": content.vendor,
        "customer": content.customer,
        "total": figure(content.total),
        "due_date": content.due.json if content.due else None,
        "currency": CURRENCIES.get(content.symbol),
        "subtotal": None if content.subtotal is None else figure(content.subtotal),
        "tax": None if content.tax is None else figure(content.tax),
        "items": [
            {
                "description": line.name,
                "quantity": None if content.amounts_alone else line.quantity,
                "unit_price": None if content.amounts_alone else figure(line.price),
                "amount": figure(line.amount),
            }
            for line in content.lines
        ],
    }
