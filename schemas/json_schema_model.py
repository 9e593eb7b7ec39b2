"""The facts of a JSON schema in; a pydantic model whose columns are those of its twin written in Python out.

A model of pydantic's own forms is made, so that everything after it (columns, grammar, validation, rows) is
that of any other target. `json_schema_values` makes the single values, this file objects and lists of them.
"""

import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, create_model

from schemas.columns import Aliased
from schemas.json_schema_facts import Facts, nothing
from schemas.json_schema_refs import Document, Node, refused
from schemas.json_schema_union import Reader, kinds
from schemas.json_schema_values import are_unique, scalar

MAX_DEPTH = 60  # of an answer: its JSON is read to 64
MAX_NAME = 60
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def model_of_schema(name: str, schema: Any, *, write_all: bool = False) -> type[BaseModel]:
    """The model of a parsed schema, fractions as Decimal. ValueError: "#/properties/a: why it is refused".

    With `write_all`, properties that are not required are: they are null only where the schema says so.
    """
    if _is_envelope(schema):
        raise refused("#", "this is what an API takes around a schema; give the schema in it alone")
    document = Document(schema)
    maker = _Maker(Reader(document), write_all)
    facts = maker.reader.facts(document.root)
    types = kinds(facts)
    if types != {"object"}:
        what = "/".join(sorted(types))
        raise refused("#", f"a target is an object, and not {what}; make it a property of an object")
    return maker.object(facts, safe_name(name), depth=1, about=facts.description)


def safe_name(text: str) -> str:
    """A name for tables and folders: letters A to Z, digits and "_". Accents are taken off."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub("[^A-Za-z0-9]+", "_", plain).strip("_")[:MAX_NAME].strip("_") or "schema"


def _is_envelope(schema: Any) -> bool:
    """The schema lies in a field: {"name": "invoice", "strict": true, "schema": {...}}."""
    inside = ("schema", "json_schema", "parameters", "input_schema")
    words = ("type", "properties", "$ref", "allOf", "anyOf", "oneOf")
    return (
        isinstance(schema, dict)
        and any(isinstance(schema.get(word), dict) for word in inside)
        and (not any(word in schema for word in words) or schema.get("type") in ("json_schema", "function"))
    )


class _Maker:
    def __init__(self, reader: Reader, write_all: bool) -> None:
        self.reader = reader
        self._write_all = write_all

    def object(self, facts: Facts, name: str, *, depth: int, about: str | None = None) -> type[BaseModel]:
        """The model of an object's facts. Its fields are p0, p1, ...; their aliases are the names."""
        at, properties = facts.pointer, facts.properties
        if not properties:
            raise refused(at, "an object needs properties with names: they are its columns")
        if depth > MAX_DEPTH:
            raise refused(at, f"it lies deeper than {MAX_DEPTH} levels; make the schema flatter")
        if unknown := sorted(facts.required - {*properties}):
            raise refused(f"{at}/required", f"{unknown[0]!r} is none of the properties; describe it there")
        fields: dict[str, Any] = {}
        seen: dict[str, str] = {}
        for key, nodes in properties.items():
            where = nodes[0].pointer
            if all(node.schema is False for node in nodes) and key not in facts.required:
                continue  # it must not be there
            if not key or CONTROL.search(key):
                raise refused(
                    where, f"{key!r} is no name for a column: it is empty or has control characters"
                )
            if facts.closed is not None and key not in facts.closed:
                raise refused(where, "a schema merged with this one forbids it by `additionalProperties`")
            if other := seen.get(key.casefold()):
                raise refused(where, f"tables take it and {other!r} for one column; rename one of them")
            seen[key.casefold()] = key
            required = self._write_all or key in facts.required
            fields[f"p{len(fields)}"] = self._field(key, nodes, required=required, depth=depth)
        if not fields:
            raise refused(at, "none of its properties may be there")
        model: type[Aliased] = create_model(name, __base__=Aliased, **fields)
        model.about = about
        return model

    def _field(self, key: str, nodes: tuple[Node, ...], *, required: bool, depth: int) -> tuple[Any, Any]:
        facts = self.reader.facts(*nodes)
        annotation, words = self._value(facts, key, depth)
        description = _described(facts, key, words)
        if not required:
            return annotation | None, Field(default=None, alias=key, description=description)
        if "null" in kinds(facts):
            annotation = annotation | None
        return annotation, Field(alias=key, description=description)

    def _value(self, facts: Facts, key: str, depth: int) -> tuple[Any, list[str]]:
        """The annotation of a value that is not null, and what is to be told of it beside its description."""
        types = kinds(facts) - {"null"}
        if types == {"integer", "number"}:
            types = frozenset({"number"})
        if len(types) != 1:
            what = "/".join(sorted(types)) or "null alone"
            raise refused(facts.pointer, f"no column holds {what}; give it one type, beside null")
        (kind,) = types
        if kind == "object":
            return self.object(facts, safe_name(key), depth=depth + 1), []
        if kind == "array":
            return self._list(facts, key, depth)
        return scalar(facts, kind)

    def _list(self, facts: Facts, key: str, depth: int) -> tuple[Any, list[str]]:
        if not facts.items:
            raise refused(facts.pointer, "a list has to say of what its items are; add `items`")
        if depth > MAX_DEPTH:
            raise refused(facts.pointer, f"it lies deeper than {MAX_DEPTH} levels; make the schema flatter")
        if facts.values is not None:
            raise refused(facts.pointer, "no column holds a choice of lists; leave `enum` out")
        least, most = facts.min_items, facts.max_items
        if least is not None and most is not None and least > most:
            raise nothing(facts.pointer, f"no list has {least} to {most} items")
        item = self.reader.facts(*facts.items)
        annotation, words = self._value(item, key, depth + 1)
        if "null" in kinds(item):
            annotation = annotation | None
        about = _described(item, key, words)
        rules = [AfterValidator(are_unique)] if facts.unique else []
        annotation = Annotated[list[annotation], Field(min_length=least, max_length=most), *rules]  # type: ignore[valid-type]  # made while the program runs
        told = ["no two are equal"] if facts.unique else []
        return annotation, [*told, *([f"each: {about}"] if about else [])]


def _described(facts: Facts, key: str, words: list[str]) -> str | None:
    """What the language model is told: the description, or a title that says more than the name."""
    said = " ".join((facts.description or facts.title or "").split())
    if not facts.description and _letters(said) == _letters(key):
        said = ""
    more = "; ".join([*words, *facts.choices])
    return " ".join(part for part in (said, f"({more})" if more else "") if part) or None


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text).casefold()
