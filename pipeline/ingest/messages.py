"""Conversations in a column of a Parquet file: messages in OpenAI's form, as lists of structs or as JSON.

In: the value of a row. Out: its canonical JSON, in which images are addresses, and the turns that this holds.
A message has a role (system, user or assistant) and a content: text, or a list of parts. A part is
{"type": "text", "text": ...}, {"type": "image_url", "image_url": {"url": ...}} or {"type": "image", "image":
...}, whose image is bytes, an address, or a struct of bytes as datasets have it. What is none of this, or
asks nothing, is a DocumentError `bad_messages`: other things that OpenAI's form knows, such as calls of
tools, are refused, never left out.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pipeline.ingest.data_uris import is_data_uri
from pipeline.ingest.file_types import DocumentError

_SHOWN: Final = 40  # characters of what a row holds, in a sentence

Role = Literal["system", "user", "assistant"]
ROLES: Final[tuple[Role, ...]] = ("system", "user", "assistant")


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of a message, by its address."""

    address: str


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One message."""

    role: Role
    parts: tuple[str | Image, ...]


def to_json(value: Any, name: str, resolve: Callable[[str], str]) -> bytes:
    """A row's value as JSON: equal for equal conversations, whatever the column's form.

    `resolve` makes an address absolute. Raises DocumentError `bad_messages`, which calls the row `name`.
    """
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise _bad(name, f"it is not JSON: {error}") from error
    turns = read_messages(value, name)
    messages = [
        {
            "role": turn.role,
            "content": [
                part if isinstance(part, str) else {"image": _absolute(part, resolve)} for part in turn.parts
            ],
        }
        for turn in turns
    ]
    return json.dumps(messages).encode()


def read_messages(value: Any, name: str) -> list[Turn]:
    """The turns of messages in OpenAI's form, which an error calls `name`. Raises as above."""
    turns = [
        _turn(message, f"message {number}", name) for number, message in enumerate(_list(value, name), 1)
    ]
    _check(turns, name)
    return turns


def read_turns(data: bytes) -> list[Turn]:
    """The turns of a conversation that `to_json` wrote."""
    return [
        Turn(
            role=message["role"],
            parts=tuple(
                part if isinstance(part, str) else Image(address=part["image"]) for part in message["content"]
            ),
        )
        for message in json.loads(data)
    ]


def _absolute(image: Image, resolve: Callable[[str], str]) -> str:
    return image.address if is_data_uri(image.address) else resolve(image.address)


def _turn(message: Any, where: str, name: str) -> Turn:
    if not isinstance(message, Mapping):
        raise _bad(name, f"{where} is no object with role and content")
    there = {key: value for key, value in message.items() if value is not None}
    role = there.pop("role", None)
    if role not in ROLES:
        raise _bad(name, f"{where} has the role {_shown(role)}; known are {', '.join(ROLES)}")
    content = there.pop("content", "")
    if there:
        raise _bad(name, f"{where} has {_shown(next(iter(there)))}; only role and content are known")
    if isinstance(content, str):
        return Turn(role=role, parts=(content,))
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise _bad(name, f"the content of {where} is neither text nor a list of parts")
    parts = (_part(part, f"part {number} of {where}", name) for number, part in enumerate(content, 1))
    return Turn(role=role, parts=tuple(parts))


def _part(part: Any, where: str, name: str) -> str | Image:
    if not isinstance(part, Mapping):
        raise _bad(name, f"{where} is no object with a type")
    kind = part.get("type")
    text, image = part.get("text"), part.get("image_url" if kind == "image_url" else "image")
    if kind == "text" and isinstance(text, str):
        return text
    if kind == "image_url" and isinstance(image, Mapping):
        image = image.get("url")
    if kind == "image" and isinstance(image, Mapping):  # as the library `datasets` stores images
        image = image.get("bytes") or image.get("path")
    if kind in ("image_url", "image") and isinstance(image, bytes):
        return Image(address=f"data:;base64,{base64.b64encode(image).decode()}")
    if kind in ("image_url", "image") and isinstance(image, str) and image:
        return Image(address=image)
    if kind in ("text", "image_url", "image"):
        raise _bad(name, f"{where} is of the type {kind}, and has none")
    raise _bad(name, f"{where} has the type {_shown(kind)}; known are text, image_url and image")


def _check(turns: Sequence[Turn], name: str) -> None:
    """Refuses what the model has no form for, and what asks nothing."""
    for number, turn in enumerate(turns, 1):
        if turn.role != "user" and any(isinstance(part, Image) for part in turn.parts):
            raise _bad(name, f"message {number} of the {turn.role} holds an image: only the user's can")
        if turn.role == "assistant" and not any(turn.parts):
            raise _bad(name, f"message {number} of the assistant has no text")
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if not spoken or spoken[-1] != "user":
        raise _bad(name, "the last message is not the user's: there is nothing to answer")
    if not any(part for turn in turns if turn.role == "user" for part in turn.parts):
        raise _bad(name, "the user's messages are empty")


def _list(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, list) or not value:
        raise _bad(name, "it is no list of messages, or an empty one")
    return value


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _bad(name: str, why: str) -> DocumentError:
    return DocumentError("bad_messages", f"{name} is no conversation: {why}")
