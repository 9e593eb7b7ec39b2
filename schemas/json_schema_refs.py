"""A JSON schema in; the places in it, and where its references lead, out. Nothing is fetched: a reference
into another file is refused, and so is one into a schema that it lies in, for columns have to end.

Source: JSON Schema, drafts 4 to 2020-12; JSON pointers are RFC 6901.
"""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

DATA = ("enum", "const", "default", "examples")  # what lies under them is no schema
LATEST = 2020


def refused(pointer: str, why: str) -> ValueError:
    """The error for a place in the schema, as "#/properties/total: why"."""
    return ValueError(f"{pointer}: {why}")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A schema inside the file. Two are equal if they say the same, wherever they stand."""

    schema: Any  # an object or a boolean, unless the file is wrong
    pointer: str = field(compare=False)
    base: str = field(compare=False)  # URI that references inside it are relative to
    within: frozenset[str] = field(compare=False)  # pointers of the schemas it was reached through

    def child(self, *keys: str | int) -> "Node":
        """The schema under these keys."""
        schema, pointer = self.schema, self.pointer
        for key in keys:
            schema, pointer = schema[key], f"{pointer}/{escaped(key)}"
        return Node(schema=schema, pointer=pointer, base=self.base, within=self.within)


def escaped(key: str | int) -> str:
    """A name as a part of a JSON pointer."""
    return str(key).replace("~", "~0").replace("/", "~1")


class Document:
    """A whole schema: its draft, its root, and the schemas in it that have an address of their own."""

    def __init__(self, schema: Any) -> None:
        self.draft = _draft(schema)
        self.root = Node(schema=schema, pointer="#", base="", within=frozenset({"#"}))
        self._resources: dict[str, tuple[Any, str]] = {"": (schema, "#")}
        self._anchors: dict[str, tuple[Any, str, str]] = {}
        self._index(schema, "#", "")

    def _index(self, value: Any, pointer: str, base: str) -> None:
        if isinstance(value, dict):
            base = self.base_of(value, base)
            self._resources.setdefault(base, (value, pointer))
            anchors = [value.get("$anchor"), value.get("$dynamicAnchor"), *self._old_anchors(value)]
            for anchor in anchors:
                if isinstance(anchor, str):
                    self._anchors.setdefault(f"{base}#{anchor}", (value, pointer, base))
        inside = (
            value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
        )
        for key, item in inside:
            if isinstance(item, dict | list) and key not in DATA:
                self._index(item, f"{pointer}/{escaped(key)}", base)

    def _old_anchors(self, schema: dict[str, Any]) -> list[str]:
        """Until draft 7, an id that begins with "#" was an anchor."""
        name = schema.get("id" if self.draft == 4 else "$id")
        return [name[1:]] if isinstance(name, str) and name.startswith("#") else []

    def base_of(self, schema: dict[str, Any], base: str) -> str:
        """The base inside a schema: its own id, if it has one."""
        name = schema.get("id" if self.draft == 4 else "$id")
        if not isinstance(name, str) or name.startswith("#"):
            return base
        return urldefrag(urljoin(base, name))[0]

    def follow(self, node: Node, reference: str) -> Node:
        """The schema that a reference in `node` names. ValueError: in another file, nowhere, or around it."""
        at = f"{node.pointer}/$ref"
        base = self.base_of(node.schema, node.base) if self.draft > 7 else node.base
        uri, fragment = urldefrag(reference if reference.startswith("#") else urljoin(base, reference))
        if reference.startswith("#"):
            uri = base
        if uri not in self._resources:
            raise refused(at, f"{reference!r} is in another file; copy what it names into this one's $defs")
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            if f"{uri}#{fragment}" not in self._anchors:
                raise refused(at, f"no schema has the anchor of {reference!r}")
            schema, pointer, uri = self._anchors[f"{uri}#{fragment}"]
        else:
            schema, pointer = self._resources[uri]
            for key in fragment.split("/")[1:]:
                name: Any = key.replace("~1", "/").replace("~0", "~")
                if isinstance(schema, list) and re.fullmatch("0|[1-9][0-9]{0,8}", name):
                    name = int(name)
                there = range(len(schema)) if isinstance(schema, list) else schema
                if not isinstance(schema, dict | list) or name not in there:
                    raise refused(at, f"{reference!r} leads nowhere")
                schema, pointer = schema[name], f"{pointer}/{escaped(name)}"
                uri = self.base_of(schema, uri) if isinstance(schema, dict) else uri
        if pointer in node.within:
            raise refused(
                at, f"{pointer} contains itself here; columns have to end: write out as many levels as needed"
            )
        return Node(schema=schema, pointer=pointer, base=uri, within=node.within | {pointer})


def _draft(schema: Any) -> int:
    name = schema.get("$schema") if isinstance(schema, dict) else None
    found = re.search(r"draft-0?([4-7])\b", name) if isinstance(name, str) else None
    return int(found[1]) if found else LATEST
