"""What a judge is asked about an answer, and the rating in what it says.

In: the conversation of a question as it was asked, its references, and the model's answer. Out: the messages
of a chat completion. MM-MT-Bench shows the judge the reference answers of all turns and the images; MT-Bench
the model's own first answer, and references in math, reasoning and coding alone.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from jobs.evaluation.judging import extractbench, prompts
from jobs.evaluation.judging.client import MAX_TOKENS
from jobs.evaluation.measures import parsed
from jobs.evaluation.scorers.extractbench import name_of
from jobs.evaluation.scorers.extractbench_fields import UnfitError, fields_of

Message = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request to a judge about the answer to one question."""

    id: str
    """Of the question."""
    name: str
    """Of a value of that answer; empty where it is graded as a whole."""
    messages: Sequence[Message]
    read: Callable[[str], float | None]
    """The rating in what the judge says; None: there is none."""
    max_tokens: int | None


LOWEST, HIGHEST = 1.0, 10.0
_RATING: Final = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_BACKUP: Final = re.compile(r"\[(\d+\.?\d*)\]")


def of_answer(row: Mapping[str, Any], facts: Mapping[str, Any], answer: str) -> list[Request]:
    """The request about an answer as a whole, out of a row of OUT/questions."""
    conversation = json.loads(row["messages"])
    references = facts.get("references")
    if references is None:
        messages = with_references(conversation, row["answers"][0], answer)
    else:
        messages = of_turns(conversation, references, answer)
    return [Request(id=row["id"], name="", messages=messages, read=rating, max_tokens=MAX_TOKENS)]


def of_values(row: Mapping[str, Any], facts: Mapping[str, Any], answer: str) -> list[Request]:
    """ExtractBench's requests, one for each value that it has judged; none where the answer is of no use."""
    try:
        fields = fields_of(facts["schema"], json.loads(row["answers"][0]), parsed(answer))
    except UnfitError:
        return []
    return [
        Request(
            id=row["id"],
            name=name_of(field),
            messages=extractbench.messages_of(field),
            read=partial(extractbench.score_in, field=field),
            max_tokens=None,  # a list may be long
        )
        for field in fields
        if field.is_judged
    ]


def rating(judgement: str) -> float | None:
    """The number in [[ ]], else in [ ], from 1 to 10; None if there is none."""
    found = _RATING.search(judgement) or _BACKUP.search(judgement)
    value = float(found[1]) if found else 0.0
    return value if LOWEST <= value <= HIGHEST else None


def with_references(conversation: Sequence[Message], reference: str, answer: str) -> list[Message]:
    """MM-MT-Bench's: `conversation` ends with the question; its assistant's messages are references."""
    parts: list[Any] = ["<|The Start of Conversation with User|>\n\n"]
    for message in conversation:
        if message["role"] == "user":
            parts += ["### User:\n", *map(_part, message["content"]), "\n\n### Reference answer:\n"]
        else:
            parts.append(f"{text_of(message)}\n\n")
    parts.append(
        f"{reference}\n\n\n\n### Assistant's answer:\n{answer}\n\n<|The End of Conversation with User|>\n\n\n"
    )
    return [{"role": "system", "content": prompts.MM_MT_BENCH}, {"role": "user", "content": _joined(parts)}]


def of_turns(conversation: Sequence[Message], references: Sequence[str], answer: str) -> list[Message]:
    """MT-Bench's, for its first or its second question."""
    said = [text_of(message) for message in conversation]
    if len(said) == 1:
        system, prompt = prompts.HELPFUL, prompts.SINGLE_MATH if references else prompts.SINGLE
        values = {"question": said[0], "answer": answer}
    else:
        system = prompts.MULTI_TURN_MATH_SYSTEM if references else prompts.MULTI_TURN_SYSTEM
        prompt = prompts.MULTI_TURN_MATH if references else prompts.MULTI_TURN
        values = {"question_1": said[0], "answer_1": said[1], "question_2": said[2], "answer_2": answer}
    values |= {f"ref_answer_{number}": text for number, text in enumerate(references, 1)}
    return [{"role": "system", "content": system}, {"role": "user", "content": prompt.format(**values)}]


def text_of(message: Message) -> str:
    """The text of a message of ours, whose content is a list of parts."""
    return "\n".join(part["text"] for part in message["content"] if part["type"] == "text")


def _part(part: Message) -> Any:
    return part["text"] if part["type"] == "text" else part


def _joined(parts: Sequence[Any]) -> list[dict[str, Any]]:
    """Parts in which neighbouring texts are one."""
    found: list[dict[str, Any]] = []
    for part in parts:
        if not isinstance(part, str):
            found.append(dict(part))
        elif found and found[-1]["type"] == "text":
            found[-1]["text"] += part
        else:
            found.append({"type": "text", "text": part})
    return found
