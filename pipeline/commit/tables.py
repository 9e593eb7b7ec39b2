"""Rows in, files of Delta tables out: answers, failures and documents under one folder or prefix.

`write_rows` writes immutable, uniquely named Parquet files. Nobody sees a file until a commit (`delta_log`)
adds it to the table's log in one atomic step; a file that is never committed is never read.

Refuses rows of another schema than the table's, and an existing table that differs by more than nullable
columns that it lacks.
"""

import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, Field
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError
from pyarrow import dataset
from pydantic import BaseModel

from pipeline.commit.foreign_features import refuse_features
from pipeline.commit.optional_columns import optional, required, required_table
from pipeline.ingest.delta import address, is_table, plain, storage_options
from pipeline.ingest.object_uris import canonical
from pipeline.ingest.storage import file_system
from schemas.arrow import arrow_schema, schema_hash
from schemas.rows import Document, Failure, answer_row, merged_row

RETRY_SECONDS = (0.1, 1.0)  # before a table's log is read again that could not be
ATTEMPTS = 20  # at one change: each that fails was overtaken by one of another tool
STREAM_ROWS = 4096
COMPRESSION = "zstd"
NO_READ_AHEAD = {"batch_readahead": 1, "fragment_readahead": 1}  # by default, 16 batches of 4 files
READ_AHEAD = 8  # files: in a cloud each waits for its replies, and each has a few thousand rows
LARGE_BYTES = 4 * 2**20  # a file above is no run's own: it may have a million rows
PART_BATCHES = 16  # of such a file, together
# deltalake decodes it once too often: it writes a%20b, and looks for "a b".
ESCAPE = re.compile("%[0-9A-Fa-f]{2}")


class OutputError(RuntimeError):
    """The output cannot be read or written any more: no room, no permission, another run. One sentence."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of a run, as workers and the driver need to know it. Travels by pickle."""

    name: str  # what the run calls it: answers, or answers/... where it writes several; failures, documents
    uri: str  # an absolute path or the address of a prefix
    schema: pa.Schema  # of every row, in the order of the columns


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file that was written and is not visible yet."""

    path: str  # relative to the table
    size: int  # bytes
    rows: int


def create_tables(
    output: str,
    *asked: Literal["markdown"] | type[BaseModel] | None,
    merged: Collection[type[BaseModel]] = (),
) -> dict[str, Table]:
    """The tables of a run as `name_tables` has them; those that do not exist are created empty.

    An older table gets the nullable columns that it lacks. Raises ValueError if the place cannot be written,
    a table there has other columns, or the path has a percent sign before two hex digits.
    """
    tables = name_tables(output, *asked, merged=merged)
    for table in tables.values():
        try:
            open_table(table)
        except (OSError, DeltaError) as error:
            raise ValueError(f"cannot open the table {table.uri}: {plain(error)}") from error
    return tables


def name_tables(
    output: str,
    *asked: Literal["markdown"] | type[BaseModel] | None,
    merged: Collection[type[BaseModel]] = (),
) -> dict[str, Table]:
    """The tables of a run by name, in the order of their commits, whether they exist or not.

    `asked` has an element for each ask: free questions (None) share `answers/text`, transcription has
    `answers/markdown`, each target its `answers/<target>-<schema hash>`. They come first, in this order. A
    single one is called "answers", several go by their paths under the output. Each target of `merged` has a
    table `merged/<target>-<schema hash>`, too, and so have others of which there is one.

    Raises ValueError if the path has a percent sign before two hex digits.
    """
    root = absolute_uri(output)
    if escape := ESCAPE.search(root):
        raise ValueError(
            f"the output {root} has {escape[0]} in its path, which Delta Lake misreads; choose another"
        )
    tables = [
        Table(
            name="answers" if len(asked) == 1 else _answers_path(target),
            uri=f"{root}/{_answers_path(target)}",
            schema=arrow_schema(answer_row(None if target == "markdown" else target)),
        )
        for target in asked
    ]
    tables.append(Table(name="failures", uri=f"{root}/failures", schema=arrow_schema(Failure)))
    for target in asked:
        if target is None or target == "markdown":
            continue
        path = merged_name(_answers_path(target))
        table = Table(
            name="merged" if len(asked) == 1 else path,
            uri=f"{root}/{path}",
            schema=arrow_schema(merged_row(target)),
        )
        if target in merged or is_there(table.uri):
            tables.append(table)
    tables.append(Table(name="documents", uri=f"{root}/documents", schema=arrow_schema(Document)))
    return {table.name: table for table in tables}


def is_there(uri: str) -> bool:
    """Whether there is a table. Raises ValueError if that cannot be told."""
    try:
        return is_table(uri)
    except (OSError, DeltaError) as error:
        raise ValueError(f"cannot open the table {uri}: {plain(error)}") from error


def _answers_path(target: Literal["markdown"] | type[BaseModel] | None) -> str:
    if target is None or target == "markdown":
        return f"answers/{target or 'text'}"
    return f"answers/{target.__name__}-{schema_hash(target)}"


def answers_of(tables: Mapping[str, Table]) -> list[Table]:
    """The tables of answers, in the order of the asks."""
    return [table for name, table in tables.items() if is_of_answers(name)]


def is_of_answers(name: str) -> bool:
    """Whether a run calls a table of answers so."""
    return name == "answers" or name.startswith("answers/")


def merged_name(answers: str) -> str:
    """The name of the table with the merged answers of a table of answers."""
    return answers.replace("answers", "merged", 1)


def is_of_documents(name: str) -> bool:
    """Whether a table has a row for a document: documents/ and those of merged answers."""
    return not is_of_answers(name) and name != "failures"


def write_rows(table: Table, rows: pa.Table) -> DataFile:
    """Writes a new file into the table's folder, not yet visible. Raises OSError: no room, no permission."""
    assert rows.schema.equals(table.schema), f"rows for {table.uri} have the columns\n{rows.schema}"
    name = new_file()
    filesystem, folder = file_system(table.uri)
    pq.write_table(rows, place_of(folder, name), filesystem=filesystem, compression=COMPRESSION)
    return DataFile(path=name, size=file_size(table, name), rows=rows.num_rows)


