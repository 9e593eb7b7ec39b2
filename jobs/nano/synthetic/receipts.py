"""Till receipts: narrow slips with many lines, and the typed target that the jobs ask of them."""

from __future__ import annotations

import random

from jobs.nano.synthetic import words
from jobs.nano.synthetic.asking import target
from jobs.nano.synthetic.layout import Page, chance, text_value
from jobs.nano.synthetic.sheet import Align
from jobs.nano.synthetic.trade import Line, figure, positions, price, sum_of
from jobs.nano.synthetic.words import Value
from schemas.targets import Receipt

_THANKS = (
    "Thank you,Thank you for shopping with us,Goods sold are not returnable,Please come again,"
    "Have a nice day,No refund without receipt,This is a computer generated receipt,"
    "Exchange within 7 days with receipt"
).split(",")


class _Slip:
    """A cursor that writes lines down a slip."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.margin = random.uniform(0.02, random.choice([0.09, 0.16])) * page.width
        self.y = random.uniform(0.01, 0.08) * page.height
        self.inner = page.width - 2 * self.margin
        self.said: list[str] = []

    def line(
        self, text: str, side: Align = "left", *, bold: bool = False, size: float | None = None
    ) -> int | None:
        """Text, broken where it is too long; the number of its first glyph."""
        page, first = self.page, None
        for part in page.wrap(text, self.inner, bold=bold, size=size):
            x = {"left": self.margin, "center": page.width / 2, "right": page.width - self.margin}[side]
            at = page.put(x, self.y, part, align=side, bold=bold, size=size)
            first = at if first is None else first
            self.y += (size or page.style.size) * page.style.loose
            self.said.append(part)
        return first

    def pair(
        self, left: str, right: str, *, bold: bool = False, size: float | None = None
    ) -> tuple[int, int] | None:
        """A text on the left and one on the right of a line; None if they do not fit."""
        page = self.page
        if not page.fits(f"{left}  {right}", self.inner, bold=bold, size=size):
            return None
        first = page.put(self.margin, self.y, left, bold=bold, size=size)
        second = page.put(page.width - self.margin, self.y, right, align="right", bold=bold, size=size)
        self.y += (size or page.style.size) * page.style.loose
        self.said.append(f"{left} {right}")
        return first, second

    def rule(self) -> None:
        page = self.page
        if chance(0.4):
            page.sheet.line(
                self.margin,
                self.y + 0.5 * page.style.size,
                page.width - self.margin,
                self.y + 0.5 * page.style.size,
            )
            self.y += page.style.pitch
        elif chance(0.8):
            dash = random.choice("-=*_")
            self.line(dash * int(self.inner / max(page.measure(dash), 1)))
            self.said.pop()

    def full(self) -> bool:
        return self.y > self.page.height - 2


def draw_receipt(page: Page) -> bool:
    """A merchant on top, facts, positions, sums, perhaps a table of taxes."""
    slip, style = _Slip(page), page.style
    shop = style.cased(words.company())
    shop = shop.upper() if chance(0.4) else shop
    side: Align = "center" if chance(0.8) else "left"
    for _ in range(random.choice([0, 0, 0, 0, 1, 2, 4])):  # what may stand above the name
        slip.line(style.cased(random.choice([random.choice(_THANKS), words.phone(), words.code()])), "center")
    size, bold = style.size * random.uniform(1.0, 1.5), chance(0.5)
    parts = shop.split()
    cut = random.randint(1, len(parts) - 1) if len(parts) > 2 and chance(0.3) else len(parts)
    at = slip.line(" ".join(parts[:cut]), side, bold=bold, size=size)
    if cut < len(parts):
        slip.line(" ".join(parts[cut:]), side, bold=bold, size=size)
    page.fact("", text_value(shop), at or 0, "shop")
    _head(slip, side)
    issued = style.value(words.day())
    at_foot = chance(0.25)
    _facts(slip, None if at_foot else issued)
    lines = positions(1, random.choice([3, 6, 15]), caps=chance(0.5) or style.caps != "")
    symbol = random.choice([words.symbol(), "", "plain"])
    slip.rule()
    if chance(0.4):
        slip.pair(
            random.choice(["Item", "Description", "DESCRIPTION", "Qty Item"]),
            random.choice(["Amount", "RM", "Price", "TOTAL"]),
        )
    for line in lines:
        if not _position(slip, line, symbol if chance(0.4) else "plain" if symbol == "plain" else ""):
            return False
    slip.rule()
    total = _sums(slip, lines, symbol)
    if total is None or slip.full():
        return False
    if at_foot:
        _foot(slip, issued)
    for _ in range(random.randint(0, 5)):
        if slip.y + 2 * style.pitch < page.height:
            slip.line(style.cased(random.choice(_THANKS) if chance(0.7) else words.sentence()), "center")
    if slip.full():
        return False
    page.say("  \n".join(slip.said))
    if chance(0.9):
        items = [{"name": line.name, "amount": figure(line.amount)} for line in lines]
        page.targets.append(
            target(Receipt, {"merchant": shop, "date": issued.json, "items": items, "total": figure(total)})
        )
    return True


def _head(slip: _Slip, side: Align) -> None:
    page, style = slip.page, slip.page.style
    if chance(0.4):
        slip.line(
            style.cased(f"({random.choice(['Co. Reg No', 'Reg', 'Company No', 'ROC'])}: {words.code()})"),
            side,
        )
    if chance(0.8):
        lines = [style.cased(line) for line in words.address()]
        if chance(0.3):
            lines = [", ".join(lines)]
        first = None
        shown = []
        for text in lines:
            before = len(slip.said)
            at = slip.line(text, side)
            first = at if first is None else first
            shown += slip.said[before:]
        page.fact("", text_value(" ".join(shown)), first or 0, "address")
    for role, names, make in (
        ("phone", ["Tel", "Tel No", "Phone", "TEL"], words.phone),
        ("fax", ["Fax", "FAX"], words.phone),
        ("taxid", ["GST ID", "GST No", "VAT Reg", "Tax ID", "SST No"], words.code),
        ("website", ["Web", ""], words.website),
    ):
        if chance(0.4):
            name, value = random.choice(names), style.cased(make())
            at = slip.line(f"{name}: {value}" if name else value, side)
            page.fact(
                style.cased(name),
                text_value(value),
                (at or 0) + (len(name.replace(" ", "")) + 1 if name else 0),
                role,
            )
    if chance(0.4):
        slip.line(
            random.choice(
                ["TAX INVOICE", "RECEIPT", "CASH SALES", "INVOICE", "SALES RECEIPT", "Tax Invoice"]
            ),
            "center",
            bold=True,
        )
    slip.rule()


def _foot(slip: _Slip, issued: Value) -> None:
    """The date at the end, without a label, among a till's codes."""
    page, codes = slip.page, [words.clock(), *[words.code() for _ in range(random.randint(0, 3))]]
    before = [codes.pop(0)] if codes and chance(0.3) else []
    text = " ".join([*before, issued.shown, *codes])
    if not page.fits(text, slip.inner):
        before, text = [], issued.shown
    slip.rule()
    at = slip.line(text, random.choice(["left", "center"]))
    page.fact("", issued, (at or 0) + len("".join("".join(before).split())), "date")


