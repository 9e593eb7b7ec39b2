"""Files that lose rows in; new files with the rest of their rows out.

Rows that the run will replace later are kept apart from those that stay. They go into small files in the
order in which they lay, which is that of the run (`work_order`): a later commit reads one of these, and not
all of a large file again. Rows that stay go into one file, with those of others of which little is left.

In memory: GROUP_ROWS rows of each kind, and a number for each document that is replaced later.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.commit.tables import (
    COMPRESSION,
    DataFile,
    Table,
    file_size,
    new_file,
    stream_batches,
    write_rows,
)
from pipeline.commit.uri_set import uri_hashes
from pipeline.ingest.storage import file_system

FILE_ROWS = 5_000  # with which a file is full: as many as come with one commit
GROUP_ROWS = 10_000  # of a large file that are written at a time


class Rests:
    """What is left of those files of a table that one commit replaces."""

    def __init__(self, table: Table) -> None:
        self.files: list[DataFile] = []
        self.later: dict[
            str, NDArray[np.int64]
        ] = {}  # path -> hashes of the documents that are replaced later
        self._table = table
        self._later: list[pa.RecordBatch] = []
        self._hashes: list[NDArray[np.int64]] = []  # of the rows in _later
        self._staying = _Staying(table)

    def add(self, path: str, kept: NDArray[np.bool_], later: NDArray[np.int64]) -> None:
        """The rows of a file that `kept` says. `later`: the hashes of those to replace. Raises OSError."""
        at = 0
        for batch in stream_batches(self._table, [path], self._table.schema.names):
            here = kept[at : at + len(batch)]
            at += len(batch)
            hashes = uri_hashes(batch["uri"]) if len(later) else np.zeros(len(batch), np.int64)
            wanted = here & np.isin(hashes, later)
            if wanted.any():
                self._later.append(batch.filter(pa.array(wanted)))
                self._hashes.append(hashes[wanted])
            if sum(map(len, self._later)) >= FILE_ROWS:
                self._end_later()
            self._staying.add(batch.filter(pa.array(here & ~wanted)))
        assert at == len(kept), (path, at, len(kept))
        if self._staying.rows >= FILE_ROWS:
            self._end_staying()

    def close(self) -> None:
        """Writes what has gathered. Raises OSError."""
        self._end_later()
        self._end_staying()

    def _end_later(self) -> None:
        if self._later:
            file = write_rows(self._table, pa.Table.from_batches(self._later, self._table.schema))
            self.files.append(file)
            self.later[file.path] = np.unique(np.concatenate(self._hashes))
            self._later, self._hashes = [], []

    def _end_staying(self) -> None:
        if self._staying.rows:
            self.files.append(self._staying.close())
            self._staying = _Staying(self._table)


class _Staying:
    """One new file, which is written group by group."""

    def __init__(self, table: Table) -> None:
        self.rows = 0
        self._table = table
        self._waiting: list[pa.RecordBatch] = []
        self._writer: pq.ParquetWriter | None = None
        self._name = new_file()

    def add(self, batch: pa.RecordBatch) -> None:
        self.rows += len(batch)
        if len(batch):
            self._waiting.append(batch)
        if sum(map(len, self._waiting)) >= GROUP_ROWS:
            self._write()

    def close(self) -> DataFile:
        self._write()
        assert self._writer is not None, "a file without rows"
        self._writer.close()
        return DataFile(path=self._name, size=file_size(self._table, self._name), rows=self.rows)

    def _write(self) -> None:
        if self._writer is None:
            filesystem, folder = file_system(self._table.uri)
            path = f"{folder}/{self._name}"
            self._writer = pq.ParquetWriter(
                path, self._table.schema, filesystem=filesystem, compression=COMPRESSION
            )
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._table.schema))
            self._waiting = []
