"""One model for each table that a run writes.

The Arrow schemas of the tables follow from these models (`arrow.arrow_schema`). A test pins them, since data
that people keep is written with them: a change may only append nullable fields and counts
`arrow.SCHEMA_VERSION` up.
"""

from functools import cache
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model, model_validator

FinishReason = Literal["stop", "length", "repetition", "grammar"]
Stage = Literal["list", "open", "rasterize", "prompt", "generate", "parse", "write"]
Status = Literal["complete", "partial", "failed"]


class Row(BaseModel):
    """The base of all rows: they do not change, and a misspelt column is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Box(Row):
    """A rectangle on a page, in fractions of the page's width and height from its top left corner."""

    x0: float = Field(ge=0, le=1)
    y0: float = Field(ge=0, le=1)
    x1: float = Field(ge=0, le=1)
    y1: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _has_area(self) -> Self:
        if self.x0 >= self.x1 or self.y0 >= self.y1:
            raise ValueError(
                f"a box needs x0 < x1 and y0 < y1, not {self.x0}, {self.y0}, {self.x1}, {self.y1}"
            )
        return self


class FieldConfidence(Row):
    """How sure the model was of one value of an answer. Page and box stay null until there is evidence."""

    path: str
    confidence: float = Field(ge=0, le=1)
    page: int | None = Field(default=None, ge=1)
    box: Box | None = None


class Answer(Row):
    """One answered item, a row of `answers/text`. `answer_row` gives the row of a target's table."""

    item_key: str
    source_key: str
    settings_key: str
    run_id: str
    uri: str
    page_first: int = Field(ge=1)
    page_last: int = Field(ge=1)
    crop: Box | None = None
    question_id: str
    question: str
    answer: str
    raw_text: str
    confidence: float = Field(ge=0, le=1)
    fields: list[FieldConfidence]
    finish_reason: FinishReason
    prompt_tokens: int = Field(ge=0)
    cached_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    content_key: str | None = None
    answered_at: AwareDatetime
    pages_missing: list[int] | None = None
    """Pages between page_first and page_last that could not be drawn: the model did not see them."""
    note: str | None = None
    """Why they are missing, and how others were changed: "page 1: first frame of 42"."""
    prompt_key: str | None = None
    """Hash of all that the model was given: tokens, pixels, settings. Equal prompts have equal answers."""
    shared_from: str | None = None
    """The item_key of the item whose answer this is, since it has the same prompt; null: it was asked itself.
    Then nothing was computed for this row: all of its prompt counts as cached, and none of its tokens as
    written."""
    page_damaged: bool | None = None
    """Whether a part of a page is lost, as `note` says: the model saw the rest. Null: nobody looked then."""

    @model_validator(mode="after")
    def _covers_pages(self) -> Self:
        _check_pages(self.page_first, self.page_last)
        return self


class Failure(Row):
    """One expected item without an answer: where it failed, why in one word, and why in a sentence."""

    item_key: str
    source_key: str
    settings_key: str
    run_id: str
    uri: str
    page_first: int | None = Field(default=None, ge=1)
    page_last: int | None = Field(default=None, ge=1)
    crop: Box | None = None
    question_id: str
    question: str
    target: str | None = None
    stage: Stage
    reason: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    message: str
    raw_text: str | None = None
    failed_at: AwareDatetime
    shared_from: str | None = None
    """The item_key of the item that failed, which has the same prompt; null: it was this one itself."""
    partial: str | None = None
    """Of `missing_field`: the fields of the target that the pages do hold, as JSON. Null where they are not
    valid."""
    fields: list[FieldConfidence] | None = None
    """Of `partial`: the confidence of each value that the raw text has."""
    pages_missing: list[int] | None = None
    """This and the next two: of `partial`, as of an answer."""
    note: str | None = None
    page_damaged: bool | None = None

    @model_validator(mode="after")
    def _covers_pages_or_none(self) -> Self:
        if self.page_first is not None or self.page_last is not None:
            _check_pages(self.page_first, self.page_last)
        return self


class MergedField(FieldConfidence):
    """A value of a merged answer, and the window of pages in which it was read."""

    page_first: int = Field(ge=1)
    page_last: int = Field(ge=1)


class Conflict(MergedField):
    """A value of a window that a merged answer does not have: another window was surer of another one."""

    answer: str
    """The value, as JSON."""


class Merged(Row):
    """One document's answer, of those of its windows. `merged_row` gives the row of a target's table."""

    source_key: str
    settings_key: str
    run_id: str
    uri: str
    content_key: str | None = None
    page_first: int = Field(ge=1)
    page_last: int = Field(ge=1)
    question_id: str
    question: str
    answer: str
    confidence: float = Field(ge=0, le=1)
    """That of the value of which the windows are least sure."""
    fields: list[MergedField]
    conflicts: list[Conflict]
    pages_missing: list[int] | None = None
    """Pages between page_first and page_last that could not be drawn, and those of windows that failed."""
    note: str | None = None
    page_damaged: bool | None = None
    """Whether a part of a page is lost; null where an older version has asked a window."""
    item_keys: list[str]
    """The items that it was made of."""
    merged_at: AwareDatetime

    @model_validator(mode="after")
    def _covers_pages(self) -> Self:
        _check_pages(self.page_first, self.page_last)
        return self


class Document(Row):
    """One input of the run, and how many of its items were answered."""

    source_key: str
    settings_key: str
    run_id: str
    uri: str
    content_key: str | None = None
    media_type: str | None = None
    page_count: int | None = Field(default=None, ge=0)
    items_expected: int = Field(ge=0)
    items_answered: int = Field(ge=0)
    items_failed: int = Field(ge=0)
    status: Status
    finished_at: AwareDatetime
    asked_key: str | None = None
    """Hash of all that was asked of the document: where it is the same again, there is nothing left to do."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.items_answered + self.items_failed != self.items_expected:
            raise ValueError(
                f"{self.items_answered} answered and {self.items_failed} failed items are not the "
                f"{self.items_expected} expected of {self.uri}"
            )
        if self.status != document_status(self.items_expected, self.items_answered):
            raise ValueError(
                f"status {self.status!r} is wrong for {self.items_answered} of {self.items_expected} answered"
            )
        return self


def _check_pages(first: int | None, last: int | None) -> None:
    if first is None or last is None or first > last:
        raise ValueError(f"page_first={first} and page_last={last} are no range of pages")


def document_status(expected: int, answered: int) -> Status:
    """complete: every item is answered, or none is asked; failed: none is answered; partial: some are."""
    if answered == expected:
        return "complete"
    return "partial" if answered else "failed"


@cache
def answer_row(target: type[BaseModel] | None) -> type[Answer]:
    """The row of a target's answers: Answer with the target itself in `answer`. None: free text."""
    if target is None:
        return Answer
    return create_model(f"{target.__name__}Answer", __base__=Answer, answer=(target, ...))


@cache
def merged_row(target: type[BaseModel]) -> type[Merged]:
    """The row of a target's merged answers: Merged with the target itself in `answer`."""
    return create_model(f"{target.__name__}Merged", __base__=Merged, answer=(target, ...))
