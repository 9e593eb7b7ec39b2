"""Forms: labels and their values, composed of rows of boxes, blanks, grids and check boxes."""

from __future__ import annotations

import random

from jobs.nano.synthetic import blocks, words
from jobs.nano.synthetic.layout import Page, chance
from jobs.nano.synthetic.words import Value

LABELS = (
    "Invoice No,Invoice Date,Due Date,Order No,Customer,Customer ID,Account No,Total,Subtotal,Tax,VAT,"
    "Discount,Shipping,Amount Due,Balance,Payment Terms,Purchase Order,Name,Full Name,Address,City,State,"
    "Zip Code,Country,Phone,Fax,Email,Website,Date,Time,Reference,Contract No,Policy No,Claim No,Patient,"
    "Physician,Department,Employee,Employee ID,Position,Salary,Bonus,Start Date,End Date,Term,Rate,"
    "Interest Rate,Principal,Currency,Vendor,Supplier,Ship To,Bill To,Tracking No,Carrier,Weight,Quantity,"
    "Unit Price,Item,SKU,Category,Description,Color,Size,Model,Serial No,Batch,Lot,Expires,Date of Birth,"
    "Gender,Nationality,Passport No,License No,Flight,Gate,Seat,Departure,Arrival,From,To,Subject,Title,"
    "Author,Publisher,Year,Page,Volume,Section,Status,Approved By,Signed By,Prepared By,Manager,Project,"
    "Task,Budget,Cost,Profit,Revenue,Expenses,Net Income,Region,Market,Share,Score,Grade,Course,Student,"
    "School,Room,Building,Floor,Membership No,Insurance,Occupation,Employer,Signature Date,"
    "Emergency Contact,Relationship,Visit Date,Diagnosis,Doctor,CC,Attn,Re,Remarks,Comments,Company,"
    "Division,Telephone No,Fax No,No. of Pages,Brand,Promotion,Estimated Cost,Date Required,Date Issued,"
    "Requested By,Authorized By,Checked By,Received By,Received Date,Number of Copies,Sample No,Test Code,"
    "Method,Results,Purpose,Distribution,Effective Date,Expiration Date,Job No,Client,Product,Media,"
    "Issue Date,Agency,Territory,Sales Rep,District,Chain,Account Name,Store Name,No. of Stores,Case Name,"
    "Court,Filed,Docket No,Attorney,Plaintiff,Defendant,Judge,File No,Your Ref,Our Ref,Delivery Date,"
    "Delivery Terms,Contact Person,Contact,Mobile,Cell Phone,Street,Postal Code,Province,IBAN,BIC,Bank,"
    "Account Holder,Tax ID,Reg. No,Net Weight,Gross Weight,Origin,Destination,Vessel,Container No,Seal No,"
    "Laboratory,Species,Strain,Dose,Compound,Supervisor"
).split(",")
_TAILS = (
    "",
    "",
    "",
    "",
    "",
    "",
    " (if any)",
    " (USD)",
    " / No.",
    " (please print)",
    " (mm/dd/yy)",
    " #",
    " *",
    " of Applicant",
)


def label() -> str:
    kind = random.random()
    if kind < 0.6:
        return random.choice(LABELS) + random.choice(_TAILS)
    if kind < 0.75:
        owner = f"{random.choice(['the', 'this', words.word()])} {random.choice(words.NOUNS)}"
        return f"{random.choice(LABELS)} of {owner}"
    return words.phrase(1, 4 if kind < 0.93 else 8)


def draw_form(page: Page) -> bool:
    """A title, perhaps prose, and rows of fields; two to four times as much as the eye wants."""
    style = page.style
    margin = random.uniform(0.02, 0.09) * page.width
    y, bottom = blocks.furniture(page, margin)
    inner = page.width - 2 * margin
    if chance(0.6):
        y = blocks.heading(page, margin, y, inner)
    if chance(0.15):
        y = blocks.paragraph(page, margin, y, inner, bottom, words.prose(1, 2))
    kinds = random.sample(["inline", "column", "below", "boxed", "blank", "grid"], k=random.randint(1, 3))
    most = random.choice([8, 20, 40, 60])
    used: set[str] = set()
    while y + 3 * style.pitch < bottom and len(page.facts) < most:
        kind = random.choice(kinds)
        if chance(0.08):
            y = blocks.heading(page, margin, y, inner, role="", level=2)
        elif chance(0.07):
            y = _boxes(page, margin, y, inner)
        elif chance(0.06):
            y = blocks.paragraph(page, margin, y, inner, bottom, words.prose(1, 3))
        else:
            y = _row(page, kind, margin, y, inner, used)
        y += style.pitch * random.choice([0.0, 0.1, 0.3, 0.8])
    if chance(0.12):
        blocks.stamp(page)
    if chance(0.1):
        page.readable = False
    return bool(page.facts)


