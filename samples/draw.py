"""Draws the sample documents and writes their questions and expected answers: python -m samples.draw

Ten documents of the kinds that Quire is for, in the formats that it reads: PDFs, a PNG, a JPEG scan, a
WebP, a TIFF of two pages. None of them is part of nano's training. Needs the [train] extra; the results
are committed, so nobody has to run this.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from jobs.nano.synthetic.sheet import Align, Color, Sheet
from pipeline.rasterize.pdf import open_document, rasterize

FOLDER = Path(__file__).parent
A4 = (595.0, 842.0)
SANS, SANS_BOLD = "Helvetica", "Helvetica-Bold"
SERIF, SERIF_BOLD = "Times-Roman", "Times-Bold"
MONO, MONO_BOLD = "Courier", "Courier-Bold"
BLUE, GREY, GREEN, ORANGE = (0.12, 0.25, 0.5), (0.45, 0.45, 0.45), (0.2, 0.5, 0.3), (0.85, 0.45, 0.1)


@dataclass
class Sample:
    """One document: its file's name and bytes, and (page, question, accepted answers)."""

    name: str
    data: bytes
    asked: list[tuple[int, str, list[str]]] = field(default_factory=list)


def rows(
    sheet: Sheet,
    x: float,
    y: float,
    widths: list[float],
    cells: list[list[str]],
    *,
    fonts: tuple[str, str],
    size: float,
    pitch: float,
    numbers: Align = "right",
) -> float:
    """A table with a bold head and a rule under it, the first column left, the others as `numbers` says."""
    for index, row in enumerate(cells):
        left = x
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            align: Align = "left" if column == 0 else numbers
            anchor = {"left": left + 2, "center": left + width / 2, "right": left + width - 2}[align]
            sheet.text(anchor, y, cell, fonts[1] if index == 0 else fonts[0], size, align=align)
            left += width
        y += pitch
        if index == 0:
            sheet.line(x, y - 3, x + sum(widths), y - 3)
    return y


def invoice() -> Sample:
    sheet = Sheet(*A4)
    sheet.text(48, 44, "Harbour Office Supplies Ltd", SANS_BOLD, 20, color=BLUE)
    sheet.text(547, 46, "INVOICE", SANS_BOLD, 18, align="right")
    sheet.text(48, 72, "18 Quay Street", SANS, 11)
    sheet.text(48, 87, "Bristol, BS1 4RW", SANS, 11)
    sheet.text(48, 128, "Bill To:", SANS_BOLD, 12)
    for index, text in enumerate(["Meridian Travel Group", "205 Castle Road", "Reading"]):
        sheet.text(48, 146 + 16 * index, text, SANS, 12)
    facts = [
        ("Invoice No:", "HS-20417"),
        ("Invoice Date:", "12 March 2024"),
        ("Due Date:", "11 April 2024"),
        ("Order No:", "PO-7731"),
    ]
    for index, (name, text) in enumerate(facts):
        sheet.text(340, 128 + 17 * index, name, SANS_BOLD, 12)
        sheet.text(440, 128 + 17 * index, text, SANS, 12)
    cells = [
        ["Description", "Qty", "Unit Price", "Amount"],
        ["Desk lamp", "4", "32.50", "130.00"],
        ["Office chair", "2", "148.00", "296.00"],
        ["Paper, A4 box", "10", "21.75", "217.50"],
        ["Whiteboard", "1", "89.90", "89.90"],
    ]
    y = rows(sheet, 48, 232, [230, 60, 100, 109], cells, fonts=(SANS, SANS_BOLD), size=12, pitch=22)
    sheet.line(48, y + 2, 547, y + 2)
    for name, text, font in [
        ("Subtotal", "£733.40", SANS),
        ("VAT 20%", "£146.68", SANS),
        ("Total", "£880.08", SANS_BOLD),
    ]:
        y += 20
        sheet.text(400, y, name, font, 12)
        sheet.text(545, y, text, font, 12, align="right")
    sheet.text(48, 780, "Payment within 30 days. Thank you for your business.", SANS, 10, color=GREY)
    return Sample(
        "invoice.pdf",
        sheet.pdf(),
        [
            (1, "What is the invoice number?", ["HS-20417"]),
            (1, "What is the due date?", ["11 April 2024"]),
            (1, "What is the total?", ["£880.08", "880.08"]),
            (1, "Who is the vendor?", ["Harbour Office Supplies Ltd"]),
            (1, "What is the unit price of Office chair?", ["148.00"]),
        ],
    )


