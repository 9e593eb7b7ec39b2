"""VQA, MMMU and MathVista against the official code's own output, and by hand."""

import random

import pytest

from jobs.evaluation.scorers.mathvista import mathvista
from jobs.evaluation.scorers.mmmu import choice_of, mmmu_choice, mmmu_open
from jobs.evaluation.scorers.vqa import textvqa_accuracy, vqa_accuracy, vqa_match
from tests.jobs.evaluation import kept


def test_vqa_is_that_of_the_official_code() -> None:
    rows = [row for row in kept.load("lmms_eval") if "scores" in row]
    assert len({row["scores"].get("vqa_accuracy") for row in rows}) > 3
    for row in rows:
        said, answers, scores = row["prediction"], row["answers"], row["scores"]
        assert textvqa_accuracy(said, answers) == pytest.approx(scores["textvqa_accuracy"]), row
        if "vqa_accuracy" in scores:
            assert vqa_accuracy(said, answers) == pytest.approx(scores["vqa_accuracy"]), row


def test_vqa_match_is_that_of_mistral_evals() -> None:
    for row in kept.load("mistral_evals"):
        assert vqa_match(row["prediction"], row["answers"]) == row["scores"]["vqa_match"], row


@pytest.mark.parametrize(
    ("said", "equal", "score"),
    # Of ten people, so many say the same: the others' mean of min(n / 3, 1), each left out in turn.
    [("yes", 0, 0.0), ("yes", 1, 0.3), ("yes", 2, 0.6), ("yes", 3, 0.9), ("yes", 4, 1.0), ("yes", 10, 1.0)],
)
def test_vqa_leaves_each_person_out_in_turn(said: str, equal: int, score: float) -> None:
    assert vqa_accuracy(said, ["yes"] * equal + ["no"] * (10 - equal)) == pytest.approx(score)


def test_vqa_normalises_only_where_people_differ() -> None:
    assert vqa_accuracy("The dog", ["dog"] * 10) == 0.0
    assert vqa_accuracy("The dog", ["dog"] * 9 + ["cat"]) == 1.0
    assert textvqa_accuracy("The dog", ["dog"] * 10) == 1.0


def test_mmmu_is_that_of_the_official_code() -> None:
    rows = [row for row in kept.load("lmms_eval") if "response" in row]
    assert len(rows) > 50
    for row in rows:
        assert choice_of(row["response"], row["options"], random.Random(row["seed"])) == row["choice"], row
        assert mmmu_open(row["response"], row["answers"]) == row["open"], row


def test_mmmu_guesses_where_no_letter_is_named() -> None:
    def guesses() -> list[float]:
        guess = random.Random(42)
        return [mmmu_choice("no idea", ["A"], ["x", "y", "z", "w"], guess) for _ in range(8)]

    assert guesses() == guesses()
    assert set(guesses()) == {0.0, 1.0}


MULTIPLE = {"choices": ["12", "3/11", "Tokyo"], "question_type": "multi_choice"}


@pytest.mark.parametrize(
    ("said", "answer", "kind", "score"),
    [
        ("Final Answer: B", "3/11", MULTIPLE, 1.0),
        ("The correct answer is (C) Tokyo.", "Tokyo", MULTIPLE, 1.0),
        ("Tokyo", "Tokyo", MULTIPLE, 1.0),
        ("Answer: Tokio", "Tokyo", MULTIPLE, 1.0),  # the nearest choice
        ("", "12", MULTIPLE, 0.0),
        ("Final Answer: 14", "14", {"answer_type": "integer"}, 1.0),
        ("14.0", "14", {"answer_type": "integer"}, 1.0),
        ("inf", "14", {"answer_type": "integer"}, 0.0),
        ("Final Answer: 0.649", "0.65", {"answer_type": "float", "precision": 2}, 1.0),
        ("0.6", "0.65", {"answer_type": "float", "precision": 2}, 0.0),
        ('The answer is "[1, 2]".', "[1, 2]", {"answer_type": "list"}, 1.0),
    ],
)
def test_mathvista_by_rules(said: str, answer: str, kind: dict[str, object], score: float) -> None:
    assert mathvista(said, answer, **kind) == score  # type: ignore[arg-type] # one of two dicts above
