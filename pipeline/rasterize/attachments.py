"""The listed documents are joined by what is attached to them, before a run begins.

In: a listing. Out: the same with a row for each attachment that is a document, behind the row of the document
that holds it. Its uri is that document's, with #1, #2 and so on; in an attached document #1#1. Each document
that may hold others is read for that, and opened in a sandbox. One that cannot be read has none, and is a
failure of its own. In a run, `Reader` reads a document once for itself and all its attachments that follow.
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import local
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.fetching import WebRules
from pipeline.ingest.file_types import IMAGES, OFFICE_SUFFIXES, DocumentError
from pipeline.ingest.libreoffice import installation
from pipeline.ingest.progress import Progress
from pipeline.ingest.reading import read_password, read_source
from pipeline.ingest.sources import SOURCES, container, keys_of
from pipeline.plan.plan import Plan
from pipeline.rasterize.attached import MOST_DEPTH, MOST_INNER, MOST_PARTS, UNLISTED, Kind, Part
from pipeline.rasterize.sandbox import Sandbox

THREADS: Final = 4  # that each read a document, and wait for a sandbox of its own
PART_ROWS: Final = 1_024  # of a listing that are looked through at a time
REFUSED: Final = {
    Kind.TOO_MANY: "{uri} has more than {parts:,} attachments: those from here on are not read",
    Kind.TOO_DEEP: "{uri} holds documents in one another, more than {depth}: this one is not read",
    Kind.TOO_LARGE: "{uri} holds one of more than {inner} MiB: what is attached to that is not read",
}
# Of documents that may open all the same: what is attached to them would be lost in silence.
_UNTOLD: Final = frozenset({UNLISTED, "crash", "killed", "memory", "timeout"})
_SUFFIXES: Final = (*(suffix for kind in IMAGES.values() for suffix in kind.suffixes), *OFFICE_SUFFIXES)
_HOLDS_NONE: Final = rf"\.(?:{'|'.join(suffix[1:] for suffix in _SUFFIXES)})$"
_log = logging.getLogger(__name__)
_own = local()


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What is attached to a document."""

    parts: Sequence[Part] = ()
    refused: str | None = None
    """Why the document could not be fetched."""
    untold: str | None = None
    """Why it does not tell what is attached to it."""


def with_attachments(sources: pa.Table, plan: Plan, progress: Progress, *, in_all: bool = False) -> pa.Table:
    """The listing with the attachments of its e-mails, which are files whose names end in .eml.

    With `in_all`, every document is looked into that may be a PDF or an e-mail, in columns of bytes, too.

    A document that cannot be fetched is refused: else its own opening may find it, and nobody would look for
    what is attached.
    """
    if not pc.any(_may_hold(sources, in_all)).as_py():
        return sources
    skipped = Counter[str]()
    done: list[pa.Table] = []
    plain = 0  # where the rows begin behind the last ones with attachments
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        # The sandboxes end with the threads that started them.
        look = partial(_look, plan=plan, in_pdfs=in_all)
        for start in range(0, len(sources), PART_ROWS):
            some = sources.slice(start, PART_ROWS)
            may_hold = _may_hold(some, in_all)
            if pc.any(may_hold).as_py():
                found = _found(some, may_hold, plan, threads, look)
                done += [
                    sources.slice(plain, start - plain),
                    _joined(some, found, may_hold, skipped, progress),
                ]
                plain = start + PART_ROWS
    done.append(sources.slice(plain))
    for why, count in sorted(skipped.items()):
        _log.warning("skipped %d attachments that are %s", count, why)
    return pa.concat_tables(done)


class Reader:
    """Reads the documents of rows of SOURCES, one after the other: what several of them lie in, once."""

    def __init__(self, roots: Sequence[str], web: WebRules | None, sandbox: Sandbox) -> None:
        self._roots, self._web, self._sandbox = roots, web, sandbox
        self._held: tuple[tuple[Any, ...], bytes | DocumentError] | None = None

    def read(
        self, source: Mapping[str, Any], passwords: Callable[[], Sequence[str]], *, more: bool = False
    ) -> bytes:
        """The bytes of a row's document, which is opened with the passwords if it is attached to another.

        `more` says that the next row's is attached to the same. Raises DocumentError: as `read_source`, and
        `Sandbox.part`.
        """
        place, part = container(source), source["part"]
        if source["refused"] is not None:
            return read_source(source, self._roots, self._web)  # which says so
        data = self._held[1] if self._held is not None and self._held[0] == place else None
        self._held = None
        if data is None:
            try:
                data = read_source(source, self._roots, self._web)
            except DocumentError as error:  # so are all that are attached to it
                data = error
        self._held = (place, data) if more else None
        if isinstance(data, DocumentError):
            raise data
        if not part:
            return data
        name = source["uri"].removesuffix(_suffix(part))
        return self._sandbox.part(data, name, part, passwords(), more=more)


