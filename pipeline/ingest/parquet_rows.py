"""The Parquet files behind an input in; their rows, as rows of SOURCES, out.

A file of a dataset that cannot be read costs itself: it is a document that fails.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest import parquet, storage
from pipeline.ingest.columns import Columns, guess, shown, suitable
from pipeline.ingest.data_files import DataFile, kept_rows
from pipeline.ingest.entries import PART_ROWS, Entry
from pipeline.ingest.files import log_skipped, starting, suffix_of
from pipeline.ingest.key_index import KeyIndex
from pipeline.ingest.progress import Progress
from pipeline.ingest.sources import SOURCES, batch_of, file_key, keys_of
from pipeline.ingest.storage import Found

NO_DATA: Final = re.compile("/_[^/=]*(?:/|$)")  # by Hive's custom; a partition may be called _year=2024
MOST_URI: Final = 16_384  # characters: a longer one names no file (its path has 4,096 bytes at most)

_log = logging.getLogger(__name__)


def row_sources(
    given: str,
    files: Sequence[DataFile],
    columns: Columns,
    progress: Progress | None = None,
    *,
    may_be_none: bool = False,
    may_fail: bool = False,
) -> pa.Table:
    """The rows of the Parquet files of an input. Raises ValueError: there is none; and OSError.

    With `may_fail`, none of the files has to be readable.
    """
    tables: list[pa.Table] = []
    refused: dict[Entry, str] = {}
    for file in files:
        try:
            rows = list(_rows_of(file, columns, progress))
        except OSError as error:
            refused[file.entry] = storage.explain(file.entry.uri, error)
        except (ValueError, pa.ArrowException) as error:
            refused[file.entry] = " ".join(str(error).split())
        else:
            tables += rows
    if refused and not tables and not may_fail:  # it is none of them in particular: a column may be mistyped
        raise ValueError(next(iter(refused.values())))
    if refused:
        tables.append(_refused_files(given, refused, columns))
    table = pa.concat_tables(tables) if tables else SOURCES.empty_table()
    if not len(table) and not may_be_none:
        raise ValueError(f"input {given} is Parquet without rows")
    if columns.id and len(twice := KeyIndex(table["source_key"]).repeated()):
        raise ValueError(f"an id stands twice in column {columns.id}: {table['uri'][int(twice[0])]}")
    return table


def guessed(given: str, files: Sequence[DataFile]) -> Columns:
    """The column of an input that holds the documents, of which nothing was said.

    Raises ValueError: it can be several, or none; and OSError.
    """
    why: Exception | None = None
    for file in files:
        try:
            schema = parquet.schema_of(file.entry.uri)
        except (ValueError, pa.ArrowException) as error:  # it costs itself
            why = why or error
            continue
        column = guess(schema)
        if column is None:
            raise ValueError(
                f"{given} is Parquet: say with --column which column holds the documents "
                f"({shown(suitable(schema))})"
            )
        _log.warning(
            "the documents of %s are taken from its column %s: --column names another", given, column
        )
        return Columns(document=column, id=None, password=None)
    raise ValueError(" ".join(str(why).split()) if why else f"input {given} is Parquet without rows")


def _refused_files(given: str, refused: Mapping[Entry, str], columns: Columns) -> pa.Table:
    """A document for each file of a dataset that cannot be read, to fail: nobody knows its rows."""
    example = next(iter(refused.values()))
    _log.warning("%s: %d Parquet files cannot be read, and fail: %s", given, len(refused), example)
    rows = [
        {
            "uri": file.uri,
            "source_key": keys_of([f"{file_key(file)}|{columns.document}".encode()])[0].as_py(),
            "location": file.uri,
            "column": columns.document,
            "parquet": file.uri,
            "refused": why,
        }
        for file, why in refused.items()
    ]
    return pa.Table.from_pylist(rows, schema=SOURCES)


def parquet_files(given: str, found: Found) -> Sequence[Entry]:
    """The Parquet files of an input, but for those whose names say that they are no data."""
    if found.folder is None:
        (file,) = found.entries
        if not parquet.is_parquet(file.uri):
            raise ValueError(f"{given} is not a Parquet file, and --column is for Parquet only")
        return [file]
    data = [file for file in found.entries if not NO_DATA.search(file.uri.removeprefix(found.folder))]
    files = [file for file in data if suffix_of(file.uri) in parquet.SUFFIXES]
    unclear = [file for file in data if not suffix_of(file.uri)]  # Hive writes names such as 000000_0
    looked = starting([file.uri for file in unclear], lambda start: start.startswith(parquet.MAGIC))
    files += [file for file, is_parquet in zip(unclear, looked, strict=True) if is_parquet]
    if not files:
        raise ValueError(f"input {given} holds no .parquet file, and --column is for Parquet only")
    suffixes = (Counter(suffix_of(file.uri) for file in some) for some in (data, files))
    log_skipped(given, next(suffixes) - next(suffixes), "no Parquet")
    return sorted(files)


def _rows_of(file: DataFile, columns: Columns, progress: Progress | None) -> Iterator[pa.Table]:
    """The rows of one file that count. Raises OSError, ValueError and ArrowException."""
    rows = None
    for part in parquet.row_parts(file.entry.uri, columns, PART_ROWS, file.fields):
        rows = rows or _RowSources(file, part.columns)
        table = pa.Table.from_batches([rows.batch(part)])
        if progress:
            progress.listed(len(table))
        yield kept_rows(table, file, part.first_row)


class _RowSources:
    """Makes rows of SOURCES of the rows of a Parquet file."""

    def __init__(self, data: DataFile, columns: Columns) -> None:
        file = data.entry
        self._columns = columns
        self._folder = file.uri.rpartition("/")[0]
        # An id outlives a rewritten file, so its key names the folder, or the table: parts may be merged.
        start = (
            [data.table or self._folder, columns.document, columns.id]
            if columns.id
            else [file_key(file), columns.document]
        )
        self._start = "|".join(map(str, start)).encode() + b"|"
        self._file = pa.repeat(pa.scalar(file.uri), PART_ROWS)
        self._column = pa.repeat(pa.scalar(columns.document), PART_ROWS)
        self._password = pa.repeat(pa.scalar(columns.password, pa.string()), PART_ROWS)

    def batch(self, part: parquet.RowPart) -> pa.RecordBatch:
        """Some rows that stand together in a row group."""
        count = part.count
        numbers = pa.array(np.arange(part.first_row, part.first_row + count))
        ids = numbers.cast(pa.string()) if part.ids is None else part.ids
        texts = ids.cast(pa.binary()).to_numpy(zero_copy_only=False)
        file, column = self._file[:count], self._column[:count]
        names = pc.binary_join_element_wise(file, ids, "#")
        columns = {
            "source_key": keys_of(self._start + text for text in texts),
            "parquet": file,
            "row_group": pa.repeat(pa.scalar(part.row_group, pa.int64()), count),
            "row": pa.array(np.arange(part.first, part.first + count)),
            "password_column": self._password[:count],
        }
        if part.uris is None:
            return batch_of(uri=names, location=file, column=column, **columns)
        locations = self._resolved(part.uris)
        is_data = pc.fill_null(pc.equal(part.uris, parquet.DATA), False)
        is_named = pc.fill_null(pc.less_equal(pc.utf8_length(locations), MOST_URI), False)
        is_named = pc.and_not(is_named, is_data)
        if pc.all(is_named).as_py():
            return batch_of(uri=locations, location=locations, **columns)
        return batch_of(
            uri=pc.if_else(is_named, locations, names),
            location=pc.if_else(is_data, file, locations),
            column=pc.if_else(is_data, column, None),
            **columns,
        )

    def _resolved(self, uris: pa.Array) -> pa.Array:
        """As `storage.resolve` has it."""
        whole = pc.or_(pc.match_substring(uris, "://"), pc.starts_with(uris, "/"))
        if pc.all(whole).as_py():
            return uris
        below = pc.binary_join_element_wise(self._folder, uris, "/")
        return pc.if_else(whole, uris, below)
