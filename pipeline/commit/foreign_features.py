"""What other tools may have made of a Delta table, besides its files; Quire cannot write under all of it."""

import pyarrow as pa
from deltalake import DeltaTable


def refuse_features(uri: str, handle: DeltaTable) -> None:
    """Raises ValueError where another tool has seen to it that a table's files alone do not tell its rows."""
    features = handle.protocol().reader_features or ()
    if "deletionVectors" in features and pa.table(handle.deletion_vectors()).num_rows:
        raise ValueError(
            f"rows of the table {uri} were deleted with deletion vectors, which Quire would lose; have the "
            "tool that did it write the files anew (in Spark: REORG TABLE ... APPLY (PURGE)), or choose "
            "another --output"
        )
    mapping = handle.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mapping != "none":
        raise ValueError(
            f"the table {uri} has got a column mapping ({mapping}) from another tool, under which Quire "
            "cannot write; choose another --output"
        )


def shape_of(handle: DeltaTable) -> tuple[object, ...]:
    """What a table's rows depend on besides its files. While it stays, files can be added and removed."""
    features = handle.protocol()
    return (
        handle.schema(),
        handle.metadata().partition_columns,
        features.reader_features,
        features.writer_features,
    )
