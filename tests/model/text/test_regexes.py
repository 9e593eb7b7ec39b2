"""The expressions match exactly the values that can be read back, compared with Python's own arithmetic."""

import re
from datetime import UTC, date, datetime, timedelta
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.text.regexes import DATE, DATE_TIME, EDGE_DAYS, number


def is_number(low: int, high: int, places: int, text: str) -> bool:
    return re.fullmatch(number(low, high, places), text) is not None


def written(units: int, places: int) -> str:
    """With all its places: 10 units of 1 place is 1.0."""
    sign, digits = "-" if units < 0 else "", f"{abs(units):0{places + 1}}"
    cut = len(digits) - places
    return f"{sign}{digits[:cut]}.{digits[cut:]}" if places else sign + digits


def texts(low: int, high: int, places: int) -> set[str]:
    """All texts of the numbers from low to high: also 1 for 1.0."""
    found = set()
    for units in range(low, high + 1):
        text = written(units, places)
        found.add(text)
        while "." in text and text.endswith(("0", ".")):
            text = text[:-1]
            found |= {text} if text[-1] != "." else set()
    return found


@pytest.mark.parametrize("places", [0, 1, 2])
@given(low=st.integers(-1250, 1250), size=st.integers(0, 1300))
@example(low=0, size=0)
@example(low=-9, size=18)
@example(low=99, size=1)
@example(low=-100, size=200)
def test_a_number_between_bounds_is_matched_in_every_length(places: int, low: int, size: int) -> None:
    inside = texts(low, low + size, places)
    around = texts(low - 120, low + size + 120, places)
    assert {text for text in around if is_number(low, low + size, places, text)} == inside


@given(bounds=st.tuples(*[st.integers(-(10**38), 10**38)] * 2), value=st.integers(-(10**38), 10**38))
def test_bounds_of_38_digits_are_exact(bounds: tuple[int, int], value: int) -> None:
    low, high = sorted(bounds)
    for units in (value, low, high, low - 1, high + 1):
        assert is_number(low, high, 9, written(units, 9)) == (low <= units <= high)


@pytest.mark.parametrize(
    "text", ["", "-", "-0", "-0.0", "00", "01", "1.", ".5", "+1", "1e2", "1.234", " 1", "١"]
)
def test_what_json_or_the_places_forbid_is_no_number(text: str) -> None:
    assert not is_number(-1000, 1000, 2, text)


def test_days_are_those_of_the_calendar() -> None:
    for year in (1, 4, 100, 400, 1900, 1999, 2000, 2023, 2024, 2100, 9999):
        for month, day in product(range(14), range(33)):
            text = f"{year:04}-{month:02}-{day:02}"
            try:
                exists = bool(date.fromisoformat(text))
            except ValueError:
                exists = False
            assert bool(re.fullmatch(DATE, text)) == exists, text
    assert not re.fullmatch(DATE, "0000-01-01")
    assert not re.fullmatch(DATE, "2024-1-1")


@given(st.dates())
def test_every_day_is_matched(day: date) -> None:
    assert re.fullmatch(DATE, day.isoformat())


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("2026-01-02T03:04:05Z", True),
        ("2026-01-02T03:04:05.123456+05:30", True),
        ("2026-01-02T03:04:05", False),  # no time zone
        ("2026-01-02T24:00:00Z", False),
        ("2026-01-02T03:04:60Z", False),
        ("2026-01-02T03:04:05.1234567Z", False),  # a column holds microseconds
        ("2026-01-02T03:04:05+24:00", False),
        ("2026-02-30T03:04:05Z", False),
        ("2026-01-02 03:04:05Z", False),
    ],
)
def test_moments_have_a_time_zone(text: str, matches: bool) -> None:
    assert bool(re.fullmatch(DATE_TIME, text)) == matches


def test_moments_off_the_edge_days_are_within_the_years_of_utc() -> None:
    for day in (date.min, date.min + timedelta(1), date.max - timedelta(1), date.max):
        moments = [f"{day}T{time}{sign}23:59" for time in ("00:00:00", "23:59:59") for sign in "+-"]
        assert all(re.fullmatch(DATE_TIME, moment) for moment in moments)
        if not re.match(EDGE_DAYS, str(day)):
            assert all(datetime.fromisoformat(moment).astimezone(UTC) for moment in moments)