def scan() -> Sample:
    """A typewritten invoice, scanned askew at 150 dpi: grey, noisy, JPEG."""
    sheet = Sheet(*A4, skew=0.5)
    sheet.text(60, 60, "Fairview Plumbing Co.", SERIF_BOLD, 22)
    sheet.text(60, 90, "77 Mill Lane, Dover", SERIF, 13)
    sheet.text(60, 130, "Invoice", SERIF_BOLD, 17)
    for index, (name, text) in enumerate(
        [
            ("Number", "FP-3306"),
            ("Date", "September 9, 2023"),
            ("Customer", "Rosa Delgado"),
            ("Order No", "D 5521"),
        ]
    ):
        sheet.text(60, 166 + 19 * index, f"{name}:", SERIF_BOLD, 13)
        sheet.text(150, 166 + 19 * index, text, SERIF, 13)
    cells = [
        ["Item", "Quantity", "Price", "Total"],
        ["Copper pipe", "6", "14.20", "85.20"],
        ["Kitchen tap", "1", "119.00", "119.00"],
        ["Labour hour", "5", "45.00", "225.00"],
    ]
    y = rows(sheet, 60, 262, [200, 80, 90, 100], cells, fonts=(SERIF, SERIF_BOLD), size=13, pitch=22)
    for name, text in [("Subtotal", "$429.20"), ("Tax", "$34.34"), ("Total Due", "$463.54")]:
        y += 20
        sheet.text(370, y, name, SERIF_BOLD if "Due" in name else SERIF, 13)
        sheet.text(528, y, text, SERIF_BOLD if "Due" in name else SERIF, 13, align="right")
    page = picture(sheet, 1754)
    grey = np.asarray(page.convert("L").filter(ImageFilter.GaussianBlur(0.6)), dtype=np.float32)
    noise = np.random.default_rng(7).normal(0, 7, grey.shape)
    image = Image.fromarray(np.clip(grey * 0.86 + 22 + noise, 0, 255).astype(np.uint8))
    return Sample(
        "scanned_invoice.jpg",
        encoded(image, "JPEG", quality=72),
        [
            (1, "What is the invoice number?", ["FP-3306"]),
            (1, "What is the date?", ["September 9, 2023"]),
            (1, "Who is the customer?", ["Rosa Delgado"]),
            (1, "What is the amount due?", ["$463.54", "463.54"]),
        ],
    )


