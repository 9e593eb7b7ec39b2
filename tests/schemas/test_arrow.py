"""Models of every supported type go to Arrow and to JSON and come back as they were."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, create_model

from schemas.arrow import (
    arrow_schema,
    arrow_type,
    check_json,
    from_json_text,
    from_row,
    json_schema,
    json_text,
    schema_hash,
    to_json,
    to_row,
    to_table,
)
from schemas.targets import Invoice, LineItem, Receipt

ROOT = Path(__file__).resolve().parents[2]


class Colour(Enum):
    RED = "red"
    GREEN = "light green"


class Inner(BaseModel):
    name: str
    price: Decimal = Field(max_digits=7, decimal_places=2)


class Everything(BaseModel):
    text: str
    whole: int
    real: float
    flag: bool
    day: date
    moment: datetime
    amount: Decimal = Field(max_digits=38, decimal_places=9)
    colour: Colour
    size: Literal["S", "M"]
    maybe: int | None = None
    tags: list[str]
    inner: Inner
    maybe_inner: Inner | None = None
    inners: list[Inner]
    holes: list[Annotated[Decimal, Field(max_digits=3, decimal_places=0)] | None]


EVERYTHING = Everything(
    text="[/INST] \u00e9\u4e2d\U0001f600\x00\n",
    whole=-(2**63),
    real=1e-300,
    flag=True,
    day=date(1, 1, 1),
    moment=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    amount=Decimal("-12345678901234567890123456789.123456789"),
    colour=Colour.GREEN,
    size="M",
    tags=[],
    inner=Inner(name="", price=Decimal("0.10")),
    inners=[Inner(name="a", price=Decimal(7)), Inner(name="b", price=Decimal("99999.99"))],
    holes=[None, Decimal(-999), None],
)

Typed = tuple[Any, st.SearchStrategy[Any]]  # an annotation and the values of it


def decimals(digits: int, places: int) -> Typed:
    whole = st.integers(1 - 10**digits, 10**digits - 1)
    annotation = Annotated[Decimal, Field(max_digits=digits, decimal_places=places)]
    return annotation, whole.map(lambda number: Decimal(f"{number}E-{places}"))


def offsets() -> st.SearchStrategy[timezone]:
    return st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


SCALARS: list[Typed] = [
    (str, st.text(max_size=8)),
    (int, st.integers(-(2**63), 2**63 - 1)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (date, st.dates()),
    (datetime, st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=offsets())),
    (Colour, st.sampled_from(Colour)),
    (Literal["S", "M"], st.sampled_from(["S", "M"])),
]


def models_of(fields: list[Typed]) -> Typed:
    names = [f"field_{index}" for index in range(len(fields))]
    columns: dict[str, Any] = {
        name: (annotation, ...) for name, (annotation, _) in zip(names, fields, strict=True)
    }
    model = create_model("Model", **columns)
    return model, st.builds(model, **{name: values for name, (_, values) in zip(names, fields, strict=True)})


def typed() -> st.SearchStrategy[Typed]:
    """Annotations of any nesting that the table supports, with strategies for their values."""
    digits = st.integers(1, 38).flatmap(lambda n: st.integers(0, n).map(lambda places: decimals(n, places)))
    return st.recursive(
        st.sampled_from(SCALARS) | digits,
        lambda inner: (
            inner.map(lambda one: (one[0] | None, st.none() | one[1]))
            | inner.map(lambda one: (list[one[0]], st.lists(one[1], max_size=3)))  # type: ignore[valid-type]  # made while the test runs
            | st.lists(inner, min_size=1, max_size=3).map(models_of)
        ),
        max_leaves=6,
    )


@st.composite
def instances(draw: st.DrawFn) -> BaseModel:
    _, values = models_of(draw(st.lists(typed(), min_size=1, max_size=4)))
    value = draw(values)
    assert isinstance(value, BaseModel)
    return value


def parsed(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def accepts(schema: dict[str, Any], value: object) -> bool:
    checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    return bool(checker.is_valid(value))


@given(instances())
def test_any_model_comes_back_from_arrow_as_it_was(value: BaseModel) -> None:
    table = to_table(type(value), [value, value])
    table.validate(full=True)
    assert [from_row(type(value), row) for row in table.to_pylist()] == [value, value]


@given(instances())
def test_any_model_comes_back_from_json_as_it_was(value: BaseModel) -> None:
    found = parsed(to_json(value))
    check_json(type(value), found)
    assert type(value).model_validate(found) == value


@given(instances())
def test_json_of_any_model_fits_both_of_its_schemas(value: BaseModel) -> None:
    for nullable in (False, True):
        schema = json_schema(type(value), nullable=nullable)
        jsonschema.Draft202012Validator.check_schema(schema)
        assert accepts(schema, parsed(to_json(value)))  # as floats, 22 nines would reach their bound


def test_every_type_has_its_arrow_type() -> None:
    inner = pa.struct(
        [
            pa.field("name", pa.string(), nullable=False),
            pa.field("price", pa.decimal128(7, 2), nullable=False),
        ]
    )
    expected = [
        ("text", pa.string(), False),
        ("whole", pa.int64(), False),
        ("real", pa.float64(), False),
        ("flag", pa.bool_(), False),
        ("day", pa.date32(), False),
        ("moment", pa.timestamp("us", tz="UTC"), False),
        ("amount", pa.decimal128(38, 9), False),
        ("colour", pa.string(), False),
        ("size", pa.string(), False),
        ("maybe", pa.int64(), True),
        ("tags", pa.list_(pa.field("element", pa.string(), nullable=False)), False),
        ("inner", inner, False),
        ("maybe_inner", inner, True),
        ("inners", pa.list_(pa.field("element", inner, nullable=False)), False),
        ("holes", pa.list_(pa.field("element", pa.decimal128(3, 0), nullable=True)), False),
    ]
    schema = pa.schema([pa.field(*field) for field in expected], metadata={"schema_version": "5"})
    assert arrow_schema(Everything).equals(schema, check_metadata=True)


def test_every_type_has_its_json_schema() -> None:
    price = {"type": "number", "exclusiveMinimum": -100000, "exclusiveMaximum": 100000, "x-decimal-places": 2}
    inner = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "price": price},
        "required": ["name", "price"],
        "additionalProperties": False,
    }
    integer = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    hole = {"type": "number", "exclusiveMinimum": -1000, "exclusiveMaximum": 1000, "x-decimal-places": 0}
    amount = hole | {"exclusiveMinimum": -(10**29), "exclusiveMaximum": 10**29, "x-decimal-places": 9}
    schema = json_schema(Everything)
    assert schema["properties"] == {
        "text": {"type": "string"},
        "whole": integer,
        "real": {"type": "number"},
        "flag": {"type": "boolean"},
        "day": {"type": "string", "format": "date"},
        "moment": {"type": "string", "format": "date-time"},
        "amount": amount,
        "colour": {"type": "string", "enum": ["red", "light green"]},
        "size": {"type": "string", "enum": ["S", "M"]},
        "maybe": {"anyOf": [integer, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "inner": inner,
        "maybe_inner": {"anyOf": [inner, {"type": "null"}]},
        "inners": {"type": "array", "items": inner},
        "holes": {"type": "array", "items": {"anyOf": [hole, {"type": "null"}]}},
    }
    assert schema["required"] == [name for name in Everything.model_fields if not name.startswith("maybe")]


def test_a_field_s_constraints_and_description_reach_the_json_schema() -> None:
    class Constrained(BaseModel):
        share: float = Field(ge=0, lt=1, description="of the total")
        code: str = Field(min_length=2, max_length=4, pattern="^[A-Z]+$")
        price: Decimal = Field(gt=Decimal("0.5"), max_digits=4, decimal_places=2)
        parts: list[Annotated[int, Field(le=9)]] = Field(min_length=1)

    properties = json_schema(Constrained)["properties"]
    assert properties["share"] == {
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "description": "of the total",
    }
    assert properties["code"] == {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[A-Z]+$"}
    assert properties["price"]["exclusiveMinimum"] == 0.5
    assert properties["parts"]["minItems"] == 1
    assert properties["parts"]["items"] == {"type": "integer", "minimum": -(2**63), "maximum": 9}


def test_bounds_wider_than_the_column_are_the_column_s() -> None:
    class Wide(BaseModel):
        count: int = Field(ge=-(10**30), lt=10**30)
        price: Decimal = Field(gt=-(10**9), lt=50, max_digits=4, decimal_places=2)

    properties = json_schema(Wide)["properties"]
    assert (properties["count"]["minimum"], properties["count"]["maximum"]) == (-(2**63), 2**63 - 1)
    assert (properties["price"]["exclusiveMinimum"], properties["price"]["exclusiveMaximum"]) == (-100, 50)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from objects(item)


def test_only_the_schema_for_decoding_takes_null_for_any_field_at_any_depth() -> None:
    strict, open_schema = json_schema(Everything), json_schema(Everything, nullable=True)
    text = to_json(EVERYTHING)
    for index, original in enumerate(list(objects(json.loads(text)))):
        for name in original:
            value = json.loads(text)
            list(objects(value))[index][name] = None
            assert accepts(open_schema, value), name
            assert accepts(strict, value) == (name.startswith("maybe")), name


def test_the_schema_for_decoding_asks_for_every_field() -> None:
    value = json.loads(to_json(EVERYTHING))
    del value["maybe"]
    assert accepts(json_schema(Everything), value)
    assert not accepts(json_schema(Everything, nullable=True), value)


@pytest.mark.parametrize("name", Everything.model_fields)
@pytest.mark.parametrize("wrong", [True, 20240102, Decimal("1.5"), "86400", [1], {"a": 1}], ids=repr)
def test_json_of_another_type_is_refused_where_its_schema_refuses_it(name: str, wrong: object) -> None:
    schema = json_schema(Everything)["properties"][name]
    types = {option["type"] for option in schema.get("anyOf", [schema])}
    fits = any(accepts({"type": kind}, wrong) for kind in types)
    if fits and isinstance(wrong, list | dict):
        return  # right on the outside; what it holds has its own test
    if fits:
        check_json(Everything, {name: wrong})
    else:
        with pytest.raises(ValueError, match=f"field '{name}'"):
            check_json(Everything, {name: wrong})


def test_a_wrong_value_in_a_list_is_named_by_its_place() -> None:
    with pytest.raises(ValueError, match=r"field 'inners\[1\]\.price': '7' is not what JSON calls number"):
        check_json(Everything, {"inners": [{"price": Decimal(7)}, {"price": "7"}]})


def test_null_and_absent_fields_pass_the_check_of_types() -> None:
    check_json(Everything, {"inner": None, "inners": [None, {"name": None}]})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("whole", 2**63, "9223372036854775808 does not fit in 64 bits"),
        ("real", float("nan"), "nan is not a finite number"),
        ("real", float("-inf"), "-inf is not a finite number"),
        ("moment", datetime(2024, 5, 6, 7, 8), "2024-05-06T07:08:00 has no time zone"),
        ("moment", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "outside the years 1 to 9999"),
    ],
)
def test_a_value_that_no_column_holds_is_an_error_with_its_field(
    field: str, value: object, message: str
) -> None:
    unfit = EVERYTHING.model_copy(update={field: value})
    with pytest.raises(ValueError, match=f"field '{field}': .*{message}"):
        to_row(unfit)


@pytest.mark.parametrize(
    ("text", "stored", "written"),
    [
        ("1.5", "1.50", "1.5"),
        ("1.500", "1.50", "1.50"),  # a third place that says nothing
        ("1E+2", "100.00", "100"),
        ("0E+30", "0.00", "0"),  # Arrow itself chokes on this one
        ("-0.00", "0.00", "-0.00"),
    ],
)
def test_decimals_are_stored_without_a_change_of_value(text: str, stored: str, written: str) -> None:
    inner = Inner(name="", price=Decimal(text))
    (row,) = to_table(Inner, [inner]).to_pylist()
    assert str(row["price"]) == stored
    assert from_row(Inner, row) == inner
    assert to_json(inner) == f'{{"name":"","price":{written}}}'


@pytest.mark.parametrize("value", ["0.001", "100000", "NaN", "Infinity"])
def test_a_decimal_that_got_past_validation_is_not_rounded(value: str) -> None:
    unfit = Inner.model_construct(name="", price=Decimal(value))
    with pytest.raises(ValueError, match=r"field 'price': .* does not fit in 7 digits, 2 of them"):
        to_row(unfit)


def test_the_json_of_a_stored_value_is_read_back_in_its_type() -> None:
    (row,) = to_table(Everything, [EVERYTHING]).to_pylist()
    assert from_json_text(arrow_type(Everything), json_text(row)) == row
    assert from_json_text(arrow_type(Everything), "{}") == {}


def test_a_strict_model_comes_back_too() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        colour: Colour
        size: Literal["S", "M"]

    value = Strict(colour=Colour.RED, size="S")
    (row,) = to_table(Strict, [value]).to_pylist()
    assert from_row(Strict, row) == value


def test_a_row_of_another_version_is_read_by_the_columns_both_know() -> None:
    row = {"name": "a", "price": Decimal(1), "appended_later": 5}
    assert from_row(Inner, row) == Inner(name="a", price=Decimal(1))
    older = {name: value for name, value in to_row(EVERYTHING).items() if name != "maybe"}
    assert from_row(Everything, older) == EVERYTHING
    with pytest.raises(ValueError, match="price"):
        from_row(Inner, {"name": "a"})


def test_no_rows_make_an_empty_table_with_the_schema() -> None:
    assert to_table(Invoice, []).schema.equals(arrow_schema(Invoice), check_metadata=True)


def test_parquet_and_delta_lake_keep_schema_and_values(tmp_path: Path) -> None:
    table = to_table(Everything, [EVERYTHING])
    pq.write_table(table, tmp_path / "rows.parquet")
    write_deltalake(tmp_path / "delta", table)
    delta = DeltaTable(tmp_path / "delta")
    from_parquet = pq.read_table(tmp_path / "rows.parquet")
    assert from_parquet.schema.equals(arrow_schema(Everything), check_metadata=True)
    assert pa.schema(delta.schema().to_arrow()).equals(arrow_schema(Everything))
    for found in (from_parquet, pq.read_table(delta.file_uris())):
        assert from_row(Everything, found.to_pylist()[0]) == EVERYTHING


def test_the_hash_is_the_same_in_another_process() -> None:
    script = "from schemas.arrow import *; from schemas.targets import *; print(schema_hash(Invoice))"
    command = [sys.executable, "-c", script]
    found = subprocess.run(
        command, cwd=ROOT, env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == schema_hash(Invoice)


def test_the_hash_changes_with_any_field() -> None:
    class Narrower(BaseModel):
        name: str
        price: Decimal = Field(max_digits=6, decimal_places=2)

    class Nullable(BaseModel):
        name: str
        price: Decimal | None = Field(max_digits=7, decimal_places=2)

    class Swapped(BaseModel):
        price: Decimal = Field(max_digits=7, decimal_places=2)
        name: str

    hashes = {
        schema_hash(model) for model in (Inner, Narrower, Nullable, Swapped, Invoice, Receipt, LineItem)
    }
    assert len(hashes) == 7


def test_the_hashes_of_shipped_targets_are_pinned_for_they_name_tables() -> None:
    assert (schema_hash(Invoice), schema_hash(Receipt)) == ("2eb029779f45", "866a6b76d380")


@pytest.mark.parametrize("text", ["9" * 38, "-" + "9" * 38, "99999999999999999999999999995000000000"])
def test_a_decimal_of_38_digits_is_not_rounded(text: str) -> None:
    class Vast(BaseModel):
        number: Decimal = Field(max_digits=38, decimal_places=0)

    value = Vast(number=Decimal(text))
    (row,) = to_table(Vast, [value]).to_pylist()
    assert from_row(Vast, row) == value
    assert to_json(value) == f'{{"number":{text}}}'
