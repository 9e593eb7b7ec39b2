"""The stages that run as Ray Data tasks on CPUs: rows in, rows for the next stage out.

`open_sources` opens documents and cuts them into page ranges. `draw_groups` draws a range and writes its
prompts. `read_answers` reads the text that the model wrote. A document or a window that fails becomes a
FAILED row, and at the end one failure for each of its items. A window with some pages that cannot be drawn is
asked about its other pages, and its answers name the missing ones. The rooms `ingest`, `rasterize`, `plan`,
`dedup` and `parse` do the work, and know nothing of Ray Data.
"""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache, partial

import pyarrow as pa

from model.network.image_grid import grid
from model.text.tokenizer import ImagePlaceholder, Tokenizer
from pipeline.cancellation import is_stopping
from pipeline.dedup.prompt_keys import prompt_keys, share_document, share_groups
from pipeline.dedup.registry import Claim, own
from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.reading import content_key, read_source
from pipeline.parse.answers import read_completion
from pipeline.plan.items import Window, page_ranges, questions_for, windows
from pipeline.plan.keys import item_key, item_keys, without
from pipeline.plan.limits import Limits
from pipeline.plan.plan import Plan, model_folder
from pipeline.plan.prompts import question_prompt, target_prompt, tokenize
from pipeline.plan.rows import (
    ANSWER,
    COMPLETION,
    DOCUMENTS,
    FAILED,
    FAILURE,
    GROUP,
    GROUPS,
    RANGE,
    RANGES,
    SHARED,
    Row,
    gather,
    hand_on,
    result_schema,
    share_seconds,
    table_of,
    tables_of,
)
from pipeline.rasterize.sandbox import Document, Sandbox
from schemas.arrow import to_row
from schemas.rows import Answer, Failure, Stage
from schemas.targets import Question, load_target

# Pixels that are claimed together: some seven pages, each drawn in about 5 ms.
CLAIM_BYTES = 16 * 2**20


def open_sources(sources: pa.Table, plan: Plan, claim: Claim = own) -> Iterator[pa.Table]:
    """Rows of SOURCES -> each document's RANGE rows, or a FAILED row; at the end one DOCUMENTS row of all."""
    documents: list[Row] = []
    shared: list[Row] = []
    seconds = 0.0
    for source in sources.to_pylist():
        if is_stopping(plan.run_id):
            break  # the documents that were opened count all the same
        started = time.perf_counter()
        document, rows, its_shared = _open_source(source, plan, claim)
        documents.append(document)
        shared += its_shared
        seconds += time.perf_counter() - started
        if rows:
            yield table_of(rows, RANGES)
    if documents:
        facts = {"kind": DOCUMENTS, "documents": documents, "shared": shared, "open_seconds": seconds}
        yield table_of([facts], RANGES)


def _open_source(source: Row, plan: Plan, claim: Claim) -> tuple[Row, list[Row], list[Row]]:
    """The facts of a document for the driver, its rows, and its items that share another's answer."""
    origin: Row = {"source_key": source["source_key"], "uri": source["uri"]}
    document: Row = origin | {"items_expected": 0, "items_answered": 0, "items_failed": 0}
    questions = questions_for(plan, source["uri"])
    if not questions:
        return document, [], []
    unasked = {*(source["answered"] or ()), *(source["failed"] or ())}  # they have a row
    try:
        data = read_source(source)
        origin["content_key"] = document["content_key"] = content_key(data)
        with _open(data, source, plan) as opened:
            document |= {"media_type": opened.media_type, "page_count": opened.page_count}
    except DocumentError as error:
        # Its pages are unknown: one item a question.
        keys = item_keys(plan, source["source_key"], None, None, questions)
        left = [question for key, question in keys.items() if key not in unasked]
        return document | _counts(source, keys), [_failed(origin, "open", error, left)] if left else [], []
    asked = windows(plan, source["uri"], document["page_count"])
    document |= _counts(source, (key for window in asked for key in _keys(plan, source, window)))
    asked = without(plan, source["source_key"], asked, unasked)
    cuts = page_ranges(asked)
    shared: list[Row] = []
    if len(cuts) == 1:
        # One task draws this document from the bytes at hand, so that its items may share answers by its
        # content. The tasks of a longer document read it again. It may have changed by then, which must not
        # fail another document: its pages share one by one, once they are drawn (`share_groups`).
        shared = share_document(plan, origin, asked, claim)
        unasked.update(item["item_key"] for item in shared)
        asked = without(plan, source["source_key"], asked, unasked)
        cuts = [(asked[0].first, asked[-1].last)] if asked else []
    pages = origin | {"kind": RANGE, "source": source, "page_count": document["page_count"]}
    pages["unasked"] = sorted(unasked) or None
    pages["data"] = data if len(cuts) == 1 else None  # several tasks each read their document again
    return document, [pages | {"page_first": first, "page_last": last} for first, last in cuts], shared