def receipt() -> Sample:
    sheet = Sheet(240, 400)
    sheet.text(120, 18, "Corner Bakery", MONO_BOLD, 14, align="center")
    sheet.text(120, 38, "12 Station Road", MONO, 10, align="center")
    sheet.text(14, 66, "Date: 2024-05-17", MONO, 10)
    sheet.text(14, 80, "Receipt No: 48213", MONO, 10)
    sheet.text(14, 94, "Cashier: Martin", MONO, 10)
    sheet.line(14, 114, 226, 114)
    lines = [
        ("Rye bread", "4.80"),
        ("Almond cake", "12.50"),
        ("Coffee beans", "9.95"),
        ("Orange juice", "3.40"),
    ]
    for index, (name, text) in enumerate(lines):
        sheet.text(14, 122 + 16 * index, name, MONO, 10)
        sheet.text(226, 122 + 16 * index, text, MONO, 10, align="right")
    sheet.line(14, 192, 226, 192)
    for index, (name, text) in enumerate([("Subtotal", "$30.65"), ("Tax", "$2.45"), ("TOTAL", "$33.10")]):
        font = MONO_BOLD if name == "TOTAL" else MONO
        sheet.text(14, 200 + 16 * index, name, font, 10)
        sheet.text(226, 200 + 16 * index, text, font, 10, align="right")
    sheet.text(14, 256, "Paid by Card", MONO, 10)
    return Sample(
        "receipt.png",
        encoded(picture(sheet, 1000), "PNG"),
        [
            (1, "What is the total?", ["$33.10", "33.10"]),
            (1, "What is the name of the store?", ["Corner Bakery"]),
            (1, "What is the price of Almond cake?", ["12.50"]),
            (1, "What is the receipt number?", ["48213"]),
        ],
    )


def form() -> Sample:
    sheet = Sheet(*A4)
    sheet.text(50, 48, "Membership Application", SANS_BOLD, 18)
    left = [
        ("Full Name", "Amelia Thornton"),
        ("Date of Birth", "1987-11-23"),
        ("Address", "9 Willow Avenue"),
        ("City", "Norwich"),
        ("Phone", "(316) 555-0142"),
    ]
    right = [
        ("Membership No", "MB-60915"),
        ("Occupation", "Surveyor"),
        ("Start Date", "2024-02-01"),
        ("Status", "Approved"),
        ("Fee", "$145.00"),
    ]
    for x, pairs in ((50, left), (320, right)):
        for index, (name, text) in enumerate(pairs):
            y = 100 + 46 * index
            sheet.text(x, y, f"{name}:", SANS_BOLD, 11)
            sheet.box(x, y + 15, 225, 18, stroke=GREY)
            sheet.text(x + 4, y + 18, text, SANS, 11.5)
    return Sample(
        "application_form.pdf",
        sheet.pdf(),
        [
            (1, "What is the membership no?", ["MB-60915"]),
            (1, "What is the full name?", ["Amelia Thornton"]),
            (1, "What is the date of birth?", ["1987-11-23"]),
            (1, "What is the occupation?", ["Surveyor"]),
        ],
    )


def table() -> Sample:
    sheet = Sheet(600, 420)
    sheet.text(36, 30, "Garden price list", SANS_BOLD, 22)
    cells = [
        ["Product", "Price"],
        ["Garden bench", "$189.00"],
        ["Watering can", "$24.50"],
        ["Stone lantern", "$76.20"],
        ["Tool shed", "$1,340.00"],
        ["Plant pot", "$8.75"],
        ["Hedge shears", "$39.90"],
    ]
    rows(sheet, 36, 84, [300, 160], cells, fonts=(SANS, SANS_BOLD), size=16, pitch=30)
    return Sample(
        "price_list.pdf",
        sheet.pdf(),
        [
            (1, "What is the Price of Garden bench?", ["$189.00", "189.00"]),
            (1, "What is the Price of Tool shed?", ["$1,340.00", "1,340.00"]),
            (1, "What is the Price of Plant pot?", ["$8.75", "8.75"]),
            (1, "What is the title?", ["Garden price list"]),
        ],
    )


def bars() -> Sample:
    sheet = Sheet(640, 480)
    series = [("Monday", 128), ("Tuesday", 94), ("Wednesday", 157), ("Thursday", 143), ("Friday", 201)]
    sheet.text(320, 16, "Visitors per day", SANS_BOLD, 18, align="center")
    for index, (name, value) in enumerate(series):
        x, length = 30 + 120 * index, value * 1.7
        sheet.box(x + 18, 440 - length, 80, length, fill=BLUE)
        sheet.text(x + 58, 440 - length - 19, str(value), SANS, 15, align="center")
        sheet.text(x + 58, 446, name, SANS, 15, align="center")
    sheet.line(24, 440, 630, 440)
    return Sample(
        "visitors_chart.png",
        encoded(picture(sheet, 960), "PNG"),
        [
            (1, "What is the value of Wednesday?", ["157"]),
            (1, "Which category has the highest value?", ["Friday"]),
            (1, "Which category has the lowest value?", ["Tuesday"]),
            (1, "What is the title of the chart?", ["Visitors per day"]),
        ],
    )


