"""ExtractBench's figures of one extraction (arXiv 2602.12247): F1, the share of passes, the mean score.

In: the fields of `extractbench_fields`, and a judge's verdicts on those that it was asked about. Out: the
figures, as the benchmark's repository (88bc6ac) has them. Without a judge they are of the other fields alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final

from jobs.evaluation.scorers.extractbench_fields import Field, UnfitError, fields_of

ENOUGH: Final = 0.7  # of a judge's score
Verdicts = Mapping[str, float]
"""A judge's scores by the paths and metrics of fields: `name_of`."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one extraction."""

    f1: float
    pass_rate: float
    mean_score: float


def extractbench(said: Any, schema: Any, gold: Any, verdicts: Verdicts | None = None) -> Figures:
    """The figures. Without verdicts, what a judge would be asked about is left out.

    Raises ValueError for a schema or a right extraction that cannot be scored.
    """
    try:
        fields = fields_of(schema, gold, said)
    except UnfitError:
        return Figures(f1=0.0, pass_rate=0.0, mean_score=0.0)
    if verdicts is None:
        fields = [field for field in fields if not field.is_judged]
    return figures([(field, *score(field, verdicts or {})) for field in fields])


def figures(scored: Sequence[tuple[Field, float, bool]]) -> Figures:
    """Of fields with their scores, and whether they pass. Two absent values pass, and count in no F1."""
    found = [field for field, _, passes in scored if passes and not field.gold_is_absent]
    invented = [field for field, _, passes in scored if not passes and field.gold_is_absent]
    missed = [field for field, _, passes in scored if not passes and not field.gold_is_absent]
    precision = _share(len(found), len(found) + len(invented))
    recall = _share(len(found), len(found) + len(missed))
    return Figures(
        f1=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        pass_rate=sum(passes for *_, passes in scored) / len(scored) if scored else 0.0,
        mean_score=sum(value for _, value, _ in scored) / len(scored) if scored else 0.0,
    )


def name_of(field: Field) -> str:
    """What a verdict on it is known by."""
    return f"{field.path} {field.metric.name}"


def score(field: Field, verdicts: Verdicts) -> tuple[float, bool]:
    """From 0.0 to 1.0, and whether it passes."""
    if field.gold_is_absent or field.said_is_absent:
        same = field.gold_is_absent and field.said_is_absent
        return float(same), same
    params = field.metric.params
    if field.is_judged:
        value = verdicts[name_of(field)]
        return value, value >= float(params.get("pass_threshold", ENOUGH))
    name = field.metric.name
    if name == "string_fuzzy":
        value = _ratio(field.gold, field.said, bool(params.get("case_sensitive", False)))
        return value, value >= float(params.get("threshold", 0.8))
    if name == "number_tolerance":
        return _near(field.gold, field.said, float(params.get("tolerance", 1e-6)))
    equal = _equal(field.gold, field.said, _READ[name])
    return float(equal), equal


def of_lists(matched: int, missed: int) -> float:
    """The score of a list, of whose right items so many were found and missed."""
    return matched / max(1, matched + missed)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _equal(gold: Any, said: Any, read: Callable[[Any], Any]) -> bool:
    """Two that cannot be read are equal, as there; a number beyond all bounds equals nothing."""
    try:
        return bool(_read(gold, read) == _read(said, read))
    except OverflowError:
        return False


def _read(value: Any, read: Callable[[Any], Any]) -> Any:
    try:
        return read(value)
    except (TypeError, ValueError):
        return None


_READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "string_exact": str,
    "string_case_insensitive": lambda value: str(value).casefold(),
    "number_exact": float,
    "integer_exact": int,
    "boolean_exact": lambda value: value if isinstance(value, bool) else None,
}


def _ratio(gold: Any, said: Any, case_sensitive: bool) -> float:
    a, b = str(gold), str(said)
    return SequenceMatcher(None, *((a, b) if case_sensitive else (a.lower(), b.lower()))).ratio()


def _near(gold: Any, said: Any, tolerance: float) -> tuple[float, bool]:
    try:
        values = [_read(value, float) for value in (gold, said)]
    except OverflowError:
        return 0.0, False
    if None in values:
        return float(values == [None, None]), values == [None, None]
    distance = abs(values[0] - values[1])
    if distance <= tolerance or math.isclose(distance, tolerance, rel_tol=1e-9, abs_tol=1e-12):
        return 1.0, True
    return max(0.0, 1.0 - distance / max(tolerance, 1e-12)), False
