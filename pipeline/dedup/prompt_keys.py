"""Identical prompts are asked once: tasks hash and claim them, and leave out those that others own.

In: documents and prompt groups. Out: the questions to ask, and the items that share the answer of another
item. The `prompt_key` of an item is a hash of everything that its answer depends on, and of nothing else. The
first item that claims a key in the registry owns it, and is asked. The others travel to the driver as a list
(`rows.SHARED_ITEM`), past the Replicas; there the `resolver` gives them the owner's answer.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.dedup.registry import Claim, Pair
from pipeline.plan.items import Window
from pipeline.plan.keys import asked_key, item_key
from pipeline.plan.plan import Plan
from pipeline.plan.rows import GROUP, Row

# Of a GROUP row, one element a question.
QUESTION_COLUMNS = ("item_keys", "asks", "question_ids", "questions", "prompt_keys", "branch_ids")


def prompt_keys(
    settings: Sequence[str],
    prefix_ids: Sequence[int],
    branches: Sequence[Sequence[int]],
    shapes: Sequence[tuple[int, ...]],
    pixels: bytes | memoryview,
) -> list[str]:
    """A key for each question: equal for two items if the model is given the same, token by token, pixel by
    pixel, under the same settings. `settings` and `branches` have an element for each question.

    SHA-256: a table must not be led to a wrong answer by a page that was made for it, and of the hashes for
    which that holds it is the fastest here, 1.6 ms for a page of 784 x 1024 (BLAKE2b: 4.4).
    """
    prefixes = {}
    for under in dict.fromkeys(settings):
        sizes = json.dumps([under, len(prefix_ids), *shapes])
        prefix = prefixes[under] = hashlib.sha256(f"{sizes}\n".encode())
        prefix.update(np.asarray(prefix_ids, np.int32).tobytes())
        prefix.update(pixels)
    keys = []
    for under, ids in zip(settings, branches, strict=True):
        whole = prefixes[under].copy()
        whole.update(np.asarray(ids, np.int32).tobytes())
        keys.append(whole.hexdigest()[:32])
    return keys


def share_groups(
    drawn: Sequence[Row], claim: Claim, notes: Sequence[Pair] = ()
) -> tuple[list[Row], list[Row], float]:
    """Drawn rows -> the rows to ask, the items that share an answer, and seconds. `notes` are claimed, too.

    GROUP rows keep the questions that are to be asked; one that keeps none is left out, with its pixels, and
    the seconds are those that its pages took. FAILED rows stay as they are.
    """
    pairs = [
        pair
        for row in drawn
        if row["kind"] == GROUP
        for pair in zip(row["prompt_keys"], row["item_keys"], strict=True)
    ]
    claimed = claim([*notes, *pairs])[len(notes) :]
    owners = dict(zip((item for _, item in pairs), claimed, strict=True))
    rows: list[Row] = []
    shared: list[Row] = []
    seconds = 0.0
    for row in drawn:
        if row["kind"] != GROUP:
            rows.append(row)
            continue
        asked = []
        for index, item in enumerate(row["item_keys"]):
            if owners[item] == item:
                asked.append(index)
            else:
                shared.append(_shared_question(row, index, owners[item]))
        if asked:
            rows.append(row | {name: [row[name][index] for index in asked] for name in QUESTION_COLUMNS})
        else:
            seconds += row["rasterize_seconds"]
    return rows, shared, seconds


def _shared_question(row: Row, index: int, owner: str) -> Row:
    names = ["source_key", "uri", "content_key", "page_first", "page_last"]
    names += ["pages_missing", "note", "page_damaged"]
    return {name: row[name] for name in names} | {
        "owner": owner,
        "item_key": row["item_keys"][index],
        "ask": row["asks"][index],
        "question_id": row["question_ids"][index],
        "question": row["questions"][index],
        "prompt_key": row["prompt_keys"][index],
    }


def document_pair(plan: Plan, origin: Row) -> Pair:
    """The key of all that is asked of a document's content, and that of the document, which claims it."""
    parts = ["document", origin["content_key"], asked_key(plan, origin["uri"])]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32], origin["source_key"]


def shares(origin: Row, asked: Sequence[Window]) -> Iterator[tuple[Row, Pair]]:
    """Each item that identical documents may share, and its claim. `origin` names the document.

    That is, its source_key, uri and content_key.
    """
    for window in asked:
        for ask, question in window.asked:
            if ask.temperature:
                continue  # each item has draws of its own
            item = item_key(ask, origin["source_key"], window.first, window.last, question)
            # The key that the item would have if its document were called by its content.
            key = item_key(ask, origin["content_key"], window.first, window.last, question)
            row = origin | {
                "item_key": item,
                "ask": ask.number,
                "page_first": window.first,
                "page_last": window.last,
                "question_id": question.id,
                "question": question.text,
            }
            yield row, (key, item)


def share_document(origin: Row, asked: Sequence[Window], claim: Claim) -> list[Row]:
    """The items of a document that identical bytes under another name are asked: these are not even drawn."""
    items = list(shares(origin, asked))
    owners = claim([pair for _, pair in items])
    return [
        item | {"owner": owner}
        for (item, _), owner in zip(items, owners, strict=True)
        if owner != item["item_key"]
    ]
