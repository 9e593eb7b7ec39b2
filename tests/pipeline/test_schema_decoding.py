"""What decoding allows for a target from a JSON schema is an instance of the file's own schema, once read.

Random schemas, and random walks over the tokens that are allowed. And the whole of a run's stages, with a
plan that has travelled to where the file is not.
"""

import json
import pickle
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.infer.replica import Replica
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.ingest.listing import list_sources
from pipeline.parse.answers import AnswerError, read_target
from pipeline.plan.rows import ANSWER, FAILURE
from pipeline.stages import draw_groups, open_sources, read_answers
from schemas import json_schema_file
from schemas.arrow import json_schema, to_row
from schemas.json_schema_facts import Contradiction
from schemas.json_schema_model import model_of_schema
from schemas.json_text import read_json
from schemas.targets import target_text
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.plans import plan_for
from tests.pipeline.test_decoding import walk
from tests.schemas.random_schemas import schemas

CHECKED_AFTERWARDS = ("is not one of", "is no multiple of", "has two equal items")


def without_nulls(schema: dict[str, Any], value: Any) -> Any:
    """Null in a property that is not required says that it is not on the page: in JSON it is absent."""
    if isinstance(value, list | dict):
        (schema,) = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    if isinstance(value, list):
        return [without_nulls(schema["items"], item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: without_nulls(schema["properties"][name], item)
        for name, item in value.items()
        if item is not None or name in schema["required"]
    }


def why_refused(target: type[BaseModel], text: str) -> tuple[str, str]:
    try:
        to_row(read_target(target, text))
    except AnswerError as error:
        return error.reason, str(error)
    return "", ""


@settings(max_examples=60)
@given(schemas(), st.integers(0, 2**32))
def test_every_walk_that_is_read_is_an_instance_of_the_file_s_schema(drawn: Any, seed: int) -> None:
    schema, _ = drawn
    try:
        target = model_of_schema("random", read_json(json.dumps(schema)))
    except Contradiction:
        return
    made = json_schema(target)
    text, whole = walk(target, random.Random(seed), steps=300, patience=40)
    reason, why = why_refused(target, text)
    if reason:
        cut = not whole and reason == "invalid_json"
        missing = reason == "missing_field" and "null" in text
        checked = reason == "invalid_value" and any(words in why for words in CHECKED_AFTERWARDS)
        assert cut or missing or checked, (text, why)
        return
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert validator.is_valid(without_nulls(made, json.loads(text))), text


TICKET: dict[str, Any] = {
    "title": "Ticket",
    "properties": {
        "code no.": {"type": ["string", "null"], "maxLength": 6, "description": "printed in red"},
        "_day": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "price": {"$ref": "#/$defs/price"},
        "kind": {"oneOf": [{"const": "single"}, {"const": "return"}]},
        "stops": {"type": "array", "maxItems": 2, "items": {"type": "integer", "minimum": 0, "maximum": 99}},
    },
    "required": ["price", "kind"],
    "$defs": {"price": {"type": "number", "multipleOf": 0.01, "minimum": 0, "exclusiveMaximum": 1000}},
}


def test_a_plan_answers_where_its_schema_s_file_is_not(tiny_checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "ticket.json"
    file.write_text(json.dumps(TICKET))
    made = plan_for(tiny_checkpoint, targets=(target_text(str(file)),), max_new_tokens=120)
    file.unlink()
    json_schema_file.load.cache_clear()  # as in another process
    plan = pickle.loads(pickle.dumps(made))
    (tmp_path / "in").mkdir()
    for number in range(6):
        (tmp_path / "in" / f"{number}.pdf").write_bytes(pdf_bytes([(60 + 9 * number, 90)]))
    replica = Replica(ReplicaConfig(plan=plan, threads=1, dtype="float32"))
    found = [
        row["answer"] or row["failure"]
        for opened in open_sources(list_sources([str(tmp_path / "in")]), plan)
        for drawn in draw_groups(opened, plan)
        for completions in replica(drawn)
        for row in read_answers(completions, plan).to_pylist()
        if row["kind"] in (ANSWER, FAILURE)
    ]
    assert len(found) == 6
    names = list(TICKET["properties"])
    for row in found:
        assert list(json.loads(row["raw_text"])) == names
        if "reason" in row:
            assert row["reason"] == "missing_field"
            assert row["target"] == f"Ticket-{row['target'][-12:]}"
        else:
            assert list(row["answer"]) == names
            assert row["answer"]["price"].as_tuple().exponent == -2
    assert {"reason" in row for row in found} == {True, False}


@pytest.mark.parametrize(
    "change", [{"minimum": 1}, {"description": "with tax"}, {"multipleOf": 0.001}, {"multipleOf": 0.05}]
)
def test_the_settings_key_follows_the_content_of_the_file_and_not_its_path(
    tiny_checkpoint: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    def key(path: Path, schema: Any) -> tuple[str, str]:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(schema))
        plan = plan_for(tiny_checkpoint, targets=(target_text(str(path)),))
        return plan.settings_key, plan.asks[0].questions[0].text

    first = key(tmp_path / "a" / "ticket.json", TICKET)
    assert key(tmp_path / "b" / "other.json", TICKET) == first
    changed = json.loads(json.dumps(TICKET))
    changed["$defs"]["price"] |= change
    assert not {*key(tmp_path / "a" / "ticket.json", changed)} & {*first}
