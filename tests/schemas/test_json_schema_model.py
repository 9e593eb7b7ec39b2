"""A JSON schema becomes the columns that its twin in pydantic has, or it is refused with its place.

The schemas are small ones in the forms that public collections use: generated ones of pydantic, TypeScript
and OpenAI, invoices, receipts and résumés, of all drafts from 4 to 2020-12.
"""

import datetime as dt
import json
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from pipeline.plan.prompts import target_prompt
from schemas.arrow import arrow_type, json_schema, to_row
from schemas.json_schema_model import model_of_schema, safe_name
from schemas.json_text import read_json

NULL = {"type": "null"}
TEXT = {"type": "string"}
Cents = Annotated[Decimal, Field(max_digits=38, decimal_places=2)]


def model_of(schema: Any) -> type[BaseModel]:
    return model_of_schema("target", read_json(json.dumps(schema)))


def record(required: Any = (), /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


class Person(BaseModel):
    name: str
    born: dt.date | None = None


class Item(BaseModel):
    what: str
    amount: Cents


class Bill(BaseModel):
    number: str
    due: dt.date | None = None
    sent: AwareDatetime | None = None
    currency: Literal["EUR", "USD"]
    total: Cents
    items: list[Item]


PERSON = record(["name"], name=TEXT, born={"type": "string", "format": "date"})
ITEM = record(["what", "amount"], what=TEXT, amount={"type": "number", "multipleOf": 0.01})
BILL = {
    "number": TEXT,
    "due": {"type": ["string", "null"], "format": "date"},
    "sent": {"anyOf": [{"type": "string", "format": "date-time"}, NULL]},
    "currency": {"type": "string", "enum": ["EUR", "USD"]},
    "total": {"type": "number", "multipleOf": 0.01},
    "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
}
BILL_NEEDS = ["number", "currency", "total", "items"]


class Tree(BaseModel):
    left: Person
    right: Person | None
    more: list[Person | None] | None = None


TWINS: list[tuple[Any, type[BaseModel]]] = [
    (PERSON, Person),
    (record(BILL_NEEDS, **BILL) | {"$defs": {"Item": ITEM}}, Bill),
    # draft 4, as old collections have it; and a root that is a reference, as TypeScript's generators write
    (
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "id": "https://example.org/bill.json",
            "$ref": "#/definitions/Bill",
            "definitions": {
                "Bill": record(
                    BILL_NEEDS, **BILL | {"items": {"type": "array", "items": {"$ref": "#/definitions/Item"}}}
                ),
                "Item": ITEM,
            },
        },
        Bill,
    ),
    # references by id and by anchor, absolute and relative
    (
        record(
            ["left", "right"],
            left={"$ref": "https://example.org/person"},
            right={"oneOf": [{"$ref": "person"}, NULL]},
            more={"type": "array", "items": {"anyOf": [{"$ref": "#someone"}, NULL]}},
        )
        | {
            "$id": "https://example.org/tree",
            "$defs": {
                "a": PERSON | {"$id": "person"},
                "b": {"$anchor": "someone", "$ref": "person"},
            },
        },
        Tree,
    ),
    # the same person twice, beside each other: no recursion
    (
        record(
            ["left", "right"],
            left={"$ref": "#/$defs/a~1b"},
            right={"type": ["object", "null"], "allOf": [{"$ref": "#/$defs/a~1b"}]},
            more={"items": {"anyOf": [{"$ref": "#/$defs/a%7E1b"}, NULL]}},
        )
        | {"$defs": {"a/b": PERSON | {"type": ["object", "null"]}}, "title": "not nullable on its own"},
        type("Other", (Tree,), {"__annotations__": {"left": Person | None}}),
    ),
]


def column(schema: Any) -> Any:
    return arrow_type(model_of(record(["value"], value=schema))).field("value")


@pytest.mark.parametrize(("schema", "twin"), TWINS)
def test_a_schema_has_the_columns_of_its_twin(schema: Any, twin: type[BaseModel]) -> None:
    assert arrow_type(model_of(schema)) == arrow_type(twin)


