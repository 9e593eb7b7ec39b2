"""Rows of Parquet files are documents: a column holds their bytes, or their URIs, as `columns` has it.

In: a Parquet file and the names of its columns; a dot leads into a struct, as in image.bytes. Out: the row
groups, with the ids and URIs of their rows, and the bytes or the password of one row. Values are read a row
group at a time and in order, never a whole file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pat

from pipeline.ingest import storage
from pipeline.ingest.columns import Columns, FieldIds, form_of, resolved, type_of

MAGIC: Final = b"PAR1"
SUFFIXES: Final = frozenset({".parquet", ".parq", ".pq", ".pqt"})
DATA: Final = "data:"
_BATCH_ROWS: Final = 8  # decoded at once: documents may have megabytes
_MOST_ADDRESS: Final = 4_096  # bytes of one that lies in a column of bytes
_ADDRESS: Final = re.compile(rb"(?:[a-z][a-z0-9+.-]*://|data:)[^\x00-\x1f\x7f]*", re.IGNORECASE)
_GATHERED_BYTES: Final = 2**20  # of URIs, which are looked at together


@dataclass(frozen=True, kw_only=True)
class RowPart:
    """Some rows of a row group, without their documents: `uris` is a column of URIs, or None for bytes.

    A data: address holds its document; such a URI is DATA alone.
    """

    row_group: int
    first: int  # row, in the row group
    first_row: int  # in the file
    count: int
    ids: pa.Array | None  # strings
    uris: pa.Array | None  # strings and nulls
    columns: Columns  # as the file names them


def is_parquet(uri: str) -> bool:
    """Whether a file is Parquet, by its first bytes. Raises OSError."""
    return storage.read_start(uri, len(MAGIC)) == MAGIC


def schema_of(uri: str) -> pa.Schema:
    """The columns of a file. Raises ValueError for a damaged file."""
    with _open(uri) as file:
        return file.schema_arrow


def row_parts(uri: str, columns: Columns, most: int, fields: FieldIds | None = None) -> Iterator[RowPart]:
    """The rows of a file, at most so many at a time, with those of a row group in their order.

    With `fields`, the columns are those of an Iceberg table.

    Raises ValueError: no such column, of the wrong type, a null id.
    """
    with _open(uri) as file:
        columns = resolved(uri, file.schema_arrow, columns, fields)
        names_files = not columns.is_messages and _holds_uris(file, columns.document)
        first_row = 0
        for group in range(file.metadata.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            ids = _ids(file, group, columns.id, first_row, uri) if columns.id else None
            places = (slice(start, min(start + most, count)) for start in range(0, count, most))
            parts = _uris(file, group, columns.document, most) if names_files else repeat(None)
            for place, uris in zip(places, parts, strict=False):
                yield RowPart(
                    row_group=group,
                    first=place.start,
                    first_row=first_row + place.start,
                    count=place.stop - place.start,
                    ids=None if ids is None else ids[place],
                    uris=uris,
                    columns=columns,
                )
            first_row += count


def passwords(uri: str, column: str, row_group: int) -> list[str | None]:
    """The passwords of a row group's documents. Raises OSError, ArrowException."""
    with _open(uri) as file:
        return _read(file, row_group, column)


class RowReader:
    """Reads values of a column, and keeps its place in the row group.

    Parquet is decoded from a row group's start: ask for rows in their order.
    """

    def __init__(self) -> None:
        self._place: tuple[str, str, int] | None = None
        self._values: Iterator[Any] = iter(())
        self._next_row = 0

    def read(self, uri: str, column: str, row_group: int, row: int) -> Any:
        """The value in `row` of a row group. Raises IndexError: no such row; OSError, ArrowException."""
        place = (uri, column, row_group)
        if place != self._place or row < self._next_row:
            self._values, self._next_row = _documents(*place), 0
        self._place = None  # until the row is read: an iterator that raised has no next
        for value in islice(self._values, row - self._next_row, None):
            self._place, self._next_row = place, row + 1
            return value
        raise IndexError(f"row group {row_group} of {uri} has no row {row}")


def _holds_uris(file: Any, column: str) -> bool:
    """Whether a column names files. Some writers do not say of bytes that they are text: a look tells."""
    form = form_of(type_of(file.schema_arrow, column))
    if form != "bytes" or not _may_be_text(file, column):
        return form == "text"
    batches = file.iter_batches(_BATCH_ROWS, columns=[column], use_threads=False)
    batch = next(batches, None)
    values = () if batch is None else _values(batch.column(0), batch.schema.field(0).name, column)
    given = [value for value in values if value]
    # All of them: one short document among others may read like an address.
    return bool(given) and all(map(_ADDRESS.fullmatch, given))


