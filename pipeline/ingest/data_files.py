"""Parquet files whose rows are documents, and which of their rows count; of tables as of plain files."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.ingest.columns import FieldIds
from pipeline.ingest.entries import Entry


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A Parquet file, and which of its rows count: all of them if `kept` is None."""

    entry: Entry
    kept: NDArray[np.bool_] | None = None
    fields: FieldIds | None = None
    """Of an Iceberg table: its files may call the columns otherwise."""
    table: str | None = None
    """The place of an Iceberg table, whose files may lie in folders of their own each."""


def kept_rows(rows: pa.Table, file: DataFile, first: int) -> pa.Table:
    """The rows of a file, from its row number `first` on, without those that are deleted."""
    if file.kept is None:
        return rows
    kept = np.ones(len(rows), np.bool_)
    there = file.kept[first : first + len(rows)]  # what lies behind the last deleted row may be left out
    kept[: len(there)] = there
    return rows.filter(pa.array(kept))
