"""Documents are read and opened in the sandbox: what is asked of them, and in which page ranges.

In: rows of SOURCES. Out: facts about the documents for the driver, and RANGE rows, of pages that a task
draws. A document that cannot be read or opened is a FAILED row: one failure a question.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import zip_longest

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dedup.prompt_keys import share_document
from pipeline.dedup.registry import Claim
from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.reading import content_key, read_conversation, read_password
from pipeline.ingest.sources import container, is_attached
from pipeline.passwords import passwords_of
from pipeline.plan.items import Asked, Window, asked_of, page_ranges, whole_range, windows
from pipeline.plan.keys import item_keys, without
from pipeline.plan.limits import Limits
from pipeline.plan.plan import Plan
from pipeline.plan.rows import DOCUMENTS, FAILED, RANGE, Row
from pipeline.rasterize.attachments import Reader
from pipeline.rasterize.office import Office
from pipeline.rasterize.opening import open_any
from pipeline.rasterize.sandbox import Document, Sandbox
from schemas.rows import Stage

# A file of at most so many bytes is drawn by the task that opens it: a PDF of some hundred pages, or some
# forty scans.
AT_ONCE_BYTES = 4 * 2**20


@dataclass
class Facts:
    """What a task has found out about documents, for the driver."""

    documents: list[Row] = field(default_factory=list)
    shared: list[Row] = field(default_factory=list)
    """Items that share the answer of another."""
    open_seconds: float = 0.0
    rasterize_seconds: float = 0.0
    """Of pages that nobody is asked about."""

    def rows(self) -> list[Row]:
        """One row, or none of no document."""
        facts = vars(self)
        return [{"kind": DOCUMENTS, **facts}] if self.documents or self.shared else []


def drawn_at_once(sources: pa.Table, plan: Plan) -> pa.ChunkedArray:
    """Of each row of SOURCES, whether the task that opens the document draws it, too.

    The bytes in a column of Parquet are read fastest in their order, which the tasks that draw do not keep.
    A document with attachments is read once for all of them, by one task.
    """
    if plan.is_chat:
        return pa.chunked_array([pa.repeat(False, len(sources))])
    holds = np.append(is_attached(sources)[1:], False)[: len(sources)]
    small = pc.fill_null(pc.less_equal(sources["size"], AT_ONCE_BYTES), False)
    small = pc.and_not(small, pa.chunked_array([pa.array(holds)]))
    return pc.and_(small, pc.and_(pc.is_null(sources["column"]), pc.is_null(sources["refused"])))


class Opening:
    """A row of SOURCES that becomes a document: what is known of it so far."""

    def __init__(self, source: Row, plan: Plan) -> None:
        self.source = source
        self.origin: Row = {"source_key": source["source_key"], "uri": source["uri"]}
        self.document: Row = self.origin | {"items_expected": 0, "items_answered": 0, "items_failed": 0}
        self.every: tuple[Asked, ...] = asked_of(plan, source["uri"])
        self.unasked = {*(source["answered"] or ()), *(source["failed"] or ())}  # they have a row
        self.data = b""
        self.is_converted = False
        """Whether `data` is a PDF that was made of the document."""

    def read(self, read: Callable[[], bytes]) -> None:
        """Raises DocumentError."""
        self.data = read()
        self.origin["content_key"] = self.document["content_key"] = content_key(self.data)

    def fail(self, error: DocumentError) -> list[Row]:
        """Its pages are unknown: one item a question."""
        keys = item_keys(self.source["source_key"], None, None, self.every)
        left = [key for key in keys if key not in self.unasked]
        self.document |= _counts(self.source, keys)
        return [failed(self.origin, "open", error, left)] if left else []

    def asked(self, plan: Plan) -> list[Window]:
        """What is to be asked of its pages, which have been counted."""
        every = windows(plan, self.source["uri"], self.document["page_count"])
        self.document |= _counts(
            self.source, (key for window in every for key in keys_of(self.source, window))
        )
        return without(self.source["source_key"], every, self.unasked)

    def share(self, asked: Sequence[Window], claim: Claim, facts: Facts) -> list[Window]:
        """What is left to ask once identical documents share their answers."""
        shared = share_document(self.origin, asked, claim)
        facts.shared += shared
        self.unasked.update(item["item_key"] for item in shared)
        return without(self.source["source_key"], asked, self.unasked)


def readings(sources: Sequence[Row], plan: Plan) -> Iterator[tuple[Row, Callable[[], bytes]]]:
    """Documents, each with what reads its bytes: what several lie in is read once, if they are in order."""
    reader = _reader(plan)
    for source, following in zip_longest(sources, sources[1:]):
        more = bool(following and following["part"]) and container(following) == container(source)
        yield source, partial(read_bytes, source, plan, reader, more=more)


def open_source(source: Row, plan: Plan, claim: Claim, facts: Facts, read: Callable[[], bytes]) -> list[Row]:
    """A document's page ranges, or a FAILED row."""
    started = time.perf_counter()
    one = Opening(source, plan)
    rows: list[Row] = []
    if one.every:
        try:
            one.read(read)
            if plan.is_chat:
                one.document["page_count"] = 1  # that of a conversation
            else:
                with open_document(one.data, source, plan) as opened:
                    one.document |= {"media_type": opened.media_type, "page_count": opened.page_count}
                    one.is_converted, one.data = opened.data is not one.data, opened.data
        except DocumentError as error:
            rows = one.fail(error)
        else:
            rows = _ranges(one, plan, claim, facts)
    facts.documents.append(one.document)
    facts.open_seconds += time.perf_counter() - started
    return rows


