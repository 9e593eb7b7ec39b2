"""A completion in; one row of answers or one row of failures out.

A free answer is the text before a stop string, without the white space around it. One that the token limit
cut is an answer with finish_reason "length".

A transcription is the text as it is written, without blank lines around it and without one ```markdown fence;
of a blank page it is empty. Of a page that is cut by the token limit, or that goes round in a loop, it is the
failure `truncated` or `repetition`: half a page must not pass for a page. The failure has the raw text.

A target's answer is one JSON object of the target's fields. White space and one ```json fence around it are
dropped; other text beside it is an error. Every field may be null in the JSON, but null in a field that
cannot be null is the failure `missing_field`: nothing is repaired, filled in or guessed. The failure keeps
the fields that are there, for the answer of the whole document (`merge`). One that the token limit cut is the
failure `truncated`, unless the object was complete. A target's text was decoded under its JSON schema
(`model.text.grammar`): `invalid_json` and `invalid_value` come of validators and constraints that JSON Schema
does not know.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any, Optional, TypeVar

from pydantic import BaseModel, Field, ValidationError, create_model

from model.text.tokenizer import Tokenizer
from pipeline.parse.confidence import confidences
from pipeline.parse.json_spans import InvalidJson, Leaf, parse
from pipeline.plan.plan import MARKDOWN, Plan
from schemas.arrow import check_json, json_text, to_row
from schemas.rows import Answer, Failure, FieldConfidence, Stage, answer_row

FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)```", re.DOTALL)
MARKDOWN_FENCE = re.compile(r"\s*```(?:markdown|md)[ \t]*\n(.*?)\n?```\s*", re.DOTALL)
BLANK_LINES = re.compile(r"(?:[ \t]*\n)*")
# finish_reason -> reason of the failure
CUT_SHORT = {"length": "truncated", "repetition": "repetition", "grammar": "grammar"}
ENGINE_ERROR = re.compile(r"([A-Z]\w*Error): (.*)", re.DOTALL)  # "ValueError: ..."
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
MAX_ERRORS = 5  # named in one message
RAW_TEXT = "the raw text has what there is of it"

Target = TypeVar("Target", bound=BaseModel)


class AnswerError(ValueError):
    """The text is no answer. `reason` is the word to count by."""

    def __init__(self, reason: str, message: str, partial: str | None = None) -> None:
        super().__init__(reason, message, partial)  # all, so that it can be pickled
        self.reason = reason
        self.message = message
        self.partial = partial
        """Of `missing_field`: the fields that are there, as JSON, if each of them is valid."""

    def __str__(self) -> str:
        return self.message


def read_answer(raw_text: str) -> str:
    """A free answer. Raises AnswerError `empty_answer`."""
    answer = raw_text.strip()
    if not answer:
        raise AnswerError("empty_answer", "the model wrote nothing")
    return answer


def read_markdown(raw_text: str, finish_reason: str) -> tuple[int, int]:
    """Where a page's transcription stands in the text. Raises AnswerError `truncated` or `repetition`."""
    if finish_reason in CUT_SHORT:
        reason = CUT_SHORT[finish_reason]
        what = "went round in a loop" if reason == "repetition" else "was cut"
        raise AnswerError(reason, f"the transcription {what}; {RAW_TEXT}")
    fence = MARKDOWN_FENCE.fullmatch(raw_text)
    start, end = fence.span(1) if fence else (0, len(raw_text))
    if not raw_text[start:end].strip():
        return start, start
    blank = BLANK_LINES.match(raw_text, start, end)
    assert blank is not None, raw_text
    return blank.end(), start + len(raw_text[start:end].rstrip())


