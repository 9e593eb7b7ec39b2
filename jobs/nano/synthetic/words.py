"""Random content: names, words, codes, amounts, dates.

Values are random against their labels, so that a model can only learn to read them, not to guess them.
Each value knows how the page shows it and what JSON makes of it.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

from faker.providers.address.en_US import Provider as Address
from faker.providers.lorem.en_US import Provider as Lorem
from faker.providers.person.en_US import Provider as Person

WORDS = [word for word in Lorem.word_list if word.isascii()]
FIRST_NAMES = list(Person.first_names)
LAST_NAMES = list(Person.last_names)
STATES = list(Address.states)
MONTHS = (
    "January February March April May June July August September October November December"
).split()  # fmt: skip
_ONSETS = "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl gr pl pr sh sl st th tr".split()
_VOWELS = "a e i o u ai ea ee io oo ou".split()
_CODAS = ["", "", "l", "m", "n", "r", "s", "t", "ck", "nd", "ng", "rt", "x"]


@dataclass(frozen=True, slots=True)
class Value:
    """What a page shows, the kind of field that holds it, and its JSON value (None: the shown text)."""

    shown: str
    kind: str
    json: object


def word() -> str:
    """Half of the words are invented: a reader must not lean on a dictionary."""
    if random.random() < 0.6:
        return random.choice(WORDS)
    syllables = random.randint(1, 3)
    return "".join(
        random.choice(_ONSETS) + random.choice(_VOWELS) + random.choice(_CODAS) for _ in range(syllables)
    )


def phrase(least: int = 1, most: int = 3) -> str:
    words = [word() for _ in range(random.randint(least, most))]
    if random.random() < 0.3:
        return " ".join(w.capitalize() for w in words)
    return " ".join([words[0].capitalize(), *words[1:]])


def person() -> str:
    middle = random.choice(["", "", "", f" {random.choice(string.ascii_uppercase)}."])
    return f"{random.choice(FIRST_NAMES)}{middle} {random.choice(LAST_NAMES)}"


def company() -> str:
    suffix = random.choice(["Ltd", "Inc.", "LLC", "GmbH", "Co.", "Group", "Corp.", "& Sons", "Supplies", ""])
    stem = random.choice([random.choice(LAST_NAMES), phrase(1, 2).title(), word().capitalize()])
    return f"{stem} {suffix}".strip()


def city() -> str:
    return random.choice(
        [random.choice(LAST_NAMES) + random.choice(["ton", "ville", "burg", " City"]), word().capitalize()]
    )


def street() -> str:
    kind = random.choice(["Street", "St", "Ave", "Road", "Lane", "Drive", "Blvd", "Way"])
    name = random.choice([*LAST_NAMES[:300], "Main", "Oak", "Park", "Mill"])
    return f"{random.randint(1, 9999)} {name} {kind}"


def code() -> str:
    letters = "".join(random.choice(string.ascii_uppercase) for _ in range(random.randint(1, 4)))
    digits = "".join(random.choice(string.digits) for _ in range(random.randint(2, 7)))
    shape = random.random()
    if shape < 0.15:
        return digits
    if shape < 0.25:
        return f"{digits[:2]}{letters}{digits[2:]}"
    return letters + random.choice(["-", "-", "", "/", " "]) + digits


def email() -> str:
    return f"{random.choice(FIRST_NAMES).lower()}@{word()}.{random.choice(['com', 'org', 'net', 'io'])}"


def phone() -> str:
    a, b, c = random.randint(200, 999), random.randint(100, 999), random.randint(0, 9999)
    return random.choice([f"({a}) {b}-{c:04d}", f"{a}-{b}-{c:04d}", f"+{a % 90 + 1} {b} {c:04d}"])


def amount(low: float = 1.0, high: float = 100_000.0) -> float:
    """Amounts of every order of magnitude are equally likely."""
    exponent = random.uniform(0, 1)
    return round(low * float((high / low) ** exponent), 2)


def money(value: float, symbol: str) -> str:
    """$1,234.50 and its like; the symbol may be empty."""
    return f"{symbol}{value:,.2f}"


def symbol() -> str:
    return random.choice(["$", "$", "$", "", "", "£", "€"])


def number() -> str:
    digits = random.randint(1, 5)
    value = random.randint(10 ** (digits - 1), 10**digits - 1)
    return f"{value:,}" if random.random() < 0.4 else str(value)


def percent() -> str:
    return random.choice([f"{random.uniform(0, 100):.1f}%", f"{random.randint(0, 100)}%"])


def day(style: int | None = None) -> Value:
    """A date in one of six styles, or in `style`; digits alone are year-month-day or month/day/year."""
    d, m, y = random.randint(1, 28), random.randint(1, 12), random.randint(1985, 2032)
    month = MONTHS[m - 1]
    shown = [
        f"{y}-{m:02d}-{d:02d}",
        f"{month} {d}, {y}",
        f"{d} {month[:3]} {y}",
        f"{d} {month} {y}",
        f"{month[:3]} {d}, {y}",
        f"{m:02d}/{d:02d}/{y}",
    ][random.randrange(6) if style is None else style]
    return Value(shown, "date", f"{y}-{m:02d}-{d:02d}")


def value() -> Value:
    """Anything a form may hold."""
    kind = random.randrange(12)
    if kind == 0:
        return Value(shown := person(), "string", shown)
    if kind == 1:
        return Value(shown := company(), "string", shown)
    if kind == 2:
        return Value(shown := number(), "integer", int(shown.replace(",", "")))
    if kind in (3, 4):
        figure = amount()
        return Value(money(figure, symbol()), "decimal", f"{figure:.2f}")
    if kind in (5, 6):
        return day()
    if kind in (7, 8):
        return Value(shown := code(), "string", shown)
    if kind == 9:
        shown = random.choice([email, phone, street, city])()
        return Value(shown, "string", shown)
    if kind == 10:
        return Value(shown := percent(), "string", shown)
    return Value(shown := phrase(1, 4), "string", shown)
