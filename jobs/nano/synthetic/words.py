"""Random content: names, words, codes, amounts, dates, addresses.

Values are random against their labels, so that a model can only learn to read them, not to guess them.
Each value knows how the page shows it and what JSON makes of it.
"""

from __future__ import annotations

import random
import re
import string
from dataclasses import dataclass, replace

from faker.providers.address.de_DE import Provider as GermanAddress
from faker.providers.address.en import Provider as World
from faker.providers.address.en_US import Provider as Address
from faker.providers.company import Provider as Company
from faker.providers.job import Provider as Job
from faker.providers.lorem.en_US import Provider as Lorem
from faker.providers.person.de_DE import Provider as German
from faker.providers.person.en_US import Provider as Person
from faker.providers.person.es_ES import Provider as Spanish
from faker.providers.person.fr_FR import Provider as French

WORDS = [word for word in Lorem.word_list if word.isascii()]
NOUNS = [word for word in Lorem.parts_of_speech["noun"] if word.isascii()]
VERBS = [word for word in Lorem.parts_of_speech["verb"] if word.isascii()]
ADJECTIVES = [word for word in Lorem.parts_of_speech["adjective"] if word.isascii()]
FIRST_NAMES = list(Person.first_names)
LAST_NAMES = list(Person.last_names)
ABROAD = [[list(one.first_names), list(one.last_names)] for one in (German, Spanish, French)]
GERMAN_CITIES = list(GermanAddress.cities)
COUNTRIES = [country for country in World.countries if country.isascii() and len(country) < 24]
JOBS = [job for job in Job.jobs if job.isascii()]
STATES = list(Address.states)
STATE_CODES = list(Address.states_abbr)
STREETS = list(Address.street_suffixes)
MONTHS = (
    "January February March April May June July August September October November December"
).split()  # fmt: skip
_ONSETS = "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl gr pl pr sh sl st th tr".split()
_VOWELS = "a e i o u ai ea ee io oo ou".split()
_CODAS = ["", "", "l", "m", "n", "r", "s", "t", "ck", "nd", "ng", "rt", "x"]
_SUFFIXES = (
    "Ltd,Inc.,LLC,GmbH,Co.,Group,Corp.,& Sons,Supplies,Sdn Bhd,(M) Sdn. Bhd.,Pte Ltd,Pty Ltd,S.A.,B.V.,"
    "Corporation,Company,Enterprise,Trading,Holdings,Industries,Partners LLP,Services,International,AG,"
    "Hardware,Restaurant,Cafe,Market,Stores,Bakery,Pharmacy,Motors,Electronics,Bookshop"
).split(",")


@dataclass(frozen=True, slots=True)
class Value:
    """What a page shows, the kind of field that holds it, and its JSON value (None: the shown text)."""

    shown: str
    kind: str
    json: object

    def upper(self) -> Value:
        """In capitals, as forms and tills print."""
        text = self.json.upper() if self.kind == "string" and isinstance(self.json, str) else self.json
        return replace(self, shown=self.shown.upper(), json=text)


def word() -> str:
    """A third of the words are invented: a reader must not lean on a dictionary."""
    if random.random() < 0.67:
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


def business() -> str:
    """A phrase of trade, as 'Balanced client-server interface'."""
    return " ".join(random.choice(part) for part in random.choice(_TRADE))


_TRADE: list[list[list[str]]] = [
    [list(part) for part in parts] for parts in (Company.catch_phrase_words, Company.bsWords)
]


# {n}, {v} and {a} are a noun, a verb and an adjective; {w} some words.
_SENTENCES = (
    "the {a} {n} of the {n} will {v} the {n}",
    "we {v} a {n} for each {a} {n} in the {n}",
    "this {n} must not {v} any {n}, unless the {n} is {a}",
    "in {month}, {name} and the {n} {v} {a} {n}s",
    "{trade} may {v} the {n} and its {a} {n}",
    "all {n}s are {a} and {v} {count} {n}s by {year}",
    "{w}",
)


def sentence() -> str:
    """An English sentence without much sense."""
    text = re.sub(r"{(\w+)}", _blank, random.choice(_SENTENCES))
    return text[:1].upper() + text[1:] + "."


