"""A schema's references and combinations put together: a `Node` in, the `Facts` of all that it says out.

`allOf` and the target of `$ref` are merged with what stands beside them. `anyOf` and `oneOf` are held where
one column holds their branches: null and another, choices of text, or one branch that includes the others. A
union of other types is refused with its place.
"""

from dataclasses import replace
from typing import Any

from schemas.json_schema_facts import Contradiction, Facts, both, json_type, own_facts, same
from schemas.json_schema_refs import Document, Node, refused

MAX_SCHEMAS = 10_000  # once references are written out; two lines can name 2 ** 64 of them
FAMILIES = {  # what a schema without a type is about
    "object": ("properties", "required", "closed"),
    "array": ("items", "min_items", "max_items", "unique"),
    "number": ("ge", "gt", "le", "lt", "step"),
    "string": ("min_length", "max_length", "pattern", "format"),
}


class Reader:
    """Reads the nodes of one document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._read = 0

    def facts(self, *nodes: Node) -> Facts:
        """All that is known of a value that each of the nodes describes. Raises ValueError."""
        first, *more = [self._facts(node) for node in nodes]
        for other in more:
            first = both(first, other)
        return first

    def _facts(self, node: Node) -> Facts:
        self._read += 1
        if self._read > MAX_SCHEMAS:
            raise refused(node.pointer, f"with its references written out, it is one of over {MAX_SCHEMAS:,}")
        if isinstance(node.schema, dict) and (self._document.draft > 7 or "$ref" not in node.schema):
            node = replace(node, base=self._document.base_of(node.schema, node.base))
        own = own_facts(node)
        if not isinstance(node.schema, dict):
            return own
        parts: list[Facts] = []
        for keyword in node.schema:  # in the file's order, which is that of the columns
            if keyword == "$ref":
                target = self._facts(self._document.follow(node, node.schema[keyword]))
                if self._document.draft <= 7:  # what stands beside a reference says nothing there
                    return replace(target, **_words(own, target))
                parts.append(target)
            elif keyword == "allOf":
                parts += [self._facts(node.child(keyword, i)) for i in range(len(node.schema[keyword]))]
            elif keyword == "properties":
                parts.append(own)
        if own.properties is None:
            parts.insert(0, own)
        found = parts[0]
        for part in parts[1:]:
            found = both(found, part)
        found = replace(found, pointer=node.pointer, **_words(own, found))
        for keyword in ("anyOf", "oneOf"):
            if keyword in node.schema:
                branches = [node.child(keyword, i) for i in range(len(node.schema[keyword]))]
                found = self._union(found, branches, f"{node.pointer}/{keyword}", exact=keyword == "oneOf")
        return found

    def _union(self, outer: Facts, branches: list[Node], at: str, *, exact: bool) -> Facts:
        """The facts of a value for which one of the branches holds; `exact`: one alone."""
        options, impossible = [], None
        for branch in branches:
            try:
                option = both(outer, self._facts(branch))
                options.append((option, kinds(option)))
            except Contradiction as error:
                impossible = error
        if impossible is not None and not options:
            raise impossible
        nulls = sum("null" in types for _, types in options)
        nullable = nulls == 1 if exact else nulls > 0
        others = [replace(one, types=types - {"null"}) for one, types in options if types != {"null"}]
        if not others:
            return options[0][0]
        found = _one_of(others, at, exact=exact)
        assert found.types is not None
        # The words of one branch are of the value; those of several are each of a case of it.
        words = _words(outer, found if len(others) == 1 else outer)
        if nullable:
            values = None if found.values is None else (*found.values, None)
            found = replace(found, types=found.types | {"null"}, values=values)
        return replace(found, **words)


def kinds(facts: Facts) -> frozenset[str]:
    """The JSON types that the value may have. ValueError if the schema says nothing of them."""
    types = facts.types
    if types is None and facts.values is not None:
        types = frozenset(map(json_type, facts.values))
    if types is None:
        about = [kind for kind, names in FAMILIES.items() if any(getattr(facts, name) for name in names)]
        if len(about) != 1:
            raise refused(facts.pointer, "it does not say of what type the value is; add a `type`")
        types = frozenset(about)
    if facts.values is None:
        return types
    there = {json_type(value) for value in facts.values}
    found = {kind for kind in types if kind in there or (kind == "number" and "integer" in there)}
    if not found:
        raise Contradiction(f"{facts.pointer}: none of the values of its enum is of its type")
    return frozenset(found)


def _words(nearer: Facts, further: Facts) -> dict[str, Any]:
    return {name: getattr(nearer, name) or getattr(further, name) for name in ("title", "description")}


def _one_of(options: list[Facts], at: str, *, exact: bool) -> Facts:
    """The facts of all options in one. Raises ValueError if no column holds them."""
    different = [one for index, one in enumerate(options) if one not in options[:index]]
    if len(different) == 1 and not (exact and len(options) > 1):
        return options[0]
    first = options[0]
    if all(option.values is not None and option.types == first.types for option in options):
        return _choices(options, at, exact=exact)
    texts = [replace(option, format=None) for option in options]
    if all(text == Facts(pointer=at, types=frozenset({"string"})) for text in texts):
        return texts[0]  # formats alone tell them apart, and a text may be of any
    types = frozenset(kind for option in options for kind in option.types or ())
    for option in options:
        includes = all(
            kind in (option.types or ()) or (kind == "integer" and "number" in (option.types or ()))
            for kind in types
        )
        if includes and option == Facts(pointer=at, types=option.types):
            if exact:
                raise refused(at, "one branch includes the others, so that oneOf allows little; use anyOf")
            return option
    names = "/".join(sorted(types))
    if len(types) > 1:
        why = f"no column holds a union of {names}; keep one type, or make each a property of its own"
    elif types == {"object"}:
        why = "no column holds objects of several forms; make it one object, and require what all of them do"
    else:
        why = f"its branches are several kinds of {names}; write it as one, without anyOf and oneOf"
    raise refused(at, why)


def _choices(options: list[Facts], at: str, *, exact: bool) -> Facts:
    """The values of all options, or with `exact` those that only one has."""
    all_values = [value for option in options for value in option.values or ()]
    counts = [sum(same(value, other) for other in all_values) for value in all_values]
    values = [
        value
        for index, value in enumerate(all_values)
        if counts[index] == 1 or not (exact or any(same(value, v) for v in all_values[:index]))
    ]
    if not values:
        raise Contradiction(f"{at}: each of the values is in several branches")
    said = [
        f"{option.values[0]}: {option.description or option.title}"
        for option in options
        if option.values and len(option.values) == 1 and (option.description or option.title)
    ]
    return replace(options[0], values=tuple(values), choices=tuple(said))
