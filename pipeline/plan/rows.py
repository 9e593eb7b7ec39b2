"""The rows that travel between the stages: Arrow columns, in the cells of `parcels`.

Each stage has a schema, and works on the rows of one kind. All other rows pass through it (`hand_on`), so
every expected item, and every fact about a document, reaches the driver. A task costs Ray more than a page
costs to draw: so the page ranges of small documents travel to the tasks that draw them in packs. A row costs
a place in a call of the Replica: so a task that opens documents yields one DOCUMENTS row for all of them, and
a task that draws pages one SHARED row for the shared items of each range.

The seconds of a row are shared out over the rows that come of it (`share_seconds`): the sums stay.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from pipeline.ingest.file_types import OFFICE_SUFFIXES
from pipeline.ingest.sources import SOURCES
from pipeline.plan.parcels import PIXELS, column_of_buffers
from schemas.arrow import arrow_type
from schemas.rows import Failure, answer_row

Row = dict[str, Any]

SOURCE = "source"  # a document, to be opened and drawn
RANGE = "range"  # pages of a document, to be drawn
GROUP = "group"  # a prompt: pixels and tokens of its pages, and the questions that branch from it
COMPLETION = "completion"  # the model's answer for one item
FAILED = "failed"  # a document or a window that failed: all its items will be failures
DOCUMENTS = "documents"  # the documents that a task has opened, and their items that nobody asks
SHARED = "shared"  # items of a page range that nobody asks: they share the answers of others
ANSWER, FAILURE = "answer", "failure"  # rows of the tables

# The facts of a document that was opened: with its own counts, the driver makes a row of documents/ of them.
OPENED = pa.struct(
    [
        ("source_key", pa.string()),
        ("uri", pa.string()),
        ("content_key", pa.string()),
        ("media_type", pa.string()),
        ("page_count", pa.int64()),
        ("items_expected", pa.int64()),
        ("items_answered", pa.int64()),  # this and the next: by earlier runs
        ("items_failed", pa.int64()),
    ]
)
# An item that is not asked, since another one with the same prompt is: the driver gives it that one's result.
SHARED_ITEM = pa.struct(
    [
        ("item_key", pa.string()),
        ("ask", pa.int32()),  # its number in the plan
        ("owner", pa.string()),  # the item that is asked
        ("source_key", pa.string()),
        ("uri", pa.string()),
        ("prompt_key", pa.string()),  # null: by the content of its document, which was not drawn
        ("content_key", pa.string()),
        ("page_first", pa.int64()),
        ("page_last", pa.int64()),
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("pages_missing", pa.list_(pa.int64())),
        ("note", pa.string()),
        ("page_damaged", pa.bool_()),
    ]
)
TABLE_ROWS = 16  # a stage hands over so many rows at a time,
TABLE_BYTES = 2**25  # or so many bytes of pixels
# That one task draws, of small documents: a fraction of a second for PDFs. With the row of facts about them
# they fill two of a Replica's calls.
PACK_PAGES = 15
PACK_BYTES = 2**25  # of documents that one task holds
PAGE_BYTES = 2**14  # that a page has at the least, in a guess at the pages of a file
# That the work behind a row took: opening documents, drawing pages, and the Replica's, which computed or, in
# `idle_seconds`, waited for pages.
SECONDS = ("open_seconds", "rasterize_seconds", "generate_seconds", "idle_seconds")

_EVERYWHERE = [
    ("kind", pa.string()),
    ("source_key", pa.string()),
    ("uri", pa.string()),
    ("content_key", pa.string()),
    ("page_first", pa.int64()),
    ("page_last", pa.int64()),
    ("stage", pa.string()),  # this and the next two: of a FAILED row
    ("reason", pa.string()),
    ("message", pa.string()),
    ("left", pa.list_(pa.string())),  # of a FAILED row: the keys of its items
    ("documents", pa.list_(OPENED)),  # of a DOCUMENTS row
    ("shared", pa.list_(SHARED_ITEM)),  # of a DOCUMENTS or a SHARED row
    *((name, pa.float64()) for name in SECONDS),
]

_WINDOW = [  # as in schemas.rows.Answer
    ("pages_missing", pa.list_(pa.int64())),
    ("note", pa.string()),
    ("page_damaged", pa.bool_()),
]

RANGES = pa.schema(
    [
        *_EVERYWHERE,
        ("page_count", pa.int64()),
        ("unasked", pa.list_(pa.string())),  # keys of items not to ask: they have a row, or share another's
        ("source", pa.struct(list(SOURCES))),
        ("data", pa.large_binary()),  # the document's bytes; null: its tasks read the source again
    ]
)

GROUPS = pa.schema(
    [
        *_EVERYWHERE,
        ("prefix_ids", pa.list_(pa.int32())),
        ("item_keys", pa.list_(pa.string())),  # this and the next five: one element a question
        ("asks", pa.list_(pa.int32())),
        ("question_ids", pa.list_(pa.string())),
        ("questions", pa.list_(pa.string())),
        ("prompt_keys", pa.list_(pa.string())),
        ("branch_ids", pa.list_(pa.list_(pa.int32()))),
        *_WINDOW,
        ("heights", pa.list_(pa.int32())),  # of the pages as they travel
        ("widths", pa.list_(pa.int32())),
        (PIXELS, pa.large_binary()),  # uint8 RGB, row by row, page after page
    ]
)

COMPLETIONS = pa.schema(
    [
        *_EVERYWHERE,
        ("item_key", pa.string()),
        ("ask", pa.int32()),
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("prompt_key", pa.string()),
        *_WINDOW,
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("stopped_at", pa.int64()),  # bytes of the answer before a stop string
        ("error", pa.string()),
    ]
)


def result_schema(*models: type[BaseModel] | None) -> pa.Schema:
    """The last stage's rows, of asks with these targets (None: of text).

    ANSWER and FAILURE rows each hold the row of their table as a struct, in the column `column_of`.
    """
    answers = [
        (column_of(ANSWER, number), arrow_type(answer_row(model))) for number, model in enumerate(models)
    ]
    keys = [("item_key", pa.string()), ("ask", pa.int32()), ("shared_from", pa.string())]
    return pa.schema([*_EVERYWHERE, *keys, *answers, (FAILURE, arrow_type(Failure))])


def column_of(kind: str, ask: int) -> str:
    """The column with the struct of an ANSWER or a FAILURE row; answers of different asks differ in type."""
    return f"{ANSWER}_{ask}" if kind == ANSWER and ask else kind


def table_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows in a stage's schema; a column that a row leaves out is null. Pixels are not copied."""
    if PIXELS not in schema.names:
        return pa.Table.from_pylist(rows, schema=schema)
    rest = pa.Table.from_pylist(rows, schema=pa.schema([field for field in schema if field.name != PIXELS]))
    pixels = [row.get(PIXELS) for row in rows]
    column = column_of_buffers([None if one is None else pa.py_buffer(one) for one in pixels])
    return rest.append_column(schema.field(PIXELS), column)


