"""A family of data sets: where it is published, what its rows hold, and how a row becomes questions."""

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from jobs.evaluation.asked import Asked, Picture, Row


@dataclass(frozen=True, kw_only=True)
class Family:
    """A benchmark as it is published."""

    name: str
    hub: str
    """owner/name on the hub; empty where it is published elsewhere, and read from a path alone."""
    files: str
    """The files of the scored split in that repository, a glob."""
    beside: str | None = None
    """What the rows name files of, a glob: to be downloaded, too."""
    columns: tuple[str, ...]
    """That every row has. They tell the family of a file on disk, too."""
    telling: str | None = None
    """The names of files, a glob, that tell the family of a folder: one with many files of other kinds."""
    ask: Callable[[Row, str], Iterable[Asked]]
    """The questions of a row; the text names the row where it has no id of its own."""
    max_new_tokens: int
    rows: int
    """Of the whole split, without those that follow an answer. With fewer, a figure is not comparable with
    published ones."""
    examples: str | None = None
    """The files of solved examples, a glob: each row gets five under "examples"."""
    example_key: str | None = None
    """The column in which a row and its examples are equal."""
    note: str | None = None
    """Why a figure is not comparable, although all rows are there."""
    follow: Callable[[Asked, str], Asked | None] | None = None
    """The question that follows the model's answer to another one: both are asked and scored."""
    judge: str | None = None
    """The judge of published figures."""
    unjudged: str = "there is no grade"
    """What figures are without a judge."""


def picture(value: Any) -> Picture:
    """An image of a row: bytes, a path, or a struct of both as the library `datasets` stores it.

    Raises ValueError if there is none.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return Picture(data=value)
    if isinstance(value, str) and value:
        return Picture(path=value)
    raise ValueError("its image is neither bytes nor a path")


def texts(value: Any) -> tuple[str, ...]:
    """The accepted answers of a row: a list, or a single one. Raises ValueError if there is none."""
    values = value if isinstance(value, list | tuple) else [value]
    found = tuple(str(one) for one in values if one is not None)
    if not found:
        raise ValueError("it has no accepted answer")
    return found


def listed(value: Any) -> list[Any]:
    """A list that may be published as the text of a Python list. Raises ValueError if it is none."""
    found = value
    if isinstance(value, str):
        try:
            found = ast.literal_eval(value)
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            found = None
    if not isinstance(found, list | tuple):
        raise ValueError(f"{str(value)[:80]!r} is no Python list")
    return list(found)
