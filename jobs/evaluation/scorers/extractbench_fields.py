"""What ExtractBench scores in an extraction: the values of its schema, each by the metric that this wants.

In: a JSON Schema with `evaluation_config` beside types, the right extraction and the model's. Out: a field
for each value and metric, in the schema's order. A list is one value. So is what may have several types
(anyOf); without a metric of its own, it is not scored. All as in the benchmark's repository (88bc6ac).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Schema = Mapping[str, Any]
MISSING: Final = object()
"""In the place of a value whose key is not there."""
JUDGED: Final = ("array_llm", "string_llm", "string_semantic")
"""The metrics by which another model scores, unless a side has no value."""
METRICS: Final = (
    "boolean_exact",
    "integer_exact",
    "number_exact",
    "number_tolerance",
    "string_case_insensitive",
    "string_exact",
    "string_fuzzy",
    *JUDGED,
)
_DEFAULTS: Final = {
    "string": "string_semantic",
    "integer": "integer_exact",
    "number": "number_tolerance",
    "boolean": "boolean_exact",
    "array": "array_llm",
}
_PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "string_fuzzy": {"threshold": 0.8},
    "number_tolerance": {"tolerance": 1e-3},
}
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
_OF_A_REFERENCE: Final = ("title", "description", "default", "examples", "example", "nullable")


class UnfitError(Exception):
    """The model's extraction is not of its schema: the benchmark scores none of it."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric by its name, with its parameters."""

    name: str
    params: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Field:
    """A value under one of its metrics."""

    path: str
    metric: Metric
    node: Schema
    root: Schema
    gold: Any
    said: Any

    @property
    def gold_is_absent(self) -> bool:
        """No key, null, or an empty list."""
        return _is_absent(self.gold, self.node)

    @property
    def said_is_absent(self) -> bool:
        """The same of the model's."""
        return _is_absent(self.said, self.node)

    @property
    def is_judged(self) -> bool:
        """Whether a judge is asked about it."""
        return self.metric.name in JUDGED and not self.gold_is_absent and not self.said_is_absent


def fields_of(schema: Schema, gold: Any, said: Any) -> list[Field]:
    """All fields. Raises UnfitError; and ValueError for a schema that is not understood, or a wrong gold."""
    return list(_fields(resolved(schema, schema), schema, gold, said, "$"))


def resolved(node: Schema, root: Schema) -> Schema:
    """A node without a reference and without a list of types. Raises ValueError."""
    if "$ref" in node:
        name = str(node["$ref"]).rpartition("/")[2]
        if name not in root.get("$defs", {}):
            raise ValueError(f"its schema has no {node['$ref']}")
        own = {key: node[key] for key in _OF_A_REFERENCE if node.get(key) is not None}
        return {**resolved(root["$defs"][name], root), **own}
    if isinstance(node.get("type"), list):
        rest = {key: value for key, value in node.items() if key != "type"}
        return rest | {"anyOf": [{"type": one} for one in node["type"]]}
    if "anyOf" not in node and node.get("type") not in _TYPES:
        raise ValueError(f"its schema has a part of the type {node.get('type')!r}")
    return node


def kind_of(node: Schema) -> str | None:
    """The type of a resolved node; None where there are several."""
    return None if "anyOf" in node else str(node["type"])


def children_of(node: Schema) -> list[Schema]:
    """The parts of a node, which may be references."""
    extra = node.get("additionalProperties")
    items = [node["items"]] if "items" in node else []
    return [
        *node.get("properties", {}).values(),
        *([extra] if isinstance(extra, Mapping) else []),
        *items,
        *node.get("anyOf", ()),
    ]


def metrics_of(node: Schema) -> list[Metric]:
    """The metrics of a resolved node: those that it names, or that of its type. Raises ValueError."""
    config = node.get("evaluation_config")
    if config is None:
        return metrics_of_type(node)
    if config == "skip":
        return []
    if isinstance(config, str):
        return [_metric(config, _PRESETS.get(config, {}))]
    return [_metric(one["metric_id"], one.get("params") or {}) for one in config.get("metrics", ())]


def metrics_of_type(node: Schema) -> list[Metric]:
    """That of the node's type, whatever it names."""
    name = _DEFAULTS.get(kind_of(node) or "")
    return [_metric(name, _PRESETS.get(name, {}))] if name else []


def _counted(metrics: list[Metric]) -> list[Metric]:
    """Of several on one node those up to a judge's, and the last one of each name."""
    judged = [place for place, metric in enumerate(metrics) if metric.name in JUDGED]
    return list({metric.name: metric for metric in metrics[: judged[0] + 1 if judged else None]}.values())


def _metric(name: str, params: Mapping[str, Any]) -> Metric:
    if name not in METRICS:
        raise ValueError(f"its schema wants the metric {name!r}; known are {', '.join(METRICS)}")
    return Metric(name=name, params=params)


def _fields(
    node: Schema,
    root: Schema,
    gold: Any,
    said: Any,
    path: str,
    *,
    is_set: bool = True,
    is_scored: bool = True,
) -> Iterator[Field]:
    """The fields at and below a resolved node.

    `is_set`: both sides have been followed so far. Where one is null and may be, all below are null on both.
    `is_scored`: no judge has been asked about the whole that this is a part of; else it is only checked.
    """
    is_set = is_set and not (node.get("nullable") and (gold is None or said is None))
    if is_set:
        _check(node, gold, said, path)
    metrics = _counted(metrics_of(node)) if is_scored else []
    for metric in metrics:
        yield Field(path=path, metric=metric, node=node, root=root, gold=gold, said=said)
    is_scored = is_scored and not any(metric.name in JUDGED for metric in metrics)
    if kind_of(node) == "array" and is_scored:
        part = resolved(node["items"], root)
        yield from _fields(part, root, None, None, f"{path}[]", is_set=False)
    if kind_of(node) != "object":
        return
    if isinstance(node.get("additionalProperties"), Mapping):
        raise ValueError(f"its schema has further properties with a schema at {path}: these are not scored")
    for key, part in node.get("properties", {}).items():
        right, given = (_value(gold, key), _value(said, key)) if is_set else (None, None)
        if key in node.get("required", ()):
            _check_required(key, right, given, path)
        part, below = resolved(part, root), f"{path}.{key}"
        yield from _fields(part, root, right, given, below, is_set=is_set, is_scored=is_scored)


def _check(node: Schema, gold: Any, said: Any, path: str) -> None:
    kind = kind_of(node)
    if kind is None:
        return
    if gold is not MISSING and not isinstance(gold, _TYPES[kind]):
        raise ValueError(f"the right extraction is no {kind} at {path}")
    if said is not MISSING and not isinstance(said, _TYPES[kind]):
        raise UnfitError(f"no {kind} at {path}")


def _check_required(key: str, gold: Any, said: Any, path: str) -> None:
    if gold is MISSING:
        raise ValueError(f"the right extraction lacks {key} at {path}, which is required")
    if said is MISSING:
        raise UnfitError(f"no {key} at {path}")


def _value(side: Any, key: str) -> Any:
    return MISSING if side is MISSING else side.get(key, MISSING)


def _is_absent(value: Any, node: Schema) -> bool:
    return value is MISSING or value is None or (value == [] and kind_of(node) == "array")