def _facts(slip: _Slip, issued: Value | None) -> None:
    """Date, number and others in any order, one or two a line."""
    page, style = slip.page, slip.page.style
    clock = words.clock()
    rows = []
    if issued:
        rows.append((random.choice(["Date", "Date", "DATE", "Invoice Date", "Bizdate", ""]), issued, "date"))
    for chance_of, names, make, role in (
        (0.6, ["Receipt No", "Receipt #", "Invoice No", "Bill No", "Doc No"], words.code, "number"),
        (0.4, ["Cashier", "Served by", "Operator"], lambda: random.choice(words.FIRST_NAMES), "cashier"),
        (0.4, ["Time", "TIME"], lambda: clock, "time"),
        (0.3, ["Table", "Counter", "Till", "Terminal", "POS"], lambda: str(random.randint(1, 99)), ""),
        (0.2, ["Member", "Customer", "Sold to"], words.person, "customer"),
        (0.2, ["Ref", "Approval Code", "Batch"], words.code, ""),
    ):  # fmt: skip
        if chance(chance_of):
            rows.append((random.choice(names), text_value(style.cased(make())), role))
    separator, spread = random.choice([": ", " : ", " ", ":"]), chance(0.3)
    for name, value, role in random.sample(rows, len(rows)):
        name = style.label(name)
        head = f"{name}{separator}" if name else ""
        if spread and name:
            places = slip.pair(head.strip(), value.shown)
            at = places[1] if places else slip.line(head + value.shown)
        else:
            tail = f" {words.clock()}" if role == "date" and chance(0.3) else ""
            at = slip.line(head + value.shown + tail)
            at = (at or 0) + len("".join(head.split()))
        page.fact(name, value, at or 0, role)


