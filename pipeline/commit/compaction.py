"""A table's small files in; fewer files of a useful size out, with the same rows.

Each commit of a run leaves a small file, and readers open them all. The files are merged in one commit, which
Delta marks as one that changes no data: a reader that follows the table is not sent the rows again. They get
statistics (least and greatest value, and nulls) of each column but long texts, by which readers skip files.

It is deltalake's OPTIMIZE. A run allows for it as for another tool's (`file_index`): it may come between any
two commits, and where a commit removed files in its midst, it is made anew.
"""

import pyarrow as pa
from deltalake import ColumnProperties, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError

from pipeline.commit.tables import OutputError, Table, handle_of
from pipeline.ingest.delta import plain
from pipeline.plan.limits import MIB

TARGET_BYTES = 32 * MIB  # a run that looks for what is left reads eight files at a time
ROW_GROUP_ROWS = 10_000
TASKS = 4  # files that are written at a time, each with a row group in memory
TRIES = 3
TEXTS = ("raw_text", "partial")  # with `answer`, where it is one: their statistics would fill the log


def compact(table: Table, target_size: int = TARGET_BYTES) -> int:
    """Merges files that are smaller than `target_size` bytes; returns how many. Raises OutputError."""
    for _ in range(TRIES):
        try:
            handle = handle_of(table.uri)
            merged: int = handle.optimize.compact(
                target_size=target_size, max_concurrent_tasks=TASKS, writer_properties=_properties(table)
            )["numFilesRemoved"]
        except CommitFailedError as error:  # files that it has read were removed meanwhile
            failed = error
        except (DeltaError, OSError) as error:
            raise OutputError(f"{table.uri} cannot be compacted: {plain(error)}") from error
        else:
            return merged
    raise OutputError(
        f"{table.uri} cannot be compacted: other tools replace its files all the time; stop them first"
    ) from failed


def _properties(table: Table) -> WriterProperties:
    texts = [name for name in (*TEXTS, "answer") if _is_text(table.schema, name)]
    return WriterProperties(
        compression="ZSTD",
        max_row_group_size=ROW_GROUP_ROWS,
        column_properties={name: ColumnProperties(statistics_enabled="NONE") for name in texts},
    )


def _is_text(schema: pa.Schema, name: str) -> bool:
    return name in schema.names and pa.types.is_string(schema.field(name).type)
