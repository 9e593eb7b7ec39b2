"""What a benchmark asks: a conversation, the accepted answers, and the measures that score it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image of a message: its bytes, or where they lie."""

    data: bytes | None = None
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One message: texts and images in their order."""

    role: str
    parts: tuple[str | Picture, ...]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One question of a benchmark."""

    id: str
    """Unique in its data set."""
    turns: tuple[Turn, ...]
    question: str
    """What tables and reports show: without the benchmark's instructions."""
    answers: tuple[str, ...]
    measures: tuple[str, ...]
    """Names in `measures.MEASURES`; the first is the headline."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What a measure needs beside the answers, such as the options of a multiple choice."""
    slices: Mapping[str, str] = field(default_factory=dict)
    """By which scores are broken down: {"type": "human"}."""
    document: str = ""
    """The page or document that it is about: questions of one document are not independent."""


def ask(text: str, *pictures: Picture) -> tuple[Turn, ...]:
    """One message: images first, as Pixtral was trained, then a text."""
    return (Turn(role="user", parts=(*pictures, text)),)
