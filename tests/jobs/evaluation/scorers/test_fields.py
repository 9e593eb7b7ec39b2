"""Fields and whole JSONs: what is the same value, and how documents are counted. Worked by hand."""

from datetime import date
from decimal import Decimal

import pytest

from jobs.evaluation.scorers.fields import (
    Counts,
    Kind,
    as_dates,
    as_number,
    is_same,
    leaf_accuracy,
    score_fields,
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


def test_fields_are_counted() -> None:
    said = {"a": "1", "b": "x", "c": None, "d": "extra"}
    wanted = {"a": "1.0", "b": "y", "c": "z", "e": None}
    counts = score_fields(said, wanted, {"a": "number"})
    assert counts == Counts(right=1, given=3, wanted=3)
    counts.add(Counts(right=2, given=2, wanted=3))
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
