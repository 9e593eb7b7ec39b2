"""What the keywords of a JSON schema say of one value, as `Facts`, and what two schemas together say of it.

Each keyword is read here and checked for its form; references and combinations (`$ref`, `allOf`, `anyOf`,
`oneOf`) are put together in `json_schema_union`. A keyword that is a condition which neither a column nor the
decoding can keep is refused with its place. Those that are no conditions, and unknown ones, say nothing here,
but for title and description.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from schemas.json_schema_refs import Node, refused

TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")
ONE_BY_ONE = "leave it out, and check the answers for it afterwards"
NAMES = "name the properties, or make it a list of objects with a name and a value"
REFUSED = {
    "not": ONE_BY_ONE,
    "if": ONE_BY_ONE,
    "dependencies": ONE_BY_ONE,
    "dependentRequired": ONE_BY_ONE,
    "dependentSchemas": ONE_BY_ONE,
    "propertyNames": ONE_BY_ONE,
    "minProperties": "name in `required` the properties that have to be there",
    "maxProperties": ONE_BY_ONE,
    "contains": ONE_BY_ONE,
    "patternProperties": NAMES,
    "prefixItems": "give all items one schema, or make them the properties of an object",
    "$dynamicRef": "use $ref",
    "$recursiveRef": "use $ref",
    "extends": "use allOf",
    "disallow": ONE_BY_ONE,
    "divisibleBy": "use multipleOf",
}
HARMLESS: dict[str, Any] = {  # values with which they say nothing
    "dependencies": {},
    "dependentRequired": {},
    "dependentSchemas": {},
    "patternProperties": {},
    "propertyNames": {},
    "minProperties": 0,
    "prefixItems": [],
}


class Contradiction(ValueError):
    """No value fits: of the branches of anyOf, such a one is left out."""


def nothing(pointer: str, why: str) -> Contradiction:
    """The error for a place in the schema that no value fits."""
    return Contradiction(f"{pointer}: {why}")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a value. None: nothing is said. Equal ones say the same, in whatever words."""

    pointer: str = field(compare=False)
    types: frozenset[str] | None = None
    values: tuple[Any, ...] | None = None  # of enum and const
    ge: Decimal | None = None
    gt: Decimal | None = None
    le: Decimal | None = None
    lt: Decimal | None = None
    step: Fraction | None = None  # multipleOf
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    format: str | None = None
    properties: Mapping[str, tuple[Node, ...]] | None = None
    required: frozenset[str] = frozenset()
    closed: frozenset[str] | None = None  # the only properties that there may be
    items: tuple[Node, ...] | None = None
    min_items: int | None = None
    max_items: int | None = None
    unique: bool | None = None
    title: str | None = field(default=None, compare=False)
    description: str | None = field(default=None, compare=False)
    choices: tuple[str, ...] = field(default=(), compare=False)  # what is said of single values of enum


def is_number(value: object) -> bool:
    """As JSON has them: true is none."""
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def json_type(value: object) -> str:
    """The name of the narrowest type of parsed JSON."""
    if is_number(value):
        return "integer" if value == math.floor(value) else "number"  # type: ignore[call-overload]  # a number
    names = {bool: "boolean", str: "string", dict: "object", list: "array", type(None): "null"}
    return names[type(value)]


def same(one: object, other: object) -> bool:
    """Equality of JSON: 1 is 1.0, and true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _is_count(value: object) -> bool:
    return json_type(value) == "integer" and value >= 0  # type: ignore[operator]  # a number


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


Shape = tuple[str, Callable[[Any], bool]]
COUNT: Shape = ("a whole number from 0", _is_count)
NUMBER: Shape = ("a number", is_number)
TEXT: Shape = ("a string", lambda value: isinstance(value, str))
SCHEMAS: Shape = ("a list of schemas", lambda value: isinstance(value, list) and len(value) > 0)
SHAPES: dict[str, Shape] = {
    "$ref": TEXT,
    "allOf": SCHEMAS,
    "anyOf": SCHEMAS,
    "oneOf": SCHEMAS,
    "type": (
        f"one of {', '.join(TYPES)}, or a list of them",
        lambda value: value in TYPES if isinstance(value, str) else _is_texts(value) and {*value} <= {*TYPES},
    ),
    "enum": ("a list of values", lambda value: isinstance(value, list) and len(value) > 0),
    "minimum": NUMBER,
    "maximum": NUMBER,
    "exclusiveMinimum": ("a number", lambda value: is_number(value) or isinstance(value, bool)),
    "exclusiveMaximum": ("a number", lambda value: is_number(value) or isinstance(value, bool)),
    "multipleOf": ("a number above 0", lambda value: is_number(value) and value > 0),
    "minLength": COUNT,
    "maxLength": COUNT,
    "minItems": COUNT,
    "maxItems": COUNT,
    "uniqueItems": ("true or false", lambda value: isinstance(value, bool)),
    "pattern": TEXT,
    "format": TEXT,
    "properties": ("an object of schemas by their names", lambda value: isinstance(value, dict)),
    "required": ("a list of names, in the schema of the object", _is_texts),
    "title": TEXT,
    "description": TEXT,
}


def own_facts(node: Node) -> Facts:
    """What the schema's own keywords say, without its references and combinations. Raises ValueError."""
    at = node.pointer
    if node.schema is False:
        raise nothing(at, "false allows no value; leave the property out")
    schema: dict[str, Any] = {} if node.schema is True else node.schema
    if not isinstance(schema, dict):
        raise refused(at, f"a schema is an object or true, not {str(schema)[:40]}")
    for keyword, value in schema.items():
        if keyword in SHAPES and not SHAPES[keyword][1](value):
            raise refused(f"{at}/{keyword}", f"it has to be {SHAPES[keyword][0]}, not {str(value)[:60]}")
        if keyword in REFUSED and not (keyword in HARMLESS and same(value, HARMLESS[keyword])):
            raise refused(f"{at}/{keyword}", f"neither a column nor decoding keeps it; {REFUSED[keyword]}")
    properties = schema.get("properties")
    ge, gt = _bounds(schema, "minimum", "exclusiveMinimum")
    le, lt = _bounds(schema, "maximum", "exclusiveMaximum")
    names = schema.get("type")
    return Facts(
        pointer=at,
        types=None if names is None else frozenset([names] if isinstance(names, str) else names),
        values=(schema["const"],) if "const" in schema else _values(schema.get("enum")),
        ge=ge,
        gt=gt,
        le=le,
        lt=lt,
        step=Fraction(schema["multipleOf"]) if "multipleOf" in schema else None,
        min_length=_count(schema, "minLength"),
        max_length=_count(schema, "maxLength"),
        pattern=schema.get("pattern"),
        format=schema.get("format"),
        properties=properties and {name: (node.child("properties", name),) for name in properties},
        required=frozenset(schema.get("required", ())),
        closed=_closed(node, schema),
        items=_items(node, schema),
        min_items=_count(schema, "minItems"),
        max_items=_count(schema, "maxItems"),
        unique=schema.get("uniqueItems") or None,
        title=schema.get("title"),
        description=schema.get("description"),
    )


