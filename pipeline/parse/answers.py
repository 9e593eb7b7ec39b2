"""A completion in; one row of answers or one row of failures out.

A free answer is the text without the white space around it. A target's answer is one JSON object of the
target's fields. White space and one ```json fence around it are dropped; other text beside it is an error.
Every field may be null in the JSON, but null in a field that cannot be null is the failure `missing_field`:
nothing is repaired, filled in or guessed. A free answer that the token limit cut is an answer with
finish_reason "length"; a target's is the failure `truncated`, unless the object was complete. A target's text
was decoded under its JSON schema (`model.text.grammar`): `invalid_json` and `invalid_value` come of
validators and constraints that JSON Schema does not know.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from model.text.tokenizer import Tokenizer
from pipeline.parse.confidence import confidences
from pipeline.parse.json_spans import InvalidJson, Leaf, parse
from pipeline.plan.plan import Plan
from schemas.arrow import check_json, to_row
from schemas.rows import Answer, Failure, FieldConfidence, Stage, answer_row
from schemas.targets import load_target

FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)```", re.DOTALL)
# finish_reason -> reason of the failure
CUT_SHORT = {"length": "truncated", "repetition": "repetition", "grammar": "grammar"}
ENGINE_ERROR = re.compile(r"([A-Z]\w*Error): (.*)", re.DOTALL)  # "ValueError: ..."
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
MAX_ERRORS = 5  # named in one message

Target = TypeVar("Target", bound=BaseModel)


class AnswerError(ValueError):
    """The text is no answer. `reason` is the word to count by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read_answer(raw_text: str) -> str:
    """A free answer. Raises AnswerError `empty_answer`."""
    answer = raw_text.strip()
    if not answer:
        raise AnswerError("empty_answer", "the model wrote nothing")
    return answer


def read_target(target: type[Target], raw_text: str) -> Target:
    """A target's answer. Raises AnswerError `invalid_json`, `invalid_value` or `missing_field`."""
    value, _ = _parse(raw_text)
    try:
        check_json(target, value)
        found = target.model_validate(value, strict=False, extra="forbid")  # JSON has no dates
        _check_days(value, to_row(found), "")
    except ValidationError as error:
        raise _explain(error) from error
    except ValueError as error:
        raise AnswerError("invalid_value", str(error)) from error
    except Exception as error:
        # A user's validators run here: an error of theirs, of any kind, costs one item, not the run.
        raise AnswerError("invalid_value", f"{type(error).__name__}: {error}") from error
    return found


def value_spans(raw_text: str) -> list[Leaf]:
    """Path and place of each leaf of a target's answer. Raises AnswerError `invalid_json`."""
    return _parse(raw_text)[1]


def read_completion(row: Mapping[str, Any], plan: Plan, tokenizer: Tokenizer) -> Answer | Failure:
    """The row for one item; `row` has the columns of `rows.COMPLETIONS`."""
    if row["finish_reason"] == "error":
        named = ENGINE_ERROR.fullmatch(row["error"])
        reason = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", named[1]).lower() if named else "engine_error"
        return _failure(row, plan, "generate", reason, named[2] if named else row["error"], None)
    raw_text = tokenizer.decode(row["token_ids"])
    target = load_target(plan.target) if plan.target else None
    leaves: list[Leaf] = []
    answer: BaseModel | str
    try:
        if target:
            answer, leaves = read_target(target, raw_text), value_spans(raw_text)
        else:
            answer = read_answer(raw_text)
    except AnswerError as error:
        reason = error.reason
        if reason == "invalid_json":
            reason = CUT_SHORT.get(row["finish_reason"], reason)
        return _failure(row, plan, "parse", reason, row["error"] or str(error), raw_text)
    spans = [(leaf.start, leaf.end) for leaf in leaves]
    whole, *each = confidences([_body(raw_text), *spans], row["token_ids"], row["logprobs"], tokenizer)
    return answer_row(target).model_validate(
        {
            **_item(row, plan),
            "answer": answer,
            "raw_text": raw_text,
            "confidence": whole,
            "fields": [
                FieldConfidence(path=leaf.path, confidence=confidence)
                for leaf, confidence in zip(leaves, each, strict=True)
            ],
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


def _item(row: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    columns = ("item_key", "source_key", "uri", "page_first", "page_last", "question_id", "question")
    return {"settings_key": plan.settings_key, "run_id": plan.run_id} | {name: row[name] for name in columns}


def _failure(
    row: Mapping[str, Any], plan: Plan, stage: Stage, reason: str, message: str, raw_text: str | None
) -> Failure:
    return Failure(
        **_item(row, plan),
        target=plan.target,
        stage=stage,
        reason=reason,
        message=message,
        raw_text=raw_text,
        failed_at=datetime.now(UTC),
    )


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


def _explain(error: ValidationError) -> AnswerError:
    details = error.errors(include_url=False, include_context=False)
    missing = [detail["type"] == "missing" or detail["input"] is None for detail in details]
    what = [
        f"{_path(detail['loc'])}: {'is missing' if gone else detail['msg']}"
        for detail, gone in zip(details, missing, strict=True)
    ]
    more = [f"and {len(what) - MAX_ERRORS} more"] if len(what) > MAX_ERRORS else []
    return AnswerError(
        "missing_field" if all(missing) else "invalid_value", "; ".join(what[:MAX_ERRORS] + more)
    )


def _path(location: tuple[int | str, ...]) -> str:
    """A pydantic location as in `Leaf.path`: ("items", 0, "amount") is items[0].amount."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "the whole"
