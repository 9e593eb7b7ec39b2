"""The `Plan` of a run: the questions to ask of every document, and the settings. It travels to every task.

`config.make_plan` makes it of a FlowConfig. It holds values alone: no file is opened here.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.plan.limits import Limits
from schemas.targets import Question

Scope = Literal["page", "document"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The questions to ask of every document, and the settings. Travels to every task."""

    run_id: str
    settings_key: str
    """Hash of all that shapes an answer besides the question: model, wording, resolution, decoding."""
    questions: tuple[Question, ...]
    """Free questions; for a target one question that stands for it."""
    target: str | None
    """The target's "module:Class" or the text of its schema; None for free questions."""
    scope: Scope
    max_pages: int
    """Pages in a window of scope "document"."""
    pages: tuple[int, int | None]
    """The first and the last page of each document that are read; None: to its end."""
    max_side: int
    """Longest edge in pixels at which the model sees a page."""
    max_new_tokens: int
    """Tokens of an answer after which it is cut."""
    grammar: str | None
    """The JSON schema, as text, that decoding follows: the target's with every field nullable."""
    model: str
    """The checkpoint's folder; relative to Quire's own root if it is inside it."""
    patch_size: int
    """Side of the model's patches in pixels."""
    vocab_size: int
    """Tokens that the model knows."""
    limits: Limits
    """The limits of one document."""
    passwords: tuple[str, ...] = field(repr=False)
    """Tried on documents that need one. No log and no table ever holds them."""


def parse_pages(text: str) -> tuple[int, int | None]:
    """The value of --pages: 3 is (3, 3), 2-5 is (2, 5), 2- is (2, None). Raises ValueError."""
    found = re.fullmatch(r"([1-9]\d*)(?:(-)([1-9]\d*)?)?", text)
    if not found or (found[3] and int(found[3]) < int(found[1])):
        raise ValueError(f"--pages {text}: give a page or a range of them, as 3, 2-5 or 2-")
    first = int(found[1])
    return first, int(found[3]) if found[3] else None if found[2] else first


def model_folder(model: str) -> Path:
    """The checkpoint's folder in this process: Ray may have unpacked Quire's own files somewhere else."""
    return ROOT / model
