"""Which items a run expects of a document: (page or window of pages, question).

In: the `Plan`, and a document's uri and page count. Out: its windows of pages with what is asked of them, and
the page ranges in which tasks draw them. No document is opened here, no pixel seen.

Example: scope "document", max_pages 4, a document of 10 pages: the windows (1, 4), (5, 8) and (9, 10). What
is asked by page stands in windows of its own between them: (1, 1), (1, 4), (2, 2) ... (9, 10), (10, 10).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.plan.plan import Ask, Plan
from schemas.targets import Question

RANGE_PAGES = 128  # pages that one task draws: a second or two for a PDF
MAX_RANGES = 32  # of one document: each reads the document again


class Asked(NamedTuple):
    """A question, with the settings under which it is asked."""

    ask: Ask
    question: Question


@dataclass(frozen=True, kw_only=True)
class Window:
    """Consecutive pages that one prompt shows, counted from 1, and what is asked of them."""

    first: int
    last: int
    asked: tuple[Asked, ...]


def asked_of(plan: Plan, uri: str, first: int | None = None, last: int | None = None) -> tuple[Asked, ...]:
    """All that is asked of a document, or of a window of its pages, in whichever scope."""
    asked = (
        Asked(ask, question)
        for ask in plan.asks
        for question in ask.questions
        if question.is_for_document(uri)
    )
    return tuple(asked) if first is None or last is None else _about(asked, first, last)


def windows(plan: Plan, uri: str, page_count: int) -> list[Window]:
    """The prompts of a document in the order of their pages. One of which nothing is asked is left out."""
    found: dict[tuple[int, int], list[Asked]] = {}
    for one in asked_of(plan, uri):
        for pages in windows_of(plan, one.ask, page_count):
            found.setdefault(pages, []).extend(_about([one], *pages))
    return [
        Window(first=pages[0], last=pages[1], asked=tuple(found[pages]))
        for pages in sorted(found)
        if found[pages]
    ]


def windows_of(plan: Plan, ask: Ask, page_count: int) -> Iterator[tuple[int, int]]:
    """The first and the last page of each window into which an ask's scope cuts a document."""
    size = 1 if ask.scope == "page" else plan.max_pages
    start, end = plan.pages
    end = min(end or page_count, page_count)
    return ((first, min(first + size - 1, end)) for first in range(start, end + 1, size))


def _about(asked: Iterable[Asked], first: int, last: int) -> tuple[Asked, ...]:
    pages = range(first, last + 1)
    return tuple(one for one in asked if any(one.question.is_for_page(page) for page in pages))


def whole_range(asked: list[Window]) -> list[tuple[int, int]]:
    """The (first, last) pages of all windows, for one task; none if there is no window."""
    return [(asked[0].first, max(window.last for window in asked))] if asked else []


def page_ranges(asked: list[Window]) -> list[tuple[int, int]]:
    """The (first, last) pages that one task draws; no window is ever cut, and no page is in two of them.

    Example: 1000 single pages give (1, 128), (129, 256) ... (897, 1000).
    """
    if not asked:
        return []
    pages = max(RANGE_PAGES, -(-max(window.last for window in asked) // MAX_RANGES))
    ranges = [(asked[0].first, asked[0].last)]
    for window in asked[1:]:
        first, last = ranges[-1]
        if window.first > last and (window.first - 1) // pages > (first - 1) // pages:
            ranges.append((window.first, window.last))
        else:
            ranges[-1] = (first, max(last, window.last))
    return ranges
