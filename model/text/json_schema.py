"""Translates a JSON schema into a grammar for llguidance, in Lark's notation with JSON inside.

The grammar allows the text that `json.dumps(value, ensure_ascii=False)` writes: one line, ", " and ": "
between values, all fields in the schema's order, characters as they are. It is narrower than the schema where
the answers must be read back: dates are days of the calendar, date-times have a time zone, decimals have no
exponent and no more digits than declared, and no text holds a control character that JSON would write as
\\u0001.

llguidance can read JSON schemas itself, but it is not used for that. It computes bounds in float64, and so it
refuses bounds of 64-bit integers and of 38-digit decimals; it has no numbers of at most two decimal places,
and it allows 2023-02-29. All keywords that are not named here are refused: a grammar that leaves out a
condition would allow wrong answers.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from model.text.regexes import DATE, DATE_TIME, EDGE_DAYS, number

Json = Mapping[str, Any]

BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
KEYWORDS = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"enum", "format", "pattern", "minLength", "maxLength"},
    "integer": BOUNDS,
    "number": BOUNDS | {"x-decimal-places"},
    "boolean": set(),
    "null": set(),
}
DIGITS = 21  # before and after the point, if the schema sets no bound: 0.00012345678901234567 is a float64
EXPONENT = "(?:e[+-]?[0-9]{1,2})?"
# Otherwise, if only one text can follow, llguidance allows only its own tokenization of that text.
OPTIONS = '%llguidance {"no_forcing": true}'
QUOTE = r'"\""'  # '"' as Lark writes it
CHARACTER = r'CHAR: /[^"\\\x00-\x1f]/ | /\\["\\bfnrt]/'
ESCAPES = 'nrbtf\\"'  # the same, in llguidance's own strings
# The classes as pydantic reads them in a pattern; llguidance would take them as ASCII only.
CLASSES = {
    "d": r"\p{Nd}",
    "D": r"\P{Nd}",
    "w": r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]",
    "W": r"[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]",
}


def to_lark(schema: Json) -> str:
    """The grammar of the values of a schema. ValueError names a field for which there is none."""
    writer = _Writer()
    start = writer.value(schema, "")
    return "\n".join([OPTIONS, f"start: {start}", *writer.lines, CHARACTER])


def patterns(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """The texts with a pattern in a schema, each with its path, as in the errors of `to_lark`."""
    if "pattern" in schema:
        yield path, schema
    for option in schema.get("anyOf", ()):
        yield from patterns(option, path)
    for name, field in schema.get("properties", {}).items():
        yield from patterns(field, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from patterns(schema["items"], f"{path}[]")


class _Writer:
    """Each method returns an expression for the values of a schema. Expressions with names become `lines`."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    @property
    def lines(self) -> list[str]:
        return [f"{name}: {body}" for body, name in self._names.items()]

    def value(self, schema: Json, path: str) -> str:
        schema = {key: value for key, value in schema.items() if key != "description"}
        if list(schema) == ["anyOf"]:
            return f"({' | '.join(self.value(option, path) for option in schema['anyOf'])})"
        kind = schema.pop("type", None)
        if not isinstance(kind, str) or kind not in KEYWORDS:
            raise _refused(path, f"the type {kind!r} of its JSON schema cannot be decoded")
        if unknown := sorted(set(schema) - KEYWORDS[kind]):
            raise _refused(path, f"the keywords {unknown} of its JSON schema cannot be decoded")
        match kind:
            case "object":
                return self.object(schema, path)
            case "array":
                return self.array(schema, path)
            case "string":
                return self.string(schema, path)
            case "boolean":
                return '("true" | "false")'
            case "null":
                return '"null"'
        return self.number(schema, path, places=0 if kind == "integer" else schema.get("x-decimal-places"))

    def object(self, schema: Json, path: str) -> str:
        if not schema:
            return self.any_object()
        fields: Json = schema["properties"]
        if set(schema.get("required", [])) != set(fields) or schema.get("additionalProperties") is not False:
            raise _refused(path, "an object has to require all of its properties and allow no others")
        parts, before = [], "{"
        for name, field in fields.items():
            parts.append(_literal(f"{before}{_json(name)}: "))
            parts.append(self.value(field, f"{path}.{name}" if path else name))
            before = ", "
        return self._rule(" ".join([*parts, _literal("}" if parts else "{}")]))

    def any_object(self) -> str:
        """An object of any properties: {"type": "object"} and no more."""
        text, number = self.string({}, ""), self.number({}, "", places=None)
        simple = f'{text} | {number} | "true" | "false" | "null"'
        self._names |= {
            f'"{{" ({text} ": " any_value (", " {text} ": " any_value)*)? "}}"': "any_object",
            '"[" (any_value (", " any_value)*)? "]"': "any_list",
            f"any_object | any_list | {simple}": "any_value",
        }
        return "any_object"

    def array(self, schema: Json, path: str) -> str:
        item = self.value(schema["items"], f"{path}[]")
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most is not None and least > most:
            raise _refused(path, f"no list has {least} to {most} items")
        if most == 0:
            return '"[]"'
        more = f"{{{max(0, least - 1)},{'' if most is None else most - 1}}}"
        items = item if most == 1 else f'{item} (", " {item}){more}'
        return self._rule(f'"[" {items} "]"' if least else f'"[" ({items})? "]"')

    def string(self, schema: Json, path: str) -> str:
        if len(schema) > 1 and not schema.keys() <= {"pattern", "minLength", "maxLength"}:
            raise _refused(path, f"the keywords {sorted(schema)} cannot be decoded together")
        if "enum" in schema:
            if not schema["enum"]:
                raise _refused(path, "its enum is empty")
            return self._terminal(" | ".join(_literal(_json(choice)) for choice in schema["enum"]))
        match schema.get("format"):
            case "date":
                return self._terminal(f'/"{DATE}"/')
            case "date-time":
                return self._terminal(f'/"{DATE_TIME}"/ & ~/"{EDGE_DAYS}.*/')
            case str(other):
                raise _refused(path, f"the format {other!r} cannot be decoded")
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if most is not None and least > most:
            raise _refused(path, f"no text has {least} to {most} characters")
        if "pattern" not in schema:
            if most == 0:
                return _literal('""')
            times = f"{{{least},{'' if most is None else most}}}" if least or most is not None else "*"
            return self._terminal(f"{QUOTE} CHAR{times} {QUOTE}")
        pattern = re.sub(r"\\(.)", lambda m: CLASSES.get(m[1], m[0]), schema["pattern"], flags=re.DOTALL)
        inner = {"type": "string", **schema, "pattern": pattern}
        return self._rule(f"%json {_json(inner | {'x-guidance': {'json_allowed_escapes': ESCAPES}})}")

    def number(self, schema: Json, path: str, *, places: int | None) -> str:
        """A number of at most `places` decimals; None: a float, with an exponent if it has no bounds."""
        bounds = {word: value for word, value in schema.items() if word in BOUNDS}
        exact = DIGITS if places is None else places
        low, high = _limits(bounds, exact, is_float=places is None)
        if low > high:
            raise _refused(path, f"no number is within its bounds, {bounds}")
        return self._terminal(
            f"/{number(low, high, exact)}{'' if bounds or places is not None else EXPONENT}/"
        )

    def _rule(self, body: str) -> str:
        return self._names.setdefault(body, f"rule_{len(self._names)}")

    def _terminal(self, body: str) -> str:
        return self._names.setdefault(body, f"TERMINAL_{len(self._names)}")


