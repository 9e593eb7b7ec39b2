"""The stages that run as Ray Data tasks on CPUs: rows in, rows for the next stage out.

`open_sources` opens documents and cuts them into page ranges. `draw_groups` draws a range and writes its
prompts. `read_answers` reads the text that the model wrote. A document or a window that fails becomes a
FAILED row, and at the end one failure for each of its items. A window with some pages that cannot be drawn is
asked about its other pages, and its answers name the missing ones. The rooms `ingest`, `rasterize`, `plan`,
`dedup` and `parse` do the work, and know nothing of Ray Data.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial

import pyarrow as pa

from model.network.image_grid import grid
from model.text.tokenizer import ImagePlaceholder, Message, Tokenizer, UnencodableError
from pipeline.cancellation import is_stopping
from pipeline.dedup.prompt_keys import prompt_keys, share_document, share_groups
from pipeline.dedup.registry import Claim, own
from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.messages import read_turns
from pipeline.ingest.reading import content_key, read_conversation, read_named, read_password
from pipeline.parse.answers import read_completion
from pipeline.parse.validator import Validator
from pipeline.passwords import passwords_of
from pipeline.plan.items import Window, asked_of, page_ranges, whole_range, windows
from pipeline.plan.keys import answer_settings, item_keys, without
from pipeline.plan.limits import Limits
from pipeline.plan.model_place import ModelPlace, tokenizer_file
from pipeline.plan.plan import Plan
from pipeline.plan.prompts import chat, conversation, tokenize
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
    column_of,
    gather,
    hand_on,
    pack,
    result_schema,
    share_seconds,
    table_of,
    tables_of,
    unpack,
)
from pipeline.rasterize.attachments import read_document
from pipeline.rasterize.office import Office
from pipeline.rasterize.opening import open_any
from pipeline.rasterize.pages import Page, draw, draw_images
from pipeline.rasterize.sandbox import Document, Sandbox
from schemas.arrow import to_row
from schemas.rows import Answer, Failure, Stage
from schemas.targets import has_own_code

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


def open_packs(sources: pa.Table, plan: Plan, claim: Claim = own) -> Iterator[pa.Table]:
    """The rows of `open_sources` in rows of PACKS: one for each task that draws."""
    return pack(open_sources(sources, plan, claim))


def _open_source(source: Row, plan: Plan, claim: Claim) -> tuple[Row, list[Row], list[Row]]:
    """The facts of a document for the driver, its rows, and its items that share another's answer."""
    origin: Row = {"source_key": source["source_key"], "uri": source["uri"]}
    document: Row = origin | {"items_expected": 0, "items_answered": 0, "items_failed": 0}
    every = asked_of(plan, source["uri"])
    if not every:
        return document, [], []
    unasked = {*(source["answered"] or ()), *(source["failed"] or ())}  # they have a row
    is_converted = False
    try:
        data = _read(source, plan)
        origin["content_key"] = document["content_key"] = content_key(data)
        if plan.is_chat:
            document["page_count"] = 1  # that of a conversation
        else:
            with _open(data, source, plan) as opened:
                document |= {"media_type": opened.media_type, "page_count": opened.page_count}
                is_converted, data = opened.data is not data, opened.data
    except DocumentError as error:
        # Its pages are unknown: one item a question.
        keys = item_keys(source["source_key"], None, None, every)
        left = [key for key in keys if key not in unasked]
        return document | _counts(source, keys), [_failed(origin, "open", error, left)] if left else [], []
    asked = windows(plan, source["uri"], document["page_count"])
    document |= _counts(source, (key for window in asked for key in _keys(source, window)))
    asked = without(source["source_key"], asked, unasked)
    cuts = whole_range(asked) if is_converted else page_ranges(asked)
    shared: list[Row] = []
    if len(cuts) == 1:
        # One task draws this document from the bytes at hand, so that its items may share answers by its
        # content. The tasks of a longer document read it again. It may have changed by then, which must not
        # fail another document: its pages share one by one, once they are drawn (`share_groups`).
        shared = share_document(origin, asked, claim)
        unasked.update(item["item_key"] for item in shared)
        asked = without(source["source_key"], asked, unasked)
        cuts = whole_range(asked)
    pages = origin | {"kind": RANGE, "source": source, "page_count": document["page_count"]}
    pages["unasked"] = sorted(unasked) or None
    pages["data"] = data if len(cuts) == 1 else None  # several tasks each read their document again
    return document, [pages | {"page_first": first, "page_last": last} for first, last in cuts], shared


def _keys(origin: Row, window: Window) -> list[str]:
    return list(item_keys(origin["source_key"], window.first, window.last, window.asked))


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
    drawn = (group for row in mine.to_pylist() for group in _draw_range(row, plan, claim))
    yield from tables_of(drawn, GROUPS)


def draw_packs(packs: pa.Table, plan: Plan, claim: Claim = own) -> Iterator[pa.Table]:
    """`draw_groups` of the rows in packs."""
    return draw_groups(unpack(packs), plan, claim)


