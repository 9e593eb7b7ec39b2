"""Inputs become the list of documents: one row each, with its key, before anything is read.

In: files, folders, globs, s3://bucket/prefix, or Parquet files with a column of bytes or URIs. Out: a table
with the schema SOURCES; `reading` reads the bytes of a row. The files of a folder are documents by their
suffix, or else by their first bytes; the others are skipped and counted in the log. A file that the person
named is always a document: if it is none after all, that is a failure to report, not a file to skip. An input
behind which there is nothing, or that cannot be listed, is a ValueError of one sentence.
"""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import PurePosixPath
from typing import Final

import pyarrow as pa

from pipeline.ingest import delta, parquet, storage
from pipeline.ingest.file_types import SNIFFED_BYTES, SUFFIXES, sniff
from pipeline.ingest.parquet import Columns
from pipeline.ingest.storage import Entry, Found

SOURCES: Final = pa.schema(
    [
        ("uri", pa.string()),  # the file; for bytes in a Parquet row its file, # and its id or number
        ("source_key", pa.string()),  # changes when the content may have changed
        ("size", pa.int64()),  # bytes, where known
        ("location", pa.string()),  # the file to read; for bytes in a Parquet row the file that holds it
        (
            "column",
            pa.string(),
        ),  # null unless the bytes, or its data: address, lie in this column of `location`
        ("parquet", pa.string()),  # the file whose row this is, if it is one
        ("row_group", pa.int64()),
        ("row", pa.int64()),  # in its row group
        ("password_column", pa.string()),  # of `parquet`: the password itself never travels
        ("refused", pa.string()),  # why no row of this file of a Parquet dataset can be read
        ("answered", pa.list_(pa.string())),  # keys of its items that have a row already: see `resume`
        ("failed", pa.list_(pa.string())),
    ]
)

NO_DATA: Final = re.compile("/_[^/=]*(?:/|$)")  # by Hive's custom; a partition may be called _year=2024
MOST_URI: Final = 16_384  # characters: a longer one names no file (its path has 4,096 bytes at most)

_log = logging.getLogger(__name__)


def list_sources(
    inputs: Sequence[str],
    *,
    column: str | None = None,
    id_column: str | None = None,
    password_column: str | None = None,
    messages_column: str | None = None,
) -> pa.Table:
    """The documents behind `inputs`, each once, as a table SOURCES.

    With `column`, or `messages_column`, the inputs are Parquet.

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
    table = pa.concat_tables(_list(given, columns) for given in inputs)
    first = dict(zip(reversed(table["source_key"].to_pylist()), reversed(range(len(table))), strict=True))
    return table.take(sorted(first.values())) if len(first) < len(table) else table


def split(sources: pa.Table, rows: int) -> list[pa.Table]:
    """`sources` in consecutive pieces of about `rows`; the rows of a Parquet row group stay in one piece.

    A row group can only be decoded from its start: cut in n pieces, it would be decoded n times.
    """
    columns = (sources[name].to_pylist() for name in ("location", "column", "row_group"))
    starts, before = [0], None
    for index, (location, column, row_group) in enumerate(zip(*columns, strict=True)):
        group = None if column is None else (location, row_group)
        if index - starts[-1] >= rows and (group is None or group != before):
            starts.append(index)
        before = group
    ends = [*starts[1:], len(sources)]
    return [sources.slice(start, end - start) for start, end in zip(starts, ends, strict=True)]


def _list(given: str, columns: Columns | None) -> pa.Table:
    """The documents of one input. Raises ValueError."""
    try:
        found = storage.find(given)
        for why, names in found.skipped.items():
            _log.warning("%s: skipped %s: %d, such as %s", given, why, len(names), min(names))
        return _parquet_rows(given, found, columns) if columns else _files(_documents(given, found))
    except OSError as error:
        raise ValueError(f"input {storage.explain(given, error)}") from error


def _key(*parts: object) -> str:
    """The source_key of the document that these parts identify."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:32]


def _file_key(file: Entry) -> str:
    return _key(file.uri, file.size, file.version)


# Files


def _files(entries: Sequence[Entry]) -> pa.Table:
    uris = [entry.uri for entry in entries]
    return _table(
        uri=uris,
        source_key=list(map(_file_key, entries)),
        size=[entry.size for entry in entries],
        location=uris,
    )


def _table(**columns: Sequence[object]) -> pa.Table:
    """A table SOURCES; the columns that are not given are null."""
    length = len(columns["uri"])
    return pa.table(
        [pa.array(columns.get(field.name, [None] * length), field.type) for field in SOURCES], schema=SOURCES
    )


def _documents(given: str, found: Found) -> Sequence[Entry]:
    """The files of an input that are documents."""
    if found.folder is None:
        (file,) = found.entries
        if _suffix(file) not in SUFFIXES and parquet.is_parquet(file.uri):
            columns = ", ".join(parquet.document_columns(file.uri)) or "none"
            raise ValueError(
                f"{given} is Parquet: say with --column which column holds the documents ({columns})"
            )
        return found.entries
    documents = [file for file in found.entries if _suffix(file) in SUFFIXES]
    others = [file for file in found.entries if _suffix(file) not in SUFFIXES]
    # On S3 each look at a file is a request: only names that say nothing are worth one.
    unclear = [file for file in others if not (file.uri.startswith("s3://") and _suffix(file))]
    documents += _starting(unclear, lambda start: sniff(start) is not None)
    skipped = _skipped(found.entries, documents)
    if not documents:
        hint = ": for Parquet, name the column with --column" if parquet.SUFFIXES & skipped.keys() else ""
        kinds = f", only {_shown(skipped)}" if skipped else ": it is empty"
        raise ValueError(f"input {given} holds no PDF and no image{kinds}{hint}")
    _log_skipped(given, skipped, "no documents")
    return sorted(documents)