def _blank(found: re.Match[str]) -> str:
    name = found[1]
    if name in ("n", "v", "a"):
        chosen: str = random.choice({"n": NOUNS, "v": VERBS, "a": ADJECTIVES}[name])
        return chosen
    if name in ("month", "name"):
        return random.choice(MONTHS if name == "month" else LAST_NAMES)
    if name in ("count", "year"):
        return str(random.randint(2, 90) if name == "count" else random.randint(1990, 2030))
    return business() if name == "trade" else " ".join(word() for _ in range(random.randint(5, 16)))


def prose(least: int, most: int) -> str:
    return " ".join(sentence() for _ in range(random.randint(least, most)))


def person() -> str:
    if random.random() < 0.2:
        first, last = random.choice(ABROAD)
        return f"{random.choice(first)} {random.choice(last)}"
    first_name, last_name = random.choice(FIRST_NAMES), random.choice(LAST_NAMES)
    initial = random.choice(string.ascii_uppercase)
    shape = random.random()
    if shape < 0.15:
        return f"{first_name[0]}. {initial}. {last_name}"
    if shape < 0.25:
        return f"{last_name}, {first_name} {initial}."
    if shape < 0.32:
        return f"{random.choice(['Mr.', 'Ms.', 'Dr.', 'Mrs.'])} {first_name[0]}. {last_name}"
    return f"{first_name} {initial}. {last_name}" if shape < 0.45 else f"{first_name} {last_name}"


def company() -> str:
    stem = random.choice(
        [random.choice(LAST_NAMES), phrase(1, 2).title(), word().capitalize(),
         f"{random.choice(LAST_NAMES)} & {random.choice(LAST_NAMES)}",
         f"{''.join(random.choices(string.ascii_uppercase, k=2))} {word().capitalize()}"]
    )  # fmt: skip
    return f"{stem} {random.choice(_SUFFIXES)}" if random.random() < 0.88 else stem


def city() -> str:
    if random.random() < 0.15:
        return random.choice(GERMAN_CITIES)
    return random.choice(
        [random.choice(LAST_NAMES) + random.choice(["ton", "ville", "burg", " City"]), word().capitalize()]
    )


def street() -> str:
    """A street and number, of one of several countries."""
    name = random.choice([random.choice(LAST_NAMES), random.choice(LAST_NAMES), word().capitalize()])
    number = random.randint(1, 9999) if random.random() < 0.6 else random.randint(1, 99)
    kind = random.random()
    if kind < 0.12:
        return f"{name}straße {number}"
    if kind < 0.3:
        road = random.choice(["Jalan", "Jln", "Lorong", "Rue", "Via", "Calle"])
        return random.choice(
            [f"No. {number}, {road} {name}", f"{number} {road} {name} {random.randint(1, 30)}"]
        )
    short = random.choice(["Street", "St", "Ave", "Road", "Rd.", "Lane", "Drive", "Blvd", "Way"])
    return f"{number} {name} {short if kind < 0.8 else random.choice(STREETS)}"


def town() -> str:
    """City, state or postcode, as the last line of an address."""
    return random.choice(
        [f"{city()}, {random.choice(STATE_CODES)} {random.randint(10000, 99999)}",
         f"{city()}, {random.choice(STATES)} {random.randint(10000, 99999)}",
         f"{random.randint(10000, 99999)} {city()}",
         f"{random.randint(10000, 99999)} {city()}, {random.choice(COUNTRIES)}",
         f"{city()}, {random.choice(COUNTRIES)}"]
    )  # fmt: skip


