"""Opened documents become prompts: their pages are drawn, and what is asked of them is put into words.

In: documents that are opened here, small files, each read and opened once; or page ranges of documents that
were opened before. Out: GROUP rows, FAILED ones of windows without a page that can be drawn, and facts about
the documents and their items that share an answer. Identical prompts are asked once: a task claims all those
that it hands over together.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial

from model.text.tokenizer import Message, Tokenizer, UnencodableError
from pipeline.cancellation import is_stopping
from pipeline.dedup.prompt_keys import document_pair, prompt_keys, share_groups, shares
from pipeline.dedup.registry import Claim, Pair
from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.messages import read_turns
from pipeline.ingest.reading import content_key, read_named
from pipeline.opening import Facts, Opening, failed, keys_of, open_document, read_bytes, sandbox_of
from pipeline.plan.items import Window, windows
from pipeline.plan.keys import answer_settings, without
from pipeline.plan.model_place import ModelPlace, tokenizer_file
from pipeline.plan.plan import Plan
from pipeline.plan.prompts import chat, conversation, tokenize
from pipeline.plan.rows import GROUP, PACK_PAGES, SHARED, Row, gather
from pipeline.rasterize.pages import Page, draw, draw_images, placeholders
from pipeline.rasterize.sandbox import Document


def draw_sources(sources: Sequence[Row], plan: Plan, claim: Claim) -> Iterator[Row]:
    """Documents -> a GROUP or FAILED row for each window with something to ask, and DOCUMENTS rows.

    Each document is read and opened once. Its items share answers by its content where another document with
    the same content came first: that one's are claimed with its prompts, once they are drawn.
    """
    return _AtOnce(plan, claim).draw(sources)


class _AtOnce:
    """A task's documents."""

    def __init__(self, plan: Plan, claim: Claim) -> None:
        self._plan = plan
        self._claim = claim
        self._facts = Facts()
        self._notes: list[Pair] = []  # claims by content, to be made

    def draw(self, sources: Sequence[Row]) -> Iterator[Row]:
        for drawn in gather(self._rows(sources)):
            notes, self._notes = self._notes, []
            rows, shared, seconds = share_groups(drawn, self._claim, notes)
            self._facts.shared += shared
            self._facts.rasterize_seconds += seconds
            yield from rows
            if sum(document.get("page_count") or 0 for document in self._facts.documents) > PACK_PAGES:
                facts, self._facts = self._facts, Facts()
                yield from facts.rows()  # early: a long document goes on
        self._claim_notes()
        yield from self._facts.rows()

    def _claim_notes(self) -> None:
        notes, self._notes = self._notes, []
        self._claim(notes)

    def _rows(self, sources: Sequence[Row]) -> Iterator[Row]:
        opening: list[Opening] = []
        unreadable: dict[str, DocumentError] = {}
        for source in sources:
            if is_stopping(self._plan.run_id):
                break
            started = time.perf_counter()
            opening.append(one := Opening(source, self._plan))
            try:
                if one.every:
                    one.read(partial(read_bytes, source, self._plan))
            except DocumentError as error:
                unreadable[source["source_key"]] = error
            self._facts.open_seconds += time.perf_counter() - started
        pairs = [document_pair(self._plan, one.origin) for one in opening if "content_key" in one.origin]
        first = {key for (_, key), owner in zip(pairs, self._claim(pairs), strict=True) if owner == key}
        for one in opening:
            key = one.source["source_key"]
            if is_stopping(self._plan.run_id):
                return  # the documents that were opened count all the same
            if key in unreadable:
                yield from self._fail(one, unreadable[key])
            elif one.every:
                yield from self._draw(one, is_first=key in first)
            else:
                self._facts.documents.append(one.document)

    def _draw(self, one: Opening, *, is_first: bool) -> Iterator[Row]:
        started = time.perf_counter()
        data, one.data = one.data, b""
        try:
            opened = open_document(data, one.source, self._plan)
        except DocumentError as error:
            self._facts.open_seconds += time.perf_counter() - started
            yield from self._fail(one, error)
            return
        with opened:
            one.document |= {"media_type": opened.media_type, "page_count": opened.page_count}
            asked = one.asked(self._plan)
            self._facts.documents.append(one.document)
            if is_first:
                self._notes += [pair for _, pair in shares(one.origin, asked)]
            else:
                self._claim_notes()  # one of these documents may be the first
                asked = one.share(asked, self._claim, self._facts)
            self._facts.open_seconds += time.perf_counter() - started
            yield from _draw_open(one.origin, opened, asked, self._plan)

    def _fail(self, one: Opening, error: DocumentError) -> list[Row]:
        rows = one.fail(error)
        self._facts.documents.append(one.document)
        return rows