def _row(page: Page, kind: str, x: float, y: float, width: float, used: set[str]) -> float:
    """One row of one to four fields; returns the y below it."""
    style, sheet = page.style, page.sheet
    columns = random.choices([1, 2, 3, 4], [5, 5, 2, 1])[0]
    gap = random.uniform(6, 14)
    wide = (width - gap * (columns - 1)) / columns
    offset = wide * random.uniform(0.3, 0.55)
    separator = (
        random.choice([":", ":", ":", "", " -", "....", " :"]) if kind != "grid" else random.choice(["", ":"])
    )
    pitch = max(style.pitch, style.size * random.uniform(1.15, 1.9))
    bold, said, below = chance(0.4), [], y + pitch
    for column in range(columns):
        left = x + column * (wide + gap)
        name, value = style.label(label()), style.value(words.value())
        if name.lower() in used or chance(0.05):
            continue
        empty = chance(0.06)
        shown = "" if empty else value.shown
        size = style.size * (random.uniform(0.7, 0.9) if kind in ("boxed", "grid") and chance(0.6) else 1.0)
        head = name + separator
        lead = page.measure(head + "  ", bold=bold, size=size)
        room = {"inline": wide - lead, "blank": wide - lead, "column": wide - offset}.get(kind, wide - 6)
        font = style.typed if style.typed != style.regular else None
        lines = _lines(page, shown, room, font)
        if lead > (offset if kind == "column" else wide) or room < 20 or len(lines) > 3:
            continue
        used.add(name.lower())
        page.put(
            left + (2 if kind == "grid" else 0), y + (1 if kind == "grid" else 0), head, bold=bold, size=size
        )
        at_x, at_y = left + lead, y
        if kind == "column":
            at_x = left + offset
        elif kind in ("below", "boxed", "grid"):
            at_x, at_y = left + (4 if kind != "below" else 0), y + size * 1.3
        first = None
        for index, line in enumerate(lines):
            at = page.put(at_x, at_y + index * style.size * 1.15, line, font=font)
            first = at if first is None else first
        end = at_y + max(1, len(lines)) * style.size * 1.15
        if kind == "blank":
            sheet.line(at_x - 2, at_y + style.size * 1.02, left + wide, at_y + style.size * 1.02, width=0.5)
        elif kind in ("boxed", "grid"):
            box_top = y - 1 if kind == "grid" else at_y - 1
            sheet.box(
                left, box_top, wide, end - box_top + 2, stroke=random.choice([style.ink, (0.5, 0.5, 0.5)])
            )
        below = max(below, end + (4 if kind in ("boxed", "grid") else 0))
        said.append(f"{head} {shown}".strip())
        if first is not None:
            page.fact(name, value, first)
    if said:
        page.say("  \n".join(said))
    return below


def _lines(page: Page, text: str, room: float, font: str | None) -> list[str]:
    """The lines of a value in its own face."""
    lines, line = [], ""
    for word in text.split():
        grown = f"{line} {word}" if line else word
        if (
            line
            and page.sheet.measure(grown, font or page.style.regular, page.style.size, page.style.stretch)
            > room
        ):
            lines.append(line)
            line = word
        else:
            line = grown
    if not line:
        return lines
    wide = page.sheet.measure(line, font or page.style.regular, page.style.size, page.style.stretch)
    return [*lines, line] if wide <= room else [*lines, *[line] * 4]


def _boxes(page: Page, x: float, y: float, width: float) -> float:
    """Check boxes, one of which is ticked."""
    style, sheet = page.style, page.sheet
    name = style.label(label())
    names = [style.label(words.phrase(1, 2)) for _ in range(random.randint(2, 4))]
    left = x + page.measure(name + ":  ")
    if left + sum(page.measure(n) + 2.5 * style.size for n in names) > x + width or len(set(names)) < len(
        names
    ):
        return y
    page.put(x, y, name + ":")
    ticked = random.choice(names)
    mark = random.choice(["X", "x", "fill"])
    for option in names:
        side = 0.8 * style.size
        sheet.box(
            left,
            y + 0.1 * style.size,
            side,
            side,
            stroke=style.ink,
            fill=style.ink if option == ticked and mark == "fill" else None,
        )
        if option == ticked and mark != "fill":
            sheet.text(left + 0.12 * style.size, y + 0.05 * style.size, mark, style.bold, style.size * 0.9)
        at = page.put(left + 1.15 * style.size, y, option)
        if option == ticked:
            page.fact(name, Value(option, "string", option), at)
            page.ask(f"Is {option} ticked?", "Yes", at)
        elif chance(0.3):
            page.ask(f"Is {option} ticked?", "No", at)
        left += page.measure(option) + 2.5 * style.size
    page.readable = False
    return y + style.pitch