def _suffix(part: Sequence[int]) -> str:
    return "".join(f"#{number}" for number in part)


def _may_hold(sources: pa.Table, in_all: bool) -> pa.ChunkedArray:
    """Which documents are looked into."""
    names, in_column = pc.utf8_lower(sources["location"]), pc.is_valid(sources["column"])
    wanted = pc.fill_null(pc.ends_with(names, ".eml"), False)
    if not in_all:
        return pc.and_not(wanted, in_column)
    holds_none = pc.fill_null(pc.match_substring_regex(names, _HOLDS_NONE), True)
    return pc.and_(pc.or_(in_column, pc.invert(holds_none)), pc.is_null(sources["refused"]))


def _joined(
    sources: pa.Table,
    found: Iterator[tuple[dict[str, Any], _Found]],
    may_hold: pa.ChunkedArray,
    skipped: Counter[str],
    progress: Progress,
) -> pa.Table:
    """Some rows of a listing, each with the rows of its attachments behind it."""
    order, more, refused = list[int](), list[dict[str, Any]](), dict[int, str]()
    for number, holds in enumerate(may_hold.to_pylist()):
        order.append(number)
        if not holds:
            continue
        row, its = next(found)
        if its.refused is not None:
            refused[number] = its.refused
        rows = list(_rows(row, its, skipped))
        progress.listed(len(rows))
        end = len(sources) + len(more)
        order += range(end, end + len(rows))
        more += rows
    if refused:
        place = SOURCES.get_field_index("refused")
        whys = [refused.get(number, why) for number, why in enumerate(sources["refused"].to_pylist())]
        sources = sources.set_column(place, SOURCES.field(place), pa.array(whys, pa.string()))
    if not more:
        return sources
    return pa.concat_tables([sources, pa.Table.from_pylist(more, SOURCES)]).take(pa.array(order))


def _found(
    sources: pa.Table,
    may_hold: pa.ChunkedArray,
    plan: Plan,
    threads: ThreadPoolExecutor,
    look: Callable[..., _Found],
) -> Iterator[tuple[dict[str, Any], _Found]]:
    """The rows that are looked into, in their order, with what was found. Few documents are in memory."""
    waiting: deque[tuple[dict[str, Any], Future[_Found]]] = deque()
    for row in sources.filter(may_hold).to_pylist():
        # A row group is decoded from its start: its values are read here, one after the other.
        data = None if row["column"] is None else _fetched(row, plan)
        waiting.append((row, threads.submit(look, row, data)))
        if len(waiting) > THREADS:
            ready, future = waiting.popleft()
            yield ready, future.result()
    for ready, future in waiting:
        yield ready, future.result()


def _fetched(row: dict[str, Any], plan: Plan) -> bytes | DocumentError:
    try:
        return read_source(row, plan.roots, plan.web)
    except DocumentError as error:
        return error


def _look(row: dict[str, Any], data: bytes | DocumentError | None, *, plan: Plan, in_pdfs: bool) -> _Found:
    """What is attached to a document, which is read here if it is not given."""
    if data is None:
        data = _fetched(row, plan)
    try:
        if isinstance(data, DocumentError):
            raise data
        own = read_password(row)
    except DocumentError as error:  # of others its own opening will tell
        return _Found(refused=error.message if error.reason == "unreadable" else None)
    if not hasattr(_own, "sandbox"):
        _own.sandbox = Sandbox(plan.limits)
    sandbox: Sandbox = _own.sandbox
    try:
        passwords = [*([] if own is None else [own]), *plan.passwords]
        return _Found(parts=sandbox.parts(data, row["uri"], passwords, in_pdfs=in_pdfs))
    except DocumentError as error:
        return _Found(untold=error.message) if error.reason in _UNTOLD else _Found()


def _rows(row: dict[str, Any], found: _Found, skipped: Counter[str]) -> Iterator[dict[str, Any]]:
    if found.untold is not None:
        yield _row(row, (1,), f"what is attached to {row['uri']} is not known: {found.untold}")
    for part in found.parts:
        if part.kind is Kind.OTHER:
            skipped["no documents"] += 1
        elif part.kind is Kind.OFFICE and installation() is None:
            skipped["office files (install LibreOffice to have them read)"] += 1
        else:
            sizes = {"parts": MOST_PARTS, "depth": MOST_DEPTH, "inner": MOST_INNER >> 20}
            refused = REFUSED.get(part.kind, "").format(uri=row["uri"], **sizes)
            yield _row(row, part.path, refused or None)


def _row(row: dict[str, Any], path: Sequence[int], refused: str | None) -> dict[str, Any]:
    suffix = _suffix(path)
    (key,) = keys_of([f"{row['source_key']}|{suffix}".encode()]).to_pylist()
    own = {"uri": row["uri"] + suffix, "source_key": key, "part": path, "refused": refused}
    return row | own | {"size": None}
