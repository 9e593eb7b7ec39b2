"""Every completion becomes one row; its values and its failures are exact."""

import math
import pickle
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from model.text.tokenizer import Tokenizer
from pipeline.parse.answers import AnswerError, read_answer, read_completion, read_target, value_spans
from pipeline.plan.plan import Plan
from schemas.arrow import arrow_type, from_json_text, to_json, to_table
from schemas.rows import Answer, Failure, answer_row
from schemas.targets import Question, Receipt, ReceiptItem
from tests.pipeline.plans import asking

TOKENIZER = Tokenizer.from_file(Path("model/nano/tekken.json"))
DAY = date(2026, 1, 2)
RECEIPT = Receipt(
    merchant="Köfte 😀",
    date=date(2026, 1, 2),
    items=[ReceiptItem(name="tea", amount=Decimal("1.50")), ReceiptItem(name="", amount=Decimal("-0.25"))],
    total=Decimal("1.25"),
)


class Colour(Enum):
    RED = "red"


class Trip(BaseModel):
    on: list[date]


class Everything(BaseModel):
    trips: list[Trip] = []
    text: str | None = None
    whole: int | None = None
    real: float | None = None
    flag: bool | None = None
    day: date | None = None
    at: AwareDatetime | None = None
    money: Decimal | None = Field(default=None, max_digits=20, decimal_places=2)
    amounts: list[Annotated[Decimal, Field(max_digits=4, decimal_places=1)] | None] = []
    colour: Colour | None = None
    size: Literal["s", "m"] | None = None
    tags: list[str] = []

    @model_validator(mode="after")
    def _of_the_user(self) -> "Everything":
        if self.text == "divide":
            1 / 0  # noqa: B018 # a mistake in a user's class
        return self


def plan(target: str | None = None) -> Plan:
    return asking(questions=(Question(id="q", text="How many?"),), target=target)


def completion(text: str, **columns: Any) -> dict[str, Any]:
    token_ids = TOKENIZER.encode(text)
    return {
        "item_key": "item",
        "source_key": "source",
        "uri": "/docs/a.pdf",
        "content_key": "content",
        "page_first": 2,
        "page_last": 3,
        "pages_missing": None,
        "note": None,
        "page_damaged": False,
        "ask": 0,
        "question_id": "q",
        "question": "How many?",
        "prompt_key": "p",
        "token_ids": token_ids,
        "logprobs": [-0.5] * len(token_ids),
        "finish_reason": "stop",
        "prompt_tokens": 9,
        "cached_tokens": 4,
        "stopped_at": None,
        "error": None,
    } | columns


def test_a_free_answer_ends_before_its_stop_string() -> None:
    text = "né 4END2"
    row = read_completion(completion(text, stopped_at=len("né 4".encode())), plan(), TOKENIZER)
    assert isinstance(row, Answer)
    assert (row.answer, row.raw_text, row.finish_reason) == ("né 4", text, "stop")
    assert row.output_tokens == len(TOKENIZER.encode(text))
    assert row.confidence > math.exp(-0.5 * row.output_tokens), "what follows it does not count"
    nothing = read_completion(completion(text, stopped_at=0), plan(), TOKENIZER)
    assert isinstance(nothing, Failure)
    assert (nothing.reason, nothing.raw_text) == ("empty_answer", text)


def test_a_free_answer_is_a_row() -> None:
    row = read_completion(completion(" 42 \n"), plan(), TOKENIZER)
    assert isinstance(row, Answer)
    assert abs((datetime.now(UTC) - row.answered_at).total_seconds()) < 60
    tokens = len(TOKENIZER.encode(" 42 \n"))
    assert row == Answer(
        item_key="item",
        source_key="source",
        settings_key="settings",
        run_id="run",
        uri="/docs/a.pdf",
        page_first=2,
        page_last=3,
        question_id="q",
        question="How many?",
        answer="42",
        raw_text=" 42 \n",
        confidence=row.confidence,
        fields=[],
        finish_reason="stop",
        prompt_tokens=9,
        cached_tokens=4,
        output_tokens=tokens,
        content_key="content",
        answered_at=row.answered_at,
        prompt_key="p",
        page_damaged=False,
    )
    assert math.exp(-0.5 * tokens) <= row.confidence < 1