def _may_be_text(file: Any, column: str) -> bool:
    """Whether its values are as short as URIs: documents are not looked at before their time."""
    metadata = file.metadata
    if not metadata.num_row_groups:
        return False
    group = metadata.row_group(0)
    chunks = (group.column(number) for number in range(group.num_columns))
    chunk = next((chunk for chunk in chunks if chunk.path_in_schema == column), None)
    return chunk is not None and bool(
        chunk.total_uncompressed_size <= _MOST_ADDRESS * max(1, chunk.num_values)
    )


def _documents(uri: str, column: str, row_group: int) -> Iterator[Any]:
    with _open(uri) as file:
        yield from _stream(file, row_group, column)


def _ids(file: Any, row_group: int, column: str, first_row: int, uri: str) -> pa.Array:
    table = file.read_row_group(row_group, columns=[column], use_threads=False)
    name = table.schema.field(0).name
    ids = pa.concat_arrays([_text(chunk, name, column) for chunk in table.column(0).chunks])
    if ids.null_count:
        row = first_row + int(pc.index(pc.is_null(ids), True).as_py())
        raise ValueError(f"column {column} of {uri} is null in row {row}")
    return ids


def _uris(file: Any, row_group: int, column: str, most: int) -> Iterator[pa.Array]:
    """The URIs of a row group, `most` at a time."""
    short: list[pa.Array] = []
    rows = 0
    for uris in _gathered(file, row_group, column):
        short.append(_short(uris))
        rows += len(uris)
        while rows >= most:
            whole = pa.concat_arrays(short)
            yield whole[:most]
            short, rows = [whole[most:]], rows - most
    if rows:
        yield pa.concat_arrays(short)


def _gathered(file: Any, row_group: int, column: str) -> Iterator[pa.Array]:
    """A column of text, some megabytes at a time: a data: address is as large as its document."""
    waiting: list[pa.Array] = []
    size = 0
    batches = file.iter_batches(_BATCH_ROWS, row_groups=[row_group], columns=[column], use_threads=False)
    for batch in batches:
        waiting.append(_text(batch.column(0), batch.schema.field(0).name, column))
        size += batch.nbytes
        if size >= _GATHERED_BYTES:
            yield pa.concat_arrays(waiting)
            waiting, size = [], 0
    if waiting:
        yield pa.concat_arrays(waiting)


def _text(array: pa.Array, name: str, column: str) -> pa.Array:
    """The values of a column as strings; behind a dot they are fields of structs, which may be null."""
    for field in column.removeprefix(name).split(".")[1:]:
        array = pc.struct_field(array, field)
    if pat.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array if array.type == pa.string() else pc.cast(array, pa.string())


def _short(uris: pa.Array) -> pa.Array:
    """The same with DATA in the place of each data: address."""
    is_data = pc.equal(pc.ascii_lower(pc.utf8_slice_codeunits(uris, 0, len(DATA))), DATA)
    return pc.if_else(is_data, DATA, uris) if pc.any(is_data).as_py() else uris


def _stream(file: Any, row_group: int, column: str) -> Iterator[Any]:
    batches = file.iter_batches(_BATCH_ROWS, row_groups=[row_group], columns=[column], use_threads=False)
    for batch in batches:
        yield from _values(batch.column(0), batch.schema.field(0).name, column)


def _read(file: Any, row_group: int, column: str) -> list[Any]:
    table = file.read_row_group(row_group, columns=[column], use_threads=False)
    return list(_values(table.column(0), table.schema.field(0).name, column))


def _values(array: Any, name: str, column: str) -> Iterator[Any]:
    """The values of a column; behind a dot they are fields of structs, which may be null themselves."""
    inside = column.removeprefix(name).split(".")[1:]
    for value in array:
        plain = value.as_py()
        for field in inside:
            plain = None if plain is None else plain[field]
        yield plain


def _open(uri: str) -> Any:
    source = storage.open_input(uri)
    try:
        # Pages are streamed: else the reader first holds a row group's whole column.
        return pq.ParquetFile(source, pre_buffer=False, buffer_size=2**20)
    except pa.ArrowInvalid as error:
        source.close()
        raise ValueError(f"{uri} cannot be read as Parquet: {error}") from error
