"""The listed e-mails are joined by their attachments: rows of SOURCES behind theirs, before a run begins.

In: a listing. Out: the same with a row for each attachment that is a document. Its uri is that of the e-mail,
with #1, #2 and so on; in an attached e-mail #1#1. Each e-mail is read for that, and opened in a sandbox. One
that cannot be read has none, and is a failure of its own.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.fetching import WebRules
from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.libreoffice import installation
from pipeline.ingest.progress import Progress
from pipeline.ingest.reading import read_source
from pipeline.ingest.sources import SOURCES, keys_of
from pipeline.plan.plan import Plan
from pipeline.rasterize.attached import MOST_DEPTH, MOST_PARTS, Kind, Part
from pipeline.rasterize.sandbox import Sandbox

THREADS: Final = 4  # that each read an e-mail, and wait for a sandbox of its own
PART_MAILS: Final = 1_024  # rows of them at a time in memory, and the most that Ctrl-C waits for
REFUSED: Final = {
    Kind.TOO_MANY: "{mail} has more than {parts:,} attachments: those from here on are not read",
    Kind.TOO_DEEP: "{mail} holds e-mails in one another, more than {depth}: this one is not read",
}
_log = logging.getLogger(__name__)
_own = local()


def with_attachments(sources: pa.Table, plan: Plan, progress: Progress) -> pa.Table:
    """The listing with the attachments of its e-mails, which are files whose names end in .eml.

    An e-mail that cannot be fetched is refused: else its own opening may find it, and nobody would look for
    what is attached.
    """
    is_mail = pc.and_(pc.ends_with(pc.utf8_lower(sources["location"]), ".eml"), pc.is_null(sources["column"]))
    is_mail = is_mail.fill_null(False)
    mails = sources.filter(is_mail)
    if not len(mails):
        return sources
    found: list[pa.Table] = []
    refused: list[str | None] = []
    skipped = Counter[str]()
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        # The sandboxes end with the threads that started them.
        for batch in mails.to_batches(PART_MAILS):
            rows, more = batch.to_pylist(), list[dict[str, Any]]()
            for row, parts in zip(rows, threads.map(lambda row: _parts(row, plan), rows), strict=True):
                refused.append(parts if isinstance(parts, str) else None)
                if not isinstance(parts, str):
                    progress.listed(len(parts))
                    more += _rows(row, parts, skipped)
            found += [pa.Table.from_pylist(more, SOURCES)] if more else []
    for why, count in sorted(skipped.items()):
        _log.warning("skipped %d attachments of e-mails that are %s", count, why)
    if any(refused):
        place = SOURCES.get_field_index("refused")
        whys = pc.replace_with_mask(
            sources["refused"].combine_chunks(), is_mail.combine_chunks(), pa.array(refused, pa.string())
        )
        sources = sources.set_column(place, SOURCES.field(place), whys)
    return pa.concat_tables([sources, *found])


def read_document(
    source: Mapping[str, Any], roots: Sequence[str], web: WebRules | None, sandbox: Sandbox
) -> bytes:
    """The bytes of a row of SOURCES. Raises DocumentError: as `read_source`, and `Sandbox.part`."""
    data, part = read_source(source, roots, web), source["part"]
    return sandbox.part(data, source["uri"].removesuffix(_suffix(part)), part) if part else data


def _suffix(part: Sequence[int]) -> str:
    return "".join(f"#{number}" for number in part)


def _parts(row: dict[str, Any], plan: Plan) -> list[Part] | str:
    """The attachments of an e-mail, or why it could not be fetched."""
    if not hasattr(_own, "sandbox"):
        _own.sandbox = Sandbox(plan.limits)
    sandbox: Sandbox = _own.sandbox
    try:
        return sandbox.parts(read_source(row, plan.roots, plan.web), row["uri"])
    except DocumentError as error:
        return error.message if error.reason == "unreadable" else []  # as its own opening will say


def _rows(row: dict[str, Any], parts: Sequence[Part], skipped: Counter[str]) -> Iterator[dict[str, Any]]:
    for part in parts:
        if part.kind is Kind.OTHER:
            skipped["no documents"] += 1
        elif part.kind is Kind.OFFICE and installation() is None:
            skipped["office files (install LibreOffice to have them read)"] += 1
        else:
            suffix = _suffix(part.path)
            refused = REFUSED.get(part.kind, "").format(mail=row["uri"], parts=MOST_PARTS, depth=MOST_DEPTH)
            (key,) = keys_of([f"{row['source_key']}|{suffix}".encode()]).to_pylist()
            own = {
                "uri": row["uri"] + suffix,
                "source_key": key,
                "part": part.path,
                "refused": refused or None,
            }
            yield row | own | {"size": None}
