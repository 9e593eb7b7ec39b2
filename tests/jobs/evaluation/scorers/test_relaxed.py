"""Relaxed accuracy against cases worked by hand, and against mistral-evals' own output."""

from collections.abc import Callable, Sequence

import pytest

from jobs.evaluation.scorers import relaxed
from jobs.evaluation.scorers.relaxed import anywhere_relaxed_accuracy, final_answer, relaxed_accuracy
from tests.jobs.evaluation import kept


@pytest.mark.parametrize(
    ("prediction", "answers", "score"),
    [
        ("100", ["100"], 1.0),
        ("105", ["100"], 1.0),  # 5 / 100, just within
        ("95", ["100"], 1.0),
        ("105.1", ["100"], 0.0),
        ("94.9", ["100"], 0.0),
        ("-100", ["100"], 0.0),
        ("-104", ["-100"], 1.0),
        ("100", ["105.3"], 0.0),  # relative to the accepted answer: 5.3 / 105.3 is 5.03%
        ("100", ["105.2"], 1.0),  # 5.2 / 105.2 is 4.94%
        ("0", ["0"], 1.0),
        ("0.01", ["0"], 0.0),  # there is no 5% of 0
        ("$1,234.50", ["1234.5"], 1.0),
        ("1,234.", ["1234"], 1.0),
        ("12%", ["12"], 1.0),
        ("12%", ["0.12"], 1.0),
        ("0.12", ["12%"], 1.0),
        ("12", ["12%"], 1.0),
        ("0.12", ["12"], 0.0),  # neither is a percentage
        ("2019", ["2020"], 1.0),  # a year is a number too: ChartQA's measure is that lax
        ("March", ["march"], 1.0),
        ('"March"', ["March"], 1.0),
        ("March.", ["March"], 0.0),  # text without a digit keeps its punctuation
        ("Marhc", ["March"], 0.0),
        (" March", ["March"], 0.0),  # and blanks at its edges: their measure has no strip
        ('"', [""], 1.0),  # a lone quote begins and ends with one
        ("June 2020.", ["june 2020"], 1.0),
        ("B) Spain", ["B"], 1.0),  # an option is met by its letter
        ("Spain", ["B"], 0.0),
        ("", ["B"], 0.0),
        ("twelve", ["12"], 0.0),
        ("nan", ["nan"], 0.0),  # to Python a number, which is unequal to itself
        ("11", ["30", "11.2"], 1.0),  # any of several
    ],
)
def test_relaxed_accuracy(prediction: str, answers: list[str], score: float) -> None:
    assert relaxed_accuracy(prediction, answers) == score


@pytest.mark.parametrize(
    "name", ["relaxed_accuracy", "explicit_relaxed_accuracy", "anywhere_relaxed_accuracy"]
)
def test_scores_are_those_of_mistral_evals(name: str) -> None:
    measure: Callable[[str, Sequence[str]], float] = getattr(relaxed, name)
    rows = [row for row in kept.load("mistral_evals") if name in row["scores"]]
    assert {row["scores"][name] for row in rows} == {0.0, 1.0}
    for row in rows:
        assert measure(row["prediction"], row["answers"]) == row["scores"][name], row


def test_an_accepted_infinity_is_text_where_theirs_raises() -> None:
    assert anywhere_relaxed_accuracy("it is inf", ["inf"]) == 1.0
    assert anywhere_relaxed_accuracy("it is large", ["inf"]) == 0.0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So.\nFinal Answer: 12", "12"),
        ("**Answer:** 12", "12"),
        ("Answer: 1\nFinal Answer:\n\n _two_ \nthree", "two"),
        ("the answer is 12", ""),
        ("Answer:", ""),
    ],
)
def test_the_final_answer_is_the_first_line_after_the_last_sign(text: str, answer: str) -> None:
    assert final_answer(text) == answer