def _values(values: list[Any] | None) -> tuple[Any, ...] | None:
    if values is None:
        return None
    return tuple(value for i, value in enumerate(values) if not any(same(value, v) for v in values[:i]))


def _count(schema: dict[str, Any], keyword: str) -> int | None:
    return int(schema[keyword]) if keyword in schema else None


def _bounds(schema: dict[str, Any], keyword: str, exclusive: str) -> tuple[Decimal | None, Decimal | None]:
    """The inclusive bound and the exclusive one. In draft 4, the second word only changes the first's."""
    inner, outer = schema.get(keyword), schema.get(exclusive)
    if isinstance(outer, bool):
        inner, outer = (None, inner) if outer else (inner, None)
    return None if inner is None else Decimal(inner), None if outer is None else Decimal(outer)


def _closed(node: Node, schema: dict[str, Any]) -> frozenset[str] | None:
    more = schema.get("additionalProperties")
    if more is False:
        return frozenset(schema.get("properties", ()))
    if more not in (None, True, {}):
        raise refused(
            f"{node.pointer}/additionalProperties",
            f"properties of any name fit no column; {NAMES}",
        )
    return None


def _items(node: Node, schema: dict[str, Any]) -> tuple[Node, ...] | None:
    if isinstance(schema.get("items"), list):
        raise refused(f"{node.pointer}/items", f"items of several schemas; {REFUSED['prefixItems']}")
    return (node.child("items"),) if "items" in schema else None


def both(first: Facts, second: Facts) -> Facts:
    """What is known of a value that fits both. Raises `Contradiction` if there is none."""
    at = second.pointer
    for name in ("pattern", "format"):
        one, other = getattr(first, name), getattr(second, name)
        if None not in (one, other) and one != other:
            raise refused(f"{at}/{name}", f"{other!r} and {one!r} together cannot be kept; leave one of them")
    merged: dict[str, Any] = {
        name: getattr(first, name) if getattr(second, name) is None else getattr(second, name)
        for name in (one.name for one in fields(Facts))
    }
    choose: dict[str, Callable[[Any, Any], Any]] = {
        "types": lambda a, b: _types(a, b, at),
        "values": lambda a, b: tuple(value for value in a if any(same(value, other) for other in b)),
        "step": lambda a, b: Fraction(
            math.lcm(a.numerator * b.denominator, b.numerator * a.denominator),
            a.denominator * b.denominator,
        ),
        "properties": lambda a, b: a | {name: (*a.get(name, ()), *nodes) for name, nodes in b.items()},
        "required": lambda a, b: a | b,
        "closed": lambda a, b: a & b,
        "items": lambda a, b: a + b,
        "choices": lambda a, b: a + b,
        "title": lambda a, _: a,  # the words nearer to the value
        "description": lambda a, _: a,
        **dict.fromkeys(("ge", "gt", "min_length", "min_items"), max),
        **dict.fromkeys(("le", "lt", "max_length", "max_items"), min),
    }
    for name, rule in choose.items():
        one, other = getattr(first, name), getattr(second, name)
        if None not in (one, other):
            merged[name] = rule(one, other)
    if merged["values"] == ():
        raise nothing(at, "the values allowed here and there have none in common")
    return replace(first, **merged | {"pointer": first.pointer})


def _types(first: frozenset[str], second: frozenset[str], at: str) -> frozenset[str]:
    found = first & second
    for one, other in ((first, second), (second, first)):
        if "integer" in one and "number" in other:
            found |= {"integer"}
    if not found:
        raise nothing(at, f"{'/'.join(sorted(first))} and {'/'.join(sorted(second))} exclude each other")
    return found
