"""Whatever instance of a random schema the reference validator accepts is held by the target's columns."""

import json
from decimal import Decimal
from typing import Any

import jsonschema
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.arrow import arrow_schema, check_json, from_row, to_json, to_row, to_table
from schemas.json_schema_model import model_of_schema
from schemas.json_text import read_json
from tests.schemas.random_schemas import schemas


def accepts(schema: dict[str, Any], value: object) -> bool:
    return bool(jsonschema.validators.validator_for(schema)(schema).is_valid(value))


def without_nulls(value: Any) -> Any:
    """Without properties that are null: an optional one is absent in JSON, and null in its column."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@st.composite
def instances(draw: st.DrawFn) -> tuple[dict[str, Any], Any]:
    schema, values = draw(schemas())
    return schema, draw(values)


@given(instances())
def test_every_valid_instance_comes_back_from_the_columns(drawn: tuple[dict[str, Any], Any]) -> None:
    schema, instance = drawn
    assume(accepts(schema, instance))
    target = model_of_schema("random", read_json(json.dumps(schema)))
    value = json.loads(json.dumps(instance), parse_float=Decimal)
    check_json(target, _whole_numbers(value))
    found = target.model_validate(value, extra="forbid")
    table = to_table(target, [found])
    table.validate(full=True)
    assert table.schema.equals(arrow_schema(target), check_metadata=True)
    (row,) = table.to_pylist()
    assert row == to_row(found)
    assert from_row(target, row) == found
    written = json.loads(to_json(found))
    assert _days(without_nulls(written)) == _days(without_nulls(instance))


def _whole_numbers(value: Any) -> Any:
    """JSON Schema takes 2.0 for an integer; Quire's grammar writes it as 2."""
    if isinstance(value, dict):
        return {name: _whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, Decimal) and value == int(value) else value


def _days(value: Any) -> Any:
    """Moments in one spelling: a column holds the instant, and not how it was written."""
    if isinstance(value, dict):
        return {name: _days(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_days(item) for item in value]
    return value.removesuffix("Z").removesuffix("+00:00") if isinstance(value, str) else value
