"""Whole pages of OmniDocBench, against the output of its own end-to-end task and by hand."""

import time
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from jobs.evaluation.datasets.blocks import page_blocks
from jobs.evaluation.scorers.assignment import assigned
from jobs.evaluation.scorers.omnidocbench_markdown import blocks_of
from jobs.evaluation.scorers.omnidocbench_matching import groups
from jobs.evaluation.scorers.omnidocbench_pages import page_order, page_tables, page_text
from tests.jobs.evaluation import kept


def test_figures_are_those_of_its_end_to_end_task() -> None:
    rows = kept.load("omnidocbench_pages")
    assert len({row["text"] for row in rows}) > 20
    assert sum(len(row["tables"]) for row in rows) > 10
    for row in rows:
        page = page_blocks(row["page"])
        assert page_text(row["markdown"], page) == pytest.approx(row["text"], abs=1e-9), row
        assert page_order(row["markdown"], page) == pytest.approx(row["order"], abs=1e-9), row
        assert page_tables(row["markdown"], page) == pytest.approx(row["tables"], abs=1e-9), row


TABLE = "<table><tr><td>a</td><td>b</td></tr></table>"


def page(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [{"anno_id": place, "order": place, **block} for place, block in enumerate(blocks, 1)]
    return page_blocks({"layout_dets": rows, "extra": {"relation": []}})


def text(said: str, **rest: Any) -> dict[str, Any]:
    return {"category_type": "text_block", "text": said, **rest}


ONE, TWO, THREE = "the first of three", "what stands in second place", "a third, and the last"


@pytest.mark.parametrize(
    ("markdown", "right", "order"),
    [
        (f"{ONE}\n\n{TWO}\n\n{THREE}", 1.0, 1.0),
        (f"# {ONE}\n\n**{TWO}**\n\n- {THREE}", 1.0, 1.0),  # letters and digits count alone
        (f"{ONE} {TWO} {THREE}", 1.0, 1.0),  # written as one
        (f"{ONE}\n\nwhat stands in\n\nsecond place\n\n{THREE}", 1.0, 1.0),  # cut in two
        (f"{THREE}\n\n{ONE}\n\n{TWO}", 1.0, 1 - 2 / 3),
        (f"{ONE}\n\n{THREE}", (15 + 16) / (15 + 23 + 16), 1 - 1 / 3),
        ("", 0.0, 0.0),
    ],
)
def test_texts_are_found_however_they_are_cut(markdown: str, right: float, order: float) -> None:
    blocks = page(text(ONE), text(TWO), text(THREE))
    assert page_text(markdown, blocks) == pytest.approx(right)
    assert page_order(markdown, blocks) == pytest.approx(order)


def test_captions_headers_and_formulas_do_not_count() -> None:
    blocks = page(
        text(ONE),
        {"category_type": "figure_caption", "text": "Fig. 1: a bar"},
        {"category_type": "equation_isolated", "latex": "$$x^2$$"},
        {"category_type": "header", "text": "Page 7", "order": None},
    )
    assert page_text(f"{ONE}\n\n$$y$$", blocks) == 1.0
    assert page_text(f"Page 7\n\n{ONE}\n\nFig. 1: a bar", blocks) == 1.0


def test_tables_are_paired_by_what_they_hold() -> None:
    other = "<table><tr><td>quite another one</td></tr></table>"
    tables = page(*({"category_type": "table", "html": html, "latex": ""} for html in (TABLE, other)))
    assert page_tables(f"{other}\n\n{TABLE}", tables) == [1.0, 1.0]
    assert page_tables(f"words\n\n{other}", tables) == [0.0, 1.0]
    assert page_tables("\\begin{tabular}{l}a\\end{tabular}", tables) == [0.0, 0.0]
    assert fmean(page_tables("| a | b |\n| - | - |\n", tables[:1])) == 1.0


def test_a_page_is_read_as_blocks() -> None:
    said = f"# One\n\n$$x$$\n\nso $y$ is\n\n{TABLE}\n\n| p |\n|---|\n| q |\n\n<table><tr><td>open"
    assert [(block.kind, block.text) for block in blocks_of(said)] == [
        ("text", "# One"),
        ("formula", "\\[x\\]"),
        ("text", "so $y$ is"),
        ("inline", "\\[y\\]"),
        ("table", TABLE),
        ("text", "<table><tr><td>open"),  # places of texts do not count the blank lines
        ("table", "<table><tr><td>p</td></tr><tr><td>q</td></tr></table>"),
    ]
    assert blocks_of("<table>" * 3_000)[0].kind == "text"  # of a model in a loop


@pytest.mark.parametrize("said", ["$" * 16_000, "a b c\n\n" * 2_000, "<table><tr><td>" * 1_000])
def test_what_a_model_in_a_loop_writes_takes_seconds(said: str) -> None:
    blocks = page(*(text(f"{ONE} {place} {TWO}") for place in range(20)))
    start = time.process_time()
    assert page_text(said, blocks) < 0.3
    assert time.process_time() - start < 10


def test_texts_that_run_on_are_one() -> None:
    rows = [text(said, anno_id=place, order=place) for place, said in enumerate("abc", 1)]
    relation = [{"source_anno_id": 1, "target_anno_id": 2, "relation_type": "truncated"}]
    blocks = page_blocks({"layout_dets": rows, "extra": {"relation": relation}})
    assert [(block["text"], block["order"]) for block in blocks] == [("ab", 1), ("c", 3)]
    relation.append({"source_anno_id": 2, "target_anno_id": 3, "relation_type": "truncated"})
    (block,) = page_blocks({"layout_dets": rows, "extra": {"relation": relation}})
    assert block["text"] == "abbc"  # as its own code has it


def test_pairs_are_those_of_scipy() -> None:
    # Of equal sums, scipy.optimize.linear_sum_assignment 1.17.1 takes these.
    assert assigned(np.ones((2, 4))) == [0, 1]
    assert assigned(np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [1.0, 2.0, 1.0]])) == [0, 1, 2]
    assert groups([], ["a"]) == []
    assert groups(["a"], []) == [([0], [])]
