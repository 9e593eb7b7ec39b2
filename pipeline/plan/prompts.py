"""The wording of the prompts, as messages, and their tokens. Nothing else writes prompts.

In: what is asked, and the pictures of the pages. Out: a conversation, and its token ids, split where the
conversations of one page branch: a prefix (beginning, pictures), shared and computed once, and a suffix for
each question. Pictures come first, as Pixtral was trained. The split is cut from the tokens of the whole
conversation, so it never changes them. A changed wording must change its version: it is part of the settings
key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from model.text.tokenizer import ImagePlaceholder, Message, Text, Tokenizer
from pipeline.ingest.messages import Turn
from pipeline.plan.plan import MARKDOWN, Ask
from schemas.arrow import json_schema
from schemas.targets import Question
from schemas.types import Json

WORDING_VERSION = 1  # of questions and targets
MARKDOWN_VERSION = 1  # of transcription
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


def markdown_prompt(*, keep_headers: bool) -> str:
    """The request for a page as Markdown."""
    edges = "Keep" if keep_headers else "Leave out"
    return (
        "Transcribe this page as Markdown. Write all of its text, word for word, in the order in which it is "
        "read. Write headings with #, lists with - or 1., tables as Markdown, or as HTML where cells span "
        f"rows or columns, and formulas as LaTeX between $ or $$. {edges} page headers, page footers and "
        "page numbers. Write the Markdown alone."
    )


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


def conversation(ask: Ask, question: Question, pictures: Sequence[ImagePlaceholder]) -> list[Message]:
    """What is asked about the pictures of pages, as messages."""
    return about(pictures, _request(ask, question), ask.system)


def about(pictures: Sequence[ImagePlaceholder], request: str, system: str | None = None) -> list[Message]:
    """A request about pictures, as a conversation."""
    first = [] if system is None else [Message("system", (Text(system),))]
    return [*first, Message("user", (*pictures, Text(request)))]


def chat(turns: Sequence[Turn], pictures: Sequence[ImagePlaceholder], system: str | None) -> list[Message]:
    """A conversation that a document holds, with the pictures of its images in their order.

    A system prompt of the run's comes before those of the conversation.
    """
    left = iter(pictures)
    first = [] if system is None else [Message("system", (Text(system),))]
    said = [
        Message(turn.role, tuple(Text(part) if isinstance(part, str) else next(left) for part in turn.parts))
        for turn in turns
    ]
    return [*first, *said]


def check_length(ask: Ask, tokenizer: Tokenizer, context: int) -> None:
    """ValueError for a prompt that cannot fit into a context of so many tokens, whatever the page."""
    for question in ask.questions:
        empty = chat((), (), ask.system) if ask.style == "messages" else conversation(ask, question, ())
        texts = [part.text for message in empty for part in message.parts if isinstance(part, Text)]
        if sum(len(text.encode()) for text in texts) < context // 2 - ask.max_new_tokens:
            continue  # a token is a byte at least, so that next to no prompt needs to be counted
        tokens = len(tokenizer.encode_conversation(empty))
        if tokens + ask.max_new_tokens > context:
            raise ValueError(
                f"{_named(ask, question)}: it has {tokens:,} tokens without a page, the answer may have "
                f"{ask.max_new_tokens:,} (--max-new-tokens), and the model's context holds {context:,}: ask "
                "in fewer words, or lower --max-new-tokens"
            )


def _named(ask: Ask, question: Question) -> str:
    """What is asked, as the person gave it."""
    if ask.style == "messages":
        return "--system" if ask.system else "--max-new-tokens"
    with_system = " with --system" if ask.system else ""
    if ask.target is not None:
        return f"--target {ask.label}{with_system}"
    start = question.text[:40]
    return f"the question {start!r}{'...' if len(question.text) > len(start) else ''}{with_system}"


def _request(ask: Ask, question: Question) -> str:
    if ask.target == MARKDOWN:
        return markdown_prompt(keep_headers=ask.keep_headers)
    if ask.model is not None:
        return target_prompt(ask.model)
    return question.text if ask.style == "free" else question_prompt(question.text)


def tokenize(tokenizer: Tokenizer, conversations: Sequence[Sequence[Message]]) -> Prompt:
    """The ids of conversations that begin with the same messages up to their last image.

    The prefix ends with that image. Without images it is what all of them begin with, but for a last token.
    ValueError: as `encode_conversation`; or there are no conversations, or they differ in their images.
    """
    if not conversations:
        raise ValueError("a prompt needs at least one conversation")
    turns = [tokenizer.encode_conversation(messages) for messages in conversations]
    if tokenizer.img_end in turns[0]:
        cut = len(turns[0]) - turns[0][::-1].index(tokenizer.img_end)
    else:
        cut = _common(turns)
    prefix = turns[0][:cut]
    if any(turn[:cut] != prefix or tokenizer.img_end in turn[cut:] for turn in turns):
        raise ValueError("the conversations of a prompt differ before the end of their last image")
    return Prompt(prefix=prefix, branches=[turn[cut:] for turn in turns])


def _common(turns: Sequence[list[int]]) -> int:
    """How many ids all of them begin with, while each has one left."""
    longest = min(map(len, turns)) - 1
    return next((at for at in range(longest) if len({turn[at] for turn in turns}) > 1), longest)
