"""olmOCR-Bench's facts against its own output, and by hand where a class of pairs is rare."""

import json
from typing import Any

import pytest

from jobs.evaluation.scorers.facts import holds, near_starts, plain
from tests.jobs.evaluation import kept


def test_facts_hold_as_they_do_in_the_benchmark() -> None:
    text = json.loads((kept.FOLDER / "olmocr.jsonl").read_text().splitlines()[0])["text"]
    rows = kept.load("olmocr")
    assert {(row["fact"]["type"], row["holds"]) for row in rows} >= {
        (kind, held) for kind in ("table", "order", "absent", "format", "math") for held in (True, False)
    }
    for row in rows:
        assert holds(row["fact"], text) is row["holds"], row["fact"]


@pytest.mark.parametrize(
    ("fact", "text", "held"),
    [
        ({"type": "baseline"}, "words", True),
        ({"type": "baseline"}, " ...", False),
        ({"type": "baseline"}, "総額 12", False),
        ({"type": "baseline", "check_disallowed_characters": False}, "総額 12", True),
        ({"type": "baseline"}, "a" + "ab" * 31, False),
        ({"type": "baseline", "max_length": 3}, "ab c", True),
        ({"type": "baseline", "max_length": 3}, "abcd", False),
        ({"type": "baseline", "max_length": 3, "max_length_skips_image_alt_tags": True}, "![abcd](x)", True),
        ({"type": "table", "cell": "2", "up": "A"}, "| A | B |\n| - | - |\n| 2 | 3 |", True),
        (
            {"type": "table", "cell": "2", "up": "A", "ignore_markdown_tables": True},
            "|A|B|\n|-|-|\n|2|3|",
            False,
        ),
    ],
)
def test_a_fact(fact: dict[str, Any], text: str, held: bool) -> None:
    assert holds(fact, text) is held


def test_an_unknown_fact_is_refused() -> None:
    with pytest.raises(ValueError, match="'smell'; known are present"):
        holds({"type": "smell"}, "")


def test_near_pieces_begin_where_they_are_near() -> None:
    assert near_starts("abc", "xabcabx", 0) == [1]
    assert {1, 4} <= set(near_starts("abc", "xabcabx", 1))
    assert near_starts("abc", "zzzz", 1) == []


def test_plain_text_has_no_emphasis_and_simple_quotes() -> None:
    assert plain("**A**  <b>b</b>\n_c_ “d” – e<br>f") == 'A b c "d" - e f'