def across() -> Sample:
    sheet = Sheet(*(700, 400))
    series = [("Rail", 61.4), ("Road", 83.2), ("Air", 22.9), ("Shipping", 47.5)]
    sheet.text(20, 16, "Freight by mode", SANS_BOLD, 20)
    for index, (name, value) in enumerate(series):
        y = 70 + 78 * index
        sheet.text(112, y + 14, name, SANS, 17, align="right")
        sheet.box(120, y, value * 5.8, 48, fill=GREEN)
        sheet.text(126 + value * 5.8, y + 14, f"{value}%", SANS, 17)
    return Sample(
        "freight_chart.pdf",
        sheet.pdf(),
        [
            (1, "What is the value of Shipping?", ["47.5%", "47.5"]),
            (1, "Which category has the lowest value?", ["Air"]),
            (1, "What is the highest value?", ["83.2%", "83.2"]),
        ],
    )


def pie() -> Sample:
    sheet = Sheet(600, 400)
    series: list[tuple[str, float, Color]] = [
        ("Energy", 42.5, BLUE),
        ("Wages", 31.0, GREEN),
        ("Rent", 17.5, ORANGE),
        ("Other", 9.0, GREY),
    ]
    sheet.text(300, 14, "Operating costs", SANS_BOLD, 20, align="center")
    angle = 90.0
    for index, (name, value, color) in enumerate(series):
        sheet.wedge(170, 225, 140, angle, value * 3.6, fill=color)
        angle += value * 3.6
        sheet.box(350, 142 + 40 * index, 16, 16, fill=color)
        sheet.text(376, 142 + 40 * index, f"{name}: {value}%", SANS, 17)
    return Sample(
        "costs_chart.webp",
        encoded(picture(sheet, 900), "WEBP", lossless=True),
        [
            (1, "What is the value of Wages?", ["31.0%", "31.0", "31%"]),
            (1, "Which category has the highest value?", ["Energy"]),
            (1, "What is the value of Rent?", ["17.5%", "17.5"]),
        ],
    )


PROSE = (
    "The year began with strong demand in every region that we serve. Orders grew faster than stock could "
    "follow and the second warehouse opened a month early. Costs of energy stayed high until summer but "
    "fell before winter. The board thanks all employees for their work and our customers for their trust. "
    "New machines will be installed during the next year and training for the teams has already started. "
    "We expect a calm market with moderate growth and stable prices. "
).split()


def prose(sheet: Sheet, x: float, y: float, lines: int, offset: int) -> float:
    """Some lines of running text, from the word `offset` on."""
    for line in range(lines):
        start = (offset + 11 * line) % (len(PROSE) - 11)
        sheet.text(x, y, " ".join(PROSE[start : start + 11]), SERIF, 12)
        y += 17
    return y + 10


