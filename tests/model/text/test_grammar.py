"""What may be written under a schema, token by token, on nano's vocabulary and on the published one."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mistral_common
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.text.grammar import KEPT, Grammars, Matcher, check_schema
from model.text.tokenizer import Tokenizer

NANO = Tokenizer.from_file(Path("model/nano/tekken.json"))
PUBLISHED = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
NULL = {"type": "null"}
TEXT = {"type": "string"}


def record(**fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


SCHEMA = record(
    name={"anyOf": [TEXT, NULL], "description": "as printed"},
    größe={"anyOf": [{"type": "number", "x-decimal-places": 2}, NULL]},
    items={"type": "array", "items": record(n={"type": "integer"}, paid={"type": "boolean"})},
)
VALUE = {
    "name": 'Köfte "Söhne" \\ 😀 株式会社\n',
    "größe": 12.5,
    "items": [{"n": -3, "paid": True}, {"n": 0, "paid": False}],
}


def trained(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(NANO)


def allowed(matcher: Matcher, grammars: Grammars) -> list[int]:
    """The allowed tokens; among the control tokens none but the end, and that only after whole JSON."""
    (mask_W,) = grammars.new_masks(1)
    matcher.fill(mask_W)
    tokens: list[int] = np.flatnonzero(np.unpackbits(mask_W.view(np.uint8), bitorder="little")).tolist()
    assert all(not matcher.is_complete or token == NANO.eos for token in tokens)
    assert [token for token in tokens if token < 1000] in ([], [NANO.eos])
    return tokens


def follow(matcher: Matcher, grammars: Grammars, tokens: list[int]) -> bool:
    """Whether each token in turn is allowed."""
    for token in tokens:
        if token not in allowed(matcher, grammars):
            return False
        matcher.accept(token)
    return True


def bytewise(text: str | bytes) -> list[int]:
    return [1000 + byte for byte in (text.encode() if isinstance(text, str) else text)]


def takes(grammars: Grammars, schema: dict[str, Any], text: str | bytes) -> bool:
    """Whether the text, in single bytes, is one whole value of the schema."""
    matcher = grammars.matcher(json.dumps(schema))
    return follow(matcher, grammars, bytewise(text)) and NANO.eos in allowed(matcher, grammars)


@pytest.mark.parametrize("cut", [NANO.encode, bytewise])
def test_json_as_it_is_trained_is_allowed_in_any_cut(grammars: Grammars, cut: Any) -> None:
    matcher = grammars.matcher(json.dumps(SCHEMA))
    tokens = cut(trained(VALUE))
    assert follow(matcher, grammars, tokens[:-1])
    assert not matcher.is_complete
    assert follow(matcher, grammars, tokens[-1:])
    assert matcher.is_complete
    assert allowed(matcher, grammars) == [NANO.eos]


def test_any_field_may_be_null_if_the_schema_says_so(grammars: Grammars) -> None:
    assert takes(grammars, SCHEMA, '{"name": null, "größe": null, "items": []}')
    assert not takes(grammars, SCHEMA, '{"name": null, "größe": null, "items": null}')


@pytest.mark.parametrize(
    "text",
    [
        '{"name":null, "größe": 1, "items": []}',
        '{ "name": null, "größe": 1, "items": []}',
        '{"name": null, "größe": 1, "items": []} ',
        '\n{"name": null, "größe": 1, "items": []}',
        '{"name": null, "größe": 1}',
        '{"größe": 1, "name": null, "items": []}',
        '{"name": null, "gr\\u00f6\\u00dfe": 1, "items": []}',
        '{"name": null, "größe": 1, "items": [], "more": 1}',
        '{"name": "tab\t", "größe": 1, "items": []}',
        '{"name": "\\u0041", "größe": 1, "items": []}',
        '{"name": "\\/", "größe": 1, "items": []}',
        '{"name": null, "größe": "1", "items": []}',
        '{"name": null, "größe": 1.255, "items": []}',
        '{"name": null, "größe": 1e2, "items": []}',
        '{"name": null, "größe": 1, "items": [{"n": 1.0, "paid": true}]}',
        '{"name": null, "größe": 1, "items": [{"n": 1, "paid": 1}]}',
    ],
)
def test_json_of_another_form_is_not(grammars: Grammars, text: str) -> None:
    assert not takes(grammars, SCHEMA, text)


@pytest.mark.parametrize(
    ("schema", "takes_these", "not_these"),
    [
        ({"type": "integer", "minimum": -3, "maximum": 12}, "-3 -1 0 9 10 12", "-4 -0 13 012 1.0 1e1 null"),
        ({"type": "integer", "exclusiveMinimum": 0, "maximum": 2**63 - 1}, f"1 {2**63 - 1}", f"0 -1 {2**63}"),
        ({"type": "integer", "minimum": 0.5, "exclusiveMaximum": 2.5}, "1 2", "0 3"),
        (
            {
                "type": "number",
                "x-decimal-places": 4,
                "exclusiveMinimum": -(10**34),
                "exclusiveMaximum": 10**34,
            },
            f"0 {'9' * 34}.9999 -{'9' * 34}.9999 0.5000",
            f"1{'0' * 34} 0.00001 -0",
        ),
        ({"type": "number", "x-decimal-places": 2, "minimum": 0.07}, "0.07 0.1 0.70 7", "0.06 0 0.070"),
        ({"type": "number", "x-decimal-places": 0, "maximum": 9.5}, "9 -12", "10 9.0"),
        ({"type": "number"}, "1 -0.5 6.02e23 1e-07 1e5", "1e100 01 .5 1. 1E5 NaN Infinity"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "0 1 1.0 0.25", "1.1 -0.1 1e0"),
        (
            {"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 1},
            "0.11 0.100000000000001 0.999999999999999",
            "0.1 0.10 1 1.0",
        ),
        ({"type": "boolean"}, "true false", "null 1 True"),
        ({"type": "string", "format": "date"}, '"2024-02-29"', '"2023-02-29" "2024-13-01" "24-01-01" ""'),
        (
            {"type": "string", "format": "date-time"},
            '"2024-02-29T00:00:00Z" "0001-01-02T00:00:00+23:59"',
            '"2024-02-29T00:00:00" "0001-01-01T00:00:00+23:59" "9999-12-31T00:00:00Z"',
        ),
        ({"type": "string", "enum": ["a", "né", '"']}, '"a" "né" "\\""', '"b" "" "n" a null'),
        ({"type": "string", "minLength": 2, "maxLength": 3}, '"ab" "😀\\n" "éé\\""', '"" "a" "abcd" "\\\\"'),
        ({"type": "string", "maxLength": 0}, '""', '"a"'),
        ({"type": "string", "pattern": "b+$"}, '"b" "xäbb"', '"a" "bx"'),
        ({"type": "string", "pattern": r"^\w\d$", "maxLength": 9}, '"é1" "a٣"', '"a" "-1"'),
        ({"type": "string", "pattern": r"^\W\D[^\d]$"}, '"-aa"', '"éaa" "-1a" "-a٣"'),
        ({"type": "string", "pattern": "^[^a]+$", "minLength": 2}, '"b\\"" "\\n\\\\"', '"b" "ba"'),
        ({"type": "array", "items": TEXT, "minItems": 0}, '[] ["a"]', "[,] [1] null"),
    ],
)
def test_values(grammars: Grammars, schema: dict[str, Any], takes_these: str, not_these: str) -> None:
    assert [text for text in takes_these.split(" ") if not takes(grammars, schema, text)] == []
    assert [text for text in not_these.split(" ") if takes(grammars, schema, text)] == []


@pytest.mark.parametrize(("least", "most"), [(0, 0), (0, 2), (1, 1), (1, None), (2, 3), (3, None)])
def test_lists_in_lists_are_of_the_length_that_is_asked(
    grammars: Grammars, least: int, most: int | None
) -> None:
    inner = {"type": "array", "items": {"type": "integer"}, "minItems": least}
    inner |= {} if most is None else {"maxItems": most}
    for length in range(6):
        fits = least <= length and (most is None or length <= most)
        value = [list(range(length)), list(range(length))]
        assert takes(grammars, {"type": "array", "items": inner}, trained(value)) == fits


def test_a_long_enum_allows_each_choice_and_no_mix_of_two(grammars: Grammars) -> None:
    choices = [f'choice {number} "é" {"x" * (number % 7)}' for number in range(600)]
    schema = {"type": "string", "enum": choices}
    assert all(takes(grammars, schema, trained(choice)) for choice in choices[::37])
    assert not takes(grammars, schema, trained(choices[1] + "x"))


def test_every_character_can_stand_in_an_enum(grammars: Grammars) -> None:
    characters = [chr(code) for code in [*range(0x3000), *range(0xE000, 0x11000), 0x1F600, 0x10FFFF]]
    matcher = grammars.matcher(json.dumps({"type": "string", "enum": characters}))
    for character in characters[:300] + characters[300::50]:
        text = trained(character).encode()
        assert matcher.inner.deep_copy().try_consume_tokens(bytewise(text)) == len(text)


def test_half_a_character_can_only_be_completed(grammars: Grammars) -> None:
    matcher = grammars.matcher(json.dumps(TEXT))
    assert follow(matcher, grammars, bytewise(b'"' + "😀".encode()[:2]))
    firsts = {NANO.token_bytes(token)[0] for token in allowed(matcher, grammars)}
    assert firsts == set(range(0x80, 0xC0))
    for bad in (b'"\xed\xa0\x80"', b'"\xff"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"'):
        assert not takes(grammars, TEXT, bad)  # a surrogate, no UTF-8, too long a form, beyond Unicode


@pytest.mark.parametrize("written", ["", '{"na', '{"name": "é', '{"name": null, "größe": 1', '{"name": "\\'])
def test_a_token_is_allowed_if_its_bytes_are(grammars: Grammars, written: str) -> None:
    start = grammars.matcher(json.dumps(SCHEMA))
    assert follow(start, grammars, bytewise(written))

    def fits(data: bytes) -> bool:
        return start.inner.deep_copy().try_consume_tokens(bytewise(data)) == len(data)

    expected = [token for token in range(1000, NANO.vocab_size) if fits(NANO.token_bytes(token))]
    assert allowed(start, grammars) == expected


@given(st.text(st.characters(exclude_categories=["Cs"], min_codepoint=0x20), max_size=12))
def test_every_text_without_control_characters_can_be_written(grammars: Grammars, text: str) -> None:
    assert follow(grammars.matcher(json.dumps(TEXT)), grammars, NANO.encode(trained(text)))


def test_several_are_filled_as_each_alone(grammars: Grammars) -> None:
    matchers = [grammars.matcher(json.dumps(schema)) for schema in (SCHEMA, TEXT, SCHEMA, NULL)]
    for matcher, tokens in zip(matchers, (b'{"na', b'"x', b"", b"nu"), strict=True):
        assert follow(matcher, grammars, bytewise(tokens))
    together = grammars.new_masks(6)
    grammars.fill([matchers[0], None, *matchers[1:]], together)
    alone = grammars.new_masks(4)
    for matcher, mask_W in zip(matchers, alone, strict=True):
        matcher.fill(mask_W)
    assert together.dtype == np.int32
    assert together.shape == (6, -(-NANO.vocab_size // 32))
    np.testing.assert_array_equal(together[[0, 2, 3, 4]], alone)
    assert (together[1] == -1).all()
    assert (together[5] == 0).all()  # a row beyond the matchers stays as it was


def test_threads_do_not_disturb_each_other(grammars: Grammars) -> None:
    def walk(seed: int) -> list[int]:
        generator, matcher = np.random.default_rng(seed), grammars.matcher(json.dumps(SCHEMA))
        written: list[int] = []
        while len(written) < 60 and not matcher.is_complete:
            written.append(int(generator.choice(allowed(matcher, grammars))))
            matcher.accept(written[-1])
        return written

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(walk, range(12))) == [walk(seed) for seed in range(12)]


def test_a_grammar_that_leads_nowhere_is_stuck_and_allows_nothing(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.text.grammar.to_lark", lambda _: 'start: "x" NONE\nNONE: /a/ & /b/')
    matcher = grammars.matcher('{"type": "leads nowhere"}')
    assert follow(matcher, grammars, bytewise("x"))
    assert allowed(matcher, grammars) == []
    assert matcher.stuck
    assert not matcher.is_complete
    masks = grammars.new_masks(2)
    grammars.fill([None, matcher], masks)
    assert (masks[1] == 0).all()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            record(a={"type": "string", "pattern": "(?=a)"}),
            "the JSON schema cannot be decoded: field 'a' has the pattern",
        ),
        (record(a={"type": "string", "pattern": "^a$", "minLength": 2}), "field 'a' .*Regex is empty"),
        (
            record(a=TEXT, b={"type": "string", "pattern": r"\bx\b"}),
            r"field 'b' has the pattern '.{2}bx.{2}b': ",
        ),
        (
            record(
                a={"type": "array", "items": record(b={"anyOf": [{"type": "string", "pattern": "a^"}, NULL]})}
            ),
            r"field 'a\[\]\.b' has the pattern 'a\^': ",
        ),
    ],
)
def test_a_pattern_that_cannot_be_decoded_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_schema(json.dumps(schema))


def test_the_published_vocabulary() -> None:
    tokenizer = Tokenizer.from_file(PUBLISHED, 131072)
    grammars = Grammars(tokenizer)
    matcher = grammars.matcher(json.dumps(SCHEMA))
    masks = grammars.new_masks(1)
    assert masks.shape == (1, 4096)
    for token in tokenizer.encode(trained(VALUE)):
        matcher.fill(masks[0])
        bits = np.unpackbits(masks.view(np.uint8), bitorder="little")
        assert bits[token]
        assert not bits[:1000].any()
        matcher.accept(token)
    assert matcher.is_complete
    matcher.fill(masks[0])
    assert np.flatnonzero(np.unpackbits(masks.view(np.uint8), bitorder="little")).tolist() == [tokenizer.eos]


def test_the_last_grammars_are_kept_and_no_others() -> None:
    grammars = Grammars(NANO)
    schemas = [json.dumps({"type": "string", "enum": [str(number)]}) for number in range(KEPT + 2)]
    for schema in schemas:
        grammars.matcher(schema)
        grammars.matcher(schemas[0])  # in use all the while
    compiled = grammars._fresh.cache_info()
    assert (compiled.misses, compiled.currsize) == (KEPT + 2, KEPT)
    for schema, again in ((schemas[0], 0), (schemas[3], 0), (schemas[1], 1)):
        grammars.matcher(schema)
        assert grammars._fresh.cache_info().misses == KEPT + 2 + again


@pytest.mark.parametrize(
    ("text", "is_object"),
    [
        ("{}", True),
        ('{"a": {"b": [1, -2.5e3, "x\\n", null, true, {}]}, "": []}', True),
        ("[1]", False),
        ('{"a": 1, }', False),
        ('{"a": tru}', False),
        ('{"a"}', False),
        ('{"a": 1}}', False),
    ],
)
def test_any_object(grammars: Grammars, text: str, is_object: bool) -> None:
    matcher = grammars.matcher('{"type": "object"}')
    assert (follow(matcher, grammars, bytewise(text)) and matcher.is_complete) == is_object
