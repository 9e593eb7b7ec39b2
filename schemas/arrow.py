"""Pydantic models in; Arrow schemas, JSON schemas, tables and JSON text out, through one table of types.

A model that cannot become a table raises `UnsupportedType` here, before anything runs. A value that pydantic
accepts and no column can hold (an integer beyond 64 bits, a datetime without a time zone) raises ValueError;
nothing is rounded or filled in.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import BaseModel

from schemas.columns import Column, UnsupportedType, struct
from schemas.types import Json

__all__ = [
    "SCHEMA_VERSION",
    "UnsupportedType",
    "arrow_schema",
    "arrow_type",
    "check_json",
    "from_json_text",
    "from_row",
    "json_schema",
    "json_text",
    "schema_hash",
    "to_json",
    "to_row",
    "to_table",
]

SCHEMA_VERSION = 5  # of the tables; a change may only append nullable columns, and counts one up

Model = TypeVar("Model", bound=BaseModel)


@cache
def _column(model: type[BaseModel]) -> Column:
    return struct(model)


def arrow_type(model: type[BaseModel]) -> pa.StructType:
    """The type of a column that holds the model as a struct."""
    return _column(model).arrow


def arrow_schema(model: type[BaseModel]) -> pa.Schema:
    """The schema of a table with one row a model, `schema_version` in its metadata."""
    return pa.schema(list(arrow_type(model)), metadata={"schema_version": str(SCHEMA_VERSION)})


def json_schema(model: type[BaseModel], *, nullable: bool = False) -> Json:
    """The JSON schema of the model, nested models written out in place.

    With `nullable`, the schema for decoding: every field has to be written and every field may be null, since
    a page need not hold every field of a target.
    """
    return _column(model).json_of(nullable=nullable)


def schema_hash(model: type[BaseModel]) -> str:
    """12 hex digits that name the schemas: equal in every process, others after any change of a field."""
    text = json.dumps([json_schema(model), str(arrow_type(model))], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_json(model: type[BaseModel], value: object) -> None:
    """Refuses parsed JSON (fractions as Decimal) of other types than the schema's; null and absent pass here.

    Pydantic would take the number 86400 for the date 1970-01-02. ValueError with the path of the field.
    """
    _column(model).check(value, "")


def to_row(value: BaseModel) -> dict[str, Any]:
    """The row of one model, for Arrow, by column. Raises ValueError for a value that no column can hold."""
    row = _column(type(value)).store(value)
    assert isinstance(row, dict)
    return row


def to_table(model: type[BaseModel], values: Sequence[BaseModel]) -> pa.Table:
    """A table with the model's schema and one row a value."""
    store = _column(model).store
    return pa.Table.from_pylist([store(value) for value in values], schema=arrow_schema(model))


def from_row(model: type[Model], row: Mapping[str, Any]) -> Model:
    """The model for a row of `Table.to_pylist`. Unknown columns are ignored, missing ones are null."""
    names = (info.alias or name for name, info in model.model_fields.items())
    return model.model_validate({name: row.get(name) for name in names}, strict=False)


def to_json(value: BaseModel) -> str:
    """The text that `json_schema` describes: compact, in field order, decimals as numbers, digit by digit."""
    return json_text(to_row(value))


def json_text(value: Any) -> str:
    """A stored value as JSON: compact, in the order of its fields."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json_text(name)}:{json_text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(json_text, value)) + "]"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date):  # and datetime, which is one
        value = value.isoformat()
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def from_json_text(kind: pa.DataType, text: str) -> Any:
    """The stored value of a type whose `json_text` this is; of a struct, fields that the text lacks are left
    out."""
    return _typed(kind, json.loads(text, parse_float=Decimal))


def _typed(kind: pa.DataType, value: Any) -> Any:
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {name: _typed(kind.field(name).type, item) for name, item in value.items()}
    if pa.types.is_list(kind):
        return [_typed(kind.value_type, item) for item in value]
    if pa.types.is_timestamp(kind):
        return datetime.fromisoformat(value)
    if pa.types.is_date(kind):
        return date.fromisoformat(value)
    if pa.types.is_decimal(kind):
        return Decimal(value)
    return float(value) if pa.types.is_floating(kind) else value
