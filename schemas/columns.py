"""An annotation of a pydantic model comes in, a `Column` goes out: a scalar of `types`, or one built of them.

Optional, list, Enum and Literal of strings, and nested models are taken apart here, down to the scalars.
Anything else is refused with the path of its field. A list's elements are called "element", as in Delta Lake.
"""

import math
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel, RootModel

from schemas.types import CONSTRAINTS, SCALARS, Constraints, Json, keywords

SUPPORTED = "str, int, float, bool, date, datetime, Decimal, Enum and Literal of str, Optional, list, models"


class UnsupportedType(ValueError):
    """A field that no column can hold. The message names its path and type, and the supported types."""


class Aliased(BaseModel):
    """The base of models made of a JSON schema: their columns go by the aliases of their fields.

    The names in a schema may be any text, those of pydantic's fields not: "_id", "copy", "model_config".
    """

    about: ClassVar[str | None] = None
    """What the schema says of the whole."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """The column that an annotation becomes. The JSON schemas are those of a value that is there.

    `check` takes parsed JSON and its path, `store` a validated value; both raise ValueError with the path.
    """

    arrow: pa.DataType
    json: Json
    open_json: Json  # as json, but with every field inside it nullable
    check: Callable[[Any, str], None]
    store: Callable[[Any], object]
    nullable: bool = False

    def json_of(self, *, nullable: bool) -> Json:
        """The JSON schema, null included where it is allowed: with `nullable`, in every field inside."""
        schema = self.open_json if nullable else self.json
        return {"anyOf": [schema, {"type": "null"}]} if self.nullable else schema


def column(
    annotation: Any, metadata: Sequence[Any] = (), *, path: str, parents: tuple[type, ...] = ()
) -> Column:
    """The column for an annotation and the metadata of its Field. Raises UnsupportedType, naming `path`."""
    bare, constraints, nullable = _unwrap(annotation, metadata)
    for name, bound in constraints.items():
        if isinstance(bound, float | Decimal) and not math.isfinite(bound):
            raise _unsupported(
                path, annotation, f"and the bound {name}={bound}; leave it out or make it finite"
            )
    if bare in SCALARS:
        found = _scalar(bare, constraints, path)
    elif get_origin(bare) is list:
        found = _list(bare, constraints, path, parents)
    elif get_origin(bare) is Literal:
        found = _choice(get_args(bare), bare, path)
    elif isinstance(bare, type) and issubclass(bare, Enum):
        found = _choice(tuple(member.value for member in bare), bare, path)
    elif isinstance(bare, type) and issubclass(bare, BaseModel):
        found = struct(bare, path=path, parents=parents)
    else:
        raise _unsupported(path, annotation)
    return Column(
        arrow=found.arrow,
        json=found.json,
        open_json=found.open_json,
        check=found.check,
        store=(lambda value: None if value is None else found.store(value)) if nullable else found.store,
        nullable=nullable,
    )


def struct(model: type[BaseModel], *, path: str = "", parents: tuple[type, ...] = ()) -> Column:
    """The column for a model: its fields in the order of their declaration."""
    if issubclass(model, RootModel) or not model.model_fields:
        raise _unsupported(path, model, "a model without named fields; it needs at least one")
    if model in parents:
        raise _unsupported(path, model, "a model that contains itself; the type of a column has to end")
    columns: dict[str, Column] = {}
    attributes: dict[str, str] = {}
    schemas, open_schemas = {}, {}
    for attribute, info in model.model_fields.items():
        aliased = issubclass(model, Aliased)
        name = info.alias if aliased and info.alias else attribute
        inner = f"{path}.{name}" if path else name
        if not aliased and (info.alias or info.validation_alias or info.serialization_alias):
            raise _unsupported(inner, info.annotation, "and an alias; columns go by the fields' own names")
        if name.casefold() in map(str.casefold, columns):
            raise _unsupported(inner, info.annotation, "and a name that another field has but for its case")
        found = column(info.annotation, info.metadata, path=inner, parents=(*parents, model))
        about = {"description": info.description} if info.description else {}
        columns[name], attributes[name] = found, attribute
        schemas[name] = found.json_of(nullable=False) | about
        open_schemas[name] = {"anyOf": [found.open_json, {"type": "null"}]} | about
    required = [name for name, at in attributes.items() if model.model_fields[at].is_required()]
    whole = {"description": model.about} if issubclass(model, Aliased) and model.about else {}

    def check(value: Any, at: str) -> None:
        _check_type(value, (dict,), "object", at=at)
        for name, c in columns.items():
            if value.get(name) is not None:
                c.check(value[name], f"{at}.{name}" if at else name)

    return Column(
        arrow=pa.struct([pa.field(name, c.arrow, nullable=c.nullable) for name, c in columns.items()]),
        json=_object(schemas, required) | whole,
        open_json=_object(open_schemas, list(columns)) | whole,
        check=check,
        store=lambda value: {name: c.store(getattr(value, attributes[name])) for name, c in columns.items()},
    )


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _unwrap(annotation: Any, metadata: Sequence[Any]) -> tuple[Any, dict[str, Any], bool]:
    """Takes Annotated, Optional and aliases off an annotation, in any order, and keeps their constraints."""
    constraints, nullable = _constraints(metadata), False
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            constraints = _constraints(more) | constraints
        elif get_origin(annotation) in (Union, types.UnionType):
            options = [option for option in get_args(annotation) if option is not type(None)]
            if len(options) != 1:
                return annotation, constraints, nullable
            annotation, nullable = options[0], True
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation, constraints, nullable


def _constraints(metadata: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in metadata:
        found |= _constraints(getattr(item, "metadata", ()))  # a FieldInfo inside Annotated holds its own
        values = {name: getattr(item, name, None) for name in CONSTRAINTS}
        found |= {name: value for name, value in values.items() if value is not None}
    return found


def _check_type(value: Any, allowed: tuple[type, ...], name: str, at: str) -> None:
    if type(value) not in allowed:  # not isinstance: True is no integer here
        raise ValueError(f"field {at!r}: {value!r} is not what JSON calls {name}")


def _scalar(bare: Any, constraints: Constraints, path: str) -> Column:
    scalar = SCALARS[bare]
    try:
        arrow = scalar.arrow(constraints)
    except ValueError as error:
        raise _unsupported(path, bare, str(error)) from None
    schema = scalar.json(constraints)

    def store(value: Any) -> object:
        try:
            return scalar.store(value, constraints)
        except ValueError as error:
            raise ValueError(f"field {path!r}: {error}") from error

    return Column(
        arrow=arrow,
        json=schema,
        open_json=schema,
        check=lambda value, at: _check_type(value, scalar.json_types, schema["type"], at),
        store=store,
    )


def _choice(choices: tuple[Any, ...], bare: Any, path: str) -> Column:
    if not choices or not all(type(choice) is str for choice in choices):
        raise _unsupported(path, bare, f"with the values {list(choices)}; they have to be strings")
    schema = {"type": "string", "enum": list(choices)}
    return Column(
        arrow=pa.string(),
        json=schema,
        open_json=schema,
        check=lambda value, at: _check_type(value, (str,), "string", at),
        store=lambda value: getattr(value, "value", value),
    )


def _list(bare: Any, constraints: Constraints, path: str, parents: tuple[type, ...]) -> Column:
    (inner,) = get_args(bare)
    element = column(inner, path=f"{path}[]", parents=parents)
    about = {"type": "array"} | keywords("array", constraints)

    def check(value: Any, at: str) -> None:
        _check_type(value, (list,), "array", at)
        for index, item in enumerate(value):
            if item is not None:
                element.check(item, f"{at}[{index}]")

    return Column(
        arrow=pa.list_(pa.field("element", element.arrow, nullable=element.nullable)),
        json=about | {"items": element.json_of(nullable=False)},
        open_json=about | {"items": element.json_of(nullable=True)},
        check=check,
        store=lambda value: [element.store(item) for item in value],
    )


def _unsupported(path: str, annotation: object, reason: str = "") -> UnsupportedType:
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    reason = reason or f"which is not supported; supported are {SUPPORTED}"
    where = f"field {path!r} has the type {name}," if path else f"{name} is"
    return UnsupportedType(f"{where} {reason}")
