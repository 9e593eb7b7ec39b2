"""The wording of the prompts, and their tokens.

In: a question's text or a target's class. Out: the user's text, and token ids that are split where the
questions of one page branch: a prefix (beginning, pictures), shared and computed once, and a suffix for each
question. Pictures come first, as Pixtral was trained. The split is cut from the tokens of the whole
conversation, so it never changes them. A changed wording must change WORDING_VERSION: it is part of the
settings key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from model.text.tokenizer import ImagePlaceholder, Message, Text, Tokenizer
from schemas.arrow import json_schema
from schemas.types import Json

WORDING_VERSION = 1
SHAPE_REQUEST = "Extract as JSON. Dates are YYYY-MM-DD, missing values are null."


def question_prompt(question: str) -> str:
    """A free question, with the instruction that mistral-evals gives for DocVQA."""
    return f"{question}\nAnswer the question using a single word or phrase."


def target_prompt(model: type[BaseModel]) -> str:
    """The request for a target's fields as JSON: their shape, then the descriptions that they have."""
    schema = json_schema(model)
    whole = [schema["description"]] if "description" in schema else []
    return "\n".join([*whole, shape_prompt(skeleton(schema)), *_descriptions(schema)])


def shape_prompt(shape: str) -> str:
    """The request for JSON of a shape in `skeleton`'s notation."""
    return f"{SHAPE_REQUEST}\n{shape}"


def skeleton(schema: Json) -> str:
    """The shape of a JSON schema in one line, for the eye of a model.

    Example: {"number": string, "date": date, "items": [{"name": string, "amount": decimal}]}
    """
    schema = _without_null(schema)
    if "enum" in schema:
        return "|".join(f'"{choice}"' for choice in schema["enum"] if choice is not None)
    if schema["type"] == "object":
        return (
            "{"
            + ", ".join(f'"{name}": {skeleton(field)}' for name, field in schema["properties"].items())
            + "}"
        )
    if schema["type"] == "array":
        return f"[{skeleton(schema['items'])}]"
    if "x-decimal-places" in schema:
        return "decimal"
    return str(schema.get("format", schema["type"]))


def _descriptions(schema: Json, path: str = "") -> list[str]:
    """A line "path: description" for each field that has one; items of a list are path[]."""
    found: list[str] = []
    schema = _without_null(schema)
    if schema["type"] == "array":
        return _descriptions(schema["items"], f"{path}[]")
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        if "description" in field:
            found.append(f"{here}: {field['description']}")
        found += _descriptions(field, here)
    return found


def _without_null(schema: Json) -> Json:
    """The one choice of an optional field that is not null."""
    if "anyOf" not in schema:
        return schema
    (choice,) = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
    return dict(choice)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids of one group: `prefix` is shared, each of `branches` continues it with one question."""

    prefix: list[int]
    branches: list[list[int]]


def tokenize(tokenizer: Tokenizer, pictures: Sequence[ImagePlaceholder], texts: Sequence[str]) -> Prompt:
    """The ids of a user turn: the pictures, then one of `texts`. ValueError without a picture or a text."""
    if not pictures or not texts:
        raise ValueError(
            f"a prompt needs at least one picture and one text, not {len(pictures)} and {len(texts)}"
        )
    turns = [tokenizer.encode_conversation([Message("user", (*pictures, Text(text)))]) for text in texts]
    cut = len(turns[0]) - turns[0][::-1].index(tokenizer.img_end)
    return Prompt(prefix=turns[0][:cut], branches=[turn[cut:] for turn in turns])
