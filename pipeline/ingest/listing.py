"""Inputs become the list of documents: one row each, with its key, before anything is read.

In: files, folders, globs, s3://bucket/prefix, or Parquet files and tables with a column of documents. Out: a
table with the schema SOURCES; `reading` reads the bytes of a row. The files of a folder are documents by
their suffix, or else by their first bytes; the others are skipped and counted in the log. A file that the
person named is always a document: if it is none after all, that is a failure to report, not a file to skip.
An input behind which there is nothing, or that cannot be listed, is a ValueError of one sentence.

In memory: some 110 bytes a document on S3 or in a Parquet column of URIs, with a uri of 50 characters; while
a local folder is gone through, 300 bytes a file more (`walk`).
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import numpy as np
import pyarrow as pa

from pipeline.ingest import storage
from pipeline.ingest.columns import Columns
from pipeline.ingest.entries import PART_ROWS
from pipeline.ingest.feed import Feed
from pipeline.ingest.files import ParquetAloneError, file_sources
from pipeline.ingest.key_index import KeyIndex
from pipeline.ingest.parquet_rows import guessed, row_sources
from pipeline.ingest.progress import Progress
from pipeline.ingest.sources import SOURCES, is_attached
from pipeline.ingest.table_files import catalog_files, is_iceberg, table_files
from pipeline.ingest.table_versions import ICEBERG, split_version

_log = logging.getLogger(__name__)


def list_sources(
    inputs: Sequence[str],
    *,
    column: str | None = None,
    id_column: str | None = None,
    password_column: str | None = None,
    messages_column: str | None = None,
    progress: Progress | None = None,
    feed: Feed | None = None,
) -> pa.Table:
    """The documents behind `inputs`, each once, as a table SOURCES.

    With `column`, or `messages_column`, the inputs are Parquet; without, one that is Parquet alone may say
    itself where its documents are.

    With a `feed`, tables are read since the last run, if it wants that: then there may be no document at all.

    Raises ValueError: nothing there, not Parquet, no such column, an id twice, refused credentials.
    """
    for flag, name in (("--id-column", id_column), ("--password-column", password_column)):
        if name and not (column or messages_column):
            raise ValueError(f"{flag} names a column of Parquet inputs: it needs --column as well")
    columns = None
    if messages_column:
        columns = Columns(document=messages_column, id=id_column, password=None, is_messages=True)
    elif column:
        columns = Columns(document=column, id=id_column, password=password_column)
    if not inputs:
        raise ValueError("there is no input: give a file, a folder, a glob or s3://bucket/prefix")
    table = pa.concat_tables([_list(given, columns, progress, feed) for given in inputs])
    if feed is not None:
        feed.check()
    repeated = KeyIndex(table["source_key"]).repeated()
    if not len(repeated):
        return table
    first = np.ones(len(table), np.bool_)
    first[repeated] = False
    return table.filter(pa.array(first))


def split(sources: pa.Table, rows: int, weights: Iterable[int] = repeat(1)) -> list[pa.Table]:
    """`sources` in consecutive pieces of about `rows`; the rows of a Parquet row group stay in one piece.

    A row group can only be decoded from its start: cut in n pieces, it would be decoded n times. So would a
    document be read with its attachments. With `weights`, `rows` is the sum of those in a piece.
    """
    starts, before, weight = [0], None, 0
    together = zip(_row_groups(sources), is_attached(sources), weights, strict=False)
    for index, (group, is_part, its_weight) in enumerate(together):
        if weight >= rows and not is_part and (group is None or group != before):
            starts.append(index)
            weight = 0
        before = group
        weight += its_weight
    ends = [*starts[1:], len(sources)]
    return [sources.slice(start, end - start) for start, end in zip(starts, ends, strict=True)]


def _row_groups(sources: pa.Table) -> Iterator[tuple[str, int] | None]:
    """The file and the row group that hold each document, if they do."""
    for batch in sources.select(["location", "column", "row_group"]).to_batches(PART_ROWS):
        if batch["column"].null_count == len(batch):
            yield from repeat(None, len(batch))
            continue
        columns = (column.to_pylist() for column in batch.columns)
        for location, column, row_group in zip(*columns, strict=True):
            yield None if column is None else (location, row_group)


def _list(given: str, columns: Columns | None, progress: Progress | None, feed: Feed | None) -> pa.Table:
    """The documents of one input. Raises ValueError."""
    try:
        place, version = split_version(given)
        if place.startswith(ICEBERG):
            files = catalog_files(place, version, feed)
        else:
            found = storage.find(place, None if columns or version else progress)
            for why, names in found.skipped.items():
                _log.warning("%s: skipped %s: %d, such as %s", given, why, len(names), min(names))
            is_metadata = found.folder is None and is_iceberg(found)
            if columns is None and version is None and not is_metadata:
                try:
                    return file_sources(given, found)
                except ParquetAloneError:
                    pass
            files = table_files(place, found, version, feed)
        may_be_none = feed is not None and feed.only_new
        if may_be_none and not files:
            return SOURCES.empty_table()
        columns = columns or guessed(given, files)
        may_fail = feed is not None and feed.continues
        return row_sources(given, files, columns, progress, may_be_none=may_be_none, may_fail=may_fail)
    except OSError as error:
        raise ValueError(f"input {storage.explain(given, error)}") from error
