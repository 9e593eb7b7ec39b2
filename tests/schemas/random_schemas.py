"""Random JSON schemas of the supported forms, each with a strategy for instances of it.

An instance is made to be valid or nearly so: `jsonschema` decides whether it is.
"""

from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]
Pair = tuple[Schema, st.SearchStrategy[Any]]  # a schema, and parsed JSON that may be an instance of it

NAMES = st.sampled_from(
    [
        "total",
        "first name",
        "_id",
        "@type",
        "copy",
        "model_config",
        "größe",
        "a.b",
        "p0",
        "class",
        "x/y~z",
        "$ref",
    ]
)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)
PATTERNS = {"^[A-Z]{2}-[0-9]{1,3}$": r"[A-Z]{2}-[0-9]{1,3}", "^(yes|no)$": "(yes|no)"}
WHOLE = st.integers(-(2**40), 2**40)


def _strings() -> st.SearchStrategy[Pair]:
    lengths = st.tuples(st.integers(0, 3), st.integers(3, 8)).map(
        lambda pair: ({"type": "string", "minLength": pair[0], "maxLength": pair[1]}, TEXT)
    )
    patterns = st.sampled_from(sorted(PATTERNS)).map(
        lambda pattern: (
            {"type": "string", "pattern": pattern},
            st.from_regex(PATTERNS[pattern], fullmatch=True),
        )
    )
    formats = st.sampled_from(["date", "date-time", "email", "uuid", "time"]).map(
        lambda name: (
            {"type": "string", "format": name},
            {
                "date": st.dates().map(lambda day: day.isoformat()),
                "date-time": st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
            }.get(name, TEXT),
        )
    )
    choices = st.lists(TEXT, min_size=1, max_size=4, unique=True)
    enums = choices.map(lambda values: ({"enum": values}, st.sampled_from(values)))
    constants = TEXT.map(lambda value: ({"const": value}, st.just(value)))
    oneof = choices.map(
        lambda values: (
            {"oneOf": [{"const": value, "title": f"case {i}"} for i, value in enumerate(values)]},
            st.sampled_from(values),
        )
    )
    plain: st.SearchStrategy[Pair] = st.just(({"type": "string"}, TEXT))
    return st.one_of(plain, lengths, patterns, formats, enums, constants, oneof)


def _numbers() -> st.SearchStrategy[Pair]:
    low = st.integers(-100, 100)
    bounds: st.SearchStrategy[Schema] = st.tuples(low, st.integers(3, 50), st.booleans(), st.booleans()).map(
        lambda drawn: {
            "exclusiveMinimum" if drawn[2] else "minimum": drawn[0],
            "exclusiveMaximum" if drawn[3] else "maximum": drawn[0] + drawn[1],
        }
    )
    none: Schema = {}
    steps: list[Schema] = [{"multipleOf": 3}, {"multipleOf": 0.5}]
    integers = st.one_of(st.just(none), bounds, st.sampled_from(steps)).map(
        lambda more: ({"type": "integer", **more}, st.integers(-150, 150) | WHOLE)
    )
    numbers = st.one_of(st.just(none), bounds).map(
        lambda more: ({"type": "number", **more}, st.floats(-150, 150) | st.integers(-150, 150))
    )
    # Steps that are exact in binary: jsonschema computes multipleOf in floats.
    decimals = st.tuples(st.sampled_from([0.5, 0.25, 0.125]), st.one_of(st.just(none), bounds)).map(
        lambda drawn: (
            {"type": "number", "multipleOf": drawn[0], **drawn[1]},
            st.integers(-600, 600).map(lambda count: count * drawn[0]),
        )
    )
    enums = st.lists(st.integers(-9, 9), min_size=1, max_size=4, unique=True).map(
        lambda values: ({"type": "integer", "enum": values}, st.sampled_from(values))
    )
    return st.one_of(integers, numbers, decimals, enums)


BOOLEAN_FORMS: list[Schema] = [{"type": "boolean"}, {"const": True}]
BOOLEANS: st.SearchStrategy[Pair] = st.sampled_from(BOOLEAN_FORMS).map(lambda schema: (schema, st.booleans()))


def _nullable(pair: Pair) -> st.SearchStrategy[Pair]:
    schema, values = pair
    ways = [{"anyOf": [schema, {"type": "null"}]}, {"oneOf": [{"type": "null"}, schema]}]
    if "type" in schema:
        ways.append(schema | {"type": [schema["type"], "null"]})
    if schema.get("enum"):
        ways = [way for way in ways if "type" not in way]  # an enum without null in it allows none
    return st.sampled_from(ways).map(lambda way: (way, st.none() | values))


def _list(pair: Pair) -> st.SearchStrategy[Pair]:
    schema, values = pair
    ways: list[Schema] = [{}, {"minItems": 1}, {"maxItems": 2}, {"uniqueItems": True}]
    return st.sampled_from(ways).map(
        lambda words: ({"type": "array", "items": schema, **words}, st.lists(values, max_size=3))
    )


@st.composite
def _object(draw: st.DrawFn, inner: st.SearchStrategy[Pair]) -> Pair:
    properties: dict[str, Pair] = draw(st.dictionaries(NAMES, inner, min_size=1, max_size=4))
    names = list(properties)
    required = [name for name in names if draw(st.booleans())]
    schema: Schema = {
        "type": "object",
        "properties": {name: properties[name][0] for name in names},
        "required": required,
        "additionalProperties": False,
    }
    if draw(st.booleans()):  # the same, put together of two
        cut = draw(st.integers(0, len(names)))
        halves = [
            {"properties": {name: properties[name][0] for name in some}}
            for some in (names[:cut], names[cut:])
        ]
        schema = {"type": "object", "allOf": [*halves, {"required": required}]}
    optional = {name: properties[name][1] for name in names if name not in required}
    values = st.fixed_dictionaries({name: properties[name][1] for name in required}, optional=optional)
    return schema, values


def _kinds() -> st.SearchStrategy[Pair]:
    return st.recursive(
        st.one_of(_strings(), _numbers(), BOOLEANS),
        lambda inner: st.one_of(inner.flatmap(_nullable_once), inner.flatmap(_list), _object(inner)),
        max_leaves=5,
    )


def _nullable_once(pair: Pair) -> st.SearchStrategy[Pair]:
    """Of nullable ones in nullable ones, oneOf would allow null twice and so never."""
    is_plain = "null" not in str(pair[0].get("type", "")) and not {"anyOf", "oneOf"} & {*pair[0]}
    return _nullable(pair) if is_plain else st.just(pair)


@st.composite
def schemas(draw: st.DrawFn) -> Pair:
    """An object's schema, some of whose properties lie in $defs, in any of the drafts."""
    schema, values = draw(_object(_kinds()))
    if "allOf" not in schema and draw(st.booleans()):
        moved = draw(st.sampled_from(list(schema["properties"])))
        schema["$defs"] = {"a part/of it": schema["properties"][moved]}
        schema["properties"][moved] = {"$ref": "#/$defs/a%20part~1of%20it"}
    draft = draw(
        st.sampled_from(
            ["draft-06/schema#", "draft-07/schema#", "draft/2019-09/schema", "draft/2020-12/schema"]
        )
    )
    return {"$schema": f"http{'s' if '/20' in draft else ''}://json-schema.org/{draft}"} | schema, values
