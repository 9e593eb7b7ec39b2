"""OUT/summary.json: the figures of an evaluation, and all that is needed to repeat them."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from jobs.evaluation.calibration import (
    PRECISIONS,
    REVIEWED,
    RIGHT,
    error_after_review,
    expected_error,
    reliability,
    temperature,
    threshold,
)
from jobs.evaluation.files import Folder
from jobs.evaluation.measures import weight
from jobs.evaluation.questions import Source
from jobs.evaluation.results import Result, by_slice
from jobs.evaluation.statistics import Interval, bootstrap

NAME: Final = "summary.json"
MAX_SLICES: Final = 40  # values of one slice; a name with more is left out: an id is no slice


def summarise(
    source: Source,
    results: Sequence[Result],
    record: dict[str, Any],
    judge: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """All figures. `record` is the run's run.json; `judge` says which one, and what it did not grade."""
    ask = record["plan"]["asks"][0]
    return {
        "data": asdict(source),
        "model": record["config"]["model"],
        "model_key": record["model_key"],
        "settings_key": ask["settings_key"],
        "max_side": record["plan"]["max_side"],
        "max_new_tokens": ask["max_new_tokens"],
        "dtype": record["config"]["dtype"],
        "cache_dtype": record["config"]["cache_dtype"],
        "run_id": record["run_id"],
        "finished_at": record["finished_at"],
        "versions": record["versions"],
        "last_run_seconds": record["timings"]["run_seconds"],
        "questions": len(results),
        "answered": sum(result.answer is not None for result in results),
        "failures": dict(Counter(result.reason for result in results if result.reason).most_common()),
        "headline": results[0].measure,
        "measures": _measures(results),
        "slices": _slices(results),
        "calibration": calibrate(results),
        "judge": judge,
    }


def _interval(results: Sequence[Result], scores: Sequence[float]) -> Interval:
    return bootstrap(scores, [result.asked.document for result in results])


def _measures(results: Sequence[Result]) -> dict[str, Any]:
    """Each measure over the questions that have it; and, where headlines differ, all headlines together."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        for name in result.scores:
            groups[name].append(result)
    found = {
        name: asdict(_interval(counted, [result.scores[name] for result in counted]))
        for name, some in groups.items()
        for counted in [[result for result in some for _ in range(weight(name, result.asked))]]
    }
    if len({result.measure for result in results}) > 1:
        found = {"headline": asdict(_interval(results, [result.score for result in results])), **found}
    return found


def _slices(results: Sequence[Result]) -> list[dict[str, Any]]:
    counts = Counter(name for name, _, _ in by_slice(results))
    return [
        {"name": name, "value": value} | asdict(_interval(some, [result.score for result in some]))
        for name, value, some in by_slice(results)
        if counts[name] <= MAX_SLICES
    ]


def calibrate(results: Sequence[Result]) -> dict[str, Any] | None:
    """How confidences and right answers go together; None where nothing has a confidence."""
    answered = [result for result in results if result.confidence is not None]
    if not answered:
        return None
    confidences = [float(result.confidence or 0.0) for result in answered]
    right = [result.score >= RIGHT for result in answered]
    fitted = temperature(confidences, right, [result.asked.document for result in answered])
    return {
        "right_from": RIGHT,
        "reliability": [asdict(one) for one in reliability(confidences, right)],
        "expected_error": expected_error(confidences, right),
        "reviewed": REVIEWED,
        "error": sum(result.score < RIGHT for result in results) / len(results),
        "error_after_review": error_after_review(
            [result.confidence for result in results], [result.score >= RIGHT for result in results]
        ),
        "thresholds": [asdict(threshold(confidences, right, wanted, len(results))) for wanted in PRECISIONS],
        "temperature": asdict(fitted) if fitted else None,
    }


def write(output: str, summary: dict[str, Any]) -> str:
    """Writes OUT/summary.json; returns its path."""
    Folder(output).write(NAME, (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode())
    return f"{output.rstrip('/')}/{NAME}"


def read(output: str) -> dict[str, Any]:
    """OUT/summary.json. Raises ValueError if there is none."""
    found = Folder(output).read(NAME)
    if found is None:
        raise ValueError(f"{output} holds no evaluation that has finished: there is no {NAME}")
    summary: dict[str, Any] = json.loads(found)
    return summary