def report() -> Sample:
    sheet = Sheet(*A4)
    sheet.text(56, 60, "Annual Report Harbour Group", SERIF_BOLD, 22)
    sheet.text(56, 96, "Prepared by: Helen Marsh", SERIF, 12)
    sheet.text(56, 114, "Date: 2024-01-31", SERIF, 12)
    y = 150.0
    for index, heading in enumerate(["Introduction", "Market", "Outlook"]):
        sheet.text(56, y, f"{index + 1}. {heading}", SERIF_BOLD, 15)
        y = prose(sheet, 56, y + 24, 5, 13 * index)
    sheet.new_page()
    sheet.text(56, 60, "Financial results", SERIF_BOLD, 20)
    cells = [
        ["Year", "Revenue", "Profit"],
        ["2021", "$412,300", "$35,120"],
        ["2022", "$455,870", "$41,960"],
        ["2023", "$498,240", "$47,385"],
    ]
    y = rows(sheet, 56, 104, [140, 140, 140], cells, fonts=(SERIF, SERIF_BOLD), size=13, pitch=24)
    prose(sheet, 56, y + 20, 6, 20)
    sheet.new_page()
    sheet.text(56, 60, "Staff", SERIF_BOLD, 20)
    cells = [
        ["Department", "Employees", "Manager"],
        ["Logistics", "84", "Ivan Petrov"],
        ["Design", "23", "Lucy Chan"],
        ["Finance", "17", "Omar Haddad"],
    ]
    y = rows(
        sheet, 56, 104, [150, 120, 170], cells, fonts=(SERIF, SERIF_BOLD), size=13, pitch=24, numbers="left"
    )
    prose(sheet, 56, y + 20, 6, 40)
    return Sample(
        "annual_report.pdf",
        sheet.pdf(),
        [
            (1, "What is the title of the report?", ["Annual Report Harbour Group"]),
            (1, "What is the heading of section 3?", ["Outlook"]),
            (2, "What is the Revenue of 2022?", ["$455,870", "455,870"]),
            (2, "What is the Profit of 2023?", ["$47,385", "47,385"]),
            (3, "What is the Manager of Design?", ["Lucy Chan"]),
        ],
    )


def note() -> Sample:
    """A delivery note of two pages, as an archive stores its scans: two grey frames of one TIFF."""
    pages = []
    for pairs in (
        [
            ("Delivery Note", "DN-88120"),
            ("Carrier", "Swift Freight"),
            ("Weight", "126 kg"),
            ("Ship To", "Calder & Sons"),
        ],
        [("Received By", "Tom Ashby"), ("Date", "2024-06-03"), ("Condition", "Undamaged"), ("Boxes", "14")],
    ):
        sheet = Sheet(*A4)
        for index, (name, text) in enumerate(pairs):
            sheet.text(60, 80 + 34 * index, f"{name}:", SANS_BOLD, 15)
            sheet.text(220, 80 + 34 * index, text, SANS, 15)
        pages.append(picture(sheet, 1400).convert("L"))
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    return Sample(
        "delivery_note.tiff",
        buffer.getvalue(),
        [
            (1, "What is the Delivery Note?", ["DN-88120"]),
            (1, "What is the carrier?", ["Swift Freight"]),
            (2, "Received By?", ["Tom Ashby"]),
            (2, "What is the condition?", ["Undamaged"]),
        ],
    )


def picture(sheet: Sheet, longest: int) -> Image.Image:
    """The sheet as an image whose longest edge has about that many pixels."""
    with open_document(sheet.pdf(), "sample.pdf") as opened:
        return Image.fromarray(rasterize(opened, 1, max_side=longest, patch_size=2)[0])


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def samples() -> Iterator[Sample]:
    for draw in (invoice, scan, receipt, form, table, bars, across, pie, report, note):
        yield draw()


def main() -> None:
    documents = FOLDER / "documents"
    documents.mkdir(exist_ok=True)
    questions, expected = [], []
    for sample in samples():
        (documents / sample.name).write_bytes(sample.data)
        for number, (page, text, answers) in enumerate(sample.asked, start=1):
            key = f"{Path(sample.name).stem}-{number}"
            questions.append({"id": key, "text": text, "documents": sample.name, "pages": [page]})
            expected.append({"document": sample.name, "page": page, "question": text, "answers": answers})
    for name, lines in (("questions.jsonl", questions), ("expected.jsonl", expected)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{len(expected)} questions about the documents in {documents}")


if __name__ == "__main__":
    main()
