"""JSON text in; its value, and the place of each leaf in the text, out.

Strict: refused is whatever RFC 8259 does not allow, and also a name that comes twice in an object, half a
surrogate pair (no table can hold it), a number of more digits or a larger exponent than float64 has, and
nesting deeper than 64. Numbers with a point or an exponent become Decimals, digit by digit.
"""

import json
import math
import re
from decimal import Decimal
from typing import Any, NamedTuple

MAX_DEPTH = 64
SPACE = re.compile(r"[ \t\n\r]*")
STRING = re.compile(r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"')
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?(?:[eE][+-]?([0-9]+))?")
WORD = re.compile(r"true|false|null")
WORDS = {"true": True, "false": False, "null": None}
SURROGATE = re.compile("[\ud800-\udfff]")
MAX_DIGITS = 400  # float64 ends before; Python itself refuses integers of 4,301
MAX_EXPONENT_DIGITS = 3


class Leaf(NamedTuple):
    """A value without values in it (an empty object or list is one), text[start:end], quotes included."""

    path: str  # items[0].amount; "" for the whole
    start: int
    end: int


class InvalidJson(ValueError):
    """The text is not JSON; the message says why and at which character."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(f"{what} at character {at}")


def parse(text: str, start: int = 0, end: int | None = None) -> tuple[Any, list[Leaf]]:
    """The value that text[start:end] holds and its leaves in order, placed in `text`. Raises InvalidJson.

    Example: '{"a": [1, "x"]}' gives {"a": [1, "x"]} and ("a[0]", 7, 8), ("a[1]", 10, 13).
    """
    end = len(text) if end is None else end
    parser = _Parser(text, end)
    value, at = parser.value(parser.space(start), "", 0)
    if (at := parser.space(at)) != end:
        raise InvalidJson("text after the end of the value", at)
    return value, parser.leaves


class _Parser:
    """Each method reads one thing at `at` and returns it with the place after it."""

    def __init__(self, text: str, end: int) -> None:
        self.text = text
        self.end = end
        self.leaves: list[Leaf] = []

    def value(self, at: int, path: str, depth: int) -> tuple[Any, int]:
        if depth > MAX_DEPTH:
            raise InvalidJson(f"nesting deeper than {MAX_DEPTH}", at)
        found: Any
        match self.text[at : min(at + 1, self.end)]:
            case "{":
                found, after = self.object(at, path, depth)
            case "[":
                found, after = self.list(at, path, depth)
            case '"':
                found, after = self.string(at)
            case "t" | "f" | "n":
                match_ = self.match(WORD, at, "an unknown word")
                found, after = WORDS[match_.group()], match_.end()
            case _:
                found, after = self.number(at)
        if not isinstance(found, dict | list) or not found:
            self.leaves.append(Leaf(path, at, after))
        return found, after

    def object(self, at: int, path: str, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = self.space(at + 1)
        if self.text.startswith("}", at, self.end):
            return found, at + 1
        while True:
            name, after = self.string(at)
            if name in found:
                raise InvalidJson(f"{name!r} for the second time", at)
            at = self.space(self.expect(":", self.space(after)))
            found[name], at = self.value(at, f"{path}.{name}" if path else name, depth + 1)
            at = self.space(at)
            if self.text.startswith("}", at, self.end):
                return found, at + 1
            at = self.space(self.expect(",", at))

    def list(self, at: int, path: str, depth: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        at = self.space(at + 1)
        if self.text.startswith("]", at, self.end):
            return found, at + 1
        while True:
            item, at = self.value(at, f"{path}[{len(found)}]", depth + 1)
            found.append(item)
            at = self.space(at)
            if self.text.startswith("]", at, self.end):
                return found, at + 1
            at = self.space(self.expect(",", at))

    def string(self, at: int) -> tuple[str, int]:
        match = self.match(STRING, at, "no string" if at < self.end else "the end")
        found: str = json.loads(match.group())
        if SURROGATE.search(found):
            raise InvalidJson("half a surrogate pair", at)
        return found, match.end()

    def number(self, at: int) -> tuple[int | Decimal, int]:
        match = self.match(NUMBER, at, "no value" if at < self.end else "the end")
        number, point, exponent = match.group(0, 1, 2)
        if len(number) > MAX_DIGITS or len(exponent or "") > MAX_EXPONENT_DIGITS or math.isinf(float(number)):
            raise InvalidJson("a number beyond float64", at)
        return Decimal(number) if point or exponent else int(number), match.end()

    def space(self, at: int) -> int:
        match = SPACE.match(self.text, at, self.end)
        assert match is not None
        return match.end()

    def expect(self, sign: str, at: int) -> int:
        if not self.text.startswith(sign, at, self.end):
            raise InvalidJson(f"no {sign!r}" if at < self.end else "the end", at)
        return at + 1

    def match(self, pattern: re.Pattern[str], at: int, otherwise: str) -> re.Match[str]:
        match = pattern.match(self.text, at, self.end)
        if match is None:
            raise InvalidJson(otherwise, at)
        return match
