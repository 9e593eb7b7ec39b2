"""Which items a run expects of a document: (page or window of pages, question).

In: the `Plan`, and a document's uri and page count. Out: its windows of pages with the questions asked of
them, and the page ranges in which tasks draw them. No document is opened here, no pixel seen.

Example: scope "document", max_pages 4, a document of 10 pages: the windows (1, 4), (5, 8) and (9, 10).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from pipeline.plan.plan import Plan
from schemas.targets import Question

RANGE_PAGES = 16  # pages that one task draws: a fraction of a second for a PDF
MAX_RANGES = 32  # of one document: each reads the document again


@dataclass(frozen=True, kw_only=True)
class Window:
    """Consecutive pages that one prompt shows, counted from 1, and the questions asked of them."""

    first: int
    last: int
    questions: tuple[Question, ...]


def questions_for(
    plan: Plan, uri: str, first: int | None = None, last: int | None = None
) -> tuple[Question, ...]:
    """The questions that are asked of a document, or of a window of its pages."""
    questions = tuple(question for question in plan.questions if question.is_for_document(uri))
    if first is None or last is None:
        return questions
    return _about(questions, first, last)


def windows(plan: Plan, uri: str, page_count: int) -> list[Window]:
    """The prompts of a document in the order of its pages. A window of which nothing is asked is left out."""
    questions = questions_for(plan, uri)
    size = 1 if plan.scope == "page" else plan.max_pages
    start, end = plan.pages
    end = min(end or page_count, page_count)
    cut = [(first, min(first + size - 1, end)) for first in range(start, end + 1, size)]
    asked = [Window(first=first, last=last, questions=_about(questions, first, last)) for first, last in cut]
    return [window for window in asked if window.questions]


def _about(questions: Iterable[Question], first: int, last: int) -> tuple[Question, ...]:
    return tuple(q for q in questions if any(q.is_for_page(page) for page in range(first, last + 1)))


def page_ranges(asked: list[Window]) -> list[tuple[int, int]]:
    """The (first, last) pages that one task draws; a window is never cut.

    Example: 100 single pages give (1, 16), (17, 32) ... (97, 100).
    """
    if not asked:
        return []
    pages = max(RANGE_PAGES, -(-asked[-1].last // MAX_RANGES))
    runs = [list(run) for _, run in groupby(asked, lambda window: (window.first - 1) // pages)]
    return [(run[0].first, run[-1].last) for run in runs]
