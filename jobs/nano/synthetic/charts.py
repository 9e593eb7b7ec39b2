"""Charts with titles, sources and legends, and questions of values, extremes, differences and counts."""

from __future__ import annotations

import random

from jobs.nano.synthetic import plots, words
from jobs.nano.synthetic.layout import Page, chance, text_value, unique
from jobs.nano.synthetic.plots import Data
from jobs.nano.synthetic.wording import asked, other_case, pick

_VALUE = (
    "What is the value of {x}?", "What is the value for {x}?", "What was the value in {x}?",
    "How much is {x}?", "What is the figure for {x}?", "What value does {x} have?",
    "How high is the bar of {x}?", "What does the {d} show for {x}?", "How many are there in {x}?",
    "What number is given for {x}?", "What was the {t} in {x}?", "What is the {t} of {x}?",
    "How much was the {t} of {x}?", "What percentage is given for {x}?", "What share does {x} have?",
    "What is the {t} for {x}?", "How many did {x} have?", "What was the {t} of {x}?",
    "What is the {t} in {x}?", "{x}?", "What is {x}'s value?", "Give the value of {x}.",
    "What is shown for {x}?", "According to the {d}, what is the {t} in {x}?", "What was {x}'s {t}?",
    "How large was the {t} in {x}?",
)  # fmt: skip
_OF_SERIES = (
    "What is the value of {s} for {x}?", "What is the value of {s} in {x}?", "What is {s} in {x}?",
    "What is the {s} value of {x}?", "How much is {s} for {x}?", "What was the {s} in {x}?",
    "What does the {d} show for {s} in {x}?", "In {x}, what is the value of {s}?",
    "For {x}, how high is {s}?", "What percentage of {x} is {s}?", "How many {s} are there in {x}?",
    "What is the {t} of {s} in {x}?", "What share of {x} said {s}?",
    "What is the value of the {s} bar in {x}?", "What number is given for {s} and {x}?",
)  # fmt: skip
_HIGH = (
    "Which {k} has the highest value?", "Which {k} is the highest?", "Which bar is the tallest?",
    "Which {k} has the largest value?", "Which {k} leads?", "Which {k} has the most?",
    "What {k} has the highest {t}?", "Which {k} had the largest {t}?", "Where is the {t} highest?",
    "Which {k} comes first?", "Which {k} has the maximum value?",
    "What is the {k} with the greatest value?", "Which {k} had the highest {t}?",
    "Which {k} shows the biggest {t}?", "What is the largest {k} in this {d}?",
    "In which {k} was the {t} the highest?",
)  # fmt: skip
_LOW = (
    "Which {k} has the lowest value?", "Which {k} is the lowest?", "Which bar is the shortest?",
    "Which {k} has the smallest value?", "Which {k} has the least?", "What {k} has the lowest {t}?",
    "Which {k} had the smallest {t}?", "Where is the {t} lowest?", "Which {k} comes last?",
    "Which {k} has the minimum value?", "What is the {k} with the smallest value?",
    "In which {k} was the {t} the lowest?",
)  # fmt: skip
_TOP = (
    "What is the highest value?", "What is the largest value in the {d}?", "What is the maximum?",
    "What is the value of the tallest bar?", "What's the value of the highest bar?",
    "How high is the highest {k}?", "What is the peak value?",
)  # fmt: skip
_BOTTOM = (
    "What is the lowest value?", "What is the smallest value in the {d}?", "What is the minimum?",
    "What is the value of the shortest bar?", "What's the value of the lowest bar?",
    "How low is the lowest {k}?",
)  # fmt: skip
_DIFFERENCE = (
    "What is the difference between {a} and {b}?", "By how much does {a} differ from {b}?",
    "What is the gap between {a} and {b}?", "How much more is {a} than {b}?",
    "What's the difference in value between {a} and {b}?", "How far apart are {a} and {b}?",
)  # fmt: skip
_SUM = (
    "What is the sum of {a} and {b}?", "What is the total of {a} and {b}?",
    "How much are {a} and {b} together?", "Add {a} and {b}.", "What do {a} and {b} add up to?",
    "What is the combined value of {a} and {b}?",
)  # fmt: skip
_MORE = (
    "Is {a} larger than {b}?", "Is the value of {a} more than that of {b}?", "Does {a} exceed {b}?",
    "Is {a} greater than {b}?", "Is {a} higher than {b}?",
)  # fmt: skip
_COUNT = (
    "How many {ks} are there?", "How many {ks} are shown in the {d}?", "How many {ks} does the {d} have?",
    "How many {ks} are included?", "What is the number of {ks}?", "How many {ks} are represented?",
    "How many different {ks} are there?",
)  # fmt: skip
_THINGS = (
    "revenue,number of users,unemployment rate,share of respondents,population,net sales,market share,"
    "production,exports,GDP growth,average price,number of deaths,life expectancy,spending,inflation rate,"
    "attendance,number of stores,emissions,rainfall,number of employees,net income,turnout,"
    "approval rating,consumption,birth rate,literacy rate,number of visitors"
).split(",")
_SERIES = (
    "Male/Female,Yes/No,Favorable/Unfavorable,Urban/Rural,2019/2020,2010/2020,Agree/Disagree/Don't know,"
    "Imports/Exports,Online/Offline,Very important/Somewhat important/Not important,Approve/Disapprove,"
    "Better/Worse/Same,Men/Women,Domestic/Foreign,Positive/Neutral/Negative,Dem-Lean Dem/Rep-Lean Rep,"
    "18-29/30-49/50-64/65+,Good/Bad,Increase/Decrease/No change,Excellent/Good/Fair/Poor"
).split(",")


