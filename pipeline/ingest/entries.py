"""Files behind an input, as a table: some 60 bytes a file, where Python's objects would take five hundred.

In: files one by one, or columns of some at a time, in any order. Out: `Entries`, sorted by uri.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.progress import Progress

ENTRIES: Final = pa.schema([("uri", pa.string()), ("size", pa.int64()), ("version", pa.int64())])
PART_ROWS: Final = 65_536  # files in a chunk of the table: what is made of them, is made of so many at a time


@dataclass(frozen=True, kw_only=True, order=True)
class Entry:
    """A file: `uri` is its absolute path, or s3://bucket/key; `version` changes when its content does."""

    uri: str
    size: int  # bytes
    version: int  # nanoseconds of its last change; S3 lists no better: an ETag would cost a request an object


class Entries:
    """Files, each a row of ENTRIES, in chunks of at most PART_ROWS."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Entry]:
        for batch in self.table.to_batches(PART_ROWS):
            columns = (column.to_pylist() for column in batch.columns)
            for uri, size, version in zip(*columns, strict=True):
                yield Entry(uri=uri, size=size, version=version)


class EntriesBuilder:
    """Takes files as they are found."""

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress
        self._batches: list[pa.RecordBatch] = []
        self._rows: list[tuple[str, int, int]] = []

    def add(self, uri: str, size: int, version: int) -> None:
        """One file."""
        self._rows.append((uri, size, version))
        if len(self._rows) >= PART_ROWS:
            self._pack()

    def add_all(self, uris: pa.Array, sizes: pa.Array, versions: pa.Array) -> None:
        """Some files; versions in nanoseconds."""
        self._take(pa.record_batch([uris, sizes, versions], schema=ENTRIES))

    def build(self) -> Entries:
        """All of them, sorted by uri."""
        self._pack()
        table = pa.Table.from_batches(self._batches, ENTRIES)
        self._batches = []
        return Entries(table if _is_sorted(table["uri"]) else _sorted(table))

    def forget(self) -> None:
        """They will be found again, by another builder, and count then."""
        self._pack()
        if self._progress:
            self._progress.listed(-sum(map(len, self._batches)))
        self._batches = []

    def _pack(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, kind.type) for column, kind in zip(columns, ENTRIES, strict=True)]
            self._rows = []
            self._take(pa.record_batch(arrays, schema=ENTRIES))

    def _take(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        if self._progress:
            self._progress.listed(len(batch))


def _is_sorted(uris: pa.ChunkedArray) -> bool:
    """S3 lists keys in their order, which is that of their UTF-8, and so of their characters."""
    last = None
    for chunk in uris.iterchunks():
        if not len(chunk):
            continue
        if last is not None and chunk[0].as_py() < last:
            return False
        if not pc.all(pc.less_equal(chunk[:-1], chunk[1:])).as_py():
            return False
        last = chunk[-1].as_py()
    return True


def _sorted(table: pa.Table) -> pa.Table:
    # One array of large strings: of many chunks, each `take` would go through all.
    uris = pc.cast(table["uri"], pa.large_string()).combine_chunks()
    sizes, versions = table["size"].to_numpy(), table["version"].to_numpy()
    order = pc.sort_indices(uris).to_numpy()
    batches = []
    for at in range(0, len(order), PART_ROWS):
        places = order[at : at + PART_ROWS]
        some = uris.take(pa.array(places)).cast(pa.string())
        numbers = (pa.array(values[places.astype(np.int64)]) for values in (sizes, versions))
        batches.append(pa.record_batch([some, *numbers], schema=ENTRIES))
    return pa.Table.from_batches(batches, ENTRIES)
