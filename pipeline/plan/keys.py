"""The keys of items: the same item has the same key in every run, and so its row is found again.

In: a `Plan`, a document's key and its windows. Out: a key for each (document, window, question), and the
windows without the questions whose keys already have a row.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

from pipeline.plan.items import Asked, Window, asked_of
from pipeline.plan.plan import MARKDOWN, Ask, Plan
from schemas.arrow import schema_hash
from schemas.targets import Question, load_target

# (settings, questions) of an ask: each question by its id, its text and its pages.
_Content = tuple[str, tuple[tuple[str, str, tuple[int, ...]], ...]]


def item_key(ask: Ask, source_key: str, first: int | None, last: int | None, question: Question) -> str:
    """32 hex digits, equal in every run that asks the same of the same pages under the same settings."""
    asked = question.text if ask.target in (None, MARKDOWN) else _target_hash(ask.target)
    crop = None  # no stage crops yet; it is part of the key so that keys stay when one does
    parts = [source_key, first, last, crop, question.id, asked, ask.settings_key]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def item_seed(seed: int, key: str) -> int:
    """The seed of an item's own draws: of 64 bits, so that the rows of a run do not correlate."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:8], "little")


def answer_settings(ask: Ask, key: str) -> str:
    """What an item's answer depends on besides its prompt: where it is drawn, the item itself is a part."""
    return f"{ask.settings_key}/{key}" if ask.temperature else ask.settings_key


def asked_key(plan: Plan, uri: str) -> str:
    """32 hex digits, equal in every run that asks the same of a document of this name."""
    found: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {ask.settings_key: [] for ask in plan.asks}
    for ask, question in asked_of(plan, uri):
        found[ask.settings_key].append((question.id, question.text, tuple(question.pages or ())))
    # An ask that has nothing to do with the document is not a part of its key.
    some = {settings_key: questions for settings_key, questions in found.items() if questions} or found
    return _asked_key(plan.pages, tuple((key, tuple(questions)) for key, questions in sorted(some.items())))


@lru_cache(1024)  # millions of documents, and as many keys as there are globs in the questions
def _asked_key(pages: tuple[int, int | None], asked: tuple[_Content, ...]) -> str:
    if len(asked) == 1:
        ((settings_key, questions),) = asked
        parts: list[object] = [settings_key, pages, questions]
    else:
        parts = [pages, asked]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def is_asked(plan: Plan, row: Mapping[str, Any]) -> bool:
    """Whether a stored answer or failure is of an item that this run expects of the same document."""
    return any(
        ask.settings_key == row["settings_key"]
        and question.id == row["question_id"]
        and question.text == row["question"]
        for ask, question in asked_of(plan, row["uri"], row["page_first"], row["page_last"])
    )


def item_keys(
    source_key: str, first: int | None, last: int | None, asked: Iterable[Asked]
) -> dict[str, Asked]:
    """What is asked of a window, or of a document that cannot be opened, by the keys of the items."""
    return {item_key(one.ask, source_key, first, last, one.question): one for one in asked}


def without(source_key: str, asked: Iterable[Window], stored: set[str]) -> list[Window]:
    """The windows with what is asked of them but for the items whose keys are `stored`."""
    left = []
    for window in asked:
        keys = item_keys(source_key, window.first, window.last, window.asked)
        still = tuple(one for key, one in keys.items() if key not in stored)
        if still:
            left.append(Window(first=window.first, last=window.last, asked=still))
    return left


@cache
def _target_hash(target: str) -> str:
    return schema_hash(load_target(target))