def draw_chart(page: Page) -> bool:
    """A chart, its furniture and its questions."""
    style = page.style
    margin = random.uniform(0.015, 0.05) * page.width
    y, bottom, inner = margin, page.height - margin, page.width - 2 * margin
    thing, key = (
        random.choice(_THINGS),
        random.choice(["country", "category", "group", "company", "item", "answer", "product", "region"]),
    )
    if chance(0.75):
        title = random.choice([f"{thing.capitalize()} in {random.choice(words.COUNTRIES)} "
                               f"from {random.randint(1980, 2005)} "
                               f"to {random.randint(2006, 2024)}",
                               words.phrase(3, 8), f"{thing.capitalize()}, {random.randint(1990, 2024)}",
                               words.sentence().rstrip(".")])  # fmt: skip
        large = style.size * random.uniform(1.0, 1.6)
        first = None
        for line in page.wrap(title, inner, size=large, bold=True)[:3]:
            at = page.put(margin, y, line, bold=True, size=large)
            first, y = (at if first is None else first), y + 1.2 * large
        if len(page.wrap(title, inner, size=large, bold=True)) <= 3:
            page.fact("", text_value(title), first or 0, "title")
        if chance(0.4):
            for line in page.wrap(
                random.choice(
                    [
                        words.sentence(),
                        f"in {random.choice(['percent', 'million U.S. dollars', 'thousands'])}",
                        f"% of adults who say {words.phrase(2, 6).lower()}",
                    ]
                ),
                inner,
            )[:2]:
                page.put(margin, y, line, color=(0.35, 0.35, 0.35))
                y += 1.2 * style.size
        y += 0.5 * style.size
    if chance(0.6):
        source = random.choice(
            [
                f"{words.company()}",
                f"{random.choice(['OECD', 'World Bank', 'UN', 'IMF'])} ({random.randint(2000, 2024)})",
                f"Survey conducted {words.day(1).shown}",
            ]
        )
        small = style.size * random.uniform(0.65, 0.9)
        text = page.wrap(
            random.choice(["Source: ", "Source: ", "Note: ", "SOURCE: "]) + source, inner, size=small
        )[0]
        page.put(margin, bottom - 1.2 * small, text, size=small, color=(0.4, 0.4, 0.4))
        if text.lower().startswith("source") and text.endswith(source):
            page.fact("", text_value(source), len(page.sheet.glyphs) - len("".join(source.split())), "source")
        bottom -= 1.8 * small
    kind = random.choices(
        ["bars", "across", "lines", "stacked", "stacked across", "pie"], [5, 5, 4, 1.5, 2, 2]
    )[0]
    data = _data(kind, key)
    data.colors = [plots.color_of(index, style.accent) for index in range(len(data.series))]
    below = chance(0.4)
    if len(data.series) > 1 and not below:
        y = plots.legend(page, data, margin, y, inner)
    elif len(data.series) > 1:
        bottom -= 2 * style.size
        plots.legend(page, data, margin, bottom, inner)
    if chance(0.25) and kind in ("bars", "lines", "stacked"):
        page.put(margin, (y + bottom) / 2, thing.capitalize(), align="center", turn=90)
        box = (margin + 1.4 * style.size, y, inner - 1.4 * style.size, bottom - y)
    else:
        box = (margin, y, inner, bottom - y)
    if box[3] < 8 * style.size:
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
    _ask(page, data, key if data.categories[0] not in _years(data) else "year", thing)
    return bool(page.asks)


