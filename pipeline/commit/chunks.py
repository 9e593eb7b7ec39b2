"""A table's files in; chunks of their rows that are looked up in a listing together, out."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit.tables import Table, stream_files

CHUNK_ROWS = 200_000  # of committed keys, looked up together: each look-up hashes the listing's keys anew
PLACES = "place"  # the index of a row's document in the listing


def chunks(table: Table, columns: list[str]) -> Iterator[tuple[pa.Table, list[str]]]:
    """Rows of several files together, and the files' paths: column `file` is the index of a row's path."""
    parts: list[pa.Table] = []
    paths: list[str] = []
    rows = 0
    for path, part in stream_files(table, columns):
        parts.append(part.append_column("file", pa.array(np.full(len(part), len(paths), np.int32))))
        paths.append(path)
        rows += len(part)
        if rows >= CHUNK_ROWS:
            yield pa.concat_tables(parts).combine_chunks(), paths
            parts, paths, rows = [], [], 0
    if rows:
        yield pa.concat_tables(parts).combine_chunks(), paths


def placed(rows: pa.Table, listed: pa.ChunkedArray, keys: pa.ChunkedArray) -> pa.Table:
    """The rows whose key is listed, with its index in the listing."""
    places = pc.index_in(keys, value_set=listed)
    rows = rows.append_column(PLACES, places)
    return rows.filter(pc.is_valid(places))