def gather(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows together while they still come: up to TABLE_ROWS of them, or TABLE_BYTES of pixels."""
    waiting: list[Row] = []
    size = 0
    for row in rows:
        waiting.append(row)
        size += len(row.get(PIXELS) or b"")
        if len(waiting) >= TABLE_ROWS or size >= TABLE_BYTES:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting


def tables_of(rows: Iterable[Row], schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows in a stage's schema, some at a time, while they still come."""
    for some in gather(rows):
        yield table_of(some, schema)


def pack(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows of RANGES in the packs that one task draws: up to PACK_PAGES pages, or PACK_BYTES of documents.

    A row that has more is a pack of its own.
    """
    waiting: list[Row] = []
    pages = size = 0
    for row in rows:
        its_pages, its_size = _extent(row)
        if waiting and (pages + its_pages > PACK_PAGES or size + its_size > PACK_BYTES):
            yield waiting
            waiting, pages, size = [], 0, 0
        waiting.append(row)
        pages, size = pages + its_pages, size + its_size
    if waiting:
        yield waiting


def _extent(row: Row) -> tuple[int, int]:
    """The pages that a row asks to draw, and the bytes of its document that its task holds."""
    if row["kind"] == SOURCE:
        size = row["source"]["size"]
        if row["uri"].lower().endswith(tuple(OFFICE_SUFFIXES)):
            return PACK_PAGES, size  # LibreOffice takes a second or more for it
        return 1 + size // PAGE_BYTES, size  # nobody has counted its pages yet
    first, last = row.get("page_first"), row.get("page_last")
    pages = 0 if first is None or last is None else last - first + 1
    return pages, len(row.get("data") or b"")


def hand_on(table: pa.Table, kind: str, schema: pa.Schema) -> tuple[pa.Table, pa.Table]:
    """The rows of `kind`; and all others, in the schema of the next stage. Pixels are not copied."""
    mine = pc.equal(table["kind"], kind)
    others = table.select([name for name in table.column_names if name in schema.names])
    others = others.filter(pc.invert(mine))
    columns = [
        others[field.name] if field.name in others.column_names else pa.nulls(others.num_rows, field.type)
        for field in schema
    ]
    others = pa.Table.from_arrays(columns, schema=schema)
    if PIXELS not in table.column_names:
        return table.filter(mine), others
    places = np.flatnonzero(mine.to_numpy())
    pixels = [chunk for place in places for chunk in table[PIXELS].slice(place, 1).chunks]
    column = pa.chunked_array(pixels, pa.large_binary())
    return table.drop_columns([PIXELS]).filter(mine).append_column(table.schema.field(PIXELS), column), others


def share_seconds(row: Row, children: Sequence[Row]) -> list[Row]:
    """The rows that come of `row`, each with an equal share of its seconds."""
    share = {name: row[name] / len(children) for name in SECONDS if row.get(name) is not None}
    return [child | share for child in children]
