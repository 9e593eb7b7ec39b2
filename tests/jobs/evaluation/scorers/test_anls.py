"""ANLS against cases worked by hand, and against the output of mistral-evals, DUDEeval and lmms-eval."""

import itertools
import random

import pytest

from jobs.evaluation.scorers.anls import anls, anls_without_threshold, nested_anls
from jobs.evaluation.scorers.lists import best_sum, divided, dude_anls, list_anls, mp_docvqa_anls
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


def test_answers_of_many_pages_are_scored_as_by_dudeeval_and_lmms_eval() -> None:
    rows = kept.load("lists")
    assert {row["benchmark"] for row in rows} == {"dude", "mp-docvqa"}
    for row in rows:
        if row["benchmark"] == "mp-docvqa":
            score = mp_docvqa_anls(row["said"], row["answers"])
        elif row["answer_type"].startswith("list"):
            score = list_anls(row["said"], row["answers"])
        else:
            said = row["said"][0] or "Not answerable."  # a submission says so by an empty text
            score = dude_anls(said, row["answers"] or [""], is_list=False)
        assert score == pytest.approx(row["score"], abs=1e-9), row


@pytest.mark.parametrize(
    ("said", "answers", "is_list", "score"),
    [
        ("Ann, Bob", ["Bob", "Ann"], True, 1.0),
        ("- Ann\n- Bob, Jr.", ["Bob, Jr.", "Ann"], True, 1.0),  # a line each: commas are kept
        ("Ann", ["Bob", "Ann"], True, 0.5),
        ("Ann, Bob, Cy", ["Bob", "Ann"], True, 2 / 3),
        ("Not answerable", ["Bob", "Ann"], True, 0.0),
        ("Ann, Bob", ["Ann"], False, 0.0),  # no list is wanted: 3 of 8 characters
        ("the answer is not  Answerable", [""], False, 1.0),
        ("nobody", [""], False, 0.0),
    ],
)
def test_dude_divides_what_a_model_writes(said: str, answers: list[str], is_list: bool, score: float) -> None:
    assert dude_anls(said, answers, is_list=is_list) == pytest.approx(score)


def test_an_empty_list_has_one_empty_item() -> None:
    assert divided("") == [""]
    assert dude_anls("", ["a", "b"], is_list=True) == 0.0


def test_the_best_assignment_is_that_of_trying_all() -> None:
    rng = random.Random(3)
    for _ in range(60):
        rows, columns = rng.randint(1, 5), rng.randint(1, 5)
        scores = [[rng.choice([0.0, 0.5, rng.random()]) for _ in range(columns)] for _ in range(rows)]
        wide = scores if rows <= columns else [list(one) for one in zip(*scores, strict=True)]
        ways = itertools.permutations(range(len(wide[0])), len(wide))
        best = max(sum(row[at] for row, at in zip(wide, way, strict=True)) for way in ways)
        assert best_sum(scores) == pytest.approx(best)