def new_file() -> str:
    """A name that no other file has."""
    return f"part-{uuid.uuid4().hex}.parquet"


def stream_files(table: Table, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """The visible files of a table, a few at a time in memory, as their paths and these columns of them.

    A large file comes in several parts, one behind the other. Raises OutputError: one of them cannot be read,
    or a VACUUM that keeps nothing has just removed it.
    """
    added = handle_of(table.uri).get_add_actions()
    files = sorted(zip(added["path"].to_pylist(), added["size_bytes"].to_pylist(), strict=True))
    try:
        yield from _read_ahead(table, [path for path, size in files if size <= LARGE_BYTES], columns)
        for path in (path for path, size in files if size > LARGE_BYTES):
            for part in _parts(table, path, columns):
                yield path, part
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{table.uri} cannot be read: {plain(error)}") from error


def _read_ahead(table: Table, paths: Sequence[str], columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    def read(path: str) -> tuple[str, pa.Table]:
        return path, read_file(table, path, columns)

    left = iter(paths)
    with ThreadPoolExecutor(READ_AHEAD) as threads:
        waiting = deque(threads.submit(read, path) for path in islice(left, READ_AHEAD))
        while waiting:
            yield waiting.popleft().result()
            waiting += (threads.submit(read, path) for path in islice(left, 1))


def _parts(table: Table, path: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    batches = stream_batches(table, [path], columns)
    while some := list(islice(batches, PART_BATCHES)):
        yield pa.Table.from_batches(some)


def file_size(table: Table, path: str) -> int:
    """Bytes of one file. Raises FileNotFoundError."""
    filesystem, folder = file_system(table.uri)
    size: int | None = filesystem.get_file_info(place_of(folder, path)).size
    if size is None:
        raise FileNotFoundError(path)
    return size


def read_file(table: Table, path: str, columns: Sequence[str]) -> pa.Table:
    """Some columns of the rows of one file, in the table's own schema. Raises OSError.

    The file may have an older version's, or another tool's: `string_view`, or all columns optional.
    """
    filesystem, folder = file_system(table.uri)
    rows = pq.read_table(
        place_of(folder, path), filesystem=filesystem, schema=optional(table.schema), columns=list(columns)
    )
    return required_table(rows, table.schema)


def stream_rows(
    table: Table, paths: Collection[str], columns: Sequence[str], wanted: Callable[[pa.RecordBatch], pa.Array]
) -> Iterator[pa.RecordBatch]:
    """The wanted rows of some files, a few thousand at a time in memory. Raises OSError."""
    # Not by a filter of the scan: it fails on `string_view`, which other tools write (see `read_file`).
    for batch in stream_batches(table, paths, columns):
        yield batch.filter(wanted(batch))


def stream_batches(table: Table, paths: Collection[str], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """All rows of some files, a few thousand at a time in memory, in their order. Raises OSError."""
    filesystem, folder = file_system(table.uri)
    places = [place_of(folder, path) for path in sorted(paths)]
    files = dataset.dataset(places, schema=optional(table.schema), format="parquet", filesystem=filesystem)
    batches = files.to_batches(columns=list(columns), batch_size=STREAM_ROWS, **NO_READ_AHEAD)
    yield from required(batches, table.schema)


def read_table(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The visible rows of a table. Raises ValueError if there is no table."""
    uri = absolute_uri(uri)
    if not is_table(uri):
        raise ValueError(f"there is no table at {uri}; a run's tables lie under its --output")
    rows, schema = _dataset(uri, handle_of(uri))
    return required_table(rows.to_table(columns=list(columns) if columns else None), schema)


def stream_table(
    uri: str, columns: Sequence[str] | None = None
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema of a table, and its visible rows, a few thousand at a time in memory.

    Raises ValueError if there is no table; the rows raise OutputError where one of its files cannot be read.
    """
    uri = absolute_uri(uri)
    if not is_table(uri):
        raise ValueError(f"there is no table at {uri}; a run's tables lie under its --output")
    rows, whole = _dataset(uri, handle_of(uri))
    schema = pa.schema([whole.field(name) for name in columns or whole.names])
    return schema, _batches(uri, rows, schema)


def _batches(uri: str, rows: dataset.Dataset, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    try:
        batches = rows.to_batches(columns=schema.names, batch_size=STREAM_ROWS, **NO_READ_AHEAD)
        yield from required(batches, schema)
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{uri} cannot be read: {plain(error)}") from error


def open_table(table: Table) -> None:
    """Creates the table if it does not exist, and checks it if it does: what it lacks, `extend_table` adds.

    Raises ValueError, OSError, DeltaError.
    """
    options = storage_options(table.uri)
    if not is_table(table.uri):
        DeltaTable.create(
            address(table.uri),
            schema=table.schema,
            mode="ignore",
            name=table.name,
            configuration=_version(table),
            storage_options=options,
            raise_if_key_not_exists=False,  # deltalake knows only its own keys, Delta allows any
        )
    handle = handle_of(table.uri)
    wanted = {field.name: field for field in DeltaSchema.from_arrow(table.schema).fields}
    changed = [field.name for field in handle.schema().fields if wanted.get(field.name) != field]
    refused = changed + [field.name for field in _lacking(handle, table) if not field.nullable]
    if refused:
        raise ValueError(
            f"the table {table.uri} was written with other columns ({', '.join(refused)}); "
            "choose another --output"
        )
    refuse_features(table.uri, handle)


def extend_table(table: Table) -> None:
    """Adds the columns that an older version did not know. No other run may hold the output.

    Raises OutputError, unless another run that starts now was faster.
    """
    try:
        handle = handle_of(table.uri)
        if added := _lacking(handle, table):
            handle.alter.add_columns(added)
            handle.alter.set_table_properties(_version(table), raise_if_not_exists=False)
    except (OSError, DeltaError) as error:
        if _lacking(handle_of(table.uri), table):
            raise OutputError(f"{table.uri} cannot be written: {plain(error)}") from error


def _lacking(handle: DeltaTable, table: Table) -> list[Field]:
    there = {field.name for field in handle.schema().fields}
    return [field for field in DeltaSchema.from_arrow(table.schema).fields if field.name not in there]


def _version(table: Table) -> dict[str, str]:
    return {"schema_version": (table.schema.metadata or {})[b"schema_version"].decode()}


def absolute_uri(uri: str) -> str:
    """As pyarrow's file systems want it: they take no relative path."""
    return canonical(uri).rstrip("/") if "://" in uri else str(Path(uri).expanduser().absolute())


def handle_of(uri: str) -> DeltaTable:
    """The table's newest version, through deltalake, which does not ask again where an answer breaks off."""
    for seconds in RETRY_SECONDS:
        try:
            return DeltaTable(address(uri), storage_options=storage_options(uri))
        except OSError:
            time.sleep(seconds)
    return DeltaTable(address(uri), storage_options=storage_options(uri))


def _dataset(uri: str, handle: DeltaTable) -> tuple[dataset.Dataset, pa.Schema]:
    """The rows of a table's version, all optional, through pyarrow's own file system; and their schema.

    Through deltalake's (`to_pyarrow_table`, `to_pyarrow_dataset`), a third to a half of short processes
    end in an abort at their exit, with every row read: a thread of pyarrow's calls a Python that is gone.
    """
    filesystem, folder = file_system(uri)
    paths = [place_of(folder, name) for name in paths_of(handle)]
    schema = pa.schema(handle.schema().to_arrow())
    files = dataset.dataset(sorted(paths), schema=optional(schema), format="parquet", filesystem=filesystem)
    return files, schema


def paths_of(handle: DeltaTable) -> set[str]:
    """The files of a table's version, as its log names them: relative to the table, percent-encoded."""
    return set(handle.get_add_actions()["path"].to_pylist())


def place_of(folder: str, path: str) -> str:
    """Where a file lies that a log names: part-1.parquet, or with another tool's prefix a0/part-1.parquet."""
    return f"{folder}/{unquote(path)}"
