"""The answers of a document's windows in; one answer of the document, with where each value was read, out.

The windows come in the order of their pages, as plain values in the target's Arrow type: no code of the
target's runs here. Value by value:

- Of a scalar, windows that have none do not count. Where the others differ, the surest one is taken, of
  equally sure ones the first, and each other value is a conflict.
- Lists are joined in the order of the pages. A window that ends with what the next one begins with has shown
  it twice: the shortest such part is kept once, so that as little as possible is taken for a repetition.
  Equal items within a window stay, and across a page that nobody has seen.
- A struct is merged field by field.

Example: windows with {"total": 8 (0.9), "items": [a, b]} and {"total": 9 (0.6), "items": [b, b, c]} give
{"total": 8, "items": [a, b, b, c]} and the conflict total: 9.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from schemas.arrow import json_text

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class WindowAnswer:
    """What one window says."""

    first: int
    last: int
    answer: Mapping[str, Any]
    """By field; those that it lacks are null."""
    fields: Mapping[str, Row]
    """By path: `schemas.rows.FieldConfidence`, as stored."""
    missing: frozenset[int] = frozenset()
    """Its pages that nobody has seen."""

    def place(self, path: str) -> Row:
        """Confidence of a value of this window, and where it stands; of one that has none, it is 0."""
        known = self.fields.get(path, {"confidence": 0.0})
        seen = set(range(self.first, self.last + 1)) - self.missing
        page = known.get("page") or (min(seen) if len(seen) == 1 else None)
        box = known.get("box")
        pages = {"page_first": self.first, "page_last": self.last}
        return {"confidence": known["confidence"], "page": page, "box": box} | pages


@dataclass(frozen=True, kw_only=True)
class MergedAnswer:
    """The answer of a document."""

    answer: Row
    fields: list[Row] = field(default_factory=list)
    """`schemas.rows.MergedField`, in the order of the answer."""
    conflicts: list[Row] = field(default_factory=list)
    """`schemas.rows.Conflict`."""


def merge(kind: pa.StructType, windows: Sequence[WindowAnswer]) -> MergedAnswer:
    """The answer in the type of a target, of its windows in the order of their pages."""
    found = MergedAnswer(answer={})
    found.answer.update(_struct(kind, [(window, window.answer) for window in windows], "", found))
    return found


_Said = list[tuple[WindowAnswer, Any]]  # what each window has at a path


def _value(kind: pa.DataType, said: _Said, path: str, into: MergedAnswer) -> Any:
    there = [(window, value) for window, value in said if value is not None]
    if not there:
        surest = max((window for window, _ in said if path in window.fields), key=_by(path), default=None)
        _note(into, path, surest, path)
        return None
    if pa.types.is_struct(kind):
        return _struct(kind, there, path, into)
    return _list(there, path, into) if pa.types.is_list(kind) else _scalar(there, path, into)


def _struct(kind: pa.StructType, said: _Said, path: str, into: MergedAnswer) -> Row:
    return {
        part.name: _value(
            part.type,
            [(window, value.get(part.name)) for window, value in said],
            f"{path}.{part.name}" if path else part.name,
            into,
        )
        for part in kind
    }


def _scalar(said: _Said, path: str, into: MergedAnswer) -> Any:
    taken, value = max(said, key=lambda one: _by(path)(one[0]))
    _note(into, path, taken, path)
    others: dict[str, tuple[WindowAnswer, Any]] = {}
    for window, other in said:
        text = json_text(other)
        if other != value and (text not in others or _by(path)(window) > _by(path)(others[text][0])):
            others[text] = (window, other)
    into.conflicts.extend(
        {"path": path, "answer": text} | window.place(path) for text, (window, _) in others.items()
    )
    return value


def _list(said: _Said, path: str, into: MergedAnswer) -> list[Any]:
    joined: list[Any] = []
    before: tuple[WindowAnswer, list[Any]] | None = None
    for window, items in said:
        repeated = _repeated(before[1], items) if before and _meet(before[0], window) else 0
        places = _places(window, path)
        for number in range(repeated, len(items)):
            for inner in places.get(number, ()):
                _note(into, f"{path}[{len(joined)}]{inner}", window, f"{path}[{number}]{inner}")
            joined.append(items[number])
        before = window, items
    if not joined:
        _note(into, path, max((window for window, _ in said), key=_by(path)), path)
    return joined


def _places(window: WindowAnswer, path: str) -> dict[int, list[str]]:
    """The paths within each item of a window's list. Example: items[3].amount is 3: [".amount"]."""
    found: dict[int, list[str]] = {}
    for name in window.fields:
        if name.startswith(f"{path}["):
            number, _, inner = name[len(path) + 1 :].partition("]")
            found.setdefault(int(number), []).append(inner)
    return found


def _meet(before: WindowAnswer, after: WindowAnswer) -> bool:
    """Whether the last page of one and the first of the other follow on each other, and were seen."""
    follows = before.last + 1 == after.first
    return follows and before.last not in before.missing and after.first not in after.missing


def _repeated(before: Sequence[Any], after: Sequence[Any]) -> int:
    """How many of the first items are the last ones of the window before."""
    longest = min(len(before), len(after))
    return next((count for count in range(1, longest + 1) if before[-count:] == after[:count]), 0)


def _by(path: str) -> Any:
    """How sure a window is of its value, to compare by."""
    return lambda window: window.fields.get(path, {"confidence": 0.0})["confidence"]


def _note(into: MergedAnswer, path: str, window: WindowAnswer | None, there: str) -> None:
    """Where a value was read, unless that is not known: validators may add values."""
    if window is not None and there in window.fields:
        into.fields.append({"path": path} | window.place(there))
