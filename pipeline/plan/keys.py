"""The keys of items: the same item has the same key in every run, and so its row is found again.

In: a `Plan`, a document's key and its windows. Out: a key for each (document, window, question), and the
windows without the questions whose keys already have a row.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

from pipeline.plan.items import Window, questions_for
from pipeline.plan.plan import Plan
from schemas.arrow import schema_hash
from schemas.targets import Question, load_target


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
