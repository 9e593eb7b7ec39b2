"""Forms: labels and their values, in the arrangements that forms use."""

from __future__ import annotations

import json
import random
import re

from jobs.nano.synthetic import words
from jobs.nano.synthetic.layout import Drawn, Exchange, Look, fits, look, what_is
from jobs.nano.synthetic.sheet import Sheet
from pipeline.plan.prompts import shape_prompt

LABELS = (
    "Invoice No,Invoice Date,Due Date,Order No,Customer,Customer ID,Account No,Total,Subtotal,"
    "Tax,VAT,Discount,Shipping,Amount Due,Balance,Payment Terms,Purchase Order,Name,Full Name,"
    "Address,City,State,Zip Code,Country,Phone,Fax,Email,Website,Date,Time,Reference,"
    "Contract No,Policy No,Claim No,Patient,Physician,Department,Employee,Employee ID,Position,"
    "Salary,Bonus,Start Date,End Date,Term,Rate,Interest Rate,Principal,Currency,Vendor,"
    "Supplier,Ship To,Bill To,Tracking No,Carrier,Weight,Quantity,Unit Price,Item,SKU,"
    "Category,Description,Color,Size,Model,Serial No,Batch,Lot,Expires,Date of Birth,Gender,"
    "Nationality,Passport No,License No,Flight,Gate,Seat,Departure,Arrival,From,To,Subject,"
    "Title,Author,Publisher,Year,Page,Volume,Section,Status,Approved By,Signed By,"
    "Prepared By,Manager,Project,Task,Budget,Cost,Profit,Revenue,Expenses,Net Income,Region,"
    "Market,Share,Score,Grade,Course,Student,School,Room,Building,Floor,Membership No,"
    "Insurance,Occupation,Employer,Signature Date,Emergency Contact,Relationship,Visit Date,"
    "Diagnosis,Doctor"
).split(",")


def label() -> str:
    return random.choice(LABELS) if random.random() < 0.75 else words.phrase(1, 2)


def field_name(text: str) -> str:
    """The snake_case name of a label, as a target's author would write it."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def draw_form(width: float, height: float, low: float, high: float) -> Drawn | None:
    """Pairs of label and value in one or two columns: beside, aligned, below, or in boxes."""
    style = look(low, high)
    sheet = Sheet(width, height, skew=random.uniform(-0.7, 0.7) if random.random() < 0.15 else 0.0)
    drawn = Drawn(sheet)
    columns = 1 if width < style.size * 26 else random.randint(1, 2)
    arrangement = random.choice(["inline", "inline", "column", "below", "boxed"])
    margin = random.uniform(2, max(3.0, width / 10))
    y = random.uniform(2, max(3.0, height / 10))
    if random.random() < 0.5 and height > 8 * style.size:
        title, large = words.phrase(1, 3), style.size * random.uniform(1.1, 1.8)
        title = title.upper() if random.random() < 0.4 else title
        if fits(sheet, title, style.bold, large, width - margin - 4):
            sheet.text(margin, y, title, style.bold, large, color=style.ink)
            drawn.ask("What is the title?", title)
            y += large * 1.6
    bold_labels = style.bold if random.random() < 0.4 else style.regular
    separator = random.choice([":", ":", ":", "", " -"])
    pitch = style.size * random.uniform(1.25, 2.2)
    step = pitch * (2.1 if arrangement in ("below", "boxed") else 1.0)
    column_width = (width - 2 * margin) / columns
    offset = column_width * random.uniform(0.35, 0.55)
    values: dict[str, words.Value] = {}
    while y + step <= height - 2 and len(values) < 28:
        for column in range(columns):
            name, value = label(), words.value()
            if name in values or random.random() < 0.1:
                continue
            cell = (margin + column * column_width, y, column_width - 6, pitch, offset)
            if _pair(sheet, style, bold_labels, arrangement, name + separator, value.shown, cell):
                values[name] = value
        y += step
        if random.random() < 0.06:
            sheet.line(margin, y, width - margin, y)
            y += 3
    if not values:
        return None
    names = random.sample(list(values), len(values))
    for name in names[:6]:
        drawn.ask(what_is(name), values[name].shown)
    if random.random() < 0.35:
        drawn.exchanges.append(_extraction({name: values[name] for name in names[: random.randint(1, 5)]}))
    random.shuffle(drawn.exchanges)
    return drawn


def _pair(
    sheet: Sheet,
    style: Look,
    label_font: str,
    arrangement: str,
    name: str,
    text: str,
    cell: tuple[float, float, float, float, float],
) -> bool:
    """Draws a label and its value in a cell (x, y, width, pitch, the value's offset); False if too long."""
    x, y, width, pitch, offset = cell
    size, name_width = style.size, sheet.measure(name + " ", label_font, style.size)
    value_width = sheet.measure(text, style.regular, size)
    if arrangement == "inline":
        if name_width + value_width > width:
            return False
        value_x, value_y = x + name_width, y
    elif arrangement == "column":
        if name_width > offset or value_width > width - offset:
            return False
        value_x, value_y = x + offset, y
    else:
        if max(name_width, value_width + 4) > width:
            return False
        value_x, value_y = x + (3 if arrangement == "boxed" else 0), y + pitch
    if arrangement == "boxed":
        sheet.box(x, y + pitch - 0.15 * size, width, size * 1.3, stroke=(0.4, 0.4, 0.4))
    sheet.text(x, y, name, label_font, size, color=style.ink)
    sheet.text(value_x, value_y, text, style.regular, size, color=style.ink)
    return True


def _extraction(values: dict[str, words.Value]) -> Exchange:
    """The same values asked for as JSON, sometimes with a field that the page lacks, which is null."""
    fields = {field_name(name): value for name, value in values.items()}
    shape = {name: value.kind for name, value in fields.items()}
    answer: dict[str, object] = {name: json_value(value) for name, value in fields.items()}
    absent = field_name(random.choice(LABELS))
    if random.random() < 0.3 and absent not in shape:
        shape[absent], answer[absent] = random.choice(["string", "date", "decimal"]), None
    order = random.sample(list(shape), len(shape))
    listed = ", ".join(f'"{name}": {shape[name]}' for name in order)
    return Exchange(shape_prompt("{" + listed + "}"), to_json({name: answer[name] for name in order}))


_MARK = "\0"  # begins a figure on its way through json.dumps, which would write 12.50 as 12.5


def figure(amount: float) -> str:
    """A decimal that `to_json` writes with its two places."""
    return f"{_MARK}{amount:.2f}"


def json_value(value: words.Value) -> object:
    return figure(float(str(value.json))) if value.kind == "decimal" else value.json


def to_json(value: object) -> str:
    """JSON on one line, as the model is trained to write it."""
    return re.sub(r'"\\u0000([^"]*)"', r"\1", json.dumps(value, ensure_ascii=False))