def _draw_range(row: Row, plan: Plan, claim: Claim) -> Iterator[Row]:
    first, last = row["page_first"], row["page_last"]
    every = windows(plan, row["uri"], row["page_count"])
    asked = [window for window in every if first <= window.first and window.last <= last]
    # Nobody watches the tasks that draw a document together: each has its part of the time.
    part = _count_pages(asked) / _count_pages(every)
    asked = without(row["source_key"], asked, set(row["unasked"] or ()))
    shared: list[Row] = []
    seconds = 0.0
    groups = (
        _draw_conversation(row, asked, plan)
        if plan.is_chat
        else _draw_windows(row, asked, plan, part * plan.limits.document_seconds)
    )
    for drawn in gather(groups, CLAIM_BYTES):
        rows, its_shared, its_seconds = share_groups(drawn, claim)
        yield from rows
        shared += its_shared
        seconds += its_seconds
    if shared:
        origin = {name: row[name] for name in ("source_key", "uri")}
        yield origin | {"kind": SHARED, "shared": shared, "rasterize_seconds": seconds}


def _draw_conversation(row: Row, asked: Sequence[Window], plan: Plan) -> Iterator[Row]:
    """The GROUP row of a conversation, or a FAILED one."""
    for window in asked:  # a conversation has one
        started = time.perf_counter()
        origin = _window_origin(row, window)
        try:
            turns = read_turns(_bytes_of(row, plan))
            read = partial(read_named, roots=plan.roots)
            seen = draw_images(turns, row["uri"], read, _sandbox(plan.limits), plan)
            notes = [f"image {number}: {page.note}" for number, page in enumerate(seen, 1) if page.note]
            said = [chat(turns, _pictures(seen, plan), ask.system) for ask, _ in window.asked]
            drawn = origin | _group(origin, window, seen, said, plan) | {"note": "; ".join(notes) or None}
        except UnencodableError as why:
            error = DocumentError("bad_messages", f"{row['uri']} cannot be asked: {why}")
            drawn = _failed(origin, "rasterize", error, _keys(row, window))
        except DocumentError as error:
            drawn = _failed(origin, "rasterize", error, _keys(row, window))
        yield drawn | {"rasterize_seconds": time.perf_counter() - started}


def _count_pages(asked: Iterable[Window]) -> int:
    return len({page for window in asked for page in range(window.first, window.last + 1)})


def _draw_windows(row: Row, asked: Sequence[Window], plan: Plan, seconds: float) -> Iterator[Row]:
    """A GROUP row for each window, or a FAILED one, until the run is to stop or the seconds are over."""
    try:
        opened = _open(_bytes_of(row, plan), row["source"], plan, seconds)
    except DocumentError as error:
        for window in asked:
            yield _failed(_window_origin(row, window), "rasterize", error, _keys(row, window))
        return
    with opened:
        yield from _draw_open(row, opened, asked, plan)


def _draw_open(row: Row, opened: Document, asked: Iterable[Window], plan: Plan) -> Iterator[Row]:
    """A page is drawn once, though it may stand in a window of its own and in one with others."""
    pages: dict[int, Page | DocumentError] = {}
    for window in asked:
        if is_stopping(plan.run_id):
            return
        started = time.perf_counter()
        origin = _window_origin(row, window)
        pages = {page: drawn for page, drawn in pages.items() if page >= window.first}
        for page in range(window.first, window.last + 1):
            if page not in pages:
                pages[page] = draw(opened, page, plan)
        try:
            drawn = origin | _prompt(origin, window, pages, plan)
        except DocumentError as error:
            drawn = _failed(origin, "rasterize", error, _keys(row, window))
        yield drawn | {"rasterize_seconds": time.perf_counter() - started}


def _bytes_of(row: Row, plan: Plan) -> bytes:
    if row["data"] is not None:
        data: bytes = row["data"]
        return data
    data = _read(row["source"], plan)
    if content_key(data) != row["content_key"]:
        raise DocumentError("changed", f"{row['uri']} changed while the run was reading it")
    return data


def _read(source: Row, plan: Plan) -> bytes:
    if plan.is_chat:
        return read_conversation(source)
    return read_document(source, plan.roots, _sandbox(plan.limits))


def _open(data: bytes, source: Row, plan: Plan, seconds: float | None = None) -> Document:
    password = read_password(source)
    own = [] if password is None else [password]
    passwords = [*own, *passwords_of(plan)]
    sandbox, office = _sandbox(plan.limits), _office(plan.limits)
    return open_any(sandbox, office, data, source["uri"], passwords, seconds=seconds)


def _prompt(origin: Row, window: Window, pages: Mapping[int, Page | DocumentError], plan: Plan) -> Row:
    """The columns of a GROUP row, of the window's pages that could be drawn. Raises DocumentError if none."""
    seen: list[Page] = []
    missing: list[int] = []
    notes: list[str] = []
    reasons: list[str] = []
    for number in range(window.first, window.last + 1):
        match pages[number]:
            case DocumentError() as error:
                missing.append(number)
                reasons.append(error.reason)
                notes.append(error.message)
            case page:
                seen.append(page)
                notes += [f"page {number}: {page.note}"] if page.note else []
    if not seen:
        raise DocumentError(reasons[0], "; ".join(notes))
    said = [conversation(ask, question, _pictures(seen, plan)) for ask, question in window.asked]
    about = {"pages_missing": missing or None, "note": "; ".join(notes) or None}
    return _group(origin, window, seen, said, plan) | about


