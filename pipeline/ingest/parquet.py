"""Rows of Parquet files are documents: a column holds their bytes, or their URIs.

In: a Parquet file and the names of its columns; a dot leads into a struct, as in image.bytes. Out: the row
groups, with the ids and URIs of their rows, and the bytes or the password of one row. Values are read a row
group at a time and in order, never a whole file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from pipeline.ingest import storage
from pipeline.ingest.data_uris import is_data_uri

MAGIC: Final = b"PAR1"
SUFFIXES: Final = frozenset({".parquet", ".parq", ".pq", ".pqt"})
DATA: Final = "data:"
_BATCH_ROWS: Final = 8  # decoded at once: documents may have megabytes


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The names of the columns to read; those without a name are not there."""

    document: str
    id: str | None
    password: str | None
    is_messages: bool = False
    """The documents are conversations: lists of messages, or JSON text of such."""


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """One row group, without its documents: `uris` is a column of URIs, or None if the column holds bytes.

    A data: address holds its document; of such a URI only this beginning is there.
    """

    index: int
    first_row: int  # in the file
    count: int
    ids: list[str] | None
    uris: list[str | None] | None


def is_parquet(uri: str) -> bool:
    """Whether a file is Parquet, by its first bytes. Raises OSError."""
    return storage.read_start(uri, len(MAGIC)) == MAGIC


def document_columns(uri: str) -> list[str]:
    """The columns of a file that can hold documents. Raises ValueError for a damaged file."""
    with _open(uri) as file:
        return _suitable(file.schema_arrow)


def row_groups(uri: str, columns: Columns) -> list[RowGroup]:
    """The row groups of a file. Raises ValueError: no such column, of the wrong type, a null id."""
    with _open(uri) as file:
        flag = "--messages-column" if columns.is_messages else "--column"
        kind = _type(uri, file.schema_arrow, columns.document, flag)
        if columns.is_messages and not (_is_list(kind) or _is_text(kind)):
            raise ValueError(
                f"column {columns.document} of {uri} is {kind}, not lists of messages or JSON text of such"
            )
        if not columns.is_messages and not (_is_bytes(kind) or _is_text(kind)):
            others = ", ".join(_suitable(file.schema_arrow)) or "none"
            raise ValueError(
                f"column {columns.document} of {uri} is {kind}, not bytes or URIs; these are: {others}"
            )
        names_files = _is_text(kind) and not columns.is_messages
        id_kind = _type(uri, file.schema_arrow, columns.id, "--id-column") if columns.id else pa.string()
        if not (_is_text(id_kind) or pat.is_integer(id_kind)):
            raise ValueError(f"column {columns.id} of {uri} holds {id_kind}, but ids are strings or integers")
        if columns.password:
            password_kind = _type(uri, file.schema_arrow, columns.password, "--password-column")
            if not _is_text(password_kind):
                raise ValueError(
                    f"column {columns.password} of {uri} holds {password_kind}, but passwords are strings"
                )
        groups, first_row = [], 0
        for index in range(file.metadata.num_row_groups):
            ids = _read(file, index, columns.id) if columns.id else None
            if ids is not None and None in ids:
                row = first_row + ids.index(None)
                raise ValueError(f"column {columns.id} of {uri} is null in row {row}")
            count = file.metadata.row_group(index).num_rows
            groups.append(
                RowGroup(
                    index=index,
                    first_row=first_row,
                    count=count,
                    ids=None if ids is None else [str(value) for value in ids],
                    uris=list(_uris(file, index, columns.document)) if names_files else None,
                )
            )
            first_row += count
        return groups


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


def _documents(uri: str, column: str, row_group: int) -> Iterator[Any]:
    with _open(uri) as file:
        yield from _stream(file, row_group, column)


def _uris(file: Any, row_group: int, column: str) -> Iterator[str | None]:
    for uri in _stream(file, row_group, column):  # a column of data: addresses is as large as its documents
        yield DATA if uri is not None and is_data_uri(uri) else uri


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


def _type(uri: str, schema: pa.Schema, column: str, flag: str) -> Any:
    """The type of a column, or of the field of a struct column that a dot leads to."""
    kinds = {name: kind for field in schema for name, kind in _leaves(field.name, field.type)}
    if column not in kinds:
        known = ", ".join(kinds) or "none"
        raise ValueError(f"{flag} {column}: {uri} has no such column; its columns: {known}")
    kind = kinds[column]
    return kind.value_type if pat.is_dictionary(kind) else kind


def _leaves(name: str, kind: Any) -> Iterator[tuple[str, Any]]:
    yield name, kind
    if pat.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{name}.{field.name}", field.type)


def _suitable(schema: pa.Schema) -> list[str]:
    leaves = (leaf for field in schema for leaf in _leaves(field.name, field.type))
    return [name for name, kind in leaves if _is_bytes(kind) or _is_text(kind)]


def _is_bytes(kind: Any) -> bool:
    return bool(
        pat.is_binary(kind)
        or pat.is_large_binary(kind)
        or pat.is_binary_view(kind)
        or pat.is_fixed_size_binary(kind)
    )


def _is_list(kind: Any) -> bool:
    return bool(pat.is_list(kind) or pat.is_large_list(kind))


def _is_text(kind: Any) -> bool:
    return bool(pat.is_string(kind) or pat.is_large_string(kind) or pat.is_string_view(kind))
