"""ANLS against cases worked by hand, and against mistral-evals' own output."""

import pytest

from jobs.evaluation.scorers.anls import anls, anls_without_threshold, nested_anls
from tests.jobs.evaluation import kept


@pytest.mark.parametrize(
    ("prediction", "answers", "at_0", "at_half"),
    [
        ("Invoice", ["Invoice"], 1.0, 1.0),
        ("  ACME \n Corp ", ["acme corp"], 1.0, 1.0),  # case and white space do not count
        ("sitting", ["kitten"], 1 - 3 / 7, 1 - 3 / 7),
        ("abcd", ["abxy"], 0.5, 0.5),  # exactly at the threshold: kept, as by the leaderboard's script
        ("abc", ["axy"], 1 - 2 / 3, 0.0),  # below it: dropped
        ("abc", ["xyz"], 0.0, 0.0),
        ("12 May", ["2012", "12 may"], 1.0, 1.0),  # the nearest accepted answer counts
        ("", ["abc"], 0.0, 0.0),
        ("", [""], 1.0, 1.0),
        ("42.", ["42"], 1 - 1 / 3, 1 - 1 / 3),  # punctuation does count
        ("straße", ["strasse"], 1 - 2 / 7, 1 - 2 / 7),  # ß -> s, + s
    ],
)
def test_anls(prediction: str, answers: list[str], at_0: float, at_half: float) -> None:
    assert anls(prediction, answers, threshold=0.0) == pytest.approx(at_0)
    assert anls(prediction, answers, threshold=0.5) == pytest.approx(at_half)
    assert anls(prediction, answers) == anls(prediction, answers, threshold=0.5)


def test_anls_without_threshold_is_that_of_mistral_evals() -> None:
    rows = kept.load("mistral_evals")
    assert len(rows) >= 300
    for row in rows:
        score = anls_without_threshold(row["prediction"], row["answers"])
        assert score == row["scores"]["anls_without_threshold"], row


@pytest.mark.parametrize(
    ("said", "wanted", "score"),
    [
        ({"a": "hello"}, {"a": "hello"}, 1.0),
        ({"a": [2, 1]}, {"a": [1, 2]}, 1.0),  # lists in the best order
        ({"a": "hello", "b": "x"}, {"a": "hello"}, 0.5),  # a field too many counts as one that is wrong
        (None, {"a": "hello"}, 0.0),
    ],
)
def test_nested_anls(said: object, wanted: object, score: float) -> None:
    assert nested_anls(said, wanted) == pytest.approx(score)
