"""The text of a JSON file that a person wrote in; its value, fractions as Decimals, or one sentence out.

Stricter than `json.loads`, for what comes after: refused are NaN and Infinity, numbers beyond float64, half a
surrogate pair (no table can hold it), a name that comes twice in an object (one of the two would be lost),
and nesting so deep that it would exhaust Python's stack.
"""

import json
import math
import re
from decimal import Decimal
from typing import Any, NoReturn

MAX_DEPTH = 200
MAX_DIGITS = 400  # float64 ends before; Python itself refuses integers of 4,301
EXPONENT = re.compile(r"[eE][+-]?[0-9]{4}")
SURROGATE = re.compile("[\ud800-\udfff]")
TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"


def read_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError; its message goes on where "the file" was said."""
    try:
        value = json.loads(
            text, parse_int=_whole, parse_float=_fraction, parse_constant=_constant, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    _check(value)
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"holds a number of more than {MAX_DIGITS} digits")
    return int(text)


def _fraction(text: str) -> Decimal:
    if len(text) > MAX_DIGITS or EXPONENT.search(text) or math.isinf(float(text)):
        raise ValueError(f"holds {text[:40]}, a number beyond float64")
    return Decimal(text)


def _constant(text: str) -> NoReturn:
    raise ValueError(f"is not JSON: it holds {text}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise ValueError(f"has the name {twice!r} twice in one object")
    return found


def _check(value: Any) -> None:
    """Goes through all values level by level, for their depth has no limit yet."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inside: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inside += [*one, *one.values()]
            elif isinstance(one, list):
                inside += one
            elif isinstance(one, str) and SURROGATE.search(one):
                raise ValueError(f"holds half a surrogate pair, in {one[:40]!r}")
        level = inside
    if level:
        raise ValueError(TOO_DEEP)