def _starting(files: Sequence[Entry], is_wanted: Callable[[bytes], bool]) -> list[Entry]:
    """Those of the files whose first bytes are wanted."""
    with ThreadPoolExecutor(16) as threads:
        return [
            file for file, start in zip(files, threads.map(_start, files), strict=True) if is_wanted(start)
        ]


def _skipped(files: Sequence[Entry], taken: Sequence[Entry]) -> Counter[str]:
    """How many of the files were not taken, by suffix."""
    return Counter(map(_suffix, files)) - Counter(map(_suffix, taken))


def _log_skipped(given: str, skipped: Counter[str], what: str) -> None:
    if skipped:
        _log.warning("%s: skipped %d files that are %s: %s", given, skipped.total(), what, _shown(skipped))


def _shown(skipped: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in skipped.most_common(5))


def _suffix(file: Entry) -> str:
    return PurePosixPath(file.uri).suffix.lower()


def _start(file: Entry) -> bytes:
    """Its first bytes, to tell what it is; nothing if it cannot be read."""
    try:
        return storage.read_start(file.uri, SNIFFED_BYTES)
    except OSError:
        return b""


# Parquet


def _parquet_rows(given: str, found: Found, columns: Columns) -> pa.Table:
    tables: list[pa.Table] = []
    refused: dict[Entry, str] = {}
    for file in delta.visible(found.entries, _parquet_files(given, found), found.folder):
        try:
            groups = parquet.row_groups(file.entry.uri, columns)
        except OSError as error:
            refused[file.entry] = storage.explain(file.entry.uri, error)
            continue
        except (ValueError, pa.ArrowException) as error:
            refused[file.entry] = " ".join(str(error).split())
            continue
        tables += [
            delta.kept_rows(_group_rows(file.entry, group, columns), file, group.first_row)
            for group in groups
        ]
    if refused and not tables:  # it is none of them in particular: a column may be mistyped
        raise ValueError(next(iter(refused.values())))
    if refused:
        tables.append(_refused_files(given, refused, columns))
    table = pa.concat_tables(tables) if tables else SOURCES.empty_table()
    if not len(table):
        raise ValueError(f"input {given} is Parquet without rows")
    if columns.id and (
        twice := [key for key, count in Counter(table["source_key"].to_pylist()).items() if count > 1]
    ):
        row = table["source_key"].to_pylist().index(twice[0])
        raise ValueError(f"an id stands twice in column {columns.id}: {table['uri'][row]}")
    return table


def _refused_files(given: str, refused: Mapping[Entry, str], columns: Columns) -> pa.Table:
    """A document for each file of a dataset that cannot be read, to fail: nobody knows its rows."""
    example = next(iter(refused.values()))
    _log.warning("%s: %d Parquet files cannot be read, and fail: %s", given, len(refused), example)
    uris = [file.uri for file in refused]
    return _table(
        uri=uris,
        source_key=[_key(_file_key(file), columns.document) for file in refused],
        location=uris,
        column=[columns.document] * len(uris),
        parquet=uris,
        refused=list(refused.values()),
    )


def _parquet_files(given: str, found: Found) -> Sequence[Entry]:
    """The Parquet files of an input, but for those whose names say that they are no data."""
    if found.folder is None:
        (file,) = found.entries
        if not parquet.is_parquet(file.uri):
            raise ValueError(f"{given} is not a Parquet file, and --column is for Parquet only")
        return found.entries
    data = [file for file in found.entries if not NO_DATA.search(file.uri.removeprefix(found.folder))]
    files = [file for file in data if _suffix(file) in parquet.SUFFIXES]
    unclear = [file for file in data if not _suffix(file)]  # Hive writes names such as 000000_0
    files += _starting(unclear, lambda start: start.startswith(parquet.MAGIC))
    if not files:
        raise ValueError(f"input {given} holds no .parquet file, and --column is for Parquet only")
    _log_skipped(given, _skipped(data, files), "no Parquet")
    return sorted(files)


def _group_rows(file: Entry, group: parquet.RowGroup, columns: Columns) -> pa.Table:
    folder = file.uri.rpartition("/")[0]
    places = range(group.first_row, group.first_row + group.count)
    names = [f"{file.uri}#{name}" for name in group.ids or places]
    if group.ids:  # they outlive a rewritten file, so their keys name the folder: parts may be merged
        keys = [_key(folder, columns.document, columns.id, id) for id in group.ids]
    else:
        keys = [_key(_file_key(file), columns.document, row) for row in places]
    shared: dict[str, Sequence[object]] = {
        "source_key": keys,
        "parquet": [file.uri] * group.count,
        "row_group": [group.index] * group.count,
        "row": range(group.count),
        "password_column": [columns.password] * group.count,
    }
    inside = [file.uri] * group.count
    if group.uris is None:
        return _table(uri=names, location=inside, column=[columns.document] * group.count, **shared)
    locations = [None if uri is None else storage.resolve(folder, uri) for uri in group.uris]
    is_data = [uri == parquet.DATA for uri in group.uris]
    choose = partial(zip, is_data, strict=True)
    return _table(
        uri=[
            name if data or location is None or len(location) > MOST_URI else location
            for data, name, location in choose(names, locations)
        ],
        location=[here if data else location for data, here, location in choose(inside, locations)],
        column=[columns.document if data else None for data in is_data],
        **shared,
    )