def address() -> list[str]:
    """Two to four lines of an address."""
    lines = [street()]
    if random.random() < 0.2:
        lot, part = random.randint(1, 2900), random.choice(string.ascii_uppercase)
        lines.insert(0, random.choice([f"Lot {lot}-{part} & {lot + 1}-{part}", f"PT {lot * 7}", f"No. {lot}",
                                       f"{random.choice(['Ground Floor', 'Lot P.T.'])}, {lot}"]))  # fmt: skip
    if random.random() < 0.25:
        lines.append(
            f"{random.choice(['Taman', 'Bandar', 'Kawasan', 'Seksyen', 'Parc', 'Mall of'])} {city()}"
        )
    if random.random() < 0.35:
        lines.append(random.choice([f"Suite {random.randint(1, 900)}", f"Unit {random.randint(1, 99)}",
                                    f"P.O. Box {random.randint(10, 9999)}",
                                    f"{city()} Park", city()]))  # fmt: skip
    lines.append(town())
    if random.random() < 0.2:
        lines.append(random.choice(COUNTRIES))
    return lines


def code() -> str:
    letters = "".join(random.choice(string.ascii_uppercase) for _ in range(random.randint(1, 4)))
    digits = "".join(random.choice(string.digits) for _ in range(random.randint(2, 7)))
    shape = random.random()
    if shape < 0.25:
        return digits + ("" if random.random() < 0.6 else str(random.randint(10, 99999)))
    if shape < 0.33:
        return f"{digits[:2]}{letters}{digits[2:]}"
    if shape < 0.41:
        return f"{digits[:3]}-{random.randint(10, 99)}-{random.randint(1000, 9999)}"
    if shape < 0.46:
        return f"{letters}{random.randint(0, 99):02d}/{digits}"
    return letters + random.choice(["-", "-", "", "/", " "]) + digits


def email() -> str:
    host = random.choice(["com", "org", "net", "io", "com.my", "de", "co.uk"])
    return f"{random.choice(FIRST_NAMES).lower()}@{word()}.{host}"


def website() -> str:
    return f"www.{word()}{word()}.{random.choice(['com', 'org', 'net', 'de', 'co.uk'])}"


def phone() -> str:
    a, b, c = random.randint(200, 999), random.randint(100, 999), random.randint(0, 9999)
    return random.choice(
        [f"({a}) {b}-{c:04d}", f"{a}-{b}-{c:04d}", f"+{a % 90 + 1} {b} {c:04d}", f"{a % 90:02d}-{b}{c:04d}",
         f"0{a % 100} {b} {c:04d}", f"{a}/{b}-{c:04d}", f"+{a % 90 + 1} ({b}) {c:04d}{a}"]
    )  # fmt: skip


def amount(low: float = 1.0, high: float = 100_000.0) -> float:
    """Amounts of every order of magnitude are equally likely."""
    exponent = random.uniform(0, 1)
    return round(low * float((high / low) ** exponent), 2)


def money(value: float, symbol: str) -> str:
    """$1,234.50 and its like. `symbol` may be empty; "1.234,50 €" and "RM 12.30" are others."""
    whole = f"{value:,.2f}"
    if symbol.startswith("eu"):
        swapped = whole.replace(".", "!").replace(",", " " if symbol == "eu " else ".").replace("!", ",")
        return f"{swapped} €" if symbol == "eu€" else swapped
    if symbol == "plain":
        return f"{value:.2f}"
    return f"{symbol}{whole}"


# What stands before an amount, or how it is written.
SYMBOLS = {
    "$": 6,
    "": 4,
    "plain": 3,
    "£": 2,
    "€": 2,
    "RM": 1,
    "RM ": 1.5,
    "USD ": 1,
    "EUR ": 0.5,
    "Rs ": 0.7,
    "€ ": 1,
    "eu": 2,
    "eu ": 0.5,
    "eu€": 2,
    "$ ": 1,
}
CURRENCIES = {
    "$": "USD",
    "$ ": "USD",
    "USD ": "USD",
    "£": "GBP",
    "€": "EUR",
    "€ ": "EUR",
    "EUR ": "EUR",
    "Rs ": "INR",
    "eu€": "EUR",
    "RM": "MYR",
    "RM ": "MYR",
}

_APART = re.compile(r"(RM ?|USD |EUR |Rs |[$€£] )?(-?\d[\d.,]*(?: \d{3}\b[\d.,]*)*)( €)?")


