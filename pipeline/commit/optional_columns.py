"""Other tools' files in a table's own schema: some write every column as optional, nested ones, too.

Arrow reads no such file as what is required: a struct that is absent has no value in a field that it must
have. So files are read as all optional, and made required here; what really lacks a value is an error.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def optional(schema: pa.Schema) -> pa.Schema:
    """The same columns, in which each value may be absent, at any depth."""
    return pa.schema([_optional(field) for field in schema])


def _optional(field: pa.Field) -> pa.Field:
    kind = field.type
    if pa.types.is_struct(kind):
        kind = pa.struct([_optional(inner) for inner in kind])
    elif pa.types.is_list(kind):
        kind = pa.list_(_optional(kind.value_field))
    return pa.field(field.name, kind)


def required(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Batches that were read as `optional`, with some of the schema's columns in any order, in the schema.

    Raises pa.ArrowInvalid for a value that is absent and must not be.
    """
    for batch in batches:
        fields = [schema.field(name) for name in batch.schema.names]
        columns = [_typed(column, field, None) for column, field in zip(batch.columns, fields, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, schema.metadata))


def required_table(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The same of a whole table."""
    columns = pa.schema([schema.field(name) for name in rows.schema.names], schema.metadata)
    return pa.Table.from_batches(required(rows.to_batches(), schema), columns)


def _typed(values: pa.Array, field: pa.Field, absent: pa.BooleanArray | None) -> pa.Array:
    """The values in a field's type. Of those in `absent` structs, required ones become something that is
    never looked at."""
    kind = field.type
    is_struct, is_list = pa.types.is_struct(kind), pa.types.is_list(kind)
    if not (is_struct or is_list) and (field.nullable or not values.null_count):
        return values
    lacking = values.is_null()
    wrong = lacking if absent is None else pc.and_not(lacking, absent)
    if not field.nullable and pc.any(wrong).as_py():
        raise pa.ArrowInvalid(f"{field.name} is absent in a row, and must not be")
    if is_struct:
        gone = lacking if absent is None else pc.or_(absent, lacking)
        inner = [_typed(values.field(number), one, gone) for number, one in enumerate(kind)]
        mask = lacking if field.nullable else None
        return pa.StructArray.from_arrays(inner, fields=list(kind), mask=mask)
    if is_list:
        items = _typed(values.values, kind.value_field, None)
        there, offsets = values.buffers()[:2]
        known = there if field.nullable else None
        return pa.Array.from_buffers(kind, len(values), [known, offsets], -1, values.offset, [items])
    return values.fill_null(_something(kind))


def _something(kind: pa.DataType) -> pa.Scalar:
    value: Any = 0
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        value = ""
    elif pa.types.is_decimal(kind):
        value = Decimal(0)
    elif pa.types.is_boolean(kind):
        value = False
    return pa.scalar(value, kind)
