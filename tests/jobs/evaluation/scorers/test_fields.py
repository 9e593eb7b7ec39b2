"""Fields and whole JSONs: what is the same value, and how documents are counted. Worked by hand."""

import itertools
import random
import time
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from jobs.evaluation.scorers.fields import (
    Counts,
    Kind,
    as_dates,
    as_number,
    field_f1,
    is_same,
    leaf_accuracy,
    value_f1,
)


@pytest.mark.parametrize(
    ("said", "wanted", "kind", "tolerance", "same"),
    [
        ("Harbour  Ltd", "harbour ltd", "exact", 0.0, True),
        ("12.0", "12", "exact", 0.0, False),
        ("12.0", "12", "number", 0.0, True),
        ("$1,234.50", "1234.5", "number", 0.0, True),
        ("(3)", "-3", "number", 0.0, True),
        ("105", "100", "number", 0.05, True),
        ("105.1", "100", "number", 0.05, False),
        ("twelve", "Twelve", "number", 0.0, True),  # no numbers: as text
        ("2024-04-03", "3 April 2024", "date", 0.0, True),
        ("03/04/2024", "2024-03-04", "date", 0.0, True),  # it may be the fourth of March
        ("05/04/2024", "2024-03-04", "date", 0.0, False),
    ],
)
def test_what_is_the_same_value(said: str, wanted: str, kind: Kind, tolerance: float, same: bool) -> None:
    assert is_same(said, wanted, kind, tolerance) is same


def test_what_numbers_and_dates_are_read() -> None:
    assert [as_number(text) for text in ["€ 1.5", "12 %", "12,34", "1e3", "nan", ""]] == [
        Decimal("1.5"),
        Decimal(12),
        None,
        Decimal("1e3"),
        None,
        None,
    ]
    assert as_dates("1st May 2024") == {date(2024, 5, 1)}
    assert as_dates("soon") == frozenset()


def test_counts_become_precision_recall_and_f1() -> None:
    counts = Counts(right=3, given=5, wanted=6)
    assert (counts.precision, counts.recall) == (3 / 5, 3 / 6)
    assert counts.f1 == pytest.approx(6 / 11)
    assert (Counts().precision, Counts().recall, Counts().f1) == (1.0, 1.0, 1.0)


def test_leaves_and_values_of_json() -> None:
    wanted = {"total": "12.50", "paid": True, "items": [{"name": "tea"}, {"name": "cake"}], "note": None}
    said = {"total": 12.5, "paid": True, "items": [{"name": "Cake"}, {"name": "tea"}], "note": "x"}
    assert leaf_accuracy(said, wanted) == 2 / 4  # the items stand in another order
    assert value_f1(said, wanted) == Counts(right=4, given=5, wanted=4)
    assert leaf_accuracy({"a": 1}, {}) == 1.0
    assert leaf_accuracy(None, {"a": 1}) == 0.0


def plainly(said: Any, wanted: Any) -> int:
    """The leaves that are right, all ways to pair items up being tried."""
    if isinstance(said, dict) and isinstance(wanted, dict):
        return sum(plainly(said[name], wanted[name]) for name in said.keys() & wanted.keys())
    if isinstance(said, list) and isinstance(wanted, list):
        short, long = sorted((said, wanted), key=len)
        return max(
            sum(itertools.starmap(plainly, zip(short, some, strict=True)))
            for some in itertools.permutations(long, len(short))
        )
    return int(isinstance(said, str) and said == wanted)


def drawn(rng: random.Random, depth: int) -> Any:
    kind = rng.random() if depth else 1.0
    if kind < 0.4:
        return [drawn(rng, depth - 1) for _ in range(rng.randrange(5))]
    if kind < 0.7:
        return {rng.choice("abc"): drawn(rng, depth - 1) for _ in range(rng.randrange(4))}
    return rng.choice(["x", "y", "z", None])


def test_items_of_lists_pair_up_so_that_most_is_right() -> None:
    rng = random.Random(1)
    counts = []
    for _ in range(300):
        said, wanted = ([drawn(rng, 3) for _ in range(3)] for _ in range(2))
        said += rng.sample(wanted, 1)
        counts.append(field_f1(said, wanted).right)
        assert counts[-1] == plainly(said, wanted), (said, wanted)
    assert max(counts) > 5


def test_lists_of_hundreds_of_items_take_no_minutes() -> None:
    """500 took 24 s."""
    rng = random.Random(1)
    items = [{"name": f"n{rng.randrange(500)}", "count": rng.randrange(5), "at": row} for row in range(500)]
    said = [item | {rng.choice(list(item)): "?"} for item in rng.sample(items, 500)]
    start = time.process_time()
    found = field_f1({"items": said}, {"items": items})
    assert time.process_time() - start < 5
    assert found == Counts(right=1000, given=1500, wanted=1500)
