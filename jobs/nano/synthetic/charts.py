"""Charts as they are published: a browser's card, a survey's column, or with titles and sources."""

from __future__ import annotations

import random

from jobs.nano.synthetic import chart_data, chart_questions, plots, words
from jobs.nano.synthetic.chart_data import Data
from jobs.nano.synthetic.layout import Page, chance, text_value
from jobs.nano.synthetic.sheet import Color

_GREY: Color = (0.4, 0.4, 0.4)
_LINK: Color = (0.1, 0.4, 0.8)
_MOST = {"bars": 30, "lines": 30, "across": 32, "stacked": 12, "stacked across": 10, "pie": 8}
_UNITS = ("percent", "million U.S. dollars", "thousands", "billion euros", "millions", "metric tons")


def draw_chart(page: Page) -> bool:
    """A chart with a title, a subtitle and a source, its legend above or below, or where its lines end."""
    margin = random.uniform(0.015, 0.05) * page.width
    inner = page.width - 2 * margin
    data = _data(
        page, {"bars": 5, "across": 5, "lines": 6, "stacked": 1.5, "stacked across": 2, "pie": 2}, 0.3
    )
    y = _title(page, margin, margin, inner, 0.75) + 0.5 * page.style.size
    bottom = _source(page, margin, page.height - margin, inner)
    return _plot(page, data, margin, y, inner, bottom, random.choice(["above", "below", "ends"]))


def draw_card(page: Page) -> bool:
    """A chart of a statistics portal: no title, a turned name of the axis, small buttons and links around."""
    style, sheet = page.style, page.sheet
    data = _data(
        page, {"bars": 7, "across": 5, "lines": 4, "stacked": 1, "stacked across": 1, "pie": 1}, 0.85
    )
    edge = 0.01 * page.width
    grey = random.uniform(0.9, 1.0)
    sheet.box(edge, edge, page.width - 2 * edge, page.height - 2 * edge, stroke=(grey, grey, grey))
    right = page.width - 0.07 * page.width
    for index in range(random.choice([0, 5, 6, 7])):
        top = 2 * edge + index * 0.045 * page.width
        sheet.box(
            right + 0.012 * page.width, top, 0.04 * page.width, 0.04 * page.width, fill=(0.96, 0.97, 0.98)
        )
        sheet.dot(right + 0.032 * page.width, top + 0.02 * page.width, 4, fill=(0.55, 0.6, 0.68))
    foot = page.height - 2.6 * edge
    links = [random.choice(["Additional Information", "More details", words.phrase(1, 2), "About"]),
             random.choice(["Show source", "Sources", words.phrase(1, 2), words.website()])]  # fmt: skip
    page.put(2.5 * edge, foot - style.size, links[0], color=_LINK)
    page.put(page.width - 2.5 * edge, foot - style.size, links[1], color=_LINK, align="right")
    owner = f"© {words.company()} {random.randint(2008, 2024)}"
    page.put(page.width - 2.5 * edge, foot - 2.8 * style.size, owner, color=_GREY, align="right")
    axis = data.thing[:1].upper() + data.thing[1:]
    axis += random.choice(["", f" in {random.choice(_UNITS)}", f" in {random.choice(_UNITS)}*"])
    turned = data.kind != "pie" and chance(0.85)
    bottom = foot - 4 * style.size
    left = 2.5 * edge
    if turned:
        small = 0.85 * style.size
        if page.measure(axis, size=small) < 0.7 * page.height:
            page.put(left, bottom / 2, axis, size=small, align="center", turn=90, color=_GREY)
        left += 1.6 * style.size
    return _plot(page, data, left, 3 * edge, right - left, bottom, "below")


def draw_survey(page: Page) -> bool:
    """A survey's column: rules, a title in bold, "% who say" in italics or grey, a note, a source."""
    style, sheet = page.style, page.sheet
    margin, inner = 0.02 * page.width, 0.96 * page.width
    data = _data(page, {"across": 6, "stacked across": 6, "lines": 1.5, "bars": 1.5, "pie": 1.5}, 0.05)
    if chance(0.7):
        sheet.line(margin, 3, page.width - margin, 3)
        sheet.line(margin, page.height - 3, page.width - margin, page.height - 3)
    y = _title(page, margin, 0.6 * style.size, inner, 1.0) + 0.4 * style.size
    bottom = page.height - 0.8 * style.size
    if chance(0.7):
        bottom -= 1.3 * style.size
        page.put(margin, bottom, words.company().upper(), bold=True, size=0.85 * style.size)
    for text in (f"Source: Survey conducted {words.day(random.choice([1, 4])).shown}.",
                 f"Note: {words.sentence()}"):  # fmt: skip
        if chance(0.7):
            lines = page.wrap(text, inner, size=0.9 * style.size)
            bottom -= (1.15 * len(lines) + 0.2) * style.size
            for index, line in enumerate(lines):
                page.put(margin, bottom + 1.1 * style.size * index, line, size=0.9 * style.size, color=_GREY)
    return _plot(page, data, margin, y, inner, bottom, random.choice(["above", "ends", "ends"]))


