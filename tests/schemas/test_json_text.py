"""JSON that a person wrote is read strictly, and what is wrong with it is one sentence."""

from decimal import Decimal

import pytest

from schemas.json_text import read_json


def test_fractions_keep_their_digits() -> None:
    assert read_json('{"a": [0.10, 1e2, -7, "\\ud83d\\ude00"]}') == {
        "a": [Decimal("0.10"), Decimal(100), -7, "😀"]
    }
    assert read_json("[" * 200 + "]" * 200) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON: Expecting value"),
        ("{'a': 1}", "is not JSON: "),
        ("[" * 100_000, "is nested deeper than 200 levels"),
        ('{"a":' * 100_000, "is nested deeper than 200 levels"),
        ("[" * 202 + "]" * 202, "is nested deeper than 200 levels"),
        ("[NaN]", "is not JSON: it holds NaN"),
        ("-Infinity", "is not JSON: it holds -Infinity"),
        ("9" * 5000, "holds a number of more than 400 digits"),
        ("1e99999999999", "holds 1e99999999999, a number beyond float64"),
        ("1e400", "holds 1e400, a number beyond float64"),
        ('{"a": 1, "b": 2, "a": 3}', "has the name 'a' twice in one object"),
        ('["\\ud800"]', r"holds half a surrogate pair, in '\\ud800'"),
        ('{"\\udfff": 1}', "holds half a surrogate pair"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_wrong_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_json(text)
    assert "\n" not in str(caught.value)
