"""The `Plan` of a run: what is asked of every document, and the settings. It travels to every task.

An `Ask` is what shares settings and a table: all free questions are one, and so is each target, and so is
transcription. A run may hold several. Each has a `settings_key` of its own, so that its rows stay valid
whatever else is asked beside it.

`config.make_plan` makes the plan of a FlowConfig. It holds values alone: no file is opened here.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import BaseModel

from pipeline.ingest.fetching import WebRules
from pipeline.plan.limits import Limits
from pipeline.plan.model_place import ModelPlace
from schemas.targets import Question, load_target, target_label

Scope = Literal["page", "document"]
Style = Literal["short", "free", "messages"]

MESSAGES: Final = "messages"  # what stands for a conversation in the tables
MARKDOWN: Final = "markdown"  # the target that is no model: a page as Markdown


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Questions with the same settings, whose answers go into one table."""

    number: int
    """Its place among the asks of the plan."""
    settings_key: str
    """Hash of all that shapes an answer besides the question: model, wording, resolution, decoding."""
    questions: tuple[Question, ...]
    """Free questions; for a target one question that stands for it."""
    target: str | None
    """The target's "module:Class" or the text of its schema; "markdown"; or None for free questions."""
    scope: Scope
    max_new_tokens: int
    """Tokens of an answer after which it is cut."""
    grammar: str | None = None
    """The JSON schema, as text, that decoding follows: the target's with every field nullable."""
    style: Style = "short"
    """Of free questions: short asks for a single word or phrase, free asks as it is written. messages: each
    document is a conversation, and the question only stands for it."""
    system: str | None = None
    """The system prompt."""
    temperature: float = 0.0
    """0: the likeliest tokens."""
    top_p: float = 1.0
    """Tokens are drawn among the likeliest that together have this probability."""
    seed: int = 0
    """Of the run. Each item draws with a seed of its own, which follows from it."""
    stop: tuple[str, ...] = ()
    """Texts at which an answer ends."""
    keep_headers: bool = False
    """Of a transcription: with the page's header, footer and number."""
    merge: bool = False
    """Of a target: whether the answers about a document's windows become one of the document."""
    loop_temperatures: tuple[float, ...] = ()
    """An answer that goes round in a loop is asked again at these temperatures, one after the other."""

    @property
    def model(self) -> type[BaseModel] | None:
        """The target's class; None where answers are text."""
        return None if self.target in (None, MARKDOWN) else load_target(self.target)

    @property
    def label(self) -> str | None:
        """What tables and messages call the target; None for free questions."""
        return None if self.target is None else target_label(self.target)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked of every document, and the settings of the run."""

    run_id: str
    asks: tuple[Ask, ...]
    """At least one; none where requests say what is asked, and each may have a grammar."""
    max_pages: int
    """Pages in a window of scope "document"."""
    pages: tuple[int, int | None]
    """The first and the last page of each document that are read; None: to its end."""
    max_side: int
    """Longest edge in pixels at which the model sees a page."""
    model: ModelPlace
    """Where each machine finds the checkpoint."""
    patch_size: int
    """Side of the model's patches in pixels."""
    vocab_size: int
    """Tokens that the model knows."""
    limits: Limits
    """The limits of one document."""
    roots: tuple[str, ...]
    """The folders under which rows of Parquet inputs may name files: see `ingest.roots`."""
    passwords: tuple[str, ...] = field(repr=False)
    """Tried on documents that need one. No log and no table ever holds them."""
    web: WebRules | None = None
    """What rows of Parquet inputs may name on the web; None: nothing."""

    @property
    def answered(self) -> tuple[Literal["markdown"] | type[BaseModel] | None, ...]:
        """What each ask is answered with: a target's class, Markdown, or text."""
        return tuple(MARKDOWN if ask.target == MARKDOWN else ask.model for ask in self.asks)

    @property
    def merged(self) -> list[type[BaseModel]]:
        """The targets whose answers about a document become one."""
        return [ask.model for ask in self.asks if ask.merge and ask.model]

    @property
    def is_chat(self) -> bool:
        """Whether the documents are conversations, which hold what is asked."""
        return self.asks[0].style == "messages"

    @property
    def settings_key(self) -> str:
        """The key of all settings together, for a document's row; that of the ask where there is only one."""
        keys = sorted(ask.settings_key for ask in self.asks)
        return keys[0] if len(keys) == 1 else hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:32]


def parse_pages(text: str) -> tuple[int, int | None]:
    """The value of --pages: 3 is (3, 3), 2-5 is (2, 5), 2- is (2, None). Raises ValueError."""
    found = re.fullmatch(r"([1-9]\d*)(?:(-)([1-9]\d*)?)?", text)
    if not found or (found[3] and int(found[3]) < int(found[1])):
        raise ValueError(f"--pages {text}: give a page or a range of them, as 3, 2-5 or 2-")
    first = int(found[1])
    return first, int(found[3]) if found[3] else None if found[2] else first