def _keys(plan: Plan, source: Row, window: Window) -> Iterable[str]:
    return item_keys(plan, source["source_key"], window.first, window.last, window.questions)


def _counts(source: Row, keys: Iterable[str]) -> Row:
    """How many items are expected, and of how many the tables have a row."""
    expected, answered = set(keys), set(source["answered"] or ())
    return {
        "items_expected": len(expected),
        "items_answered": len(expected & answered),
        "items_failed": len(expected & set(source["failed"] or ()) - answered),
    }


def draw_groups(table: pa.Table, plan: Plan, claim: Claim = own) -> Iterator[pa.Table]:
    """RANGE rows -> a GROUP or FAILED row for each window with something to ask, a SHARED row for a range."""
    mine, others = hand_on(table, RANGE, GROUPS)
    if others.num_rows:
        yield others
    for row in mine.to_pylist():
        yield from tables_of(_draw_range(row, plan, claim), GROUPS)


def _draw_range(row: Row, plan: Plan, claim: Claim) -> Iterator[Row]:
    first, last = row["page_first"], row["page_last"]
    asked = windows(plan, row["uri"], row["page_count"])
    asked = [window for window in asked if first <= window.first and window.last <= last]
    asked = without(plan, row["source_key"], asked, set(row["unasked"] or ()))
    try:
        opened = _open(_bytes_of(row), row["source"], plan)
    except DocumentError as error:
        for window in asked:
            yield _failed(_window_origin(row, window), "rasterize", error, window.questions)
        return
    shared: list[Row] = []
    seconds = 0.0
    with opened:
        for drawn in gather(_draw_windows(row, opened, asked, plan), CLAIM_BYTES):
            rows, its_shared, its_seconds = share_groups(drawn, claim)
            yield from rows
            shared += its_shared
            seconds += its_seconds
    if shared:
        origin = {name: row[name] for name in ("source_key", "uri")}
        yield origin | {"kind": SHARED, "shared": shared, "rasterize_seconds": seconds}


def _draw_windows(row: Row, opened: Document, asked: Iterable[Window], plan: Plan) -> Iterator[Row]:
    """A GROUP row for each window, or a FAILED one, until the run is to stop."""
    for window in asked:
        if is_stopping(plan.run_id):
            return
        started = time.perf_counter()
        origin = _window_origin(row, window)
        try:
            drawn = origin | _draw_window(opened, origin, window, plan)
        except DocumentError as error:
            drawn = _failed(origin, "rasterize", error, window.questions)
        yield drawn | {"rasterize_seconds": time.perf_counter() - started}


def _bytes_of(row: Row) -> bytes:
    if row["data"] is not None:
        data: bytes = row["data"]
        return data
    data = read_source(row["source"])
    if content_key(data) != row["content_key"]:
        raise DocumentError("changed", f"{row['uri']} changed while the run was reading it")
    return data


def _open(data: bytes, source: Row, plan: Plan) -> Document:
    own = [] if source["password"] is None else [source["password"]]
    return _sandbox(plan.limits).open(data, source["uri"], [*own, *plan.passwords])