@pytest.mark.parametrize("reason", ["stop", "length", "repetition", "grammar"])
def test_a_free_answer_that_was_cut_is_still_an_answer(reason: str) -> None:
    row = read_completion(completion("forty-", finish_reason=reason), plan(), TOKENIZER)
    assert isinstance(row, Answer)
    assert (row.answer, row.finish_reason) == ("forty-", reason)


def test_a_target_is_a_row_with_its_own_types() -> None:
    row = read_completion(completion(to_json(RECEIPT)), plan("Receipt"), TOKENIZER)
    assert isinstance(row, answer_row(Receipt))
    assert row.model_dump()["answer"] == RECEIPT.model_dump()
    assert [field.path for field in row.fields] == [
        "merchant",
        "date",
        "items[0].name",
        "items[0].amount",
        "items[1].name",
        "items[1].amount",
        "total",
    ]
    table = to_table(answer_row(Receipt), [row])
    assert table["answer"][0]["items"][1]["amount"].as_py() == Decimal("-0.25")


def test_an_object_that_ended_with_the_limit_is_an_answer() -> None:
    row = read_completion(completion(to_json(RECEIPT), finish_reason="length"), plan("Receipt"), TOKENIZER)
    assert isinstance(row, Answer)
    assert row.finish_reason == "length"


@pytest.mark.parametrize(
    ("text", "finish_reason", "reason", "message"),
    [
        ('{"merchant": "K', "stop", "invalid_json", "the text is not JSON: no string at character 13"),
        (
            '{"merchant": "K',
            "length",
            "truncated",
            "8 tokens did not hold the whole (--max-new-tokens); the raw text has what there is of it",
        ),
        ('{"merchant": "K', "repetition", "repetition", "the text is not JSON: no string at character 13"),
        ("", "stop", "invalid_json", "the text is not JSON: the end at character 0"),
        (
            '{"merchant": null, "date": "2026-01-02", "items": [{"name": "a"}], "total": 1}',
            "stop",
            "missing_field",
            "merchant: is missing; items[0].amount: is missing",
        ),
        (
            '{"merchant": "K", "date": "2026-01-02", "items": [], "total": 1.255}',
            "stop",
            "invalid_value",
            "total: Decimal input should have no more than 2 decimal places",
        ),
    ],
)
def test_a_target_that_does_not_validate_is_a_failure_with_the_text(
    text: str, finish_reason: str, reason: str, message: str
) -> None:
    row = read_completion(completion(text, finish_reason=finish_reason), plan("Receipt"), TOKENIZER)
    assert row == Failure(
        item_key="item",
        source_key="source",
        settings_key="settings",
        run_id="run",
        uri="/docs/a.pdf",
        page_first=2,
        page_last=3,
        question_id="q",
        question="How many?",
        target="Receipt",
        stage="parse",
        reason=reason,
        message=message,
        raw_text=text,
        failed_at=row.failed_at if isinstance(row, Failure) else datetime.now(UTC),
    )


def test_where_no_token_could_follow_the_failure_says_why() -> None:
    row = completion('{"merchant": "K', finish_reason="grammar", error="lexer error: too many states")
    found = read_completion(row, plan("Receipt"), TOKENIZER)
    assert isinstance(found, Failure)
    assert (found.stage, found.reason, found.message) == ("parse", "grammar", "lexer error: too many states")


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        ("ValueError: 9000 tokens, the limit is 8192", "value_error", "9000 tokens, the limit is 8192"),
        ("OutOfMemoryError: CUDA\nout of memory", "out_of_memory_error", "CUDA\nout of memory"),
        ("the rank: gone", "engine_error", "the rank: gone"),
    ],
)
def test_an_error_of_the_engine_is_a_failure(error: str, reason: str, message: str) -> None:
    row = completion("", finish_reason="error", error=error)
    found = read_completion(row, plan(), TOKENIZER)
    assert isinstance(found, Failure)
    assert (found.stage, found.reason, found.message, found.raw_text) == ("generate", reason, message, None)


