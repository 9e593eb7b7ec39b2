"""ExtractBench's figures and its judge, against the output of its own code and by hand."""

import hashlib
import json
from typing import Any

import pytest

from jobs.evaluation.judging.extractbench import messages_of, score_in
from jobs.evaluation.scorers.extractbench import extractbench, name_of
from jobs.evaluation.scorers.extractbench_fields import Field, Metric, UnfitError, fields_of
from tests.jobs.evaluation import kept

VECTORS = kept.load("extractbench")


def _asked(field: Field) -> str:
    """By which the replies to what a judge is asked are kept."""
    return hashlib.sha256(json.dumps(messages_of(field)).encode()).hexdigest()[:16]


def test_figures_are_those_of_extractbench() -> None:
    rows = [row for row in VECTORS if "schema" in row]
    assert sum(row["figures"] is None for row in rows) >= 1
    assert sum(len(row["judged"]) for row in rows) > 50
    for row in rows:
        if row["figures"] is None:
            with pytest.raises((UnfitError, ValueError)):  # of the model's answer, of the right one
                fields_of(row["schema"], row["gold"], row["said"])
            continue
        fields = [one for one in fields_of(row["schema"], row["gold"], row["said"]) if one.is_judged]
        assert {_asked(field) for field in fields} <= set(row["judged"]), row
        verdicts = {name_of(field): score_in(row["judged"][_asked(field)], field) or 0.0 for field in fields}
        found = extractbench(row["said"], row["schema"], row["gold"], verdicts)
        figures = {"f1": found.f1, "pass_rate": found.pass_rate, "score": found.mean_score}
        assert figures == pytest.approx(row["figures"], abs=1e-12), row


def test_a_judge_is_read_as_by_extractbench() -> None:
    rows = [row for row in VECTORS if "metric" in row]
    assert len({row["score"] for row in rows}) > 4
    for row in rows:
        metric = Metric(name=row["metric"], params={})
        field = Field(path="$", metric=metric, node={}, root={}, gold=0, said=0)
        assert score_in(row["said"], field) == row["score"], row


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "total": {"type": "number"},
        "paid": {"type": "boolean"},
        "lines": {"type": "array", "items": {"type": "integer"}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
}
GOLD = {"name": "Ann", "total": 12.5, "lines": [1, 2], "note": "unscored"}


def test_an_answer_that_is_not_of_its_schema_has_no_score() -> None:
    assert extractbench({"total": "12.5"}, SCHEMA, GOLD, {}).pass_rate == 0.0
    assert extractbench(None, SCHEMA, GOLD).f1 == 0.0


def test_without_a_judge_what_it_would_score_is_left_out() -> None:
    said = {"name": "Bob", "total": 12.5004, "paid": True, "lines": []}
    alone = extractbench(said, SCHEMA, GOLD)
    # total is found, paid is invented, lines are missed; a judge would be asked about the name alone.
    assert (alone.f1, alone.pass_rate) == (0.5, 1 / 3)
    assert extractbench(said, SCHEMA, GOLD, {"$.name string_semantic": 0.7}).f1 == pytest.approx(2 / 3)
    assert extractbench(said, SCHEMA, GOLD, {"$.name string_semantic": 0.69}).mean_score == 1.69 / 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": {"type": "string", "evaluation_config": "best"}}, "wants the metric 'best'"),
        ({"name": {"type": "text"}}, "a part of the type 'text'"),
        ({"name": {"$ref": "#/$defs/x"}}, "has no #/\\$defs/x"),
        ({"name": {"type": "integer"}}, "the right extraction is no integer at \\$.name"),
        ({"name": {"type": "object", "additionalProperties": {"type": "string"}}}, "no object at"),
    ],
)
def test_a_schema_or_a_right_answer_that_cannot_be_scored_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        extractbench({}, {"type": "object", "properties": change}, GOLD)
