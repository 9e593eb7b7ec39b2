"""The columns of a Parquet file that hold documents: which one is meant, and what its values are.

In: a file's schema and the names that a person gave. Out: the names as the file has them, or the one column
that can only be the documents'. A document is bytes, a URI, a struct of bytes and a path as the library
`datasets` writes them, or a list of such, each of which is a page.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.types as pat

# What a column's values are: a struct of {bytes, path}, or a list of the others.
Form = Literal["bytes", "text", "struct", "list"]
_FEATURES: Final = ("Image", "Pdf")  # of the library `datasets`: its Audio has the same struct


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The names of the columns to read; those without a name are not there."""

    document: str
    id: str | None
    password: str | None
    is_messages: bool = False
    """The documents are conversations: lists of messages, or JSON text of such."""


@dataclass(frozen=True, kw_only=True)
class FieldIds:
    """The fields of an Iceberg table: their ids by their names, and the names that files without ids have."""

    ids: Mapping[str, int]
    names: Mapping[int, Sequence[str]]

    def in_file(self, uri: str, schema: pa.Schema, column: str, flag: str) -> str:
        """The name of a column of the table in one of its files. Raises ValueError: it has none."""
        field = self.ids[_same(uri, list(self.ids), column, flag)]
        there = {id: name for part in schema for id, name in _ids(part.name, part)}
        kinds = _kinds(schema)
        known = [name for name in self.names.get(field, (column,)) if name in kinds]
        name = there.get(field) if there else next(iter(known), None)
        if name is None:
            raise ValueError(f"{flag} {column}: {uri} was written before its table had this column")
        return name


def resolved(uri: str, schema: pa.Schema, columns: Columns, fields: FieldIds | None = None) -> Columns:
    """The columns by their names in the file, which may have them in other case: warehouses write capitals.

    Raises ValueError: no such column, of the wrong type.
    """
    if fields is not None:
        columns = _renamed(uri, schema, columns, fields)
    document = _name(uri, schema, columns.document, _flag(columns))
    kind = type_of(schema, document)
    if columns.is_messages and not (_is_list(kind) or _is_text(kind)):
        raise ValueError(f"column {document} of {uri} is {kind}, not lists of messages or JSON text of such")
    if not columns.is_messages and form_of(kind) is None:
        raise ValueError(
            f"column {document} of {uri} is {kind}, not bytes or URIs; these are: {shown(suitable(schema))}"
        )
    id, password = columns.id, columns.password
    if id:
        id = _name(uri, schema, id, "--id-column")
        kind = type_of(schema, id)
        if not (_is_text(kind) or pat.is_integer(kind) or (pat.is_decimal(kind) and kind.scale == 0)):
            raise ValueError(f"column {id} of {uri} holds {kind}, but ids are strings or integers")
    if password:
        password = _name(uri, schema, password, "--password-column")
        kind = type_of(schema, password)
        if not _is_text(kind):
            raise ValueError(f"column {password} of {uri} holds {kind}, but passwords are strings")
    return replace(columns, document=document, id=id, password=password)


def guess(schema: pa.Schema) -> str | None:
    """The column that holds the documents, if only one can; URIs are not guessed, since any text may be one.

    What `datasets` says of its columns goes first, then a struct of bytes and a path goes before plain bytes.
    """
    features = _features(schema)
    if features is not None:
        return features[0] if len(features) == 1 else None
    kinds = {field.name: field.type for field in schema}
    for form in ("struct", "bytes"):
        found = [name for name, kind in kinds.items() if form in (form_of(kind), _element_form(kind))]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def suitable(schema: pa.Schema) -> list[str]:
    """The columns that can hold documents; a field of a struct by the way to it."""
    return [name for field in schema for name in _documents(field.name, field.type)]