def _limits(bounds: Json, places: int, *, is_float: bool) -> tuple[int, int]:
    """The lowest and the highest number within the bounds, in units of the last decimal.

    For floats, an exclusive bound is replaced by the next float: text nearer to it would be read as the
    bound.
    """
    unit = 10**places
    lows, highs = [], []
    for word, bound in bounds.items():
        match word:
            case "minimum":
                lows.append(math.ceil(Fraction(bound) * unit))
            case "maximum":
                highs.append(math.floor(Fraction(bound) * unit))
            case "exclusiveMinimum" if is_float:
                lows.append(math.ceil(Fraction(math.nextafter(bound, math.inf)) * unit))
            case "exclusiveMaximum" if is_float:
                highs.append(math.floor(Fraction(math.nextafter(bound, -math.inf)) * unit))
            case "exclusiveMinimum":
                lows.append(math.floor(Fraction(bound) * unit) + 1)
            case "exclusiveMaximum":
                highs.append(math.ceil(Fraction(bound) * unit) - 1)
    digits = max(DIGITS + places, *(len(str(abs(bound))) for bound in [*lows, *highs]), 0)
    return max(lows, default=1 - 10**digits), min(highs, default=10**digits - 1)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _literal(text: str) -> str:
    return _json(text).replace("\x7f", r"\u007f")  # as in JSON, but Lark has to escape this one


def _refused(path: str, why: str) -> ValueError:
    return ValueError(f"field {path!r}: {why}" if path else f"the target: {why}")
