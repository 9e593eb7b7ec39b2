"""Business papers: invoices, a receipt, a form, a price list, a delivery note."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from jobs.nano.synthetic.sheet import Sheet
from samples.sample import (
    A4,
    BLUE,
    GREY,
    MONO,
    MONO_BOLD,
    SANS,
    SANS_BOLD,
    SERIF,
    SERIF_BOLD,
    Sample,
    encoded,
    picture,
    rows,
)


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
