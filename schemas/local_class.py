"""A target's class in; the text by which workers know the target, out.

A class that a module holds goes by its name. One that only this process has, as a notebook's, goes as the
JSON schema of its fields, which holds no code: refused are validators of its own, and what a schema cannot
say.
"""

import dataclasses
import importlib
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from schemas import json_schema_file
from schemas.arrow import arrow_type, json_schema
from schemas.targets import SHIPPED
from schemas.types import Json


def text_of_class(target: type[BaseModel]) -> str:
    """What `targets.load_target` makes the target of, in any process. Raises ValueError, in one sentence."""
    name, module = target.__name__, target.__module__
    if SHIPPED.get(name) is target:
        return name
    if module != "__main__" and getattr(importlib.import_module(module), name, None) is target:
        return f"{module}:{name}"
    for model in _models(target):
        if _has_code(model):
            raise ValueError(
                f"target {name}: {model.__name__} has validators of its own, which other processes must be "
                "able to import: put the class into a .py file"
            )
    schema = _standard(json_schema(target))
    text = json.dumps({"name": name, "schema": json.dumps(schema)}, ensure_ascii=False)
    try:
        same = _columns(json_schema_file.load(text)) == _columns(target)
    except ValueError as error:
        raise ValueError(f"target {name}{error}; put the class into a .py file") from error
    if not same:
        raise ValueError(
            f"target {name}: a field of it has a type that a JSON schema cannot say: put the class into a "
            ".py file"
        )
    return text


def _has_code(model: type[BaseModel]) -> bool:
    """Whether functions of its author's see its values."""
    decorators = model.__pydantic_decorators__
    if any(getattr(decorators, kind.name) for kind in dataclasses.fields(decorators)):
        return True
    return any(hasattr(one, "func") for info in model.model_fields.values() for one in info.metadata)


def _columns(model: type[BaseModel]) -> str:
    """The columns of a target. A schema's decimals have a digit more where their bound is a power of ten."""
    return re.sub(r"decimal128\(\d+", "decimal128(", str(arrow_type(model)))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation, and in the fields of each."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for info in annotation.model_fields.values():
            yield from _models(info.annotation)
    for part in get_args(annotation):
        yield from _models(part)


def _standard(schema: Any) -> Any:
    """The schema in standard words alone; no field may be left out, as when an answer is decoded."""
    if isinstance(schema, list):
        return [_standard(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found: Json = {name: _standard(part) for name, part in schema.items()}
    if "x-decimal-places" in found:
        places = found.pop("x-decimal-places")
        found["multipleOf"] = float(f"1e-{places}") if places else 1
    if found.get("type") == "object":
        found["required"] = list(found["properties"])
    return found
