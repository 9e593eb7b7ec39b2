"""Plain comparisons against cases worked by hand, which stand beside each; error rates against jiwer."""

import random

import jiwer
import pytest

from jobs.evaluation.scorers.anls import anls
from jobs.evaluation.scorers.relaxed import relaxed_accuracy
from jobs.evaluation.scorers.texts import (
    character_error_rate,
    character_errors,
    containment,
    edit_similarity,
    exact_match,
    levenshtein,
    strict_match,
    without_end_punctuation,
    word_error_rate,
)
from tests.jobs.evaluation import kept


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "abc", 0),
        ("kitten", "sitting", 3),  # k -> s, e -> i, + g
        ("saturday", "sunday", 3),  # - a, - t, r -> n
        ("ab", "ba", 2),  # a transposition is two edits
    ],
)
def test_levenshtein(a: str, b: str, distance: int) -> None:
    assert levenshtein(a, b) == levenshtein(b, a) == distance


@pytest.mark.parametrize(
    ("prediction", "answers", "score"),
    [
        ("Total", ["total"], 1.0),
        (" a  b ", ["A B"], 1.0),
        ("12.0", ["12"], 0.0),
        ("x", ["y", "x"], 1.0),
        ("x.", ["x"], 0.0),
    ],
)
def test_exact_match(prediction: str, answers: list[str], score: float) -> None:
    assert exact_match(prediction, answers) == score


def test_strict_match_keeps_case_and_inner_blanks() -> None:
    assert [strict_match(said, ["a b"]) for said in (" a b\n", "A b", "a  b")] == [1.0, 0.0, 0.0]


def test_edit_similarity_is_to_the_letter() -> None:
    assert edit_similarity("abcd", ["ABcd", "abXd"]) == 0.75
    assert edit_similarity("", [""]) == 1.0


def test_end_punctuation_goes_but_a_percent_sign_stays() -> None:
    assert [without_end_punctuation(text) for text in ["Yes. ", "12%.", "a.b", "?!"]] == [
        "Yes",
        "12%",
        "a.b",
        "",
    ]


@pytest.mark.parametrize("metric", [anls, exact_match, relaxed_accuracy, containment, strict_match])
def test_no_accepted_answer_is_an_error(metric: type) -> None:
    with pytest.raises(ValueError, match="at least one accepted answer"):
        metric("a", [])
    with pytest.raises(ValueError, match="at least one accepted answer"):
        metric("a", "a single string, whose letters would each be an answer")


def test_errors_of_a_transcription_are_characters_without_white_space() -> None:
    assert character_errors("# A bc\n\nd", "A bcd") == 1
    assert character_errors("", "a b") == 2
    assert character_errors("a b", "ab ") == 0


def test_error_rates_are_those_of_jiwer() -> None:
    rng = random.Random(1)
    for _ in range(200):
        said, wanted = (
            " ".join(rng.choice(["total", "12.50", "a", "ä", "Ltd."]) for _ in range(rng.randint(1, 6)))
            for _ in range(2)
        )
        assert word_error_rate(said, wanted) == pytest.approx(jiwer.wer(wanted, said))
        assert character_error_rate(said, wanted) == pytest.approx(jiwer.cer(wanted, said))
    assert (word_error_rate("", "a b"), word_error_rate("a", ""), word_error_rate("", "")) == (1.0, 1.0, 0.0)


def test_containment_is_that_of_ocrbench() -> None:
    rows = [row for row in kept.load("lmms_eval") if "ocr" in row]
    assert len(rows) > 40
    for row in rows:
        assert containment(row["prediction"], row["ocr"]) == row["scores"]["containment"], row
        formula = containment(row["prediction"], row["ocr"], formula=True)
        assert formula == row["scores"]["containment_formula"], row