@given(st.lists(st.tuples(st.binary(max_size=20), st.sampled_from([None, "Receipt"])), max_size=5))
def test_every_completion_is_one_row(texts: list[tuple[bytes, str | None]]) -> None:
    for data, target in texts:
        row = completion("", token_ids=[1000 + byte for byte in data], logprobs=[-1.0] * len(data))
        found = read_completion(row, plan(target), TOKENIZER)
        assert found.item_key == "item"
        assert isinstance(found, Answer) == (
            target is None and bool(found.raw_text and found.raw_text.strip())
        )
        to_table(type(found), [found])


def test_an_empty_free_answer_is_an_error() -> None:
    with pytest.raises(AnswerError, match="the model wrote nothing") as caught:
        read_answer(" \n")
    assert caught.value.reason == "empty_answer"


def test_decimals_are_read_digit_by_digit() -> None:
    assert read_target(Everything, '{"money": 123456789012345678.10}').money == Decimal(
        "123456789012345678.10"
    )
    assert read_target(Everything, '{"money": 1e2}').money == Decimal(100)
    assert read_target(Everything, '{"amounts": [1, null, 2.5]}').amounts == [1, None, Decimal("2.5")]


@pytest.mark.parametrize(
    "wrap", ["{}", " \n{}\n", "```json\n{}\n```", "```\n{}```\n", "\n```json \n {} \n```"]
)
def test_white_space_and_one_fence_are_dropped(wrap: str) -> None:
    text = wrap.replace("{}", '{"whole": 7}')
    assert read_target(Everything, text).whole == 7
    (leaf,) = value_spans(text)
    assert text[leaf.start : leaf.end] == "7"


@pytest.mark.parametrize(
    "wrap", ["Here it is: {}", "{} I hope this helps", "```json\n```json\n{}\n```\n```", "{}{}"]
)
def test_other_text_beside_the_object_is_an_error(wrap: str) -> None:
    with pytest.raises(AnswerError) as caught:
        read_target(Everything, wrap.replace("{}", '{"whole": 7}'))
    assert caught.value.reason == "invalid_json"


@pytest.mark.parametrize(
    "text",
    [
        '{"whole": "7"}',
        '{"whole": 7.0}',
        '{"whole": 9223372036854775808}',
        '{"real": "1.5"}',
        '{"flag": 1}',
        '{"flag": "yes"}',
        '{"text": 7}',
        '{"day": 20260102}',
        '{"day": "86400"}',
        '{"day": "02.01.2026"}',
        '{"at": "20260102"}',
        '{"trips": [{"on": ["2026-01-02", "86400"]}]}',
        '{"day": "2026-02-30"}',
        '{"at": "2026-01-02T03:04:05"}',
        '{"money": "1.10"}',
        '{"money": 1000000000000000000.00}',
        '{"money": "NaN"}',
        '{"money": true}',
        '{"colour": "blue"}',
        '{"size": "xl"}',
        '{"tags": [1]}',
        '{"unknown": 1}',
        '{"text": "divide"}',
        "[]",
        "7",
    ],
)
def test_values_of_another_kind_are_refused(text: str) -> None:
    with pytest.raises(AnswerError) as caught:
        read_target(Everything, text)
    assert caught.value.reason == "invalid_value"


def test_null_in_a_field_with_a_default_is_missing_not_the_default() -> None:
    with pytest.raises(AnswerError, match=r"^tags: is missing$") as caught:
        read_target(Everything, '{"tags": null}')
    assert caught.value.reason == "missing_field"


