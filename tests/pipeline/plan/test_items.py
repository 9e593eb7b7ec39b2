"""Which items a document has: windows of pages, and the page ranges that tasks draw."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.plan import items
from pipeline.plan.items import Window, asked_of, page_ranges, windows
from pipeline.plan.plan import parse_pages
from tests.pipeline.plans import ANY, ASK, PDF, PLAN, THIRD, asking


def spans(found: list[Window]) -> list[tuple[int, int]]:
    return [(window.first, window.last) for window in found]


def test_each_page_is_asked_what_is_for_it() -> None:
    asked = windows(PLAN, "/in/a.png", 3)
    assert spans(asked) == [(1, 1), (2, 2), (3, 3)]
    assert [[one.question.id for one in window.asked] for window in asked] == [
        ["any"],
        ["any"],
        ["any", "third"],
    ]


def test_a_document_is_cut_into_windows_and_none_is_dropped() -> None:
    plan = asking(scope="document")
    asked = windows(plan, "/in/a.pdf", 10)
    assert spans(asked) == [(1, 4), (5, 8), (9, 10)]
    assert [len(window.asked) for window in asked] == [3, 2, 2]


@pytest.mark.parametrize(
    ("text", "pages", "by_page", "by_two"),
    [
        ("3", (3, 3), [(3, 3)], [(3, 3)]),
        ("2-4", (2, 4), [(2, 2), (3, 3), (4, 4)], [(2, 3), (4, 4)]),
        ("4-", (4, None), [(4, 4), (5, 5)], [(4, 5)]),
        ("4-90", (4, 90), [(4, 4), (5, 5)], [(4, 5)]),
        ("6-", (6, None), [], []),
    ],
)
def test_only_a_range_of_the_pages_may_be_read(
    text: str, pages: tuple[int, int | None], by_page: list[tuple[int, int]], by_two: list[tuple[int, int]]
) -> None:
    assert parse_pages(text) == pages
    plan = replace(PLAN, pages=pages)
    assert spans(windows(plan, "/in/a.pdf", 5)) == by_page
    by_document = replace(asking(scope="document"), pages=pages, max_pages=2)
    assert spans(windows(by_document, "/in/a.pdf", 5)) == by_two


@pytest.mark.parametrize("text", ["", "0", "5-2", "-3", "1-2-3", "1,2", "x"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"--pages {text}: give a page or a range"):
        parse_pages(text)


def test_a_page_of_which_nothing_is_asked_is_left_out() -> None:
    plan = asking(questions=(THIRD,))
    assert spans(windows(plan, "/in/a.pdf", 5)) == [(3, 3)]
    assert windows(plan, "/in/a.pdf", 2) == []


def test_questions_of_a_document_and_of_a_window() -> None:
    assert asked_of(PLAN, "/in/a.png") == ((ASK, ANY), (ASK, THIRD))
    assert asked_of(PLAN, "/in/a.pdf", 1, 2) == ((ASK, ANY), (ASK, PDF))


@pytest.mark.parametrize(
    ("pages", "scope", "max_pages", "expected"),
    [
        (1, "page", 4, [(1, 1)]),
        (16, "page", 4, [(1, 16)]),
        (17, "page", 4, [(1, 16), (17, 17)]),
        (40, "document", 10, [(1, 20), (21, 40)]),  # (11, 20) begins in the first 16 pages
        (50, "document", 25, [(1, 25), (26, 50)]),
    ],
)
def test_ranges_hold_whole_windows(
    pages: int,
    scope: str,
    max_pages: int,
    expected: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(items, "RANGE_PAGES", 16)
    plan = replace(asking(questions=(ANY,), scope=scope), max_pages=max_pages)
    assert page_ranges(windows(plan, "a.pdf", pages)) == expected


@given(pages=st.integers(1, 3000), max_pages=st.integers(1, 60), scope=st.sampled_from(["page", "document"]))
def test_ranges_cover_every_window_once_and_are_not_many(pages: int, max_pages: int, scope: str) -> None:
    plan = replace(asking(questions=(ANY,), scope=scope), max_pages=max_pages)
    ranges = page_ranges(windows(plan, "a.pdf", pages))
    assert ranges[0][0] == 1
    assert ranges[-1][1] == pages
    assert all(last + 1 == first for (_, last), (first, _) in pairwise(ranges))
    assert len(ranges) <= max(32, -(-pages // 16))