@pytest.mark.parametrize(
    ("schema", "annotation"),
    [
        (TEXT, str),
        ({"type": ["null", "string"]}, str | None),
        ({"pattern": "^a"}, str),  # a keyword of texts alone says the type
        ({"type": "string", "format": "uuid"}, str),
        ({"type": "string", "format": "time"}, str),
        ({"type": "string", "format": "date", "pattern": "^20"}, dt.date),
        ({"type": "string", "format": "date-time"}, AwareDatetime),
        ({"enum": ["a", "b", None]}, Literal["a", "b"] | None),
        ({"const": "a"}, Literal["a"]),
        ({"oneOf": [{"const": "a"}, {"enum": ["b", "c"]}, {"const": None}]}, Literal["a", "b", "c"] | None),
        ({"anyOf": [{"enum": ["a"]}, TEXT]}, str),
        ({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "time"}]}, str),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, float),
        ({"type": ["integer", "number"]}, float),
        ({"type": "integer", "minimum": 1, "maximum": 5}, int),
        ({"const": 3}, int),
        ({"enum": [1, 2, 3, None]}, int | None),
        ({"enum": [True]}, bool),
        ({"enum": [0.5, 1]}, float),
        ({"type": "number", "multipleOf": 1}, int),
        ({"type": "integer", "multipleOf": 1.5}, int),
        ({"type": "number", "multipleOf": 1e-3}, Annotated[Decimal, Field(max_digits=38, decimal_places=3)]),
        ({"type": "number", "multipleOf": 0.05}, Cents),
        (
            {"type": "number", "multipleOf": 0.01, "minimum": 0, "exclusiveMaximum": 1000},
            Annotated[Decimal, Field(max_digits=6, decimal_places=2)],
        ),
        ({"allOf": [{"type": "number"}, {"multipleOf": 0.5}, {"multipleOf": 0.2}]}, int),
        ({"type": "array", "items": {"type": ["integer", "null"]}}, list[int | None]),
        ({"type": ["array", "null"], "items": {"type": "array", "items": TEXT}}, list[list[str]] | None),
        ({"allOf": [{"items": TEXT}, {"type": "array", "maxItems": 2}]}, list[str]),
        ({"$ref": "#/$defs/x"}, str),
        ({"$ref": "#/$defs/x", "type": ["string", "null"]}, str),
        ({"not a keyword": 1, "type": "string", "default": 3, "examples": [{"$ref": "nowhere"}]}, str),
    ],
    ids=str,
)
def test_a_property_has_the_column_of_its_twin(schema: Any, annotation: Any) -> None:
    class Twin(BaseModel):
        value: annotation

    found = arrow_type(model_of(record(["value"], value=schema) | {"$defs": {"x": TEXT}}))
    assert found == arrow_type(Twin)


def test_allof_merges_objects_in_the_order_of_the_file() -> None:
    first, second = record(["a"], a=TEXT, b=TEXT), record(["c", "b"], c=TEXT, b={"maxLength": 3})
    merged = model_of({"allOf": [first, second], "properties": {"d": TEXT}})
    assert (
        str(arrow_type(merged))
        == "struct<a: string not null, b: string not null, c: string not null, d: string>"
    )
    assert json_schema(merged)["properties"]["b"] == {"type": "string", "maxLength": 3}


NAMES = [
    "_id",
    "first name",
    "@type",
    "copy",
    "model_config",
    "json",
    "class",
    "a.b",
    "größe",
    "p1",
    "p0",
    "$ref",
]


def test_all_properties_are_written_where_that_is_asked_and_null_where_the_schema_has_it() -> None:
    schema = record(["a"], a=TEXT, b=TEXT, c={"anyOf": [TEXT, NULL]}, d=record(e=TEXT))
    model = model_of_schema("target", schema, write_all=True)
    found = json_schema(model)
    assert found["required"] == ["a", "b", "c", "d"]
    assert found["properties"]["b"] == TEXT
    assert found["properties"]["c"] == {"anyOf": [TEXT, NULL]}
    assert found["properties"]["d"]["required"] == ["e"]


