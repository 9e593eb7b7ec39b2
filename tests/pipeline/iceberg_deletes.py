"""Deleted rows of Iceberg tables, as Spark and Trino write them: pyiceberg reads these, and writes none."""

from pathlib import Path
from unittest.mock import PropertyMock, patch

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestContent, ManifestWriterV2
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.typedef import Record


def delete_by_position(
    table: Table,
    file: str,
    places: list[int],
    content: DataFileContent = DataFileContent.POSITION_DELETES,
) -> None:
    """Deletes rows of one data file, in a snapshot of its own."""
    folder = Path(table.location().removeprefix("file://"), "data")
    path = folder / f"deletes-{len(list(folder.iterdir()))}.parquet"
    pq.write_table(pa.table({"file_path": [file] * len(places), "pos": places}), path)
    deletes = DataFile.from_args(
        _table_format_version=2,
        content=content,
        file_path=str(path),
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=len(places),
        file_size_in_bytes=path.stat().st_size,
        column_sizes={},
        value_counts={},
        null_value_counts={},
        nan_value_counts={},
        lower_bounds={},
        upper_bounds={},
        key_metadata=None,
        split_offsets=None,
        equality_ids=[1] if content == DataFileContent.EQUALITY_DELETES else None,
        sort_order_id=None,
    )
    deletes.spec_id = 0
    meta = PropertyMock(return_value={"content": "deletes", "format-version": "2"})
    with (
        patch.object(ManifestWriterV2, "content", lambda self: ManifestContent.DELETES),
        patch.object(ManifestWriterV2, "_meta", meta),
        table.transaction() as transaction,
        transaction.update_snapshot().fast_append() as snapshot,
    ):
        snapshot._operation = Operation.DELETE
        snapshot.append_data_file(deletes)
