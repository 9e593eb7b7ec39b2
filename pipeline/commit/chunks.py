"""A table's files in; chunks of their rows that are looked up in a listing together, out."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from pipeline.commit.tables import Table, stream_files
from pipeline.ingest.key_index import NOWHERE, KeyIndex
from pipeline.ingest.progress import Progress

CHUNK_ROWS = 200_000  # of a table, in memory together: their keys are sorted before they are looked up
PLACES = "place"  # the index of a row's document in the listing


def chunks(
    table: Table, columns: list[str], progress: Progress | None = None
) -> Iterator[tuple[pa.Table, list[str]]]:
    """Rows of several files together, and the files' paths: column `file` is the index of a row's path.

    A large file is in several chunks, one behind the other.
    """
    parts: list[pa.Table] = []
    paths: list[str] = []
    rows = 0
    for path, part in stream_files(table, columns):
        if path not in paths[-1:]:  # not another part of the last one
            paths.append(path)
        parts.append(part.append_column("file", pa.array(np.full(len(part), len(paths) - 1, np.int32))))
        rows += len(part)
        if progress:
            progress.compared(len(part))
        if rows >= CHUNK_ROWS:
            yield pa.concat_tables(parts).combine_chunks(), paths
            parts, paths, rows = [], [], 0
    if rows:
        yield pa.concat_tables(parts).combine_chunks(), paths


def by_file(rows: pa.Table, paths: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Each file of a chunk, with its part of some of the chunk's rows, which are in their order."""
    ends = np.searchsorted(rows["file"].to_numpy(), np.arange(len(paths)), "right").tolist()
    for path, start, end in zip(paths, [0, *ends], ends, strict=False):
        yield path, rows.slice(start, end - start)


def placed(rows: pa.Table, listed: KeyIndex) -> pa.Table:
    """The rows of documents that are listed, with their index in the listing."""
    places = listed.places(rows["source_key"])
    return rows.append_column(PLACES, pa.array(places)).filter(pa.array(places != NOWHERE))
