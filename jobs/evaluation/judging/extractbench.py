"""What ExtractBench's judge is asked about a field, and the score in what it says.

In: a field that a judge scores. Out: the messages of a chat completion, as the benchmark's repository
(88bc6ac) sends them. What the judge says must be JSON of the form that it was told; a list's score is the
share of the right items that were found.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.evaluation.judging import extractbench_prompts as prompts
from jobs.evaluation.scorers.extractbench import of_lists
from jobs.evaluation.scorers.extractbench_fields import (
    Field,
    Metric,
    children_of,
    kind_of,
    metrics_of,
    metrics_of_type,
    resolved,
)

_FENCE = "```"
_TEMPLATES = {"array_llm": prompts.LIST, "string_semantic": prompts.STRING, "string_llm": prompts.VALUE}


def messages_of(field: Field) -> list[dict[str, str]]:
    """The system's message, and the question."""
    is_list = field.metric.name == "array_llm"
    said = _TEMPLATES[field.metric.name].format(
        metadata=_written(_about(field)),
        gold=_written(field.gold),
        predicted=_written(field.said),
        structured_output_schema=_written(prompts.COUNTS if is_list else prompts.ONE_SCORE),
    )
    if more := field.metric.params.get("additional_instructions"):
        said += f"\n\nAdditional Instructions:\n{more}"
    if is_list:
        said += f"\n\nMetric definitions (JSON):\n{_written(_definitions(field))}"
    return [{"role": "system", "content": prompts.SYSTEM}, {"role": "user", "content": said}]


def score_in(said: str, field: Field) -> float | None:
    """The judge's score from 0.0 to 1.0; None where what it says is not as it was told."""
    try:
        found = json.loads(_fenced(said))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("reasoning"), str):
        return None
    if field.metric.name != "array_llm":
        score = _number(found.get("score"))
        return score if score is not None and 0.0 <= score <= 1.0 else None
    for name in ("matched_items", "missed_gold_items", "spurious_pred_items"):
        items = found.get(name, [])
        if not (isinstance(items, list) and all(isinstance(item, str) for item in items)):
            return None
    counts = found.get("matches_summary")
    if not isinstance(counts, dict):
        return None
    numbers = [_number(counts.get(name)) for name in ("matched", "missed_gold", "spurious_pred")]
    whole = [int(one) for one in numbers if one is not None and one >= 0 and one.is_integer()]
    return of_lists(whole[0], whole[1]) if len(whole) == len(numbers) else None


def _about(field: Field) -> dict[str, Any]:
    """What the schema says of it."""
    node = field.node
    values = {
        "schema_type": kind_of(node),
        "description": node.get("description") or None,
        "example": node.get("examples", node.get("example")),
        "nullable": node.get("nullable"),
        "title": node.get("title") or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _definitions(field: Field) -> dict[str, Any]:
    """The metrics at and below a list, each with the parameters under which it stands there."""
    params: dict[str, list[Mapping[str, Any]]] = {}
    for metric in _below(field.node, field.root):
        some = params.setdefault(metric.name, [])
        if metric.params not in some:
            some.append(metric.params)
    return {name: {**prompts.METRICS[name], "params_examples": params[name]} for name in sorted(params)}


def _below(node: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Metric]:
    """Of what is to be skipped, too: there the benchmark tells the judge of the type's."""
    yield from metrics_of(node) or metrics_of_type(node)
    for child in children_of(node):
        yield from _below(resolved(child, root), root)


def _fenced(said: str) -> str:
    """The first block between fences that holds something, without its mark; all where there is none."""
    for block in said.strip().split(_FENCE)[1::2]:
        if inside := block.lstrip().removeprefix("json").strip():
            return inside
    return said.strip()


def _number(value: Any) -> float | None:
    """What JSON Schema takes for a number, in the bounds of one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _written(value: Any) -> str:
    return json.dumps(value, indent=2)
