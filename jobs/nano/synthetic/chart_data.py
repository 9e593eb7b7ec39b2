"""What a chart shows: series of figures over categories, their colors, and how all of it is written."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from jobs.nano.synthetic import words
from jobs.nano.synthetic.layout import chance, unique
from jobs.nano.synthetic.sheet import Color

COLORS: dict[str, Color] = {
    "blue": (0.16, 0.46, 0.87), "dark blue": (0.06, 0.15, 0.26), "gray": (0.72, 0.72, 0.72),
    "red": (0.68, 0.06, 0.08), "green": (0.45, 0.68, 0.15), "orange": (0.96, 0.6, 0.12),
    "purple": (0.5, 0.28, 0.62), "teal": (0.12, 0.58, 0.56), "brown": (0.5, 0.32, 0.1),
    "light blue": (0.55, 0.76, 0.93), "pink": (0.87, 0.25, 0.53), "yellow": (0.96, 0.82, 0.2),
    "dark green": (0.08, 0.32, 0.2), "light green": (0.7, 0.84, 0.55),
}  # fmt: skip
USUAL = ("blue", "dark blue", "gray", "red", "green")  # in this order on most charts of one publisher
_THINGS = (
    "revenue,number of users,unemployment rate,share of respondents,population,net sales,market share,"
    "production,exports,GDP growth,average price,number of deaths,life expectancy,spending,inflation rate,"
    "attendance,number of stores,emissions,rainfall,number of employees,net income,turnout,GDP,index,"
    "approval rating,consumption,birth rate,literacy rate,number of visitors,operating income,sales volume,"
    "average ticket price,total assets,value,score,prize money,support,trust,views,downloads,national debt"
).split(",")
_SERIES = (
    "Male/Female,Yes/No,Favorable/Unfavorable,Urban/Rural,2019/2020,2010/2020,Agree/Disagree/Don't know,"
    "Imports/Exports,Online/Offline,Very important/Somewhat important/Not important,Approve/Disapprove,"
    "Better/Worse/Same,Men/Women,Domestic/Foreign,Positive/Neutral/Negative,Dem-Lean Dem/Rep-Lean Rep,"
    "18-29/30-49/50-64/65+,Good/Bad,Increase/Decrease/No change,Excellent/Good/Fair/Poor,"
    "2017/2018/2019/2020/2021*,Boys/Girls/Both sexes,Illness/Death,A great deal/Some/Not much/None at all,"
    "Favor/Oppose,Very favorable/Somewhat favorable/Unfavorable,2014/2010,2012/2014/2016/2018/2020"
).split(",")
_NAMES: dict[str, Callable[[], str]] = {
    "country": lambda: random.choice(words.COUNTRIES),
    "company": words.company,
    "person": words.person,
    "city": lambda: f"{words.city()}, {random.choice(words.STATES)}" if chance(0.4) else words.city(),
    "state": lambda: random.choice(words.STATES),
    "profession": lambda: random.choice(words.JOBS),
    "age group": lambda: f"{(low := random.randint(1, 60))}-{low + random.choice([4, 9, 14])}",
}  # fmt: skip
_OTHERS = ("category", "group", "item", "answer", "product", "region", "party", "brand", "activity", "option")
TIMES = ("year", "month", "quarter")


@dataclass(kw_only=True)
class Data:
    """`figures` and `shown` go by series, then by category."""

    kind: str
    """Bars, lines, stacked, across, stacked across or pie."""
    key: str
    """What a category is."""
    thing: str
    """What is measured."""
    series: list[str]
    categories: list[str]
    asked: list[str]
    """The categories as questions name them: 2015 for '15."""
    figures: list[list[float]]
    shown: list[list[str]]
    grouped: str
    unit: str
    labelled: bool
    ticks: bool
    colors: dict[str, Color]
    """By name: of the series, or of the categories if `many_colored`."""
    many_colored: bool = False
    step: float = 0.0
    """Between two ticks, once drawn."""
    at: dict[tuple[int, int], int] = field(default_factory=dict)
    """The first glyph of each value that is written."""
    names_at: dict[int, int] = field(default_factory=dict)
    """The first glyph of each category."""
    series_at: dict[int, int] = field(default_factory=dict)
    """The first glyph of each series in the legend."""

    def color(self, series: int, category: int) -> Color:
        return list(self.colors.values())[category if self.many_colored else series]

    def cues(self, series: int, category: int) -> tuple[int | None, ...]:
        """By what a reader finds a value: the name of its category, and of several series its legend."""
        name = self.names_at.get(category)
        return (name, self.series_at.get(series)) if len(self.series) > 1 else (name,)


def said(shown: str) -> str:
    """A value as an answer: 14 195 100 without spaces."""
    return re.sub(r"(?<=\d) (?=\d)", "", shown)


def written(value: float, decimals: int, grouped: str, unit: str) -> str:
    figure = f"{value:,.{decimals}f}".replace(",", grouped)
    return unit + figure if unit == "$" else figure + unit


def thing() -> str:
    """What a chart is about."""
    if chance(0.55):
        return random.choice(_THINGS)
    noun, other = random.choice(words.NOUNS), random.choice(words.NOUNS)
    about = random.choice(words.ADJECTIVES)
    return random.choice([f"number of {about} {noun}s", f"{noun} {other}", f"{about} {noun}", f"{noun} rate"])