class Fussy(BaseModel):
    """Validators that see one field, and all of them."""

    number: str
    total: Annotated[Decimal, Field(max_digits=6, decimal_places=2, gt=0)]
    names: list[str] = []

    @field_validator("number")
    @classmethod
    def upper(cls, number: str) -> str:
        return number.upper()

    @model_validator(mode="after")
    def refuses_the_thirteenth(self) -> "Fussy":
        if self.total == 13:
            raise ValueError("no such total")
        return self


@pytest.mark.parametrize(
    ("target", "text", "partial"),
    [
        (Fussy, '{"number": "a", "total": null, "names": ["x"]}', {"number": "A", "names": ["x"]}),
        (Fussy, '{"number": null, "total": 1.50, "names": null}', {"total": Decimal("1.50")}),
        (Fussy, '{"number": null, "total": null, "names": null}', {}),
        (Fussy, '{"total": 2}', {"total": Decimal(2)}),
        (Fussy, '{"number": null, "total": 13, "names": []}', None),  # all that is there is refused together
        (Receipt, '{"merchant": null, "date": "2026-01-02", "items": [{"name": "a"}], "total": 1}', None),
        (
            Receipt,
            '{"merchant": null, "date": "2026-01-02", "items": [], "total": null}',
            {"date": DAY, "items": []},
        ),
    ],
)
def test_what_a_missing_field_leaves_is_kept_if_it_is_valid(
    target: type[BaseModel], text: str, partial: dict[str, Any] | None
) -> None:
    with pytest.raises(AnswerError) as caught:
        read_target(target, text)
    error = pickle.loads(pickle.dumps(caught.value))  # as a validator's process sends it
    assert (error.reason, str(error)) == ("missing_field", str(caught.value))
    found = error.partial and from_json_text(arrow_type(target), error.partial)
    assert found == partial


def test_what_is_invalid_leaves_nothing() -> None:
    with pytest.raises(AnswerError) as caught:
        read_target(Fussy, '{"number": null, "total": -1, "names": []}')
    assert (caught.value.reason, caught.value.partial) == ("invalid_value", None)


def test_a_failure_that_keeps_fields_says_how_sure_they_are() -> None:
    text = '{"merchant": null, "date": "2026-01-02", "items": [], "total": 1.5}'
    seen = {"pages_missing": [3], "note": "page 3 is gone", "page_damaged": True}
    given = completion(text) | seen
    row = read_completion(given, plan("Receipt"), TOKENIZER)
    assert isinstance(row, Failure)
    assert row.fields is not None
    assert [field.path for field in row.fields] == ["merchant", "date", "items", "total"]
    assert all(0 < field.confidence <= 1 for field in row.fields)
    assert (row.reason, row.raw_text) == ("missing_field", text)
    assert {name: getattr(row, name) for name in seen} == seen
    (stored,) = to_table(Failure, [row]).to_pylist()
    assert from_json_text(arrow_type(Receipt), stored["partial"]) == {
        "date": DAY,
        "items": [],
        "total": Decimal("1.5"),
    }


def test_a_strict_target_is_read_too() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        day: date
        money: Decimal = Field(max_digits=4, decimal_places=2)

    assert read_target(Strict, '{"day": "2026-01-02", "money": 1.50}').day == date(2026, 1, 2)


@given(
    st.builds(
        Receipt,
        merchant=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        date=st.dates(),
        items=st.lists(
            st.builds(
                ReceiptItem,
                name=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
                amount=st.decimals(-1000, 1000, places=2),
            ),
            max_size=3,
        ),
        total=st.decimals(-(10**9), 10**9, places=2),
    )
)
def test_what_is_written_as_json_is_read_back(receipt: Receipt) -> None:
    assert read_target(Receipt, to_json(receipt)) == receipt
