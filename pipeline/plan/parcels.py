"""The rows between two stages as Ray carries them: a cell for all columns of a row but its pixels.

Ray pickles each chunk of each column by itself, in Python: eight rows of GROUPS take it 13 ms, as much as
drawing two of their pages. As PARCELS they take it 0.6 ms. A parcel is an Arrow message of some rows in their
stage's schema. Pixels stand beside it: nothing but Ray copies them on their way from the task that has drawn
them to the Replica.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa

PIXELS: Final = "pixels"  # the column that stays one; the last of its schema

PARCELS: Final = pa.schema([("rows", pa.large_binary()), (PIXELS, pa.large_binary())])


def pack_rows(table: pa.Table) -> pa.Table:
    """A parcel for each row: Ray may share them out."""
    there = PIXELS in table.column_names
    pixels = table[PIXELS] if there else pa.nulls(len(table), pa.large_binary())
    rows = _batches(table.drop_columns([PIXELS]) if there else table)
    cells = [batch.slice(row, 1).serialize().to_pybytes() for batch in rows for row in range(len(batch))]
    return pa.table([pa.array(cells, pa.large_binary()), pixels], PARCELS)


def pack_table(table: pa.Table) -> pa.Table:
    """One parcel of all rows, which have no pixels; more only for texts of gigabytes, none for no rows."""
    assert PIXELS not in table.column_names, table.column_names
    cells = [pa.py_buffer(batch.serialize()) for batch in _batches(table)]
    return pa.table([column_of_buffers(cells), pa.nulls(len(cells), pa.large_binary())], PARCELS)


def unpack(parcels: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows of all parcels, in their schema. They are views of the parcels' memory."""
    there = PIXELS in schema.names
    mine = pa.schema([field for field in schema if field.name != PIXELS])
    batches = [pa.ipc.read_record_batch(cell, mine) for cell in buffers_of(parcels["rows"])]
    rows = pa.Table.from_batches(batches, mine)
    return rows.append_column(schema.field(PIXELS), parcels[PIXELS]) if there else rows


def column_of_buffers(buffers: Sequence[pa.Buffer | None]) -> pa.ChunkedArray:
    """A cell for each buffer, none of which is copied."""
    return pa.chunked_array([_cell(buffer) for buffer in buffers], pa.large_binary())


def buffers_of(column: pa.ChunkedArray) -> list[pa.Buffer]:
    """The cells of a column of large binaries, not copied, as `as_buffer` does. Those of nulls are empty."""
    found = []
    for chunk in column.chunks:
        _, ends, data = chunk.buffers()
        if data is None:
            found += [pa.py_buffer(b"")] * len(chunk)
            continue
        places = np.frombuffer(ends, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1].tolist()
        found += [data.slice(start, end - start) for start, end in pairwise(places)]
    return found


def _cell(buffer: pa.Buffer | None) -> pa.Array:
    if buffer is None:
        return pa.nulls(1, pa.large_binary())
    ends = pa.py_buffer(np.array([0, buffer.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, buffer])


def _batches(table: pa.Table) -> list[pa.RecordBatch]:
    found: list[pa.RecordBatch] = table.combine_chunks().to_batches()
    return found
