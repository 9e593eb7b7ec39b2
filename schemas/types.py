"""The table of types: for each Python type its Arrow type, its JSON schema, and the values that both hold.

No type catches all: a type that is neither in this table nor built in `columns`, as a list, a choice or a
model, is refused. The Arrow types are those that Delta Lake has too: no unsigned integers, no time zone but
UTC.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import Any

import pyarrow as pa
from pydantic import AwareDatetime

Json = dict[str, Any]
Constraints = Mapping[str, Any]  # the arguments of Field(...): "max_digits" -> 12, "ge" -> 0

INT64 = 2**63
MAX_DECIMAL_DIGITS = 38  # of a decimal128
EXACT = Context(prec=MAX_DECIMAL_DIGITS, traps=[Inexact, InvalidOperation])

KEYWORDS = {
    "number": {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"},
    "string": {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"},
    "array": {"min_length": "minItems", "max_length": "maxItems"},
}
CONSTRAINTS = {"max_digits", "decimal_places"}.union(*KEYWORDS.values())


@dataclass(frozen=True, kw_only=True)
class Scalar:
    """One row of the table. `store` turns a validated value into one for Arrow, or raises ValueError."""

    arrow: Callable[[Constraints], pa.DataType]
    json: Callable[[Constraints], Json]
    json_types: tuple[type, ...]  # of its values when JSON is parsed with fractions as Decimal
    store: Callable[[Any, Constraints], object]


def _same(value: Any, _: Constraints) -> object:
    return value


def _store_int(value: int, _: Constraints) -> int:
    if not -INT64 <= value < INT64:
        raise ValueError(f"{value} does not fit in 64 bits; a field of type Decimal or str could hold it")
    return value


def _store_float(value: float, _: Constraints) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number, and JSON has no other")
    return value


def _store_datetime(value: datetime, _: Constraints) -> datetime:
    if value.utcoffset() is None:
        text = value.isoformat()
        raise ValueError(f"{text} has no time zone, and columns hold UTC; it needs one, as in {text}Z")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value.isoformat()} is outside the years 1 to 9999 in UTC") from error


def _store_decimal(value: Decimal, constraints: Constraints) -> Decimal:
    """The same number with an exponent from -decimal_places to 0, for Arrow chokes on 0E+30. 1E+2 -> 100."""
    digits, places = constraints["max_digits"], constraints["decimal_places"]
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int):  # else it is "n", "N" or "F": not a number, or infinite
        try:
            plain = value.quantize(Decimal(1).scaleb(min(0, max(-places, exponent))), context=EXACT)
        except DecimalException:
            plain = None
        # Not abs(), which rounds to the 28 digits of Python's own context: 38 nines would become 10 ** 38.
        if plain is not None and plain.copy_abs() < 10 ** (digits - places):
            return plain
    raise ValueError(f"{value} does not fit in {digits} digits, {places} of them decimal places")


def _decimal_type(constraints: Constraints) -> pa.DataType:
    digits, places = constraints.get("max_digits"), constraints.get("decimal_places")
    if digits is None or places is None or not 0 <= places <= digits <= MAX_DECIMAL_DIGITS or digits == 0:
        raise ValueError(
            f"with max_digits={digits} and decimal_places={places}; a Decimal needs both, as in "
            f"Field(max_digits=12, decimal_places=2), with at most {MAX_DECIMAL_DIGITS} digits"
        )
    return pa.decimal128(digits, places)


def _decimal_json(constraints: Constraints) -> Json:
    # multipleOf 0.01 would be the standard keyword, but validators compute it in binary and refuse 0.07.
    whole, places = (
        10 ** (constraints["max_digits"] - constraints["decimal_places"]),
        constraints["decimal_places"],
    )
    given = keywords("number", constraints)
    bounds = {
        "exclusiveMinimum": max(-whole, given.get("exclusiveMinimum", -whole)),
        "exclusiveMaximum": min(whole, given.get("exclusiveMaximum", whole)),
    }
    return {"type": "number"} | given | bounds | {"x-decimal-places": places}


def _int_json(constraints: Constraints) -> Json:
    given = keywords("number", constraints)
    bounds = {
        "minimum": max(-INT64, given.get("minimum", -INT64)),
        "maximum": min(INT64 - 1, given.get("maximum", INT64 - 1)),
    }
    return {"type": "integer"} | given | bounds


def keywords(kind: str, constraints: Constraints) -> Json:
    """Constraints in JSON Schema's words; those without one are left to the model's own validation."""
    found = {word: constraints[name] for name, word in KEYWORDS[kind].items() if name in constraints}
    return {word: _plain(value) for word, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return getattr(value, "pattern", value)  # a compiled regular expression goes by its text


_DATETIME = Scalar(
    arrow=lambda _: pa.timestamp("us", tz="UTC"),
    json=lambda _: {"type": "string", "format": "date-time"},
    json_types=(str,),
    store=_store_datetime,
)
SCALARS: Mapping[Any, Scalar] = {
    str: Scalar(
        arrow=lambda _: pa.string(),
        json=lambda constraints: {"type": "string"} | keywords("string", constraints),
        json_types=(str,),
        store=_same,
    ),
    int: Scalar(
        arrow=lambda _: pa.int64(),
        json=_int_json,
        json_types=(int,),
        store=_store_int,
    ),
    float: Scalar(
        arrow=lambda _: pa.float64(),
        json=lambda constraints: {"type": "number"} | keywords("number", constraints),
        json_types=(int, Decimal),
        store=_store_float,
    ),
    bool: Scalar(
        arrow=lambda _: pa.bool_(),
        json=lambda _: {"type": "boolean"},
        json_types=(bool,),
        store=_same,
    ),
    date: Scalar(
        arrow=lambda _: pa.date32(),
        json=lambda _: {"type": "string", "format": "date"},
        json_types=(str,),
        store=_same,
    ),
    datetime: _DATETIME,
    AwareDatetime: _DATETIME,
    Decimal: Scalar(
        arrow=_decimal_type,
        json=_decimal_json,
        json_types=(int, Decimal),
        store=_store_decimal,
    ),
}
