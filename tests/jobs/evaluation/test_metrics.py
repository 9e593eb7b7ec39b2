"""Metrics against cases worked by hand; the working stands beside each."""

import pytest

from jobs.evaluation.metrics import (
    anls,
    character_errors,
    exact_match,
    levenshtein,
    relaxed_accuracy,
    without_end_punctuation,
)


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
        ("June 2020.", ["june 2020"], 1.0),
        ("B) Spain", ["B"], 1.0),  # an option is met by its letter
        ("Spain", ["B"], 0.0),
        ("", ["B"], 0.0),
        ("twelve", ["12"], 0.0),
        ("nan", ["nan"], 1.0),  # text, not a number that is unequal to itself
        ("11", ["30", "11.2"], 1.0),  # any of several
    ],
)
def test_relaxed_accuracy(prediction: str, answers: list[str], score: float) -> None:
    assert relaxed_accuracy(prediction, answers) == score


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


def test_end_punctuation_goes_but_a_percent_sign_stays() -> None:
    assert [without_end_punctuation(text) for text in ["Yes. ", "12%.", "a.b", "?!"]] == [
        "Yes",
        "12%",
        "a.b",
        "",
    ]


@pytest.mark.parametrize("metric", [anls, exact_match, relaxed_accuracy])
def test_no_accepted_answer_is_an_error(metric: type) -> None:
    with pytest.raises(ValueError, match="at least one accepted answer"):
        metric("a", [])
    with pytest.raises(ValueError, match="at least one accepted answer"):
        metric("a", "a single string, whose letters would each be an answer")


def test_errors_of_a_transcription_are_characters_without_white_space() -> None:
    assert character_errors("# A bc\n\nd", "A bcd") == 1
    assert character_errors("", "a b") == 2
    assert character_errors("a b", "ab ") == 0