def _years(data: Data) -> list[str]:
    return [name for name in data.categories if name.strip("*").isdigit() and len(name.strip("*")) == 4]


def _data(kind: str, key: str) -> Data:
    """Random series over two to forty categories; a pie has one series whose parts make a whole."""
    years = chance(0.5) if kind in ("bars", "lines", "stacked") else chance(0.15)
    most = {"bars": 30, "lines": 20, "across": 25, "stacked": 12, "stacked across": 12, "pie": 8}[kind]
    count = min(most, random.choice([2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40]))
    if years:
        start, step = random.randint(1960, 2022), random.choice([1, 1, 1, 2, 5])
        mark = random.choice(["", "", "", "*"])
        names = [f"{start + index * step}{mark if index >= count - 2 else ''}" for index in range(count)]
    else:
        make = {"country": lambda: random.choice(words.COUNTRIES), "company": words.company}.get(
            key, lambda: random.choice([words.phrase(1, 2), words.phrase(1, 4), words.person(), words.city()])
        )
        names = unique(make() for _ in range(count))
    series = [""]
    if kind.startswith("stacked") or (
        kind in ("bars", "across", "lines") and len(names) <= 12 and chance(0.4)
    ):
        series = random.choice(_SERIES).split("/")
        if chance(0.3):
            series = unique(words.phrase(1, 2) for _ in range(random.randint(2, 4)))
    percent = kind == "pie" or kind.startswith("stacked") or chance(0.35)
    decimals = random.choice([0, 0, 1, 2])
    high = 100 if percent else random.choice([10, 100, 1000, 10_000, 1_000_000])
    unit = random.choice(["", "%"]) if percent else random.choice(["", "", "", "", "M", "k"])
    grouped = random.choice([",", ",", "", " "])
    figures, shown = [], []
    for _ in series:
        row = [random.uniform(0.04, 1) * high for _ in names]
        if kind == "lines" and chance(0.6):
            level = random.uniform(0.2, 0.8)
            row = [max(0.03, min(1.0, level := level + random.gauss(0, 0.08))) * high for _ in names]
        if percent and (kind == "pie" or kind.startswith("stacked")):
            row = [value / (sum(row) if kind == "pie" else 100 * len(series)) * 100 for value in row]
        row = [round(value, decimals) for value in row]
        row = [value if value > 0 else round(0.04 * high, 2) + 1 for value in row]
        figures.append(row)
        shown.append([f"{value:,.{decimals}f}".replace(",", grouped) + unit for value in row])
    labelled = kind == "pie" or chance(0.85)
    return Data(
        series=series,
        categories=names,
        figures=figures,
        shown=shown,
        labelled=labelled,
        ticks=not labelled or chance(0.5),
    )


