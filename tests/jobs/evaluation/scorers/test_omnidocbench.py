"""Texts and tables of OmniDocBench, against the output of its own scorer and by hand."""

import pytest

from jobs.evaluation.scorers.omnidocbench import plain, table_similarity, text_similarity
from tests.jobs.evaluation import kept

TABLE = "<table><tr><td>a</td><td>b</td></tr></table>"  # three nodes below the table


def test_scores_are_those_of_omnidocbench() -> None:
    rows = kept.load("omnidocbench")
    assert {row["kind"] for row in rows} == {"text", "table"}
    assert len({row["score"] for row in rows}) > 50
    for row in rows:
        score = text_similarity if row["kind"] == "text" else table_similarity
        # Theirs may be below 0.
        assert score(row["prediction"], row["answer"]) == pytest.approx(max(0.0, row["score"]), abs=1e-9), row


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("Total:  12.50 EUR\n", "Total1250EUR"),
        ("\u4e2d\u6587, \u6587\u672c", "\u4e2d\u6587\u6587\u672c"),
        (r"so $\alpha_1$ and $5", "so\u03b1_1and5"),
        (r"\(x^2\) \n /t", "x2"),
        (r"5\% of $a\%$", "5ofa"),
    ],
)
def test_a_text_is_compared_by_its_letters(text: str, letters: str) -> None:
    assert plain(text) == letters


def test_without_letters_texts_are_compared_as_they_are() -> None:
    assert text_similarity("?!", "?") == 0.5
    assert text_similarity("", "?") == 0.0
    assert text_similarity("$" + "{" * 3_000 + "\\frac$", "x") < 0.1  # of a model in a loop


@pytest.mark.parametrize(
    ("said", "score"),
    [
        (f"Here:\n```html\n{TABLE}\n```", 1.0),
        (TABLE.replace("<td>", "<th style='x'>").replace("</td>", "</th>"), 1.0),
        (f"<table><thead>{TABLE[7:-8]}</thead></table>", 1.0),
        (TABLE + TABLE, 1.0),  # the first one
        ("<table><tr><td>a<td>b", 1.0),  # cut
        (TABLE.replace(">b<", "><i>b</i><"), 1 - (2 / 3) / 4),  # two edits of three, and a node more
        (TABLE.replace("<td>b", "<td colspan='2'>b"), 1 - 1 / 3),
        (TABLE.replace("<td>b", "<td colspan='two'>b"), 0.0),
        ("| a | b |\n| - | - |", 0.0),  # HTML is asked for
        (TABLE.upper(), 0.0),
        ("<table>" + "<tr><td>" * 2_500, 0.0),
        ("<table>" + "<b>" * 1_500, 0.0),
    ],
)
def test_a_table_by_hand(said: str, score: float) -> None:
    assert table_similarity(said, TABLE) == pytest.approx(score)


def test_a_right_answer_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no table in HTML"):
        table_similarity(TABLE, "words")
