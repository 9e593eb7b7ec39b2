"""What is asked of a chart: values, extremes, colors, places, counts, sums and comparisons.

A question of a value names its category among words of its own, as people ask who know what the chart is
about: only the name can be found on the page. What cannot be read off is estimated between the ticks.
"""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass

from jobs.nano.synthetic import words
from jobs.nano.synthetic.chart_data import TIMES, Data, said, thing, written
from jobs.nano.synthetic.layout import Page, chance
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
    "How large was the {t} in {x}?", "What's the percentage of {x}?", "What is the value of the {x} bar?",
)  # fmt: skip
_NAMED = (
    "What was the {t} of {x} in {y}?", "What was {x}'s {t} in {y}?", "How many {n}s did {x} {v} in {y}?",
    "How much {n} did {x} {v} in {y}?", "What percentage of {n}s {v} {x}?", "How much money did {x} {v}?",
    "What percentage of respondents said {x}?", "What percentage of {a} {n}s {v} the {x} {n} in {y}?",
    "How many million {n}s did '{x}' {v} in {y}?", "What was the {n} of the {x} {n} in {y}?",
    "What percent of {n}s think of the {n} as {x}?", "What was the estimated {t} of {x} as of {m} {y}?",
    "How many {a} {n}s were there in {x} in {y}?", "What was the {n} {t} in {x} in {y}?",
    "What percentage of the {n} were {x} in {y}?", "How many U.S. dollars did {x} {v} in {y}?",
    "What is the {t} of {x}, according to the {n} of {y}?", "How many {n}s does {x} {v}?",
    "How many people {v} {x}?", "What share of {n}s said that {x} {v} the {n}?", "What's {x}'s {n}?",
    "What percentage of {n}s in {x} {v} a {n}?", "How many {x} {n}s were {a} during the {y} {n}?",
    "As of {m} {y}, what was the {a} {t} in {x}?", "What proportion of {n}s {v} {x}?",
)  # fmt: skip
_TIMED = (
    "What was the {t} of {e} in {x}?", "What was {e}'s {t} in {x}?", "How many {n}s did {e} {v} in {x}?",
    "How much {n} did {e} {v} in {x}?", "What was the {a} {n} of {e} in {x}?",
    "How many {n}s were {a} in {x}?",
    "What percentage of {e}'s {n} was {a} in {x}?", "In {x}, how many {n}s were there in {e}?",
    "How much money did {e} {v} in {x}?", "What is the estimated {n} of the {a} {n} in {x}?",
    "What was the {n} for {e} {n}s in {x}?", "How many {a} {n}s did the {n} {v} in {x}?",
    "How much {n}, in constant {y} dollars, did {e} {v} in {x}?",
    "How many million {n}s were {a} in {e} in {x}?",
    "What share of the {n} in {e} did {n}s {v} in {x}?", "How large was the {a} {n} in {x}?",
)  # fmt: skip
_OF_SERIES = (
    "What is the value of {s} for {x}?", "What is the value of {s} in {x}?", "What is {s} in {x}?",
    "What is the {s} value of {x}?", "How much is {s} for {x}?", "What was the {s} in {x}?",
    "What does the {d} show for {s} in {x}?", "In {x}, what is the value of {s}?",
    "For {x}, how high is {s}?", "What percentage of {x} is {s}?", "How many {s} are there in {x}?",
    "What is the {t} of {s} in {x}?", "What share of {x} said {s}?", "How many {n}s of {s} {v} {x}?",
    "What is the value of the {s} bar in {x}?", "What number is given for {s} and {x}?",
    "What percentage of {s} {n}s {v} {x} in {y}?", "What's the percentage of {x} who say {s}?",
    "How many {n}s in {x} were {s}?", 'What is the percentage value of "{s}" in {x}?',
    "What was the {t} of {s} {n}s in {x}?", "How much did {s} {v} on {x}?", "What is the {c} bar of {x}?",
    "What is the value of the {c} one in {x}?", "What's the value of the {c} bar in {x}?",
)  # fmt: skip
_WITH = (
    "Which {k} has a value of {v_}?", "Which {k} has {v_}?", "In which {k} was it {v_}?",
    "For which {k} is {v_} given?", "What {k} has the value {v_}?", "In what {k} was the {t} {v_}?",
    "What {k} did {v_} of {n}s {v}?", "In which {k} did {e} {v} {v_} {n}s?", "Where is it {v_}?",
    "Which {k} accounts for {v_}?", "What does {v_} stand for?",
)  # fmt: skip
_EXTREMES = {
    "high": "highest,highest,largest,most,maximum,greatest,biggest,peak,top",
    "low": "lowest,lowest,smallest,least,minimum,fewest",
}
_WHICH = (
    "Which {k} has the {m_} value?", "Which {k} is the {m_}?", "Which {k} has the {m_} {t}?",
    "What {k} has the {m_} {t}?", "Which {k} had the {m_} {n}s in {y}?", "Where is the {t} {m_}?",
    "What is the {k} with the {m_} value?", "What {k} had the {m_} number of {a} {n}s?",
    "In which {k} was the {t} the {m_}?", "Which {k} shows the {m_} {t}?", "What was the {m_} {k}?",
    "Who had the {m_} {n}?", "Which {k} {v} the {m_} {n} of all?", "When was the {t} the {m_}?",
    "Which has the {m_} percentage?", "Which of the given {ks} has the {m_} {t}?",
    "In what {k} did {e} {v} the {m_} {n}?", "What's the {k} with the {m_} number of {n}s?",
    "Which {k}'s bar is the {m_}?", "What {k} was ranked as {m_}?", "Which {k} recorded the {m_} {n}?",
)  # fmt: skip
_LEADS = (
    "Which {k} leads?", "Which {k} comes first?", "Which bar is the tallest?", "Which bar is the longest?",
    "What {k} topped the list of {n}s?", "Which {k} tops the {d}?", "What's the most popular {k}?",
    "What was the most {a} {k} in {y}?", "Which {k} leads the {n} in {e}?", "What is the leading {k}?",
)  # fmt: skip
_AMOUNT = (
    "What is the {m_} value?", "What is the {m_} value in the {d}?", "What is the value of the {m_} bar?",
    "What was the {m_} {t}?", "What was the {m_} number of {n}s in {e}?", "How much is the {m_} {t}?",
    "What is the {m_} {t} between {y} and now?", "Find the {m_} value.", "What is the {m_} percentage?",
)  # fmt: skip
_DIFFERENCE = (
    "What is the difference between {p} and {q}?", "By how much does {p} differ from {q}?",
    "What is the gap between {p} and {q}?", "What's the difference in value between {p} and {q}?",
    "How far apart are {p} and {q}?", "What is the difference in the {t} between {p} and {q}?",
)  # fmt: skip
_SUM = (
    "What is the sum of {p} and {q}?", "What is the total of {p} and {q}?",
    "How much are {p} and {q} together?", "What do {p} and {q} add up to?",
    "What is the combined value of {p} and {q}?", "What's the total add up value of {p} and {q}?",
)  # fmt: skip
_MORE = (
    "Is {p} larger than {q}?", "Is the value of {p} more than that of {q}?", "Does {p} exceed {q}?",
    "Is {p} greater than {q}?", "Is the {t} of {p} higher than that of {q}?", "Did {p} {v} more than {q}?",
)  # fmt: skip
_COUNT = (
    "How many {ks} are there?", "How many {ks} are shown in the {d}?", "How many {ks} does the {d} have?",
    "How many {ks} are included?", "What is the number of {ks}?", "How many {ks} are represented?",
    "How many different {ks} are there?", "How many {ks} are taken into account?",
)  # fmt: skip
_COLOR_OF = (
    "What color is {x}?", "Which color represents {x}?", "What is the color of {x}?",
    "In which color is {x}?",
    "What color is used for {x}?", "By which color is {x} shown?",
)  # fmt: skip
_IN_COLOR = (
    "What does the {c} color represent?", "What is shown in {c}?", "The {c} bars represent what?",
    "What does {c} stand for?", "Which {k} is represented by the {c} color?", "What is the {c} one?",
    "What category does the {c} color indicate?", "What's the {c} part?", "Which {k} is drawn in {c}?",
)  # fmt: skip
_SPOKEN = {"gray": ("gray", "gray", "grey"), "dark blue": ("dark blue", "dark blue", "navy blue")}
_LEADER = (
    "Which is the {m_} in {x}?", "Which {k} has the {m_} value in {x}?", "Which {k} has the {m_} {t} in {x}?",
    "What is the {m_} {k} of {x}?", "Which {k} had the {m_} number of {n}s in {x}?",
    "Who had the {m_} {n} in {x}?",
)  # fmt: skip
_GROUPS = ("group", "country", "answer", "category", "line", "series", "party", "company")
_PLURALS = {"category": "categories", "country": "countries", "company": "companies", "city": "cities",
            "party": "parties", "activity": "activities"}  # fmt: skip
