"""Questions of one's own: Parquet or JSON lines with image or document, question, answers and metric.

A row has `question`; `answers` (a list) or `answer`; `image` (a path, or bytes), `images` (a list, put where
the question says <image>), `document` (a PDF) with `page`, or nothing of these; `metric`, a name or a list of
names of measures (default: anls); what a measure needs, such as `options` (mmmu); and optionally `id`,
`tolerance`, and `schema`, where the answer is JSON. Without `page` a document with a schema is shown whole.
Other columns of short texts are slices.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

from jobs.evaluation.asked import Asked, Picture, Row, Turn, ask
from jobs.evaluation.datasets.family import picture, texts
from jobs.evaluation.datasets.prompts import with_schema
from jobs.evaluation.datasets.rasterizing import PAGES, document_pictures, page_picture
from jobs.evaluation.measures import NEEDED, check
from pipeline.plan.prompts import question_prompt

Style = Literal["short", "free"]
KNOWN: Final = (
    "id", "question_id", "question", "answer", "answers", "image", "images", "document", "page", "metric",
    "tolerance", "schema", "folder", "evidence", "field", "doc", "verdict", "said",
)  # fmt: skip
MAX_SLICE: Final = 40  # characters of a value that scores are broken down by
# A headline measure, and others that are of interest beside it.
BESIDE: Final = {
    "anls": ("anls", "anls_0", "exact_match"),
    "relaxed_accuracy": ("relaxed_accuracy", "anywhere_relaxed_accuracy", "exact_match"),
}


def asked(row: Row, name: str, *, style: Style, measures: tuple[str, ...]) -> Iterator[Asked]:
    """The question of a row. `measures` are for rows without a metric. Raises ValueError."""
    if not isinstance(row.get("question"), str) or not row["question"].strip():
        raise ValueError("it has no question")
    question = row["question"]
    schema = _json_of(row.get("schema"))
    given = {**row, "schema": schema}
    if schema is not None:
        text = with_schema(question, schema)
    else:
        text = question_prompt(question) if style == "short" else question
    named = row.get("metric") or list(measures)
    named = [named] if isinstance(named, str) else named
    wanted = BESIDE.get(named[0], (named[0],)) if len(named) == 1 else tuple(named)
    yield Asked(
        id=str(row.get("id") or row.get("question_id") or name),
        turns=_turns(row, text),
        question=question,
        answers=texts(_texts(row["answers"] if row.get("answers") is not None else row.get("answer"))),
        measures=check(wanted, f"the row {name}"),
        # All that some measure needs, whichever are wanted: the same row is the same question.
        facts={name: given[name] for name in sorted((*NEEDED, "tolerance")) if _is_fact(given.get(name))},
        slices={
            key: value
            for key, value in row.items()
            if key not in KNOWN and isinstance(value, str) and 0 < len(value) <= MAX_SLICE
        },
        document=_document(row, name),
    )


def _turns(row: Row, text: str) -> tuple[Turn, ...]:
    if row.get("images"):
        pictures = [picture(one) for one in row["images"]]
        return (Turn(role="user", parts=_placed(text, pictures)),)
    if row.get("image") is not None:
        return ask(text, picture(row["image"]))
    if row.get("document") is not None:
        document = str(row["document"])
        if row.get("schema") is not None and row.get("page") is None:
            return ask(text, *document_pictures(row["folder"], document, PAGES))
        return ask(text, page_picture(row["folder"], document, int(row.get("page") or 1)))
    return ask(text)


def _texts(value: Any) -> Any:
    """Answers that are JSON objects as texts."""
    if isinstance(value, list):
        return [_texts(one) for one in value]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


def _is_fact(value: Any) -> bool:
    """Whether there is a value that can be kept: a column may only have the name of a fact."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):  # such as bytes or a day
        return False
    return value is not None


def _json_of(value: Any) -> Any:
    """A schema, which Parquet holds as text. Raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"its schema is not JSON: {error}") from error


def _placed(text: str, pictures: list[Picture]) -> tuple[str | Picture, ...]:
    """Images where the text says <image>; before it where it does not say so once an image."""
    pieces = re.split("<image>", text)
    if len(pieces) != len(pictures) + 1:
        return (*pictures, text)
    parts: list[Any] = [pieces[0]]
    for one, piece in zip(pictures, pieces[1:], strict=True):
        parts += [one, piece]
    return tuple(part for part in parts if part != "")


def _document(row: Row, name: str) -> str:
    for key in ("document", "image"):
        if isinstance(row.get(key), str):
            return str(row[key])
    images = row.get("images")
    return str(images[0]) if images and isinstance(images[0], str) else name
