"""A target in a file with a JSON schema: the text in which it travels, and the model that it stands for.

The text holds the file's whole content, so that a worker needs no file, and a name for the tables. `load`
makes the model of it once a process.
"""

import json
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from schemas.json_schema_model import model_of_schema, safe_name
from schemas.json_text import read_json

MAX_BYTES = 2**20


def is_file_name(target: str) -> bool:
    """Whether a target's name is that of a file with a JSON schema."""
    return target.lower().endswith(".json")


def is_schema(target: str) -> bool:
    """Whether it is the text of a schema, as `read_schema` gives it."""
    return target.startswith("{")


def read_schema(path: Path) -> str:
    """The text in which the schema of a file travels. ValueError if it is no schema that columns can hold."""
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ValueError(f"{path} has {size:,} bytes; a target's schema has {MAX_BYTES:,} at most")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text: {error}") from error
    try:
        schema = read_json(text)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    title = schema.get("title") if isinstance(schema, dict) else None
    name = safe_name(title if isinstance(title, str) and title else path.stem)
    carried = json.dumps({"name": name, "schema": text}, ensure_ascii=False)
    try:
        load(carried)
    except ValueError as error:
        raise ValueError(f"{path}{error}") from error
    return carried


@cache
def load(text: str) -> type[BaseModel]:
    """The model of a schema that `read_schema` has read."""
    carried = json.loads(text)
    return model_of_schema(carried["name"], read_json(carried["schema"]))