def test_names_may_be_any_text_and_stay_in_order() -> None:
    target = model_of(record(NAMES, **dict.fromkeys(NAMES, TEXT)))
    assert arrow_type(target).names == NAMES
    value = {name: str(index) for index, name in enumerate(reversed(NAMES))}
    assert to_row(target.model_validate(value, extra="forbid")) == value
    with pytest.raises(ValidationError, match="extra"):
        target.model_validate(value | {"p2": "by the name of an attribute"}, extra="forbid")


def test_two_hundred_properties_are_two_hundred_columns() -> None:
    names = [f"line {number}" for number in range(200)]
    target = model_of(record(**{name: {"type": ["number", "null"]} for name in names}))
    assert arrow_type(target).names == names


def doubled(number: int) -> tuple[str, Any]:
    """A schema that names the next one twice: 40 of them are 2 ** 40."""
    following = {"$ref": f"#/$defs/{number + 1}"}
    return str(number), record(a=following, b=following)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (TEXT, "#: a target is an object, and not string; make it a property of an object"),
        ({"type": "array", "items": PERSON}, "#: a target is an object, and not array"),
        ({}, "#: it does not say of what type the value is; add a `type`"),
        ({"name": "bill", "strict": True, "schema": PERSON}, "#: this is what an API takes around a schema"),
        ({"type": "json_schema", "json_schema": {"schema": PERSON}}, "#: this is what an API takes"),
        (record(), "#: an object needs properties with names"),
        (record(a={}), "#/properties/a: it does not say of what type"),
        (record(a=True), "#/properties/a: it does not say of what type"),
        (record(["a"], a=False), "#/properties/a: false allows no value"),
        (record(a=3), "#/properties/a: a schema is an object or true, not 3"),
        (record(a=NULL), "#/properties/a: no column holds null alone"),
        (record(a={"type": "text"}), "#/properties/a/type: it has to be one of string, integer"),
        (record(a={"type": ["string", "integer"]}), "#/properties/a: no column holds integer/string"),
        (
            record(a=record(b={"anyOf": [TEXT, {"type": "number"}]})),
            "#/properties/a/properties/b/anyOf: no column holds a union of number/string",
        ),
        (
            record(a={"oneOf": [PERSON, ITEM]}),
            "#/properties/a/oneOf: no column holds objects of several forms",
        ),
        (
            record(a={"oneOf": [TEXT, {"enum": ["b"]}]}),
            "#/properties/a/oneOf: one branch includes the others",
        ),
        (
            record(a={"anyOf": [{"pattern": "^a"}, {"pattern": "^b"}]}),
            "#/properties/a/anyOf: its branches are several kinds of string",
        ),
        (record(a={"type": "array"}), "#/properties/a: a list has to say of what its items are; add `items`"),
        (
            record(a={"type": "array", "items": [TEXT]}),
            "#/properties/a/items: items of several schemas; give all",
        ),
        (
            record(a={"type": "array", "prefixItems": [TEXT]}),
            "#/properties/a/prefixItems: neither a column nor",
        ),
        (
            record(a={"type": "object", "additionalProperties": TEXT}),
            "#/properties/a/additionalProperties: properties of any name fit no column",
        ),
        (
            record(a={"type": "object", "patternProperties": {"^x": TEXT}}),
            "#/properties/a/patternProperties: ",
        ),
        (record(a={"enum": ["x", 1]}), "#/properties/a: no column holds integer/string"),
        (record(a={"enum": [["x"]]}), "#/properties/a: a list has to say"),
        (
            record(a={"type": "integer", "enum": ["x"]}),
            "#/properties/a: none of the values of its enum is of its type",
        ),
        (record(a={"enum": ["x"], "minLength": 2}), "#/properties/a: none of the values of its enum fits"),
        (record(a={"type": "integer", "minimum": 2**63}), "#/properties/a: no whole number of 64 bits"),
        (
            record(a={"type": "number", "minimum": 2, "maximum": 1}),
            "#/properties/a: no number is within its bounds",
        ),
        (record(a={"type": "string", "minLength": 2, "maxLength": 1}), "#/properties/a: no text has 2 to 1"),
        (
            record(a={"type": "array", "items": TEXT, "minItems": 2, "maxItems": 1}),
            "#/properties/a: no list has 2 to 1",
        ),
        (
            record(a={"type": "number", "multipleOf": 1e-40}),
            "#/properties/a/multipleOf: a decimal has 38 digits",
        ),
        (
            record(a={"type": "number", "multipleOf": 0}),
            "#/properties/a/multipleOf: it has to be a number above 0",
        ),
        (record(a={"pattern": r"\bx"}), r"#/properties/a/pattern: \b in '\\bx' cannot be decoded; write it"),
        (record(a={"pattern": "(?=x)"}), "#/properties/a/pattern: '(?=x)' cannot be decoded: look-around"),
        (
            record(a={"pattern": "["}),
            "#/properties/a/pattern: '[' cannot be decoded: unclosed character class",
        ),
        (
            record(a={"allOf": [{"pattern": "a"}, {"pattern": "b"}]}),
            "#/properties/a/allOf/1/pattern: 'b' and 'a'",
        ),
        (
            record(a={"allOf": [TEXT, {"type": "integer"}]}),
            "#/properties/a/allOf/1: string and integer exclude",
        ),
        (
            record(a={"not": {"const": ""}}),
            "#/properties/a/not: neither a column nor decoding keeps it; leave",
        ),
        (
            record(a={"type": "string", "required": True}),
            "#/properties/a/required: it has to be a list of names",
        ),
        (record(["b"], a=TEXT), "#/required: 'b' is none of the properties"),
        (record(**{"a~/b": {}}), "#/properties/a~0~1b: it does not say"),
        (record(**{"": TEXT}), "#/properties/: '' is no name for a column"),
        (record(**{"a\0": TEXT}), "'a\\x00' is no name for a column"),
        (record(a=TEXT, A=TEXT), "#/properties/A: tables take it and 'a' for one column"),
        (
            {"allOf": [PERSON | {"additionalProperties": False}, ITEM]},
            "a schema merged with this one forbids it",
        ),
        (
            record(a={"$ref": "other.json#/x"}),
            "#/properties/a/$ref: 'other.json#/x' is in another file; copy",
        ),
        (record(a={"$ref": "#/$defs/none"}), "#/properties/a/$ref: '#/$defs/none' leads nowhere"),
        (record(a={"$ref": "#none"}), "#/properties/a/$ref: no schema has the anchor of '#none'"),
        (record(a={"$ref": "#"}), "#/properties/a/$ref: # contains itself here; columns have to end"),
        (record(a={"$ref": "#/properties/a"}), "#/properties/a/$ref: #/properties/a contains itself here"),
        (
            record(a={"$ref": "#/$defs/n"}) | {"$defs": {"n": record(of={"items": {"$ref": "#/$defs/n"}})}},
            "#/$defs/n/properties/of/items/$ref: #/$defs/n contains itself here",
        ),
        (
            record(a={"$ref": "#/$defs/0"}) | {"$defs": dict(map(doubled, range(40))) | {"40": TEXT}},
            "with its references written out, it is one of over 10,000",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_held_is_refused_with_its_place(schema: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"^#") as caught:
        model_of(schema)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["object", "array"])
