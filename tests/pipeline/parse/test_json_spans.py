"""The parser equals json.loads, and each span holds the text of its leaf."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parse.json_spans import InvalidJson, Leaf, parse

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [
            leaf for name, item in value.items() for leaf in leaves(item, f"{path}.{name}" if path else name)
        ]
    if isinstance(value, list) and value:
        return [leaf for index, item in enumerate(value) for leaf in leaves(item, f"{path}[{index}]")]
    return [(path, value)]


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_the_value_is_that_of_json_and_spans_slice_back_to_leaves(
    value: Any, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    found, spans = parse(f"»» {text} ««", 2, 4 + len(text))
    assert found == json.loads(text, parse_float=Decimal)
    whole = f"»» {text} ««"
    assert [(leaf.path, json.loads(whole[leaf.start : leaf.end])) for leaf in spans] == leaves(value)


@given(st.text(st.sampled_from('{}[]",:\\0123456789.eE+-truefalsn \n\tu'), max_size=12))
def test_what_json_refuses_is_refused(text: str) -> None:
    try:
        expected = json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError:
        with pytest.raises(InvalidJson):
            parse(text)
        return
    try:
        found, _ = parse(text)
    except InvalidJson as error:
        assert any(word in str(error) for word in ("second time", "beyond float64"))  # noqa: PT017 # either way
    else:
        assert found == expected


def test_paths_and_places() -> None:
    text = '{"a": [1, "x"], "b": {}, "c": {"d": null}}'
    assert parse(text)[1] == [
        Leaf("a[0]", 7, 8),
        Leaf("a[1]", 10, 13),
        Leaf("b", 21, 23),
        Leaf("c.d", 36, 40),
    ]


def test_numbers_keep_every_digit() -> None:
    text = "[12345678901234567890.10, 1.50, 3, -0.0]"
    assert [str(number) for number in parse(text)[0]] == ["12345678901234567890.10", "1.50", "3", "-0.0"]
    assert [type(number) for number in parse(text)[0]] == [Decimal, Decimal, int, Decimal]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the end at character 0"),
        ('{"a": 1', "the end at character 7"),
        ('{"a": 1}}', "text after the end of the value at character 8"),
        ('{"a": 1, "a": 2}', "'a' for the second time at character 9"),
        ('{"a": 1,}', "no string at character 8"),
        ("{'a': 1}", "no string at character 1"),
        ('"\\ud83d"', "half a surrogate pair at character 0"),
        ("NaN", "no value at character 0"),
        ("nul", "an unknown word at character 0"),
        ("1e999", "a number beyond float64 at character 0"),
        ("1e-9999999999999999999", "a number beyond float64 at character 0"),
        ("9" * 5000, "a number beyond float64 at character 0"),
        ("[" * 100_000, "nesting deeper than 64 at character 65"),
        ('"' + "x" * 100_000, "no string at character 0"),
        ("٣", "no value at character 0"),
    ],
)
def test_errors_say_what_and_where(text: str, message: str) -> None:
    with pytest.raises(InvalidJson) as caught:
        parse(text)
    assert str(caught.value) == message


def test_an_emoji_written_as_two_escapes_is_one_character() -> None:
    assert parse('"\\ud83d\\ude00"')[0] == "😀"