MOST_COUNTED = 12


@dataclass(frozen=True, slots=True)
class _Asking:
    """Asks of one chart."""

    page: Page
    data: Data

    def fill(self, forms: tuple[str, ...], **blanks: str) -> str:
        """A form with its blanks filled: those given, the chart's own, and words that nobody can find."""
        data, form = self.data, pick(forms, self.page.held_out)
        own = {"k": data.key, "ks": _PLURALS.get(data.key, data.key + "s"),
               "t": data.thing if chance(0.7) else thing(), "y": str(random.randint(1990, 2024)),
               "m": random.choice(words.MONTHS), "e": random.choice(_ENTITIES)()}  # fmt: skip
        if "c" in blanks:
            blanks["c"] = random.choice(_SPOKEN.get(blanks["c"], (blanks["c"],)))
        for name, text in {**own, **blanks}.items():
            form = form.replace("{" + name + "}", text)
        for name, bank in (("n", words.NOUNS), ("v", words.VERBS), ("a", words.ADJECTIVES)):
            while "{" + name + "}" in form:
                form = form.replace("{" + name + "}", random.choice(bank), 1)
        return asked(form, "chart")

    def name(self, category: int) -> str:
        name = self.data.asked[category]
        return other_case(name) if chance(0.2) else name

    def values(self) -> None:
        """What is written beside bars and points, and what must be estimated."""
        page, data = self.page, self.data
        pairs = [(s, c) for s in range(len(data.series)) for c in range(len(data.categories))]
        shown = [pair for pair in pairs if pair in data.at]
        readable = [(s, c) for s, c in pairs if c in data.names_at and not data.labelled and data.step]
        for s, c in random.sample(shown or readable, min(9, len(shown or readable))):
            question, value = self._of_value(s, c), data.shown[s][c]
            page.ask(
                question, said(value) if shown else self.estimated(s, c), data.at.get((s, c)), data.cues(s, c)
            )
            if shown and data.shown[s].count(value) == 1 and chance(0.25):
                number = said(value) if chance(0.5) else value
                number += f" for {data.series[s]}" if len(data.series) > 1 else ""
                at, question = data.names_at.get(c), self.fill(_WITH, v_=number)
                page.ask(question, data.asked[c], at if self.written_out(c) else None, (data.at[s, c],))

    def _of_value(self, s: int, c: int) -> str:
        data, color = self.data, list(self.data.colors)
        if len(data.series) > 1:
            return self.fill(_OF_SERIES, s=data.series[s].rstrip("*"), x=self.name(c), c=color[s])
        forms = _VALUE if chance(0.4) else _TIMED if data.key in TIMES else _NAMED
        return self.fill(forms, x=self.name(c))

    def estimated(self, s: int, c: int) -> str:
        """A value without a label, to a tenth of the distance between two ticks."""
        data, fine = self.data, self.data.step / 10
        decimals = next(n for n in range(6) if n == 5 or abs(round(fine, n) - fine) < 1e-9)
        return said(written(round(data.figures[s][c] / fine) * fine, decimals, "", data.unit))

    def written_out(self, c: int) -> bool:
        return (
            self.data.asked[c] == self.data.categories[c]
            or "(" in self.data.categories[c]
            or (self.data.categories[c].startswith(self.data.asked[c]))
        )

    def extremes(self) -> None:
        page, data = self.page, self.data
        s = random.randrange(len(data.series))
        row, many = data.figures[s], len(data.series) > 1
        suffix = random.choice([f" of {data.series[s]}", f" for {data.series[s]}", f" in {data.series[s]}"])
        if many and chance(0.4):
            suffix = f" of the {list(data.colors)[s]} {random.choice(['bar', 'line', 'one'])}"
        for extreme, kind in ((max, "high"), (min, "low")):
            c, best = row.index(extreme(row)), extreme(row)
            rest = sorted(row, reverse=extreme is max)[1:]
            if c not in data.names_at or (
                rest and abs(rest[0] - best) < (0.001 if data.labelled else 0.04) * max(row)
            ):
                continue
            most = random.choice(_EXTREMES[kind].split(","))
            if chance(0.7):
                lead = kind == "high" and not many and chance(0.3)
                question = self.fill(_LEADS if lead else _WHICH, m_=most)
                question = f"{question.rstrip('?. ')}{suffix}?" if many else question
                at = data.names_at[c] if self.written_out(c) else None
                page.ask(question, data.asked[c], at, (data.at.get((s, c)),))
            if chance(0.5) and ((s, c) in data.at or (data.step and not data.labelled)):
                question = self.fill(_AMOUNT, m_=most)
                question = f"{question.rstrip('?. ')}{suffix}?" if many else question
                answer = said(data.shown[s][c]) if data.labelled else self.estimated(s, c)
                page.ask(question, answer, data.at.get((s, c)), data.cues(s, c))

    def colors(self) -> None:
        """What a color stands for, and by which color something is shown."""
        page, data = self.page, self.data
        names = data.asked if data.many_colored else data.series
        places = data.names_at if data.many_colored else data.series_at
        if len(names) < 2:
            return
        for index, color in random.sample(list(enumerate(data.colors)), min(2, len(names))):
            at = places.get(index)
            if chance(0.5) and (not data.many_colored or self.written_out(index)):
                key = data.key if data.many_colored else random.choice(_GROUPS)
                page.ask(self.fill(_IN_COLOR, c=color, k=key), names[index], at)
            elif chance(0.5):
                page.ask(self.fill(_COLOR_OF, x=names[index]), color.capitalize(), None, (at,))

    def arithmetic(self) -> None:
        """Of two of the values: their difference and sum, which is more; of all: their mean and median."""
        page, data = self.page, self.data
        s = random.randrange(len(data.series))
        row = data.figures[s]
        known = [c for c in range(len(row)) if (s, c) in data.at]
        of = f" of {data.series[s]}" if len(data.series) > 1 else ""
        if len(known) > 1:
            a, b = random.sample(known, 2)
            first, second = self.name(a) + of, self.name(b) + of
            if chance(0.35):
                page.ask(self.fill(_DIFFERENCE, p=first, q=second), plain(abs(row[a] - row[b])))
            if chance(0.2):
                page.ask(self.fill(_SUM, p=first, q=second), plain(row[a] + row[b]))
            if chance(0.35):
                page.ask(self.fill(_MORE, p=first, q=second), "Yes" if row[a] > row[b] else "No")
        if len(known) == len(row) and 2 <= len(row) <= MOST_COUNTED:
            total = f"of all {random.choice(['bars', 'values', 'the bars'])}{of}"
            bound = round(random.uniform(min(row), max(row)))
            for question, answer in (
                (f"What is the {random.choice(['average', 'mean'])} value {total}?", statistics.mean(row)),
                (f"What is the sum {total}?", sum(row)),
                (f"What is the median value{of}?", statistics.median(row)),
                (f"What is the difference between the highest and the lowest value{of}?",
                 max(row) - min(row)),
                (f"How many {self.fill(('{ks}',)).lower()}{of} are above {bound}?",
                 float(sum(value > bound for value in row))),
            ):  # fmt: skip
                if chance(0.12):
                    page.ask(question, plain(answer))

    def places(self) -> None:
        """Bars by where they stand, the second of all, and how many there are."""
        page, data = self.page, self.data
        count, single = len(data.categories), len(data.series) == 1
        if single and chance(0.35):
            ends = ("top", "bottom") if "across" in data.kind else ("leftmost", "rightmost")
            word, c = random.choice(
                [("first", 0), (ends[0], 0), ("last", -1), (ends[1], -1), ("middle", count // 2)]
            )
            c %= count
            if (0, c) in data.at and data.kind != "pie" and (word != "middle" or count % 2):
                page.ask(f"What is the value of the {word} bar?", said(data.shown[0][c]), data.at[0, c])
        if single and count > 2 and chance(0.2):
            order = sorted(range(count), key=lambda c: -data.figures[0][c])
            c, figures = order[1], [data.figures[0][c] for c in order[:3]]
            if len(set(figures)) == 3 and (0, c) in data.at and c in data.names_at:
                most = f"second {random.choice(['highest', 'largest', 'most'])}"
                at = data.names_at[c] if self.written_out(c) else None
                page.ask(self.fill(_WHICH, m_=most), data.asked[c], at, (data.at[0, c],))
        if chance(0.25) and count <= MOST_COUNTED:
            page.ask(self.fill(_COUNT), str(count))
        if chance(0.2) and not single:
            what = random.choice(
                ["groups are compared", "colors are used", "series are there", "lines are there"]
            )
            page.ask(f"How many {what}?", str(len(data.series)))

    def leaders(self) -> None:
        """Of several series, which is the most of a category, and the extremes of all values."""
        page, data = self.page, self.data
        if len(data.series) < 2:
            return
        for c in random.sample(range(len(data.categories)), min(2, len(data.categories))):
            column = [row[c] for row in data.figures]
            for extreme, kind in ((max, "high"), (min, "low")):
                best = extreme(column)
                near = 0.05 * max(column) if not data.labelled else 0.001
                if c not in data.names_at or sum(abs(v - best) <= near for v in column) > 1 or chance(0.6):
                    continue
                s, most = column.index(best), random.choice(_EXTREMES[kind].split(","))
                question = self.fill(_LEADER, m_=most, x=self.name(c), k=random.choice(_GROUPS))
                page.ask(question, data.series[s], data.series_at.get(s), (data.names_at[c],))
        if len(data.at) == len(data.series) * len(data.categories) and chance(0.4):
            extreme, kind = random.choice([(max, "high"), (min, "low")])
            best = extreme(value for row in data.figures for value in row)
            found = [(s, c) for (s, c) in data.at if data.figures[s][c] == best]
            if len(found) == 1:
                question = self.fill(_AMOUNT, m_=random.choice(_EXTREMES[kind].split(",")))
                at = data.at[found[0]]
                page.ask(
                    f"{question.rstrip('?. ')} among all?", said(data.shown[found[0][0]][found[0][1]]), at
                )


_ENTITIES = (
    words.company, words.person, words.city, lambda: random.choice(words.COUNTRIES),
    lambda: f"the {random.choice(words.ADJECTIVES)} {random.choice(words.NOUNS)}",
)  # fmt: skip


def plain(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def ask(page: Page, data: Data) -> None:
    """All that is asked of a chart that has been drawn, and links from its values to their names."""
    page.links += [(at, data.cues(s, c)) for (s, c), at in data.at.items()]
    if len(set(data.asked)) < len(data.asked):
        return
    asking = _Asking(page, data)
    for about in (
        asking.values,
        asking.extremes,
        asking.colors,
        asking.arithmetic,
        asking.places,
        asking.leaders,
    ):
        about()
