"""Commas set elements apart, unless they stand in a string."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.text.json_commas import JsonCommas


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (['{"a', '":', "1", ",", '"b":2}'], [False, False, False, True, False]),
        (['["a,', "b", '","', 'c"]'], [False, False, True, False]),
        (['"', "\\", '"', ",", '"', ","], [False, False, False, False, False, True]),
        (['"\\\\', '",'], [False, True]),
        (["[1, 2", ", 3"], [True, True]),
    ],
)
def test_only_commas_outside_of_strings_count(tokens: list[str], expected: list[bool]) -> None:
    commas = JsonCommas()
    assert [commas.passes(token.encode()) for token in tokens] == expected


@given(st.lists(st.text(alphabet='a,"\\é\n'), max_size=4), st.booleans())
def test_a_list_of_strings_has_a_comma_less_than_strings(strings: list[str], ascii_only: bool) -> None:
    commas = JsonCommas()
    data = json.dumps(strings, ensure_ascii=ascii_only).encode()
    assert sum(commas.passes(data[at : at + 1]) for at in range(len(data))) == max(len(strings) - 1, 0)