def data(kind: str, *, most: int, plain_spaces: bool) -> Data:
    """Random series over two to `most` categories; a pie has one whose parts make a whole.

    `plain_spaces`: thousands stand apart by a space.
    """
    count = min(most, random.choice([2, 3, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40]))
    timed = chance({"bars": 0.55, "lines": 0.9, "stacked": 0.4}.get(kind, 0.08))
    if timed:
        key, names, asked = _times(count)
    else:
        key = random.choice([*_NAMES, *_OTHERS, *_OTHERS])
        longest = 2 if kind in ("bars", "lines") else 5
        make = _NAMES.get(key, lambda: words.phrase(1, random.choice([1, 2, 3, longest])))
        names = unique(make() for _ in range(count))
        if chance(0.12):
            names = [f"{name} ({words.word()})" if chance(0.5) else name for name in names]
        asked = [name if chance(0.4) else re.sub(r" \(.*\)", "", name) for name in names]
        if len(set(asked)) < len(asked):
            asked = names
    series = [""]
    if "stacked" in kind or (kind in ("bars", "across", "lines") and len(names) <= 12 and chance(0.35)):
        series = random.choice(_SERIES).split("/")
        if chance(0.35):
            series = unique(words.phrase(1, 3) for _ in range(random.randint(2, 5)))
        elif chance(0.25):
            named = random.choice([_NAMES["country"], words.company, words.city])
            series = unique(named() for _ in range(random.randint(2, 5)))
        series = series if len(series) > 1 else ["Yes", "No"]
    percent = kind == "pie" or "stacked" in kind or chance(0.4)
    decimals = random.choice([0, 0, 0, 1, 2]) if not percent else random.choice([0, 0, 0, 1])
    high = 100 if percent else random.choice([10, 100, 1000, 10_000, 1_000_000, 20_000_000])
    unit = random.choice(["", "%", "%"]) if percent else random.choice(["", "", "", "", "", "$", "M"])
    grouped = " " if plain_spaces else random.choice([",", ",", ""])
    figures = _figures(kind, len(series), len(names), high, decimals, percent=percent, timed=timed)
    labelled = kind == "pie" or chance(0.72)
    many = len(series) == 1 and len(names) <= 10 and (kind == "pie" or chance(0.12))
    return Data(
        kind=kind, key=key, thing=thing(), series=series, categories=names, asked=asked, figures=figures,
        shown=[[written(value, decimals, grouped, unit) for value in row] for row in figures],
        grouped=grouped, unit=unit, labelled=labelled, ticks=not labelled or chance(0.7),
        colors=_colors(len(names) if many else len(series)), many_colored=many,
    )  # fmt: skip


def _colors(count: int) -> dict[str, Color]:
    names = [*USUAL] if chance(0.5) else random.sample(list(COLORS), len(COLORS))
    names = unique([*names, *COLORS])[:count]
    return {name: _near(COLORS[name]) for name in names}


def _near(color: Color) -> Color:
    red, green, blue = (min(1.0, max(0.0, part + random.uniform(-0.04, 0.04))) for part in color)
    return red, green, blue


def _figures(
    kind: str, series: int, count: int, high: float, decimals: int, *, percent: bool, timed: bool
) -> list[list[float]]:
    rows = []
    shape = random.choice(["even", "even", "steep", "sorted"])
    for _ in range(series):
        row = [random.uniform(0.04, 1) for _ in range(count)]
        if shape == "steep":
            row = [value**2.5 + 0.01 for value in row]
        if timed and chance(0.6):
            level, drift = random.uniform(0.2, 0.8), random.gauss(0, 0.04)
            row = [max(0.03, min(1.0, level := level + random.gauss(drift, 0.06))) for _ in row]
        elif shape == "sorted" and not timed and series == 1:
            row.sort(reverse=True)
        rows.append([value * high for value in row])
    if kind == "pie":
        rows = [[100 * value / sum(row) for value in row] for row in rows]
    elif "stacked" in kind and percent:
        whole = [sum(row[c] for row in rows) * random.choice([1.0, 1.0, 1.1]) for c in range(count)]
        rows = [[100 * value / whole[c] for c, value in enumerate(row)] for row in rows]
    least = 1.0 if decimals == 0 else 0.1
    return [[max(least, round(value, decimals)) for value in row] for row in rows]


def _times(count: int) -> tuple[str, list[str], list[str]]:
    """The noun, the names on the axis and those in questions."""
    first, step = random.randint(1950, 2022), random.choice([1, 1, 1, 1, 2, 5, 10])
    years = [first + step * index for index in range(count)]
    style = random.choice(["2015", "2015", "2015", "2015", "'15", "2015*", "2015/16", "May '15", "Q1 2015"])
    if style == "'15":
        return "year", [f"'{year % 100:02d}" for year in years], [str(year) for year in years]
    if style == "2015/16":
        names = [f"{year}/{(year + 1) % 100:02d}" for year in years]
        return "year", names, names
    if style == "May '15":
        begin = random.randrange(12)
        months = [(words.MONTHS[(begin + i) % 12], 2010 + (begin + i) // 12) for i in range(count)]
        asked = [f"{month} {year}" for month, year in months]
        if count <= 12 and chance(0.4):
            plain = [month for month, _ in months]
            return "month", plain, plain
        form = random.choice([0, 1])
        return "month", [f"{m[:3]} '{y % 100:02d}" if form else f"{m[:3]} {y}" for m, y in months], asked
    if style == "Q1 2015":
        quarters = [(first + index // 4, index % 4 + 1) for index in range(count)]
        short = chance(0.5)
        names = [f"Q{q} '{year % 100:02d}" if short else f"Q{q} {year}" for year, q in quarters]
        return "quarter", names, [f"Q{q} {year}" for year, q in quarters]
    marked = 2 if style == "2015*" else 0
    return (
        "year",
        [f"{year}{'*' if index >= count - marked else ''}" for index, year in enumerate(years)],
        [str(year) for year in years],
    )