def shown(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return ", ".join(names) or "none"


def type_of(schema: pa.Schema, column: str) -> Any:
    """The type of a column, or of the field of a struct column that a dot leads to."""
    kind = _kinds(schema)[column]
    return kind.value_type if pat.is_dictionary(kind) else kind


def form_of(kind: Any) -> Form | None:
    """How a column of this type holds documents; None if it cannot."""
    if pat.is_dictionary(kind):
        kind = kind.value_type
    if _is_bytes(kind):
        return "bytes"
    if _is_text(kind):
        return "text"
    if pat.is_struct(kind):
        return "struct" if _is_pair(kind) else None
    return "list" if _element_form(kind) else None


def _is_pair(kind: Any) -> bool:
    """Whether a struct has bytes and a path. What is null in all rows of a file may have no type there."""
    fields = {field.name: field.type for field in kind}
    if "bytes" not in fields or not fields.keys() <= {"bytes", "path"}:
        return False
    data, path = fields["bytes"], fields.get("path", pa.null())
    has_data, has_path = _is_bytes(data), _is_text(path)
    return (has_data or has_path) and (has_data or pat.is_null(data)) and (has_path or pat.is_null(path))


def _element_form(kind: Any) -> Form | None:
    """Of the elements of a list that can hold the pages of a document."""
    if not _is_list(kind):
        return None
    form = form_of(kind.value_type)
    return None if form == "list" else form


def _renamed(uri: str, schema: pa.Schema, columns: Columns, fields: FieldIds) -> Columns:
    flag = _flag(columns)
    document = fields.in_file(uri, schema, columns.document, flag)
    id = fields.in_file(uri, schema, columns.id, "--id-column") if columns.id else None
    password = columns.password and fields.in_file(uri, schema, columns.password, "--password-column")
    return replace(columns, document=document, id=id, password=password)


def _flag(columns: Columns) -> str:
    return "--messages-column" if columns.is_messages else "--column"


def _name(uri: str, schema: pa.Schema, column: str, flag: str) -> str:
    """A column by the name that the file has for it. Raises ValueError."""
    return _same(uri, list(_kinds(schema)), column, flag)


def _same(uri: str, names: Sequence[str], column: str, flag: str) -> str:
    if column in names:
        return column
    same = [name for name in names if name.casefold() == column.casefold()]
    if len(same) > 1:
        raise ValueError(f"{flag} {column}: {uri} has {' and '.join(same)}; give one as it is written there")
    if not same:
        raise ValueError(f"{flag} {column}: {uri} has no such column; its columns: {shown(names)}")
    return same[0]


def _ids(name: str, field: pa.Field) -> Iterator[tuple[int, str]]:
    """The ids that a file gives its fields, and the way to each."""
    if (id := (field.metadata or {}).get(b"PARQUET:field_id")) is not None:
        yield int(id), name
    if pat.is_struct(field.type):
        for part in field.type:
            yield from _ids(f"{name}.{part.name}", part)


def _kinds(schema: pa.Schema) -> dict[str, Any]:
    return {name: kind for field in schema for name, kind in _leaves(field.name, field.type)}


def _leaves(name: str, kind: Any) -> Iterator[tuple[str, Any]]:
    yield name, kind
    if pat.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{name}.{field.name}", field.type)


def _documents(name: str, kind: Any) -> Iterator[str]:
    if form_of(kind):
        yield name
    elif pat.is_struct(kind):
        for field in kind:
            yield from _documents(f"{name}.{field.name}", field.type)


def _features(schema: pa.Schema) -> list[str] | None:
    """The columns that the library `datasets` says are images or PDFs; None where it says nothing."""
    try:
        said = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        kinds = {name: _feature(feature) for name, feature in said.items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    return [name for name, kind in kinds.items() if kind in _FEATURES and name in schema.names]


def _feature(said: Any) -> str | None:
    """The kind of a feature, or of the elements of a list: [{"_type": ...}], List, Sequence."""
    if isinstance(said, list):
        said = said[0]
    if said.get("_type") in ("List", "LargeList", "Sequence"):
        said = said["feature"]
    return said.get("_type") if isinstance(said, dict) else None


def _is_bytes(kind: Any) -> bool:
    return bool(
        pat.is_binary(kind)
        or pat.is_large_binary(kind)
        or pat.is_binary_view(kind)
        or pat.is_fixed_size_binary(kind)
    )


def _is_list(kind: Any) -> bool:
    return bool(pat.is_list(kind) or pat.is_large_list(kind) or pat.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    return bool(pat.is_string(kind) or pat.is_large_string(kind) or pat.is_string_view(kind))
