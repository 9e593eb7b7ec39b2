"""DocuBench's score of a JSON that was extracted by a schema: the share of right leaves, arrays in any order.

In: the value, the JSON Schema, and the right value. Out: a score from 0.0 to 1.0. It is that of
DocuPipe/DocuBench 43fae2e, peculiarities included: an array is matched greedily, item by item; only arrays
that are reached through properties are scored; of two arrays under one property at the top the last counts.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]
Leaves = Mapping[str, Any]
_EMPTY: tuple[Any, ...] = (None, "", [], {})


def docubench(said: Any, schema: Schema, wanted: Any) -> float:
    """The score of a document; a benchmark's is the mean over documents.

    Raises ValueError if the schema names no field, or has an array where it cannot be scored.
    """
    said, wanted = _plain(_without_empty(said)), _plain(_without_empty(wanted))
    parts: dict[str, tuple[float, float]] = {}  # score and weight, by the property of the top level
    for path in _arrays(schema, ()):
        items, right = _items(said, path), _items(wanted, path)
        parts[path[0]] = array_score(items, right), max(len(items), len(right)) * _mean_leaves(right)
    found = list(parts.values())
    fields = _without_arrays(schema)
    if fields.get("properties"):
        correct, total = _count(said, wanted, fields)
        found.append((correct / total if total else 1.0, total))
    if not found:
        raise ValueError("its schema names no field")
    if not parts:
        return found[0][0]
    weight = sum(weight for _, weight in found)
    return sum(score * weight for score, weight in found) / weight if weight else 1.0


def array_score(items: Sequence[Any], right: Sequence[Any]) -> float:
    """Similarities of pairs of items, the best first, each item once; over the longer array's length."""
    if not items or not right:
        return float(not items and not right)
    leaves, wanted = ([dict(_leaves(one, "")) for one in side] for side in (items, right))
    pairs = [(_near(b, a), i, j) for i, a in enumerate(wanted) for j, b in enumerate(leaves)]
    pairs.sort(key=lambda pair: -pair[0])  # stable: of equal pairs the first
    total, of_right, of_items = 0.0, set[int](), set[int]()
    for score, i, j in pairs:
        if i not in of_right and j not in of_items:
            total += score
            of_right.add(i)
            of_items.add(j)
    return total / max(len(items), len(right))


def _near(a: Leaves, b: Leaves) -> float:
    """The share of equal leaves, of those that either item has."""
    names = [name for name in a.keys() | b.keys() if not (_is_empty(a.get(name)) and _is_empty(b.get(name)))]
    return sum(a.get(name) == b.get(name) for name in names) / len(names) if names else 1.0


def _leaves(item: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Of an item; an array within it is one leaf."""
    if not isinstance(item, dict):
        yield path or "_val", item
        return
    for name, value in item.items():
        below = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            yield from _leaves(value, below)
        else:
            yield below, json.dumps(value, sort_keys=True) if isinstance(value, list) else value


def _mean_leaves(items: Sequence[Any]) -> float:
    """The mean number of leaves of an item that are not empty, each at least 1."""
    counts = [max(1, sum(not _is_empty(value) for _, value in _leaves(item, ""))) for item in items]
    return sum(counts) / len(counts) if counts else 1.0


def _count(said: Any, wanted: Any, schema: Schema) -> tuple[int, int]:
    """Leaves of the schema that are right, and all that either side has."""
    if schema.get("type") == "object" and "properties" in schema:
        pairs = [
            _count(_get(said, name), _get(wanted, name), part) for name, part in schema["properties"].items()
        ]
        return sum(right for right, _ in pairs), sum(all for _, all in pairs)
    if _is_empty(said) and _is_empty(wanted):
        return 0, 0
    return int(said == wanted), 1


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _items(value: Any, path: Sequence[str]) -> list[Any]:
    for name in path:
        value = _get(value, name)
    return value if isinstance(value, list) else []


def _arrays(part: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The names of properties that lead to each array that stands in no other one."""
    if _is_array(part):
        if not path or any(name != "properties" for name in path[::2]):
            raise ValueError(f"its schema has an array at {'.'.join(path) or 'its top'}, which is not scored")
        yield path[1::2]
    elif isinstance(part, dict):
        for name, value in part.items():
            yield from _arrays(value, (*path, name))
    elif isinstance(part, list):
        for value in part:
            yield from _arrays(value, path)


def _without_arrays(part: Any) -> Any:
    """The schema without arrays, and without objects that have no other properties."""
    if _is_array(part):
        return {}
    if isinstance(part, dict):
        parts = ((name, _without_arrays(value)) for name, value in part.items())
        kept = {name: value for name, value in parts if value not in ({}, [], None)}
        return {} if "object" in _types(kept) and not kept.get("properties") else kept
    if isinstance(part, list):
        return [value for value in map(_without_arrays, part) if value not in ({}, [], None)] or {}
    return part


def _is_array(part: Any) -> bool:
    return isinstance(part, dict) and "array" in _types(part)


def _types(part: Schema) -> list[Any]:
    found = part.get("type")
    return found if isinstance(found, list) else [found]


def _is_empty(value: Any) -> bool:
    return value in _EMPTY


def _without_empty(value: Any) -> Any:
    """Without properties that are an empty text, list or object; null stays."""
    if isinstance(value, dict):
        inner = {name: _without_empty(one) for name, one in value.items()}
        return {name: one for name, one in inner.items() if one is None or one not in _EMPTY}
    return [_without_empty(one) for one in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """Numbers to six decimals, texts in lower case without anything but letters, digits and underscores."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, str):
        return re.sub(r"\W", "", re.sub(r"\s+", "", value).lower())
    return round(value, 6) if isinstance(value, float) else value