def _pictures(seen: Iterable[Page], plan: Plan) -> list[ImagePlaceholder]:
    to_grid = partial(grid, max_side=plan.max_side, patch_size=plan.patch_size)
    return [ImagePlaceholder(*to_grid(page.height, page.width)) for page in seen]


def _group(
    origin: Row, window: Window, seen: Sequence[Page], said: Sequence[Sequence[Message]], plan: Plan
) -> Row:
    """The columns of a GROUP row: a conversation for each question of the window, about what was seen."""
    prompt = tokenize(_tokenizer(plan.model, plan.vocab_size), said)
    shapes = [(page.height, page.width) for page in seen]
    pixels = seen[0].pixels if len(seen) == 1 else b"".join(page.pixels for page in seen)
    keys = _keys(origin, window)
    settings = [answer_settings(ask, key) for (ask, _), key in zip(window.asked, keys, strict=True)]
    return {
        "kind": GROUP,
        "prefix_ids": prompt.prefix,
        "item_keys": keys,
        "asks": [ask.number for ask, _ in window.asked],
        "question_ids": [question.id for _, question in window.asked],
        "questions": [question.text for _, question in window.asked],
        "prompt_keys": prompt_keys(settings, prompt.prefix, prompt.branches, shapes, pixels),
        "branch_ids": prompt.branches,
        "page_damaged": any(page.damaged for page in seen),
        "heights": [height for height, _ in shapes],
        "widths": [width for _, width in shapes],
        "pixels": pixels,
    }


def _window_origin(row: Row, window: Window) -> Row:
    origin = {name: row[name] for name in ("source_key", "uri", "content_key")}
    return origin | {"page_first": window.first, "page_last": window.last}


def _failed(origin: Row, stage: Stage, error: DocumentError, left: list[str]) -> Row:
    failure = {"kind": FAILED, "stage": stage, "reason": error.reason, "message": error.message}
    return origin | failure | {"left": left}


def read_answers(table: pa.Table, plan: Plan) -> pa.Table:
    """COMPLETION rows -> ANSWER or FAILURE rows; a FAILED row -> a FAILURE row for each of its items."""
    schema = result_schema(*(ask.model for ask in plan.asks))
    completions, others = hand_on(table, COMPLETION, schema)
    failed, others = hand_on(others, FAILED, schema)
    rows: list[Row] = []
    for row in completions.to_pylist():
        validator = _validator(plan.asks[row["ask"]].target)
        found = read_completion(row, plan, _tokenizer(plan.model, plan.vocab_size), validator)
        rows += share_seconds(row, [_result(found, row["ask"])])
    for row in failed.to_pylist():
        rows += share_seconds(row, [_result(found, ask) for found, ask in _failures(row, plan)])
    read = table_of(rows, schema)
    return pa.concat_tables([others, read]) if others.num_rows else read


def _failures(row: Row, plan: Plan) -> Iterator[tuple[Failure, int]]:
    """Each item's failure, and the number of its ask."""
    first, last = row["page_first"], row["page_last"]
    left = set(row["left"])
    asked = item_keys(row["source_key"], first, last, asked_of(plan, row["uri"], first, last))
    for key, (ask, question) in asked.items():
        if key not in left:
            continue
        failure = Failure(
            item_key=key,
            settings_key=ask.settings_key,
            run_id=plan.run_id,
            question_id=question.id,
            question=question.text,
            target=ask.label,
            failed_at=datetime.now(UTC),
            **{name: row[name] for name in ("source_key", "uri", "page_first", "page_last")},
            **{name: row[name] for name in ("stage", "reason", "message")},
        )
        yield failure, ask.number


def _result(found: Answer | Failure, ask: int) -> Row:
    kind = ANSWER if isinstance(found, Answer) else FAILURE
    names = ("source_key", "uri", "item_key", "page_first", "page_last")
    origin = {name: getattr(found, name) for name in names}
    return {"kind": kind, "ask": ask, column_of(kind, ask): to_row(found), **origin}


@cache
def _sandbox(limits: Limits) -> Sandbox:
    """Once a worker process: its child is used for all documents."""
    return Sandbox(limits)


@cache
def _office(limits: Limits) -> Office:
    """Once a worker process: it copies the profile that it has made."""
    return Office(limits)


@cache
def _validator(target: str | None) -> Validator | None:
    """Once a worker process: its child is used for all answers. Only code of a user's needs one."""
    return Validator(target) if target is not None and has_own_code(target) else None


@cache
def _tokenizer(model: ModelPlace, vocab_size: int) -> Tokenizer:
    """Once a worker process: reading the 131,072 tokens takes a second."""
    return Tokenizer.from_file(tokenizer_file(model), vocab_size)
