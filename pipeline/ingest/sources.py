"""The schema of a listing, SOURCES: a row for each document; and how its tables and keys are made.

A column that is null, or the same throughout, is made once: all chunks of a listing share its memory.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.ingest.entries import PART_ROWS, Entry
from pipeline.ingest.key_index import hex_strings

SOURCES: Final = pa.schema(
    [
        ("uri", pa.string()),  # the file; for bytes in a Parquet row its file, # and its id or number
        ("source_key", pa.string()),  # changes when the content may have changed
        ("size", pa.int64()),  # bytes, where known
        ("location", pa.string()),  # the file to read; for bytes in a Parquet row the file that holds it
        (
            "column",
            pa.string(),
        ),  # null unless the bytes, or its data: address, lie in this column of `location`
        ("parquet", pa.string()),  # the file whose row this is, if it is one
        ("row_group", pa.int64()),
        ("row", pa.int64()),  # in its row group
        ("password_column", pa.string()),  # of `parquet`: the password itself never travels
        ("part", pa.list_(pa.int32())),  # the numbers of an attachment of the document that this row is else
        ("refused", pa.string()),  # why this document, or the whole Parquet file, cannot be read
        ("answered", pa.list_(pa.string())),  # keys of its items that have a row already: see `resume`
        ("failed", pa.list_(pa.string())),
    ]
)


def batch_of(**columns: pa.Array) -> pa.RecordBatch:
    """At most PART_ROWS rows of SOURCES; the columns that are not given are null."""
    length = len(columns["uri"])
    return pa.record_batch(
        [columns[field.name] if field.name in columns else _nulls(field.type)[:length] for field in SOURCES],
        schema=SOURCES,
    )


@cache
def _nulls(kind: pa.DataType) -> pa.Array:
    return pa.nulls(PART_ROWS, kind)


def keys_of(texts: Iterable[bytes]) -> pa.Array:
    """The source_keys of the documents that these texts identify: their parts with | between them."""
    return hex_strings(b"".join(hashlib.sha256(text).digest()[:16] for text in texts))


def file_key(file: Entry) -> str:
    """The source_key of a file."""
    key: str = keys_of([f"{file.uri}|{file.size}|{file.version}".encode()])[0].as_py()
    return key


def is_attached(sources: pa.Table) -> NDArray[np.bool_]:
    """Of each row, whether it is attached to a document that the row before it is, or is attached to, too."""
    found = np.zeros(len(sources), np.bool_)
    if len(sources) < 2 or sources["part"].null_count == len(sources):
        return found
    same = pc.is_valid(sources["part"][1:])
    for name, nothing in (("location", ""), ("row_group", -1), ("row", -1)):
        values = pc.fill_null(sources[name], nothing)
        same = pc.and_(same, pc.equal(values[1:], values[:-1]))
    found[1:] = same.to_numpy()
    return found


def container(source: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells the file or value in which the bytes of a row lie from all others."""
    return source["location"], source["row_group"], source["row"]
