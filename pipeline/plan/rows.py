"""The rows that travel between the stages: flat Arrow columns, so that Ray can count their bytes.

Each stage has a schema of its own. Rows that are not for it, such as failures of earlier stages, pass through
it (`hand_on`), so that every expected item reaches the driver. What concerns a document or a group as a whole
travels on the first row that comes of it (`inherit`): rows of their own would each cost a task.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from pipeline.ingest.listing import SOURCES
from schemas.arrow import arrow_type
from schemas.rows import Failure, answer_row

Row = dict[str, Any]

RANGE = "range"  # pages of a document, to be drawn
GROUP = "group"  # a prompt: pixels and tokens of its pages, and the questions that branch from it
COMPLETION = "completion"  # what the model wrote for one item
FAILED = "failed"  # a document or a window that failed: all its items will be failures
NOTHING = "nothing"  # no item: it only carries what concerns its document, of which nothing is asked
ANSWER, FAILURE = "answer", "failure"  # rows of the tables

# What the driver learns when a document was opened; with its own counts it makes the row of documents/.
OPENED = pa.struct(
    [
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
SHARED = pa.struct(
    [
        ("item_key", pa.string()),
        ("owner", pa.string()),  # the item that is asked
        ("prompt_key", pa.string()),  # null: by the content of its document, which was not drawn
        ("content_key", pa.string()),
        ("page_first", pa.int64()),
        ("page_last", pa.int64()),
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("pages_missing", pa.list_(pa.int64())),
        ("note", pa.string()),
    ]
)
TABLE_ROWS, TABLE_BYTES = 16, 2**25  # that a stage gathers before it hands them over, the bytes of pixels
# That the work behind a row took; `idle_seconds` are those in which a Replica waited for pages.
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
    ("left", pa.list_(pa.string())),  # of a FAILED row: its questions, by their ids
    ("document", OPENED),
    ("shared", pa.list_(SHARED)),  # items of the same document
    *((name, pa.float64()) for name in SECONDS),
]

_WINDOW = [("pages_missing", pa.list_(pa.int64())), ("note", pa.string())]  # as in schemas.rows.Answer

RANGES = pa.schema(
    [
        *_EVERYWHERE,
        ("page_count", pa.int64()),
        ("source", pa.struct(list(SOURCES))),  # to read it again
        ("data", pa.large_binary()),  # its bytes, if no other task needs them
    ]
)

GROUPS = pa.schema(
    [
        *_EVERYWHERE,
        ("prefix_ids", pa.list_(pa.int32())),
        ("item_keys", pa.list_(pa.string())),  # this and the next four: one element a question
        ("question_ids", pa.list_(pa.string())),
        ("questions", pa.list_(pa.string())),
        ("prompt_keys", pa.list_(pa.string())),
        ("branch_ids", pa.list_(pa.list_(pa.int32()))),
        *_WINDOW,
        ("heights", pa.list_(pa.int32())),  # of the pages as they travel
        ("widths", pa.list_(pa.int32())),
        ("pixels", pa.large_binary()),  # uint8 RGB, row by row, page after page
    ]
)

COMPLETIONS = pa.schema(
    [
        *_EVERYWHERE,
        ("item_key", pa.string()),
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("prompt_key", pa.string()),
        *_WINDOW,
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("error", pa.string()),
    ]
)


def result_schema(target: type[BaseModel] | None) -> pa.Schema:
    """ANSWER and FAILURE rows, each with the row of its table as a struct; NOTHING has neither."""
    own = [("answer", arrow_type(answer_row(target))), ("failure", arrow_type(Failure))]
    keys = [("item_key", pa.string()), ("shared_from", pa.string())]
    return pa.schema([*_EVERYWHERE, *keys, *own])


def table_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows in a stage's schema; a column that a row leaves out is null."""
    return pa.Table.from_pylist(rows, schema=schema)


def tables_of(rows: Iterable[Row], schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows in a stage's schema, some at a time, while they still come.

    Ray pickles each chunk of each column by itself: 8 rows that are handed over one by one cost it 32 ms, and
    together 5 ms.
    """
    waiting: list[Row] = []
    size = 0
    for row in rows:
        waiting.append(row)
        size += len(row.get("pixels") or b"")
        if len(waiting) >= TABLE_ROWS or size >= TABLE_BYTES:
            yield table_of(waiting, schema)
            waiting, size = [], 0
    if waiting:
        yield table_of(waiting, schema)


def hand_on(table: pa.Table, kind: str, schema: pa.Schema) -> tuple[pa.Table, pa.Table]:
    """The rows of `kind`; and all others, in the schema of the next stage."""
    mine = pc.equal(table["kind"], kind)
    others = table.filter(pc.invert(mine))
    columns = [
        others[field.name] if field.name in others.column_names else pa.nulls(others.num_rows, field.type)
        for field in schema
    ]
    return table.filter(mine), pa.Table.from_arrays(columns, schema=schema)


def inherit(row: Row, children: Iterable[Row]) -> Iterator[Row]:
    """The rows that come of `row`, of which the first takes over what concerns the whole."""
    first = {name: row.get(name) for name in ("document", *SECONDS)}
    shared = row.get("shared") or []
    for child in children:
        yield first | child | {"shared": [*shared, *(child.get("shared") or [])] or None}
        first, shared = {}, []
