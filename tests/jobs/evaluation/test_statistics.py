"""Intervals, paired tests and calibration, on numbers whose answer is known."""

import random

import pytest

from jobs.evaluation.calibration import (
    Threshold,
    error_after_review,
    expected_error,
    reliability,
    temperature,
    threshold,
)
from jobs.evaluation.statistics import Interval, bootstrap, compare


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_an_interval_is_as_wide_as_theory_says() -> None:
    found = bootstrap([1.0] * 300 + [0.0] * 100, names(400))
    # Of 400 with p = .75 the standard error is sqrt(.75 * .25 / 400) = .02165; 1.96 of them are .0424.
    assert found.mean == 0.75
    assert found.low == pytest.approx(0.75 - 0.0424, abs=0.005)
    assert found.high == pytest.approx(0.75 + 0.0424, abs=0.005)
    assert bootstrap([1.0] * 300 + [0.0] * 100, names(400)) == found  # seeded
    assert bootstrap([0.5], ["a"]) == Interval(mean=0.5, low=0.5, high=0.5, n=1)
    with pytest.raises(ValueError, match="no score"):
        bootstrap([], [])


def test_questions_of_one_document_are_drawn_together() -> None:
    scores = [1.0] * 200 + [0.0] * 200
    alone = bootstrap(scores, names(400))
    together = bootstrap(scores, [str(number // 100) for number in range(400)])  # four documents
    assert together.high - together.low > 5 * (alone.high - alone.low)


def test_a_paired_test_sees_what_is_there_and_nothing_else() -> None:
    rng = random.Random(3)
    a = [float(rng.random() < 0.5) for _ in range(300)]
    better = [1.0 if value or rng.random() < 0.3 else 0.0 for value in a]
    found = compare(a, better, names(300))
    assert found.mean == pytest.approx(sum(better) / 300 - sum(a) / 300)
    assert found.p < 0.001
    assert (found.worse, found.better) == (0, round(found.mean * 300))
    assert found.low > 0
    assert (
        found.verdict
        == "a difference that chance makes in 0.01% of cases, over 300 questions about 300 documents"
    )
    same = compare(a, a, names(300))
    assert (same.mean, same.p, same.visible, same.better) == (0.0, 1.0, 0.0, 0)
    # Six of ten coins: the two-sided sign test has p = 2 * (1 + 10 + 45 + 120 + 210) / 1024 = .754.
    coins = compare([0.0] * 10, [1.0] * 6 + [-1.0] * 4, names(10))
    assert coins.p == pytest.approx(0.754, abs=0.02)
    assert coins.verdict.endswith(
        "over 10 questions about 10 documents, a difference is seen from some 86.4% on"
    )


CONFIDENCES = [0.95, 0.92, 0.85, 0.35, 0.31, 1.0]
RIGHT = [True, False, True, False, True, True]


def test_reliability_by_hand() -> None:
    bins = reliability(CONFIDENCES, RIGHT)
    assert [(one.low, one.count, one.right) for one in bins] == [
        (0.3, 2, 0.5),
        (0.8, 1, 1.0),
        (0.9, 3, 2 / 3),
    ]
    gaps = 2 * abs(0.33 - 0.5) + 1 * abs(0.85 - 1) + 3 * abs((0.95 + 0.92 + 1) / 3 - 2 / 3)
    assert expected_error(CONFIDENCES, RIGHT) == pytest.approx(gaps / 6)
    assert expected_error([], []) == 0.0


def test_the_least_confident_go_to_a_person() -> None:
    confidences = [*CONFIDENCES, None, None, 0.5, 0.6]
    right = [*RIGHT, False, False, True, True]
    # Of ten, a fifth are seen: the two without an answer. Of the other eight two are wrong.
    assert error_after_review(confidences, right, 0.2) == 2 / 8
    assert error_after_review(confidences, right, 1.0) == 0.0


@pytest.mark.parametrize(
    ("precision", "found"),
    [
        (1.0, Threshold(precision=1.0, confidence=0.95, share=2 / 8)),
        (0.75, Threshold(precision=0.75, confidence=0.85, share=4 / 8)),  # three of four
        (0.6, Threshold(precision=0.6, confidence=0.31, share=6 / 8)),  # four of six
    ],
)
def test_a_threshold_reaches_the_wanted_precision(precision: float, found: Threshold) -> None:
    assert threshold(CONFIDENCES, RIGHT, precision, 8) == found


def test_a_threshold_does_not_cut_equal_confidences() -> None:
    assert threshold([0.9, 0.9], [True, False], 1.0, 2).confidence is None
    assert threshold([], [], 0.9, 2).confidence is None


def test_temperature_mends_an_overconfident_model() -> None:
    rng = random.Random(5)
    true = [rng.uniform(0.05, 0.95) for _ in range(4_000)]
    right = [rng.random() < one for one in true]
    odds = [one / (1 - one) for one in true]
    said = [(one**3) / (1 + one**3) for one in odds]  # logits three times too large
    found = temperature(said, right, names(4_000))
    assert found is not None
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.after < 0.04 < found.before
    assert 1_800 < found.n < 2_200
    assert temperature([0.5] * 9, [True] * 9, names(9)) is None