def _data(page: Page, kinds: dict[str, float], spaces: float) -> Data:
    kind = random.choices(list(kinds), list(kinds.values()))[0]
    room = page.height if "across" in kind else page.width * 1.6
    most = max(2, min(_MOST[kind], int(room / (2.2 * page.style.size))))
    return chart_data.data(kind, most=most, plain_spaces=chance(spaces))


def _title(page: Page, x: float, y: float, width: float, probability: float) -> float:
    """A title and perhaps a subtitle; the y below."""
    style = page.style
    if not chance(probability):
        return y
    title = random.choice(
        [f"{chart_data.thing().capitalize()} in {random.choice(words.COUNTRIES)}, "
         f"{random.randint(1980, 2005)} to {random.randint(2006, 2024)}",
         words.phrase(3, 8), f"{chart_data.thing().capitalize()}, {random.randint(1990, 2024)}",
         words.sentence().rstrip("."), words.sentence().rstrip(".")]
    )  # fmt: skip
    large = style.size * random.uniform(1.0, 1.5)
    lines = page.wrap(title, width, bold=True, size=large)[:4]
    places = [
        page.put(x, y + 1.2 * large * index, line, bold=True, size=large) for index, line in enumerate(lines)
    ]
    y += 1.2 * large * len(lines) + 0.2 * style.size
    page.fact("", text_value(" ".join(lines)), places[0], "title")
    if chance(0.6):
        subtitle = random.choice(
            [words.sentence(), f"in {random.choice(_UNITS)}",
             f"% of adults who say {words.phrase(2, 6).lower()}",
             f"% who say {words.phrase(1, 5).lower()} …",
             f"{chart_data.thing().capitalize()} by {words.word()}"]
        )  # fmt: skip
        for line in page.wrap(subtitle, width)[:3]:
            page.put(x, y, line, color=_GREY)
            y += 1.2 * style.size
    return y


def _source(page: Page, x: float, bottom: float, width: float) -> float:
    """Perhaps where the figures come from; the y above."""
    if not chance(0.6):
        return bottom
    source = random.choice(
        [words.company(),
         f"{random.choice(['OECD', 'World Bank', 'UN', 'IMF'])} ({random.randint(2000, 2024)})",
         f"Survey conducted {words.day(1).shown}"]
    )  # fmt: skip
    small = page.style.size * random.uniform(0.7, 0.95)
    head = random.choice(["Source:", "Source:", "Note:", "SOURCE:"])
    if not page.fits(f"{head} {source}", width, size=small):
        return bottom
    at = page.put(x, bottom - 1.2 * small, f"{head} {source}", size=small, color=_GREY)
    if head.lower() == "source:":
        page.fact("", text_value(source), at + len(head), "source")
    if chance(0.3) and page.fits(f"{head} {source}     CC BY", width, size=small):
        page.put(x + width, bottom - 1.2 * small, "CC BY", size=small, color=_GREY, align="right")
    return bottom - 1.8 * small


def _plot(page: Page, data: Data, x: float, y: float, width: float, bottom: float, names: str) -> bool:
    """The chart itself between y and bottom; `names` says where those of its series stand."""
    size, kind = page.style.size, data.kind
    if len(data.series) > 1:
        if kind not in ("lines", "stacked across") and names == "ends":
            names = "above"
        if names == "above":
            y = plots.legend(page, data, x, y, width, middle=chance(0.3))
        elif names == "below":
            rows = 1 + int(sum(page.measure(name) + 2.6 * size for name in data.series) / width)
            bottom -= 1.5 * size * rows + 0.3 * size
            plots.legend(page, data, x, bottom, width, middle=chance(0.8))
        elif kind == "stacked across":
            y += 1.6 * size
    box = (x, y, width, bottom - y)
    if box[3] < 8 * size:
        return False
    fits = (
        plots.pie(page, data, box)
        if kind == "pie"
        else plots.across(page, data, box, "stacked" if "stacked" in kind else "bars")
        if "across" in kind
        else plots.upright(page, data, box, kind)
    )
    if not fits:
        return False
    page.readable = False
    chart_questions.ask(page, data)
    return bool(page.asks)
