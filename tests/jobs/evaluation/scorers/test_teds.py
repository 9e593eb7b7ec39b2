"""TEDS against cases worked by hand and against another implementation; equal formulas."""

import sys

import pytest

from jobs.evaluation.scorers.extras import need
from jobs.evaluation.scorers.maths import math_equal
from jobs.evaluation.scorers.teds import first_table, teds
from tests.jobs.evaluation import kept

TABLE = "<table><tr><td>a</td><td>b</td></tr><tr><td colspan=2>c</td></tr></table>"  # 5 nodes below the table


@pytest.mark.parametrize(
    ("said", "score"),
    [
        (TABLE, 1.0),
        (f"Some words. {TABLE} More.", 1.0),
        ("<TABLE><tr><td>a<td>b<tr><th colspan=2>c</TABLE>", 1.0),  # end tags left out, a header cell
        (TABLE.replace(">b<", ">x<"), 1 - 1 / 5),
        (TABLE.replace("colspan=2", ""), 1 - 1 / 5),
        (TABLE.replace("a</td>", "a<table><tr><td>q</td></tr></table></td>"), 1 - 0.5 / 5),  # words of a cell
        ("| a | b |\n| --- | :-: |\n| c | d |\n\n| e |", 1 - 2 / 6),  # a span too few, a cell too many
        ("no table", 0.0),
    ],
)
def test_teds(said: str, score: float) -> None:
    assert teds(said, TABLE) == pytest.approx(score)


def test_structure_alone_ignores_the_words() -> None:
    assert teds(TABLE.replace(">b<", ">x<"), TABLE, structure_only=True) == 1.0


def test_edits_are_those_of_another_implementation() -> None:
    for row in kept.load("teds"):
        for name, structure in (("edits", False), ("structure_edits", True)):
            score = teds(row["prediction"], row["answer"], structure_only=structure)
            assert score == pytest.approx(max(0.0, 1 - row[name] / row["nodes"]), abs=1e-6), row


def test_tables_that_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="holds no table"):
        teds(TABLE, "words")
    endless = "<table><tr>" + "<td>" * 2001
    with pytest.raises(ValueError, match="right table has 2002 nodes, the limit of TEDS"):
        teds(TABLE, endless)
    # What a model in a loop writes is wrong, and no more.
    assert teds(endless, TABLE) == 0.0
    assert teds("<table>" + "<tfoot>" * 1_500, TABLE) == 0.0
    assert teds(TABLE.replace("colspan=2", f"colspan={'2' * 5_000}"), TABLE) == 1 - 1 / 5
    table = first_table("|a \\| b|c|")
    assert table is not None
    assert [cell.text for cell in table.children[0].children] == ["a | b", "c"]


@pytest.mark.parametrize(
    ("said", "answers", "score"),
    [
        (r"so \boxed{\frac{1}{2}}", ["0.5"], 1.0),
        ("it is $x+1$", ["1+x"], 1.0),
        ("7", ["8"], 0.0),
        ("no idea", ["8"], 0.0),
    ],
)
def test_formulas_are_compared_as_mathematics(said: str, answers: list[str], score: float) -> None:
    assert math_equal(said, answers) == score


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langdetect", None)
    with pytest.raises(ValueError, match=r"langdetect.*\[evaluate\]"):
        need("langdetect")