def plain(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _ask(page: Page, data: Data, key: str, thing: str) -> None:
    names, many = data.categories, len(data.series) > 1

    def fill(forms: tuple[str, ...], **blanks: str) -> str:
        form = pick(forms, page.held_out)
        plural = {"category": "categories", "country": "countries", "company": "companies"}.get(
            key, key + "s"
        )
        for name, text in {"k": key, "ks": plural, "t": thing, **blanks}.items():
            form = form.replace("{" + name + "}", text)
        return asked(form, "chart")

    page.links += [(at, (data.names_at.get(c),)) for (_, c), at in data.at.items()]
    written = list(data.at)
    for s, c in random.sample(written, min(5, len(written))):
        if names.count(names[c]) > 1:
            continue
        name = other_case(names[c]) if chance(0.3) else names[c].rstrip("*")
        question = fill(_OF_SERIES, s=data.series[s], x=name) if many else fill(_VALUE, x=name)
        page.ask(question, data.shown[s][c], data.at[s, c], (data.names_at.get(c),))
        if not many and data.shown[s].count(data.shown[s][c]) == 1 and chance(0.3):
            asks = (
                "Which {k} has a value of {v}?",
                "Which {k} has {v}?",
                "In which {k} was it {v}?",
                "For which {k} is {v} given?",
                "What {k} has the value {v}?",
            )
            question = fill(asks, v=data.shown[s][c])
            page.ask(question, names[c].rstrip("*"), data.names_at.get(c), (data.at[s, c],))
    s = random.randrange(len(data.series))
    row = data.figures[s]
    suffix = f" of {data.series[s]}" if many else ""
    for extreme, which, how_much in ((max, _HIGH, _TOP), (min, _LOW, _BOTTOM)):
        c = row.index(extreme(row))
        if row.count(row[c]) > 1:
            continue
        clear = (
            abs(row[c] - sorted(row, reverse=extreme is max)[1 if len(row) > 1 else 0]) > 0.03 * max(row)
            or data.labelled
        )
        if clear and chance(0.7):
            page.ask(
                fill(which)
                if not many
                else f"Which {key} has the {'highest' if extreme is max else 'lowest'} value{suffix}?",
                names[c].rstrip("*"),
                data.names_at.get(c),
                (data.at.get((s, c)),),
            )
        if (s, c) in data.at and chance(0.4):
            ends = "highest" if extreme is max else "lowest"
            page.ask(
                fill(how_much) if not many else f"What is the {ends} value{suffix}?",
                data.shown[s][c],
                data.at[s, c],
                (data.names_at.get(c),),
            )
    if len(names) > 1 and data.labelled:
        a, b = random.sample(range(len(names)), 2)
        if (s, a) in data.at and (s, b) in data.at:
            first, second = names[a].rstrip("*"), names[b].rstrip("*")
            if chance(0.35):
                page.ask(
                    fill(_DIFFERENCE, a=first, b=second)
                    if not many
                    else f"What is the difference{suffix} between {first} and {second}?",
                    plain(abs(row[a] - row[b])),
                )
            if chance(0.2):
                page.ask(
                    fill(_SUM, a=first, b=second)
                    if not many
                    else f"What is the sum{suffix} in {first} and {second}?",
                    plain(row[a] + row[b]),
                )
            if chance(0.3) and not many:
                page.ask(fill(_MORE, a=first, b=second), "Yes" if row[a] > row[b] else "No")
    if chance(0.25) and len(names) <= 20:
        page.ask(fill(_COUNT), str(len(names)))
    if many and chance(0.25):
        c = random.randrange(len(names))
        column = [row[c] for row in data.figures]
        if column.count(max(column)) == 1:
            page.ask(
                f"Which is the largest in {names[c].rstrip('*')}?", data.series[column.index(max(column))]
            )
    if data.labelled and len(names) <= 6 and not many and chance(0.15):
        page.ask(
            random.choice(
                [
                    "What is the average of all values?",
                    "What is the mean value?",
                    "What is the average value?",
                ]
            ),
            plain(sum(row) / len(row)),
        )