def bare(shown: str) -> tuple[str, int]:
    """An amount as an answer, without a currency of letters or apart from it, and the glyphs before it.

    Example: "RM 85.54" is ("85.54", 2); "$4.11", and what is no amount, stay as they are.
    """
    found = _APART.fullmatch(shown)
    if found is None or not (found[1] or found[3]):
        return shown, 0
    return found[2], len((found[1] or "").strip())


def symbol() -> str:
    return random.choices(list(SYMBOLS), list(SYMBOLS.values()))[0]


def number() -> str:
    digits = random.randint(1, 6)
    value = random.randint(10 ** (digits - 1), 10**digits - 1)
    shape = random.random()
    if shape < 0.4:
        return f"{value:,}"
    return f"{value:,}".replace(",", " ") if shape < 0.44 else str(value)


def decimal() -> str:
    return f"{random.choice([1, 10, 100]) * random.random():.{random.randint(1, 3)}f}"


def percent() -> str:
    return random.choice(
        [f"{random.uniform(0, 100):.1f}%", f"{random.randint(0, 100)}%", f"{random.randint(1, 99)} %"]
    )


DAY_STYLES = 14


def day(style: int | None = None) -> Value:
    """A date in one of the styles, or in `style`.

    Digits alone are year-month-day or month/day/year; where the day comes before a slash or a hyphen, it is
    13 or later, so that no date can be read in two ways.
    """
    d, m, y = random.randint(1, 28), random.randint(1, 12), random.randint(1970, 2032)
    if style is None:
        style = random.randrange(DAY_STYLES)
    if style in (6, 7, 8, 12):
        d = random.randint(13, 28)
    if style in (7, 9):
        y = random.randint(1970, 2032)
    month = MONTHS[m - 1]
    shown = [
        f"{y}-{m:02d}-{d:02d}",
        f"{month} {d}, {y}",
        f"{d} {month[:3]} {y}",
        f"{d} {month} {y}",
        f"{month[:3]} {d}, {y}",
        f"{m:02d}/{d:02d}/{y}",
        f"{d:02d}/{m:02d}/{y}",
        f"{d:02d}/{m:02d}/{y % 100:02d}",
        f"{d:02d}-{m:02d}-{y}",
        f"{m}/{d}/{y % 100:02d}",
        f"{d:02d}.{m:02d}.{y}",
        f"{d:02d}-{month[:3]}-{y}",
        f"{d}/{m}/{y}",
        f"{month} {d}{_ordinal(d)}, {y}",
    ][style]
    return Value(shown, "date", f"{y}-{m:02d}-{d:02d}")


def _ordinal(number: int) -> str:
    return "th" if 10 < number < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def clock() -> str:
    hour, minute = random.randint(0, 23), random.randint(0, 59)
    return random.choice(
        [f"{hour:02d}:{minute:02d}", f"{hour:02d}:{minute:02d}:{random.randint(0, 59):02d}",
         f"{hour % 12 + 1}:{minute:02d} {'PM' if hour > 11 else 'AM'}"]
    )  # fmt: skip


def value() -> Value:
    """Anything a form may hold."""
    kind = random.randrange(16)
    if kind < 2:
        return Value(shown := person(), "string", shown)
    if kind < 4:
        return Value(shown := company(), "string", shown)
    if kind == 4:
        shown = number()
        return Value(shown, "integer", int(shown.replace(",", "").replace(" ", "")))
    if kind in (5, 6):
        figure = amount()
        return Value(money(figure, symbol()), "decimal", f"{figure:.2f}")
    if kind in (7, 8):
        return day()
    if kind in (9, 10):
        return Value(shown := code(), "string", shown)
    if kind == 11:
        shown = random.choice([email, phone, website, city, clock])()
        return Value(shown, "string", shown)
    if kind == 12:
        shown = random.choice([street(), ", ".join(address()), random.choice(JOBS), random.choice(COUNTRIES)])
        return Value(shown, "string", shown)
    if kind == 13:
        things = f"{random.randint(1, 90)} {random.choice(NOUNS)}s"
        shown = random.choice([percent(), decimal(), business(), things])
        return Value(shown, "string", shown)
    return Value(shown := phrase(1, 6), "string", shown)