def read_target(target: type[Target], raw_text: str) -> Target:
    """A target's answer. Raises AnswerError `invalid_json`, `invalid_value` or `missing_field`."""
    value, _ = _parse(raw_text)
    try:
        check_json(target, value)
        found = target.model_validate(value, strict=False, extra="forbid")  # JSON has no dates
        _check_days(value, to_row(found), "")
    except ValidationError as error:
        raise _explain(error, lambda: read_part(target, value)) from error
    except ValueError as error:
        raise AnswerError("invalid_value", str(error)) from error
    except Exception as error:
        # A user's validators run here: an error of theirs, of any kind, costs one item, not the run.
        raise AnswerError("invalid_value", f"{type(error).__name__}: {error}") from error
    return found


def read_part(target: type[BaseModel], value: Mapping[str, Any]) -> str | None:
    """The fields that are there, as JSON. None: without the others, the target's validators refuse them."""
    there = {name: item for name, item in value.items() if item is not None}
    try:
        found = to_row(_optional(target).model_validate(there, strict=False, extra="forbid"))
        _check_days(there, found, "")
    except Exception:  # as in `read_target`
        return None
    return json_text({name: item for name, item in found.items() if item is not None})


@cache
def _optional(target: type[BaseModel]) -> type[BaseModel]:
    """The target, its validators included, of which every field may be absent."""
    fields: dict[str, Any] = {}
    for name, info in target.model_fields.items():
        annotation: Any = Optional[info.annotation]  # noqa: UP045 - a text as annotation has no |
        constrained = Annotated[(annotation, *info.metadata)] if info.metadata else annotation
        fields[name] = (constrained, Field(default=None, alias=info.alias))
    return create_model(f"{target.__name__}Part", __base__=target, **fields)


def value_spans(raw_text: str) -> list[Leaf]:
    """Path and place of each leaf of a target's answer. Raises AnswerError `invalid_json`."""
    return _parse(raw_text)[1]


def read_completion(
    row: Mapping[str, Any],
    plan: Plan,
    tokenizer: Tokenizer,
    validate: Callable[[str], object] | None = None,
) -> Answer | Failure:
    """The row for one item; `row` has the columns of `rows.COMPLETIONS`.

    `validate` reads a target's text; it has the errors of `read_target`, and gives an object with the
    target's fields. None: the target's validators may run in this process.
    """
    if row["finish_reason"] == "error":
        named = ENGINE_ERROR.fullmatch(row["error"])
        reason = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", named[1]).lower() if named else "engine_error"
        return _failure(row, plan, "generate", reason, named[2] if named else row["error"], None)
    raw_text = text = tokenizer.decode(row["token_ids"])
    if row["stopped_at"] is not None:  # the bytes end before a stop string, and so with a whole character
        written = b"".join(map(tokenizer.token_bytes, row["token_ids"]))
        text = written[: row["stopped_at"]].decode(errors="replace")
    ask = plan.asks[row["ask"]]
    target = ask.model
    leaves: list[Leaf] = []
    answer: object
    body = _body(text)
    try:
        if ask.target == MARKDOWN:
            body = read_markdown(text, row["finish_reason"])
            answer = text[slice(*body)]
        elif target:
            answer = validate(raw_text) if validate else read_target(target, raw_text)
            leaves = value_spans(raw_text)
        else:
            answer = read_answer(text)
    except AnswerError as error:
        reason, message = error.reason, row["error"] or str(error)
        if reason == "invalid_json":
            reason = CUT_SHORT.get(row["finish_reason"], reason)
        if reason == "truncated":
            message = (
                f"{len(row['token_ids']):,} tokens did not hold the whole (--max-new-tokens); {RAW_TEXT}"
            )
        failure = _failure(row, plan, "parse", reason, message, raw_text)
        return failure if error.partial is None else _with_part(failure, error.partial, row, tokenizer)
    (whole,) = confidences([body], row["token_ids"], row["logprobs"], tokenizer)
    checked = Answer.model_validate(
        {
            **_item(row, plan),
            "answer": "",
            "raw_text": raw_text,
            "confidence": whole,
            "fields": _confidences(leaves, row, tokenizer),
            "finish_reason": row["finish_reason"],
            "prompt_tokens": row["prompt_tokens"],
            "cached_tokens": row["cached_tokens"],
            "output_tokens": len(row["token_ids"]),
            "content_key": row["content_key"],
            "answered_at": datetime.now(UTC),
            "pages_missing": row["pages_missing"],
            "note": row["note"],
            "page_damaged": row["page_damaged"],
            "prompt_key": row["prompt_key"],
        }
    )
    # Without a second look at the answer, which would run the target's validators in this process.
    return answer_row(target).model_construct(**dict(checked) | {"answer": answer})


