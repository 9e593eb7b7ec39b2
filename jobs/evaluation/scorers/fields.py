"""Fields of a document against their right values: each field right or wrong, and precision, recall and F1.

In: values as text (or null), with the kind of comparison that each wants; or two JSON objects. Out: a score
for a field, and counts for a document or a data set. A field that has no value and is given none counts for
nothing.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

import numpy as np

from jobs.evaluation.scorers.lists import Matrix, best_sum
from jobs.evaluation.scorers.texts import folded

Kind = Literal["exact", "number", "date"]
_CURRENCY = "$€£¥"
MOST_DIGITS: Final = 1000  # of a number: a model in a loop writes more, and no decimal holds its exponent
_DATES = (
    "%Y-%m-%d|%Y/%m/%d|%Y.%m.%d|%d.%m.%Y|%d/%m/%Y|%d-%m-%Y|%d.%m.%y|%d/%m/%y|%d-%m-%y|%m/%d/%Y|%m-%d-%Y|"
    "%m/%d/%y|%d %B %Y|%d %b %Y|%B %d, %Y|%b %d, %Y|%B %d %Y|%b %d %Y|%d-%b-%Y|%d-%b-%y"
)


@dataclass(kw_only=True)
class Counts:
    """Fields that were given and right, given, and wanted: over one document or many."""

    right: int = 0
    given: int = 0
    wanted: int = 0

    @property
    def precision(self) -> float:
        """Of the values that were given, how many are right; 1.0 where none was given."""
        return self.right / self.given if self.given else 1.0

    @property
    def recall(self) -> float:
        """Of the values that there are, how many were found; 1.0 where there is none."""
        return self.right / self.wanted if self.wanted else 1.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        both = self.given + self.wanted
        return 2 * self.right / both if both else 1.0


def is_same(said: str, wanted: str, kind: Kind = "exact", tolerance: float = 0.0) -> bool:
    """Whether a value is the right one. `tolerance` is relative, of numbers.

    What is no number, or no date, is compared as text.
    """
    if kind == "number":
        a, b = as_number(said), as_number(wanted)
        if a is not None and b is not None:
            return abs(a - b) <= abs(b) * Decimal(str(tolerance))
    if kind == "date" and (days := as_dates(said)) and (others := as_dates(wanted)):
        return bool(days & others)
    return folded(said) == folded(wanted)


def leaf_accuracy(said: Any, wanted: Any) -> float:
    """Of the leaves of the right JSON, how many are equal at the same path; 1.0 where it has none.

    Texts are compared without case and runs of white space, numbers as numbers.
    """
    there, leaves = dict(_leaves(said)), list(_leaves(wanted))
    right = sum(path in there and _plain(there[path]) == _plain(value) for path, value in leaves)
    return right / len(leaves) if leaves else 1.0


def value_f1(said: Any, wanted: Any) -> Counts:
    """Counts of the values of two JSONs by the names of their fields: the order of lists does not count."""
    a, b = Counter(_unordered(said)), Counter(_unordered(wanted))
    return Counts(right=(a & b).total(), given=a.total(), wanted=b.total())


def field_f1(said: Any, wanted: Any) -> Counts:
    """Counts of the leaves of two JSONs, each at its place; items of lists pair up as fits best."""
    right = _rights([_folded(said)], [_folded(wanted)])[0, 0]
    return Counts(right=round(right), given=len(list(_leaves(said))), wanted=len(list(_leaves(wanted))))


def _folded(value: Any) -> Any:
    """A JSON with its leaves as `_plain` has them: each is read once, with however many it is compared."""
    if isinstance(value, Mapping):
        return {name: _folded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_folded(inner) for inner in value]
    return None if value is None else _plain(value)


def _rights(some: Sequence[Any], others: Sequence[Any]) -> Matrix:
    """How many leaves are right in each of some values, against each of others. Both are folded."""
    found = np.zeros((len(some), len(others)))
    sides = some, others
    rows, columns = ([at for at, one in enumerate(side) if isinstance(one, str)] for side in sides)
    numbers: dict[str, int] = {}
    a, b = (
        np.array([numbers.setdefault(side[at], len(numbers)) for at in places], np.int64)
        for side, places in zip(sides, (rows, columns), strict=True)
    )
    found[np.ix_(rows, columns)] = a[:, None] == b[None, :]
    names = [{name: None for one in side if isinstance(one, dict) for name in one} for side in sides]
    for name in (name for name in names[0] if name in names[1]):
        rows, columns = (
            [at for at, one in enumerate(side) if isinstance(one, dict) and name in one] for side in sides
        )
        inner = _rights([some[at][name] for at in rows], [others[at][name] for at in columns])
        found[np.ix_(rows, columns)] += inner
    rows, columns = ([at for at, one in enumerate(side) if isinstance(one, list) and one] for side in sides)
    if rows and columns:
        items = [item for at in columns for item in others[at]]
        ends = np.cumsum([len(others[at]) for at in columns])[:-1]
        for row in rows:  # not all at once: the matrix would have the items of all in both directions
            blocks = np.split(_rights(some[row], items), ends, axis=1)
            found[row, columns] = [best_sum(block) if block.any() else 0.0 for block in blocks]
    return found


def as_number(text: str) -> Decimal | None:
    """The number that a text is, without currency, commas between thousands, and in brackets negative."""
    text = text.strip()
    negative = text.startswith("(") and text.endswith(")")
    text = text.strip("()").strip(_CURRENCY + " ").removesuffix("%").strip()
    try:
        number = Decimal(re.sub(r"(?<=\d),(?=\d{3})", "", text))
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > MOST_DIGITS:
        return None
    return -number if negative else number


def as_dates(text: str) -> frozenset[date]:
    """The days that a text may name: 03/04/2024 is one of two. Empty if it is no date."""
    text = " ".join(text.strip().split())
    text = re.sub(r"(?<=\d)(st|nd|rd|th)\b", "", text)
    found = set()
    for form in _DATES.split("|"):
        try:
            found.add(datetime.strptime(text, form).date())
        except ValueError:
            continue
    return frozenset(found)


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The leaves that are not null. An empty list or object is none."""
    if isinstance(value, Mapping):
        inside: Iterable[tuple[str | int, Any]] = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    else:
        if value is not None:
            yield path, value
        return
    for name, inner in inside:
        yield from _leaves(inner, (*path, name))


def _unordered(value: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    for path, leaf in _leaves(value):
        yield tuple(part for part in path if isinstance(part, str)), _plain(leaf)


def _plain(value: Any) -> str:
    """A leaf as text that is equal for equal values: 12, 12.0 and "12.00" are one number."""
    if isinstance(value, bool):
        return json.dumps(value)
    number = as_number(str(value))
    return folded(str(value)) if number is None else f"{number.normalize():f}"
