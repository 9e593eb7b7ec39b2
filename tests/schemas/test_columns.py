"""What the table lacks is refused with its field's path; what it has may be spelt in any way."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, Optional, Union

import pyarrow as pa
import pytest
from pydantic import AwareDatetime, BaseModel, Field, PositiveInt, RootModel, StringConstraints, condecimal
from typing_extensions import TypeAliasType

from schemas.arrow import arrow_schema, json_schema
from schemas.columns import UnsupportedType


class Number(IntEnum):
    ONE = 1


class Mixed(Enum):
    TEXT = "text"
    NUMBER = 1


class Letter(StrEnum):
    A = "a"


class Nobody(Enum):
    pass


class Empty(BaseModel):
    pass


class Amounts(RootModel[list[int]]):
    pass


class Branch(BaseModel):
    children: list["Branch"]


class Plain:
    pass


def model_with(annotation: Any, field: Any = ...) -> type[BaseModel]:
    class Model(BaseModel, arbitrary_types_allowed=True):
        value: annotation = field

    return Model


@pytest.mark.parametrize(
    "annotation",
    [
        bytes,
        time,
        timedelta,
        complex,
        Any,
        object,
        None,
        Plain,
        list,
        dict[str, int],
        tuple[int, str],
        set[int],
        int | str,
        Union[int, float, None],  # noqa: UP007 the older spelling is what is tested
        Callable[[], int],
        list[bytes],
        list[int | str] | None,
    ],
    ids=str,
)
def test_a_type_that_is_not_in_the_table_is_refused(annotation: Any) -> None:
    with pytest.raises(
        UnsupportedType, match=r"^field 'value(\[\])?' has the type .+, which is not supported; "
    ):
        arrow_schema(model_with(annotation))


def test_the_message_names_field_type_and_what_is_supported() -> None:
    with pytest.raises(UnsupportedType) as caught:
        arrow_schema(model_with(dict[str, int]))
    assert str(caught.value) == (
        "field 'value' has the type dict[str, int], which is not supported; supported are str, int, float, "
        "bool, date, datetime, Decimal, Enum and Literal of str, Optional, list, models"
    )


def test_a_field_deep_inside_is_named_by_its_path() -> None:
    inner = model_with(list[list[bytes]])

    class Outer(BaseModel):
        rows: list[inner] | None  # type: ignore[valid-type]  # made while the test runs

    with pytest.raises(UnsupportedType, match=r"^field 'rows\[\]\.value\[\]\[\]' has the type bytes"):
        arrow_schema(Outer)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (Decimal, "Decimal, with max_digits=None and decimal_places=None; a Decimal needs both"),
        (Annotated[Decimal, Field(max_digits=5)], "max_digits=5 and decimal_places=None"),
        (Annotated[Decimal, Field(decimal_places=2)], "max_digits=None and decimal_places=2"),
        (Annotated[Decimal, Field(max_digits=39, decimal_places=2)], "at most 38 digits"),
        (Annotated[Decimal, Field(max_digits=2, decimal_places=3)], "max_digits=2 and decimal_places=3"),
        (list[Decimal], r"^field 'value\[\]' .* a Decimal needs both"),
        (Number, r"Number, with the values \[1\]; they have to be strings"),
        (Mixed, r"with the values \['text', 1\]; they have to be strings"),
        (Nobody, r"with the values \[\]; they have to be strings"),
        (Literal[1, 2], r"with the values \[1, 2\]; they have to be strings"),
        (Empty, "Empty, a model without named fields; it needs at least one"),
        (Amounts, "Amounts, a model without named fields"),
        (Annotated[float, Field(le=float("inf"))], "field 'value' .* and the bound le=inf; leave it out"),
        (Annotated[float, Field(ge=float("-inf"))] | None, "and the bound ge=-inf; leave it out or make it"),
        (list[Annotated[float, Field(lt=float("nan"))]], r"field 'value\[\]' .* the bound lt=nan"),
        (
            Annotated[Decimal, Field(gt=Decimal("-Infinity"), max_digits=4, decimal_places=2)],
            "and the bound gt=-Infinity; leave it out",
        ),
        (Branch, r"^field 'value\.children\[\]' has the type Branch, a model that contains itself"),
    ],
)
def test_a_type_that_lacks_something_is_refused_with_the_remedy(annotation: Any, reason: str) -> None:
    with pytest.raises(UnsupportedType, match=reason):
        arrow_schema(model_with(annotation))


def test_an_alias_is_refused_for_columns_go_by_the_field_s_name() -> None:
    with pytest.raises(UnsupportedType, match="field 'value' has the type int, and an alias"):
        arrow_schema(model_with(int, Field(alias="Value")))


def test_two_names_that_delta_lake_takes_for_one_are_refused() -> None:
    class Twice(BaseModel):
        total: int
        Total: str

    with pytest.raises(
        UnsupportedType, match="field 'Total' has the type str, and a name that another field has"
    ):
        arrow_schema(Twice)


@pytest.mark.parametrize(
    ("annotation", "field", "arrow", "nullable"),
    [
        (Optional[int], ..., pa.int64(), True),  # noqa: UP045 the older spelling is what is tested
        (Annotated[int | None, "a note"], ..., pa.int64(), True),
        (Annotated[int, "a note"] | None, ..., pa.int64(), True),
        (PositiveInt, ..., pa.int64(), False),
        (Annotated[str, StringConstraints(max_length=3)], ..., pa.string(), False),
        (TypeAliasType("Name", str), ..., pa.string(), False),
        (TypeAliasType("Name", str | None), ..., pa.string(), True),
        (Letter, ..., pa.string(), False),
        (Literal["a"] | None, ..., pa.string(), True),
        (AwareDatetime, ..., pa.timestamp("us", tz="UTC"), False),
        (datetime, ..., pa.timestamp("us", tz="UTC"), False),
        (date, date(2024, 1, 1), pa.date32(), False),  # a default does not make it nullable
        (condecimal(max_digits=4, decimal_places=1), ..., pa.decimal128(4, 1), False),
        (Decimal, Field(max_digits=4, decimal_places=1), pa.decimal128(4, 1), False),
        (Decimal | None, Field(max_digits=4, decimal_places=1), pa.decimal128(4, 1), True),
        (Annotated[Decimal | None, Field(max_digits=4, decimal_places=1)], ..., pa.decimal128(4, 1), True),
        (Annotated[Decimal, Field(max_digits=4, decimal_places=1)] | None, ..., pa.decimal128(4, 1), True),
    ],
    ids=str,
)
def test_a_type_is_recognised_in_every_spelling(
    annotation: Any, field: Any, arrow: pa.DataType, nullable: bool
) -> None:
    found = arrow_schema(model_with(annotation, field)).field("value")
    assert found.equals(pa.field("value", arrow, nullable=nullable))


def test_a_constraint_inside_a_spelling_reaches_the_json_schema() -> None:
    schema = json_schema(model_with(Annotated[str, StringConstraints(max_length=3)] | None))
    assert schema["properties"]["value"] == {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]}