def _confidences(
    leaves: Sequence[Leaf], row: Mapping[str, Any], tokenizer: Tokenizer
) -> list[FieldConfidence]:
    spans = [(leaf.start, leaf.end) for leaf in leaves]
    found = confidences(spans, row["token_ids"], row["logprobs"], tokenizer)
    return [
        FieldConfidence(path=leaf.path, confidence=confidence)
        for leaf, confidence in zip(leaves, found, strict=True)
    ]


def _item(row: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    columns = ("item_key", "source_key", "uri", "page_first", "page_last", "question_id", "question")
    settings_key = plan.asks[row["ask"]].settings_key
    return {"settings_key": settings_key, "run_id": plan.run_id} | {name: row[name] for name in columns}


def _failure(
    row: Mapping[str, Any], plan: Plan, stage: Stage, reason: str, message: str, raw_text: str | None
) -> Failure:
    return Failure(
        **_item(row, plan),
        target=plan.asks[row["ask"]].label,
        stage=stage,
        reason=reason,
        message=message,
        raw_text=raw_text,
        failed_at=datetime.now(UTC),
    )


def _with_part(failure: Failure, partial: str, row: Mapping[str, Any], tokenizer: Tokenizer) -> Failure:
    assert failure.raw_text is not None, failure
    fields = _confidences(value_spans(failure.raw_text), row, tokenizer)
    seen = {name: row[name] for name in ("pages_missing", "note", "page_damaged")}
    return failure.model_copy(update={"partial": partial, "fields": fields} | seen)


def _body(raw_text: str) -> tuple[int, int]:
    """Where the answer stands, without white space around it and without one fence."""
    start, end = _trim(raw_text, 0, len(raw_text))
    fence = FENCE.fullmatch(raw_text, start, end)
    return _trim(raw_text, *fence.span(1)) if fence else (start, end)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    return start, start + len(inner.strip())


def _parse(raw_text: str) -> tuple[Any, list[Leaf]]:
    try:
        return parse(raw_text, *_body(raw_text))
    except InvalidJson as error:
        raise AnswerError("invalid_json", f"the text is not JSON: {error}") from error


def _check_days(value: Any, found: Any, path: str) -> None:
    """Refuses numbers for dates: pydantic reads the text "20260102" as seconds since 1970."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_days(item, found[name], f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, (item, stored) in enumerate(zip(value, found, strict=False)):
            _check_days(item, stored, f"{path}[{index}]")
    elif isinstance(found, date) and isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        raise ValueError(f"{path}: {value!r} is not a date, as 2026-01-02 is")


def _explain(error: ValidationError, part: Callable[[], str | None]) -> AnswerError:
    details = error.errors(include_url=False, include_context=False)
    missing = [detail["type"] == "missing" or detail["input"] is None for detail in details]
    what = [
        f"{_path(detail['loc'])}: {'is missing' if gone else detail['msg']}"
        for detail, gone in zip(details, missing, strict=True)
    ]
    more = [f"and {len(what) - MAX_ERRORS} more"] if len(what) > MAX_ERRORS else []
    message = "; ".join(what[:MAX_ERRORS] + more)
    if not all(missing):
        return AnswerError("invalid_value", message)
    whole = all(len(detail["loc"]) == 1 for detail in details)  # each field that is there lacks nothing
    return AnswerError("missing_field", message, part() if whole else None)


def _path(location: tuple[int | str, ...]) -> str:
    """A pydantic location as in `Leaf.path`: ("items", 0, "amount") is items[0].amount."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "the whole"