def test_an_answer_nests_no_deeper_than_it_can_be_read(kind: str) -> None:
    schema: Any = TEXT
    for _ in range(61):
        schema = record(a=schema) if kind == "object" else {"type": "array", "items": schema}
    with pytest.raises(ValueError, match="lies deeper than 60 levels; make the schema flatter"):
        model_of(schema if kind == "object" else record(a=schema))


def value_of(schema: Any, text: str) -> object:
    target = model_of(record(["value"], value=schema))
    return to_row(target.model_validate({"value": read_json(text)}))["value"]


@pytest.mark.parametrize(
    ("schema", "good", "bad", "why"),
    [
        ({"type": "integer", "multipleOf": 5}, "-10", "7", "no multiple of 5"),
        ({"type": "number", "multipleOf": 0.05}, "0.15", "0.07", "no multiple of 1/20"),
        ({"type": "number", "multipleOf": 2.5}, f"2{'0' * 33}2.5", "1.5", "no multiple of 5/2"),
        ({"enum": [1, 5, 2]}, "5", "4", "not one of 1, 5, 2"),
        ({"enum": [0.5, 0.1]}, "0.1", "0.2", "not one of 0.5, 0.1"),
        ({"const": True}, "true", "false", "not one of true"),
        (
            {"type": "array", "items": TEXT, "uniqueItems": True},
            '["a", "b"]',
            '["a", "a"]',
            "two equal items",
        ),
        ({"format": "date", "pattern": "^20"}, '"2001-02-03"', '"1901-02-03"', "should match pattern"),
        (
            {"format": "date-time", "maxLength": 20},
            '"2001-02-03T04:05:06Z"',
            '"2001-02-03T04:05:06.1Z"',
            "most 20",
        ),
    ],
)
def test_what_decoding_lacks_is_checked_afterwards_and_told_before(
    schema: Any, good: str, bad: str, why: str
) -> None:
    assert value_of(schema, good) is not None
    with pytest.raises(ValidationError, match=why):
        value_of(schema, bad)
    plain = {key: word for key, word in schema.items() if key in ("type", "format", "items")}
    if plain:  # so the hash of the target, and the name of its table, follow such a change as well
        told = json_schema(model_of(record(["value"], value=schema)))["properties"]["value"]
        assert told != json_schema(model_of(record(["value"], value=plain)))["properties"]["value"]