def _ranges(one: Opening, plan: Plan, claim: Claim, facts: Facts) -> list[Row]:
    asked = one.asked(plan)
    cuts = whole_range(asked) if one.is_converted else page_ranges(asked)
    if len(cuts) == 1:
        # One task draws this document from the bytes at hand, so that its items may share answers by its
        # content. The tasks of a longer document read it again. It may have changed by then, which must not
        # fail another document: its pages share one by one, once they are drawn (`share_groups`).
        asked = one.share(asked, claim, facts)
        cuts = whole_range(asked)
    source = one.source | {"answered": None, "failed": None}  # which `unasked` says
    pages = one.origin | {"kind": RANGE, "source": source, "page_count": one.document["page_count"]}
    pages["unasked"] = sorted(one.unasked) or None
    pages["data"] = one.data if len(cuts) == 1 else None  # several tasks each read their document again
    return [pages | {"page_first": first, "page_last": last} for first, last in cuts]


def keys_of(origin: Row, window: Window) -> list[str]:
    """The items of a window of the document that `origin` names."""
    return list(item_keys(origin["source_key"], window.first, window.last, window.asked))


def _counts(source: Row, keys: Iterable[str]) -> Row:
    """How many items are expected, and of how many the tables have a row."""
    expected, answered = set(keys), set(source["answered"] or ())
    return {
        "items_expected": len(expected),
        "items_answered": len(expected & answered),
        "items_failed": len(expected & set(source["failed"] or ()) - answered),
    }


def read_bytes(source: Row, plan: Plan, reader: Reader | None = None, *, more: bool = False) -> bytes:
    """A document, or a conversation. Raises DocumentError."""
    if plan.is_chat:
        return read_conversation(source)
    return (reader or _reader(plan)).read(source, partial(_passwords, source, plan), more=more)


def open_document(data: bytes, source: Row, plan: Plan, seconds: float | None = None) -> Document:
    """The document of a row of SOURCES in this process's sandbox. Raises DocumentError."""
    sandbox, office = sandbox_of(plan.limits), office_of(plan.limits)
    return open_any(sandbox, office, data, source["uri"], _passwords(source, plan), seconds=seconds)


def _passwords(source: Row, plan: Plan) -> list[str]:
    """What is tried on a document. Raises DocumentError."""
    password = read_password(source)
    own = [] if password is None else [password]
    return [*own, *passwords_of(plan)]


def _reader(plan: Plan) -> Reader:
    return Reader(plan.roots, plan.web, sandbox_of(plan.limits))


def failed(origin: Row, stage: Stage, error: DocumentError, left: list[str]) -> Row:
    """The FAILED row of a document or a window; `left` are the items that fail with it."""
    failure = {"kind": FAILED, "stage": stage, "reason": error.reason, "message": error.message}
    return origin | failure | {"left": left}


@cache
def sandbox_of(limits: Limits) -> Sandbox:
    """Once a worker process: its child is used for all documents."""
    return Sandbox(limits)


@cache
def office_of(limits: Limits) -> Office:
    """Once a worker process: it copies the profile that it has made."""
    return Office(limits)
