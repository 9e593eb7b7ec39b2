"""IF-Eval against the output of Google's own code, and what is counted by a rule of ours by hand."""

import random
from typing import Any

import pytest

from jobs.evaluation.asked import Asked
from jobs.evaluation.measures import MEASURES, weight
from jobs.evaluation.scorers.ifeval import followed
from tests.jobs.evaluation import kept


def test_instructions_are_followed_as_in_the_official_code() -> None:
    rows = kept.load("ifeval")
    assert len({row["id"] for row in rows}) == 24
    for row in rows:
        for loose in (False, True):
            found = followed(row["response"], [row["id"]], [row["arguments"]], loose=loose)
            assert found == [row["loose" if loose else "strict"]], row


@pytest.mark.parametrize(
    ("id", "arguments", "response", "right"),
    [
        (
            "number_sentences",
            {"num_sentences": 3, "relation": "less than"},
            'He said "no." Then he left.',
            True,
        ),
        ("number_sentences", {"num_sentences": 2, "relation": "at least"}, "Version 1.5 is out", False),
        ("number_sentences", {"num_sentences": 3, "relation": "at least"}, "One. Two?\nThree!", True),
    ],
)
def test_sentences(id: str, arguments: dict[str, Any], response: str, right: bool) -> None:
    assert followed(response, [f"length_constraints:{id}"], [arguments]) == [right]


def test_the_four_scores_of_a_prompt() -> None:
    instructions = ["punctuation:no_comma", "startend:end_checker", "keywords:existence"]
    facts = {"instructions": instructions, "arguments": [{}, {"end_phrase": "bye"}, {"keywords": ["cat"]}]}
    asked = Asked(id="1", turns=(), question="", answers=("x",), measures=(), facts=facts)
    scores = {
        name: MEASURES[f"ifeval_{name}"].score("Well, then.\nA cat. *Bye*", asked, random.Random(0))
        for name in ("prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose")
    }
    # Strictly there is a comma, and the end has an asterisk; loosely both may go.
    assert scores == {
        "prompt_strict": 0.0,
        "prompt_loose": 1.0,
        "instruction_strict": 1 / 3,
        "instruction_loose": 1.0,
    }
    assert (weight("ifeval_instruction_strict", asked), weight("ifeval_prompt_strict", asked)) == (3, 1)
    with pytest.raises(ValueError, match="'keywords:smell' is not one"):
        followed("x", ["keywords:smell"], [{}])