def _draw_window(opened: Document, origin: Row, window: Window, plan: Plan) -> Row:
    """Its pages that can be drawn. Raises DocumentError if there is none."""
    shapes, pixels, notes, missing, reasons = [], [], [], [], []
    damaged = False
    for page in range(window.first, window.last + 1):
        try:
            image, note, is_damaged = opened.draw(page, max_side=plan.max_side, patch_size=plan.patch_size)
        except DocumentError as error:
            missing.append(page)
            reasons.append(error.reason)
            notes.append(error.message)
            continue
        shapes.append(image.shape[:2])
        pixels.append(image.tobytes())  # a copy: the sandbox draws the next page into the same memory
        damaged |= is_damaged
        if note:
            notes.append(f"page {page}: {note}")
    if not shapes:
        raise DocumentError(reasons[0], "; ".join(notes))
    to_grid = partial(grid, max_side=plan.max_side, patch_size=plan.patch_size)
    pictures = [ImagePlaceholder(*to_grid(*shape)) for shape in shapes]
    texts = [_prompt(plan, question) for question in window.questions]
    prompt = tokenize(_tokenizer(plan.model, plan.vocab_size), pictures, texts)
    data = pixels[0] if len(pixels) == 1 else b"".join(pixels)
    return {
        "kind": GROUP,
        "prefix_ids": prompt.prefix,
        "item_keys": [
            item_key(plan, origin["source_key"], window.first, window.last, question)
            for question in window.questions
        ],
        "question_ids": [question.id for question in window.questions],
        "questions": [question.text for question in window.questions],
        "prompt_keys": prompt_keys(plan, prompt.prefix, prompt.branches, shapes, data),
        "branch_ids": prompt.branches,
        "pages_missing": missing or None,
        "note": "; ".join(notes) or None,
        "page_damaged": damaged,
        "heights": [height for height, _ in shapes],
        "widths": [width for _, width in shapes],
        "pixels": data,
    }


def _prompt(plan: Plan, question: Question) -> str:
    return target_prompt(load_target(plan.target)) if plan.target else question_prompt(question.text)


def _window_origin(row: Row, window: Window) -> Row:
    origin = {name: row[name] for name in ("source_key", "uri", "content_key")}
    return origin | {"page_first": window.first, "page_last": window.last}


def _failed(origin: Row, stage: Stage, error: DocumentError, left: Iterable[Question]) -> Row:
    failure = {"kind": FAILED, "stage": stage, "reason": error.reason, "message": error.message}
    return origin | failure | {"left": [question.id for question in left]}


def read_answers(table: pa.Table, plan: Plan) -> pa.Table:
    """COMPLETION rows -> ANSWER or FAILURE rows; a FAILED row -> a FAILURE row for each of its items."""
    schema = result_schema(load_target(plan.target) if plan.target else None)
    completions, others = hand_on(table, COMPLETION, schema)
    failed, others = hand_on(others, FAILED, schema)
    rows: list[Row] = []
    for row in completions.to_pylist():
        found = read_completion(row, plan, _tokenizer(plan.model, plan.vocab_size))
        rows += share_seconds(row, [_result(found)])
    for row in failed.to_pylist():
        rows += share_seconds(row, list(map(_result, _failures(row, plan))))
    read = table_of(rows, schema)
    return pa.concat_tables([others, read]) if others.num_rows else read


def _failures(row: Row, plan: Plan) -> Iterator[Failure]:
    first, last = row["page_first"], row["page_last"]
    for question in questions_for(plan, row["uri"], first, last):
        if question.id not in row["left"]:
            continue
        yield Failure(
            item_key=item_key(plan, row["source_key"], first, last, question),
            settings_key=plan.settings_key,
            run_id=plan.run_id,
            question_id=question.id,
            question=question.text,
            target=plan.target,
            failed_at=datetime.now(UTC),
            **{name: row[name] for name in ("source_key", "uri", "page_first", "page_last")},
            **{name: row[name] for name in ("stage", "reason", "message")},
        )


def _result(found: Answer | Failure) -> Row:
    kind = ANSWER if isinstance(found, Answer) else FAILURE
    names = ("source_key", "uri", "item_key", "page_first", "page_last")
    return {"kind": kind, kind: to_row(found), **{name: getattr(found, name) for name in names}}


@cache
def _sandbox(limits: Limits) -> Sandbox:
    """Once a worker process: its child is used for all documents."""
    return Sandbox(limits)


@cache
def _tokenizer(model: str, vocab_size: int) -> Tokenizer:
    """Once a worker process: reading the 131,072 tokens takes a second."""
    return Tokenizer.from_file(model_folder(model) / "tekken.json", vocab_size)
