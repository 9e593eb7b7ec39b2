"""The grammar of a small schema, letter by letter, and the schemas that have none."""

from typing import Any

import pytest

from model.text.json_schema import to_lark


def test_the_grammar_of_a_small_schema() -> None:
    text = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    schema = {
        "type": "object",
        "properties": {"a": text, "b": {"type": "array", "items": text, "maxItems": 3}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    assert to_lark(schema).splitlines() == [
        '%llguidance {"no_forcing": true}',
        "start: rule_2",
        r'TERMINAL_0: "\"" CHAR* "\""',
        'rule_1: "[" ((TERMINAL_0 | "null") (", " (TERMINAL_0 | "null")){0,2})? "]"',
        r'rule_2: "{\"a\": " (TERMINAL_0 | "null") ", \"b\": " rule_1 "}"',
        r'CHAR: /[^"\\\x00-\x1f]/ | /\\["\\bfnrt]/',
    ]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            {"type": "integer", "multipleOf": 5},
            "the keywords ['multipleOf'] of its JSON schema cannot be decoded",
        ),
        ({"type": "string", "format": "uri"}, "the format 'uri' cannot be decoded"),
        (
            {"type": "string", "format": "date", "maxLength": 3},
            "['format', 'maxLength'] cannot be decoded together",
        ),
        ({"type": ["string", "null"]}, "the type ['string', 'null'] of its JSON schema cannot be decoded"),
        ({"$ref": "#/$defs/x"}, "the type None of its JSON schema cannot be decoded"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "no number is within its bounds"),
        (
            {"type": "number", "exclusiveMinimum": 1, "maximum": 1.004, "x-decimal-places": 2},
            "no number is within",
        ),
        ({"type": "string", "minLength": 5, "maxLength": 3}, "no text has 5 to 3 characters"),
        (
            {"type": "array", "items": {"type": "null"}, "minItems": 5, "maxItems": 3},
            "no list has 5 to 3 items",
        ),
        ({"type": "string", "enum": []}, "its enum is empty"),
        (
            {"type": "object", "properties": {"b": {"type": "null"}}, "additionalProperties": False},
            "an object has to require all of its properties and allow no others",
        ),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_the_field_s_name(field: dict[str, Any], message: str) -> None:
    schema = {
        "type": "object",
        "properties": {"list": {"type": "array", "items": field}},
        "required": ["list"],
        "additionalProperties": False,
    }
    with pytest.raises(ValueError, match=r"field 'list\[\]': ") as caught:
        to_lark(schema)
    assert message in str(caught.value)