def _position(slip: _Slip, line: Line, symbol: str) -> bool:
    """A position in one to three lines."""
    page, shown = slip.page, price(line.amount, symbol)
    each = words.money(line.price, symbol)
    kind = random.randrange(4)
    if kind == 0:
        places = slip.pair(line.name, shown.shown)
    elif kind == 1:
        places = slip.pair(f"{line.quantity} {line.name}", shown.shown)
    else:
        slip.line(line.name if kind == 2 else f"{random.randint(10_000, 9_999_999_999)} {line.name}")
        places = slip.pair(f"  {line.quantity} {random.choice(['x', '@', 'X'])} {each}", shown.shown)
    if places is None or slip.full():
        return False
    page.fact(line.name, shown, places[1], "price")
    if kind != 0:
        page.ask(random.choice([f"How many {line.name} were bought?", f"What is the quantity of {line.name}?",
                                f"How many {line.name} are there?"]), str(line.quantity))  # fmt: skip
    return True


def _sums(slip: _Slip, lines: list[Line], symbol: str) -> float | None:
    """Subtotal, tax, rounding, total, cash and change; the total, None if they do not fit."""
    page, style = slip.page, slip.page.style
    subtotal, rate = sum_of(lines), random.choice([0, 0, 5, 6, 7, 8, 10, 19])
    tax = round(subtotal * rate / 100, 2)
    total = round(subtotal + tax, 2)
    rounding = round(random.choice([-0.02, -0.01, 0.01, 0.02]), 2) if chance(0.25) and total > 1 else 0.0
    rows: list[tuple[str, float, str]] = []
    if rate or chance(0.4):
        rows.append(
            (
                random.choice(["Subtotal", "Sub Total", "Total Excl. Tax", "Net", "SUBTOTAL"]),
                subtotal,
                "subtotal",
            )
        )
    if rate:
        rows.append(
            (
                random.choice([f"GST {rate}%", f"Tax {rate}%", "Tax", f"VAT ({rate}%)", "Service Tax"]),
                tax,
                "tax",
            )
        )
    if chance(0.15):
        rows.append((random.choice(["Discount", "Total Discount"]), 0.0, ""))
    if rounding:
        rows += [("Total Incl. Tax", total, ""), (random.choice(["Rounding", "Rounding Adj"]), rounding, "")]
        total = round(total + rounding, 2)
    name = random.choice(
        [
            "TOTAL",
            "Total",
            "Total",
            "AMOUNT",
            "Total Amount",
            "Grand Total",
            "NET TOTAL",
            "Total Due",
            "Balance Due",
            "Total Rounded",
            "Total Payable",
            f"Total Incl. GST {rate}%",
            "Total RM Incl. of GST",
            "Total Sales (Inclusive of GST)",
            "Total (Incl. Tax)",
        ]
    )
    rows.append((name, total, "total"))
    if chance(0.6):
        given = total + random.choice([0.0, 0.5, 1.0, 5.0, 10.0, 50.0])
        rows.append(
            (random.choice(["Cash", "CASH", "Cash Tendered", "VISA", "Card", "Amount Paid"]), given, "cash")
        )
        rows.append((random.choice(["Change", "CHANGE", "Change Due"]), round(given - total, 2), "change"))
    if chance(0.15):
        rows.append((random.choice(["Total Savings", "You Saved", "Points"]), words.amount(0.1, 20), ""))
    if chance(0.2):
        rows.insert(
            0,
            (
                random.choice(["Item Count", "Total Qty", "No. of Items"]),
                float(sum(line.quantity for line in lines)),
                "count",
            ),
        )
    for name, amount, role in rows:
        shown = text_value(str(int(amount))) if role == "count" else price(amount, symbol)
        large = style.size * (random.uniform(1.0, 1.5) if role == "total" and chance(0.4) else 1.0)
        places = slip.pair(style.label(name), shown.shown, bold=role == "total" and chance(0.6), size=large)
        if places is None:
            return None
        page.fact(style.label(name), shown, places[1], "" if role == "count" else role)
    if chance(0.3):
        method = random.choice(["Cash", "VISA", "Mastercard", "Card", "Debit Card", "Cheque", "E-Wallet"])
        method, head = style.cased(method), random.choice(["Paid by", "Payment:", "Tender"])
        at = slip.line(f"{head} {method}")
        page.fact("", text_value(method), (at or 0) + len("".join(head.split())), "payment")
    if rate and chance(0.3):
        slip.line("GST Summary     Amount    Tax")
        slip.line(f"SR {rate}%   {subtotal:,.2f}   {tax:,.2f}")
    return total