def test_descriptions_reach_the_prompt_and_titles_where_they_say_more_than_the_name() -> None:
    schema = record(
        due_date={"type": "string", "format": "date", "title": "Due Date"},
        net={"$ref": "#/$defs/money", "description": "without\n  tax"},
        gross={"$ref": "#/$defs/money"},
        ref={"type": "string", "title": "Purchase order number"},
        mail={"type": "string", "format": "email", "description": "of the sender"},
        kind={"oneOf": [{"const": "C", "description": "credit note"}, {"const": "I", "title": "invoice"}]},
        tags={
            "type": "array",
            "description": "as printed",
            "items": {"type": "string", "description": "one word"},
        },
        lines={"type": "array", "items": record(n={"enum": [1, 2, 5], "description": "level"})},
        maybe={"description": "outer", "anyOf": [{"type": "string", "description": "inner"}, NULL]},
        within={"anyOf": [{"type": "string", "description": "of the branch"}, NULL]},
    ) | {
        "description": "A bill.\nNot a quote.",
        "$defs": {"money": {"type": "number", "description": "in euros"}},
    }
    first, second, request, shape, *lines = target_prompt(model_of(schema)).splitlines()
    assert (first, second) == ("A bill.", "Not a quote.")
    assert request.startswith("Extract as JSON.")
    assert shape.startswith('{"due_date": date, "net": number, ')
    assert lines == [
        "net: without tax",
        "gross: in euros",
        "ref: Purchase order number",
        "mail: of the sender (format: email)",
        "kind: (C: credit note; I: invoice)",
        "tags: as printed (each: one word)",
        "lines[].n: level (one of 1, 2, 5)",
        "maybe: outer",
        "within: of the branch",
    ]


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Purchase Order", "Purchase_Order"),
        ("Löhne/2024 (neu)", "Lohne_2024_neu"),
        ("请求", "schema"),
        ("x" * 99, "x" * 60),
        ("../..", "schema"),
    ],
)
def test_a_title_becomes_a_name_for_tables(title: str, name: str) -> None:
    assert safe_name(title) == name
