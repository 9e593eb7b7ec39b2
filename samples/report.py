"""An annual report: headings, running text and tables on three pages."""

from __future__ import annotations

from jobs.nano.synthetic.sheet import Sheet
from samples.sample import A4, SERIF, SERIF_BOLD, Sample, rows

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
