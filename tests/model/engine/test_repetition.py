"""Loops end an answer; what documents repeat does not."""

from itertools import cycle, islice

import pytest

from model.engine.repetition import RepetitionGuard, RepetitionLimit

SHORT = RepetitionLimit(longest=4, times=3, tokens=8)


def first_loop(tokens: list[int], limit: RepetitionLimit) -> int | None:
    """After how many tokens the guard stops."""
    guard = RepetitionGuard(limit)
    return next((count for count, token in enumerate(tokens, 1) if guard.loops(token)), None)


def test_a_sequence_counts_when_it_stands_there_often_enough_and_long_enough() -> None:
    assert first_loop([5] * 20, SHORT) == 8  # 8 tokens are needed, 8 times
    assert first_loop([1, 2, 3] * 9, SHORT) == 9  # 3 times 3 tokens
    assert first_loop([1, 2, 3, 4] * 9, SHORT) == 12
    assert first_loop([9, 9, *[1, 2, 3, 4] * 9], SHORT) == 14
    assert first_loop([1, 2, 3, 4, 5] * 9, SHORT) is None  # longer than what is looked for


def test_every_break_begins_anew() -> None:
    assert first_loop([5] * 7 + [6] + [5] * 7 + [6], SHORT) is None
    assert first_loop(([1, 2] * 3 + [7]) * 5, SHORT) is None


def test_a_table_of_zeros_is_no_loop_short_of_the_limit() -> None:
    zeros = list(islice(cycle([48, 32]), 600))  # "0 0 0 0", two tokens a number
    assert first_loop(zeros, RepetitionLimit()) == 256
    assert first_loop([*zeros[:255], 10, *zeros[:255]], RepetitionLimit()) is None


def test_rows_that_differ_in_a_number_are_no_loop() -> None:
    rows = [token for number in range(200) for token in (48, 32, 48, 32, 1000 + number, 10)]
    assert first_loop(rows, RepetitionLimit()) is None


def test_elements_of_a_list_may_repeat_more_often() -> None:
    """Token 9 has a comma outside of strings."""
    limit = RepetitionLimit(longest=4, times=3, tokens=8, elements=6)

    def first(tokens: list[int]) -> int | None:
        guard = RepetitionGuard(limit)
        return next((count for count, token in enumerate(tokens, 1) if guard.loops(token, token == 9)), None)

    assert first([1, 2, 9] * 5) is None
    assert first([1, 2, 9] * 6) == 18
    assert first([9] * 9) == 8
    assert first([1, 2, 9] * 5 + [3] * 9) == 23  # a loop within a value behind the list
    assert first([1, 2, 9, 4] * 2 + [3, 5] * 4) == 16


@pytest.mark.parametrize("values", [{"longest": 0}, {"times": 1}, {"tokens": 1}, {"elements": 1}])
def test_limits_are_checked(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        RepetitionLimit(**values)
