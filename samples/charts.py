"""Charts: bars upright and across, and a pie."""

from __future__ import annotations

from jobs.nano.synthetic.sheet import Color, Sheet
from samples.sample import BLUE, GREEN, GREY, ORANGE, SANS, SANS_BOLD, Sample, encoded, picture


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
    sheet = Sheet(700, 400)
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
