"""Keys stay from run to run, and change with what shapes an answer."""

from dataclasses import replace

import pytest

from pipeline.plan.keys import asked_key, item_key
from schemas.targets import Question
from tests.pipeline.plans import ANY, ASK, PDF, PLAN, asking


def test_the_key_of_an_item_stays() -> None:
    # A literal: results that people keep are found by it.
    assert item_key(ASK, "source", 1, 2, ANY) == "38ff89fc651da6ba9bd3055c990dee42"


@pytest.mark.parametrize(
    "other",
    [
        item_key(ASK, "another", 1, 2, ANY),
        item_key(ASK, "source", 1, 3, ANY),
        item_key(ASK, "source", None, None, ANY),
        item_key(ASK, "source", 1, 2, PDF),
        item_key(ASK, "source", 1, 2, Question(id="any", text="Other words?")),
        item_key(replace(ASK, settings_key="other"), "source", 1, 2, ANY),
        item_key(replace(ASK, target="Invoice"), "source", 1, 2, ANY),
    ],
)
def test_the_key_changes_with_what_shapes_the_answer(other: str) -> None:
    assert other != item_key(ASK, "source", 1, 2, ANY)


def test_the_key_does_not_change_with_the_run_or_the_other_questions() -> None:
    other = replace(ASK, number=3, questions=(ANY,))
    assert item_key(other, "source", 1, 2, ANY) == item_key(ASK, "source", 1, 2, ANY)


def test_the_same_is_asked_only_of_the_same_pages_and_questions() -> None:
    key = asked_key(PLAN, "x.pdf")
    assert key == asked_key(PLAN, "y.pdf")
    others = [
        replace(PLAN, pages=(2, None)),
        asking(settings_key="b"),
        asking(questions=(PDF,)),
    ]
    assert len({key, asked_key(PLAN, "x.png"), *(asked_key(plan, "x.pdf") for plan in others)}) == 5