def draw_range(row: Row, plan: Plan, claim: Claim) -> Iterator[Row]:
    """A RANGE row -> a GROUP or FAILED row for each window with something to ask, and one SHARED row."""
    first, last = row["page_first"], row["page_last"]
    every = windows(plan, row["uri"], row["page_count"])
    asked = [window for window in every if first <= window.first and window.last <= last]
    # Nobody watches the tasks that draw a document together: each has its part of the time.
    part = _count_pages(asked) / _count_pages(every)
    asked = without(row["source_key"], asked, set(row["unasked"] or ()))
    groups = (
        _draw_conversation(row, asked, plan)
        if plan.is_chat
        else _draw_windows(row, asked, plan, part * plan.limits.document_seconds)
    )
    facts = Facts()
    for drawn in gather(groups):
        rows, shared, seconds = share_groups(drawn, claim)
        yield from rows
        facts.shared += shared
        facts.rasterize_seconds += seconds
    if facts.shared:
        origin = {name: row[name] for name in ("source_key", "uri")}
        yield origin | {"kind": SHARED, "shared": facts.shared, "rasterize_seconds": facts.rasterize_seconds}


def _draw_conversation(row: Row, asked: Sequence[Window], plan: Plan) -> Iterator[Row]:
    """The GROUP row of a conversation, or a FAILED one."""
    for window in asked:  # a conversation has one
        started = time.perf_counter()
        origin = _window_origin(row, window)
        try:
            turns = read_turns(_bytes_of(row, plan))
            read = partial(read_named, roots=plan.roots, web=plan.web)
            seen = draw_images(turns, row["uri"], read, sandbox_of(plan.limits), plan)
            notes = [f"image {number}: {page.note}" for number, page in enumerate(seen, 1) if page.note]
            said = [chat(turns, placeholders(seen, plan), ask.system) for ask, _ in window.asked]
            drawn = origin | _group(origin, window, seen, said, plan) | {"note": "; ".join(notes) or None}
        except UnencodableError as why:
            error = DocumentError("bad_messages", f"{row['uri']} cannot be asked: {why}")
            drawn = failed(origin, "rasterize", error, keys_of(row, window))
        except DocumentError as error:
            drawn = failed(origin, "rasterize", error, keys_of(row, window))
        yield drawn | {"rasterize_seconds": time.perf_counter() - started}


def _count_pages(asked: Iterable[Window]) -> int:
    return len({page for window in asked for page in range(window.first, window.last + 1)})


def _draw_windows(row: Row, asked: Sequence[Window], plan: Plan, seconds: float) -> Iterator[Row]:
    """A GROUP row for each window, or a FAILED one, until the run is to stop or the seconds are over."""
    try:
        opened = open_document(_bytes_of(row, plan), row["source"], plan, seconds)
    except DocumentError as error:
        for window in asked:
            yield failed(_window_origin(row, window), "rasterize", error, keys_of(row, window))
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
            drawn = failed(origin, "rasterize", error, keys_of(row, window))
        yield drawn | {"rasterize_seconds": time.perf_counter() - started}


def _bytes_of(row: Row, plan: Plan) -> bytes:
    if row["data"] is not None:
        data: bytes = row["data"]
        return data
    data = read_bytes(row["source"], plan)
    if content_key(data) != row["content_key"]:
        raise DocumentError("changed", f"{row['uri']} changed while the run was reading it")
    return data


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
    said = [conversation(ask, question, placeholders(seen, plan)) for ask, question in window.asked]
    about = {"pages_missing": missing or None, "note": "; ".join(notes) or None}
    return _group(origin, window, seen, said, plan) | about


def _group(
    origin: Row, window: Window, seen: Sequence[Page], said: Sequence[Sequence[Message]], plan: Plan
) -> Row:
    """The columns of a GROUP row: a conversation for each question of the window, about what was seen."""
    prompt = tokenize(tokenizer_of(plan), said)
    shapes = [(page.height, page.width) for page in seen]
    pixels = seen[0].pixels if len(seen) == 1 else b"".join(page.pixels for page in seen)
    keys = keys_of(origin, window)
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


def tokenizer_of(plan: Plan) -> Tokenizer:
    """The model's tokenizer."""
    return _tokenizer(plan.model, plan.vocab_size)


@cache
def _tokenizer(model: ModelPlace, vocab_size: int) -> Tokenizer:
    """Once a worker process: reading the 131,072 tokens takes a second."""
    return Tokenizer.from_file(tokenizer_file(model), vocab_size)
