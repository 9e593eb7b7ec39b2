"""Which items a run expects: (document, page or window, question), and the key of each.

In: what is asked (a `Plan`) and a document's uri and page count. Out: its windows of pages with the questions
asked of them, and the page ranges in which tasks draw them. No document is opened here, no pixel seen.

Example: scope "document", max_pages 4, a document of 10 pages: the windows (1, 4), (5, 8) and (9, 10).
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from pipeline.plan.limits import Limits
from schemas.arrow import schema_hash
from schemas.targets import Question, load_target

Scope = Literal["page", "document"]

ROOT = Path(__file__).parents[2]
RANGE_PAGES = 16  # pages that one task draws: a fraction of a second for a PDF
MAX_RANGES = 32  # of one document: each reads the document again


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked of every document, and under which keys the results are stored. Travels to every task."""

    run_id: str
    settings_key: str
    """Hash of all that shapes an answer besides the question: model, wording, resolution, decoding."""
    questions: tuple[Question, ...]
    """Free questions; for a target one question that stands for it."""
    target: str | None
    """The target's "module:Class", or None for free questions."""
    scope: Scope
    max_pages: int
    """Pages in a window of scope "document"."""
    pages: tuple[int, int | None]
    """The first and the last page of each document that are read; None: to its end."""
    max_side: int
    """Longest edge in pixels at which the model sees a page."""
    max_new_tokens: int
    """Tokens of an answer after which it is cut."""
    grammar: str | None
    """The JSON schema, as text, that decoding follows: the target's with every field nullable."""
    model: str
    """The checkpoint's folder; relative to Quire's own root if it is inside it."""
    patch_size: int
    """Side of the model's patches in pixels."""
    vocab_size: int
    """Tokens that the model knows."""
    limits: Limits
    """What one document may cost."""
    passwords: tuple[str, ...] = field(repr=False)
    """Tried on documents that need one. No log and no table ever holds them."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Consecutive pages that one prompt shows, counted from 1, and the questions asked of them."""

    first: int
    last: int
    questions: tuple[Question, ...]


def parse_pages(text: str) -> tuple[int, int | None]:
    """What --pages says: 3 is (3, 3), 2-5 is (2, 5), 2- is (2, None). Raises ValueError."""
    found = re.fullmatch(r"([1-9]\d*)(?:(-)([1-9]\d*)?)?", text)
    if not found or (found[3] and int(found[3]) < int(found[1])):
        raise ValueError(f"--pages {text}: give a page or a range of them, as 3, 2-5 or 2-")
    first = int(found[1])
    return first, int(found[3]) if found[3] else None if found[2] else first


def model_folder(model: str) -> Path:
    """The checkpoint's folder in this process: Ray may have unpacked Quire's own files somewhere else."""
    return ROOT / model


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


def item_key(plan: Plan, source_key: str, first: int | None, last: int | None, question: Question) -> str:
    """32 hex digits, equal in every run that asks the same of the same pages under the same settings."""
    asked = _target_hash(plan.target) if plan.target else question.text
    crop = None  # no stage crops yet; it is part of the key so that keys stay when one does
    parts = [source_key, first, last, crop, question.id, asked, plan.settings_key]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def asked_key(plan: Plan, uri: str) -> str:
    """32 hex digits, equal in every run that asks the same of a document of this name."""
    questions = questions_for(plan, uri)
    asked = tuple((question.id, question.text, tuple(question.pages or ())) for question in questions)
    return _asked_key(plan.settings_key, plan.pages, asked)


@lru_cache(1024)  # millions of documents, and as many keys as there are globs in the questions
def _asked_key(
    settings_key: str, pages: tuple[int, int | None], asked: tuple[tuple[str, str, tuple[int, ...]], ...]
) -> str:
    return hashlib.sha256(json.dumps([settings_key, pages, asked]).encode()).hexdigest()[:32]


def is_asked(plan: Plan, row: Mapping[str, Any]) -> bool:
    """Whether a stored answer or failure is of an item that this run expects of the same document."""
    questions = questions_for(plan, row["uri"], row["page_first"], row["page_last"])
    return row["settings_key"] == plan.settings_key and any(
        question.id == row["question_id"] and question.text == row["question"] for question in questions
    )


def item_keys(
    plan: Plan, source_key: str, first: int | None, last: int | None, questions: Iterable[Question]
) -> dict[str, Question]:
    """The questions of a window, or of a document that cannot be opened, by the keys of their items."""
    return {item_key(plan, source_key, first, last, question): question for question in questions}


def without(plan: Plan, source_key: str, asked: Iterable[Window], stored: set[str]) -> list[Window]:
    """The windows with those of their questions whose item keys are not `stored`."""
    left = []
    for window in asked:
        keys = item_keys(plan, source_key, window.first, window.last, window.questions)
        questions = tuple(question for key, question in keys.items() if key not in stored)
        if questions:
            left.append(Window(first=window.first, last=window.last, questions=questions))
    return left


@cache
def _target_hash(target: str) -> str:
    return schema_hash(load_target(target))
