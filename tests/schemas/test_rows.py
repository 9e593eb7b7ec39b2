"""The tables' schemas are pinned to literal values: data that people keep is written with them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pydantic import BaseModel

from schemas.arrow import SCHEMA_VERSION, arrow_schema, arrow_type, from_row, to_table
from schemas.rows import (
    Answer,
    Box,
    Conflict,
    Document,
    Failure,
    FieldConfidence,
    MergedField,
    answer_row,
    document_status,
    merged_row,
)
from schemas.targets import Invoice, Question, Receipt

BOX = "struct<x0: double not null, y0: double not null, x1: double not null, y1: double not null>"
VALUE = f"path: string not null, confidence: double not null, page: int64, box: {BOX}"
PAGES = "page_first: int64 not null, page_last: int64 not null"
KEYS = {
    "item_key": "string not null",
    "source_key": "string not null",
    "settings_key": "string not null",
    "run_id": "string not null",
    "uri": "string not null",
}
ANSWER = KEYS | {
    "page_first": "int64 not null",
    "page_last": "int64 not null",
    "crop": BOX,
    "question_id": "string not null",
    "question": "string not null",
    "answer": "string not null",
    "raw_text": "string not null",
    "confidence": "double not null",
    "fields": f"list<element: struct<{VALUE}> not null> not null",
    "finish_reason": "string not null",
    "prompt_tokens": "int64 not null",
    "cached_tokens": "int64 not null",
    "output_tokens": "int64 not null",
    "content_key": "string",
    "answered_at": "timestamp[us, tz=UTC] not null",
    "pages_missing": "list<element: int64 not null>",
    "note": "string",
    "prompt_key": "string",
    "shared_from": "string",
    "page_damaged": "bool",
}
FAILURE = KEYS | {
    "page_first": "int64",
    "page_last": "int64",
    "crop": BOX,
    "question_id": "string not null",
    "question": "string not null",
    "target": "string",
    "stage": "string not null",
    "reason": "string not null",
    "message": "string not null",
    "raw_text": "string",
    "failed_at": "timestamp[us, tz=UTC] not null",
    "shared_from": "string",
    "partial": "string",
    "fields": f"list<element: struct<{VALUE}> not null>",
    "pages_missing": "list<element: int64 not null>",
    "note": "string",
    "page_damaged": "bool",
}
MERGED = {name: kind for name, kind in KEYS.items() if name != "item_key"} | {
    "content_key": "string",
    "page_first": "int64 not null",
    "page_last": "int64 not null",
    "question_id": "string not null",
    "question": "string not null",
    "answer": "string not null",
    "confidence": "double not null",
    "fields": f"list<element: struct<{VALUE}, {PAGES}> not null> not null",
    "conflicts": f"list<element: struct<{VALUE}, {PAGES}, answer: string not null> not null> not null",
    "pages_missing": "list<element: int64 not null>",
    "note": "string",
    "page_damaged": "bool",
    "item_keys": "list<element: string not null> not null",
    "merged_at": "timestamp[us, tz=UTC] not null",
}
DOCUMENT = {
    "source_key": "string not null",
    "settings_key": "string not null",
    "run_id": "string not null",
    "uri": "string not null",
    "content_key": "string",
    "media_type": "string",
    "page_count": "int64",
    "items_expected": "int64 not null",
    "items_answered": "int64 not null",
    "items_failed": "int64 not null",
    "status": "string not null",
    "finished_at": "timestamp[us, tz=UTC] not null",
    "asked_key": "string",
}
INVOICE = {
    "number": "string not null",
    "date": "date32[day] not null",
    "due_date": "date32[day]",
    "vendor": "string not null",
    "customer": "string",
    "currency": "string",
    "subtotal": "decimal128(12, 2)",
    "tax": "decimal128(12, 2)",
    "total": "decimal128(12, 2) not null",
    "items": (
        "list<element: struct<description: string not null, quantity: decimal128(12, 3), "
        "unit_price: decimal128(12, 2), amount: decimal128(12, 2) not null> not null> not null"
    ),
}
RECEIPT = {
    "merchant": "string not null",
    "date": "date32[day] not null",
    "items": (
        "list<element: struct<name: string not null, amount: decimal128(12, 2) not null> not null> not null"
    ),
    "total": "decimal128(12, 2) not null",
}
QUESTION = {
    "text": "string not null",
    "id": "string not null",
    "documents": "string",
    "pages": "list<element: int64 not null>",
}


def struct_text(columns: dict[str, str]) -> str:
    return "struct<" + ", ".join(f"{name}: {kind}" for name, kind in columns.items()) + ">"


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (Answer, ANSWER),
        (answer_row(Invoice), ANSWER | {"answer": struct_text(INVOICE) + " not null"}),
        (answer_row(Receipt), ANSWER | {"answer": struct_text(RECEIPT) + " not null"}),
        (Failure, FAILURE),
        (merged_row(Invoice), MERGED | {"answer": struct_text(INVOICE) + " not null"}),
        (Document, DOCUMENT),
        (Invoice, INVOICE),
        (Receipt, RECEIPT),
        (Question, QUESTION),
    ],
)
def test_the_arrow_schema_of_a_table_is_pinned(model: type[BaseModel], columns: dict[str, str]) -> None:
    schema = arrow_schema(model)
    found = {field.name: f"{field.type}{'' if field.nullable else ' not null'}" for field in schema}
    assert list(found.items()) == list(columns.items())
    assert schema.metadata == {b"schema_version": b"5"}
    assert SCHEMA_VERSION == 5


NOW = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
KEY_VALUES = {name: name for name in KEYS}
ANSWER_VALUES: dict[str, Any] = KEY_VALUES | {
    "page_first": 1,
    "page_last": 2,
    "question_id": "q",
    "question": "What?",
    "answer": "That",
    "raw_text": "That",
    "confidence": 0.5,
    "fields": [FieldConfidence(path="", confidence=1.0, box=Box(x0=0, y0=0, x1=1, y1=0.5))],
    "finish_reason": "stop",
    "prompt_tokens": 10,
    "cached_tokens": 0,
    "output_tokens": 1,
    "answered_at": NOW,
}
INVOICE_VALUE = Invoice.model_validate(
    {"number": "7", "date": "2024-01-02", "vendor": "V", "total": "9.50", "items": []}
)
FAILURE_VALUES: dict[str, Any] = KEY_VALUES | {
    "question_id": "q",
    "question": "What?",
    "stage": "open",
    "reason": "needs_password",
    "message": "The document is encrypted.",
    "failed_at": NOW,
}
PLACE: dict[str, Any] = {"path": "total", "confidence": 0.5, "page": 2, "page_first": 1, "page_last": 2}
MERGED_VALUES: dict[str, Any] = {name: name for name in KEYS if name != "item_key"} | {
    "page_first": 1,
    "page_last": 2,
    "question_id": "Invoice",
    "question": "Invoice",
    "answer": INVOICE_VALUE,
    "confidence": 0.5,
    "fields": [MergedField(**PLACE)],
    "conflicts": [Conflict(**PLACE, answer="9.00")],
    "item_keys": ["a", "b"],
    "merged_at": NOW,
}
DOCUMENT_VALUES: dict[str, Any] = {name: name for name in DOCUMENT if name.endswith(("key", "id", "uri"))} | {
    "items_expected": 3,
    "items_answered": 2,
    "items_failed": 1,
    "status": "partial",
    "finished_at": NOW,
}


@pytest.mark.parametrize(
    "row",
    [
        Answer(**ANSWER_VALUES),
        answer_row(Invoice)(**ANSWER_VALUES | {"answer": INVOICE_VALUE}),
        Failure(**FAILURE_VALUES),
        Failure(**FAILURE_VALUES | {"crop": Box(x0=0, y0=0, x1=1, y1=1), "page_first": 1, "page_last": 1}),
        merged_row(Invoice)(**MERGED_VALUES),
        Document(**DOCUMENT_VALUES),
    ],
    ids=lambda row: type(row).__name__,
)
def test_a_row_comes_back_from_a_delta_table(row: BaseModel, tmp_path: Path) -> None:
    write_deltalake(tmp_path, to_table(type(row), [row]))
    table = DeltaTable(tmp_path)
    assert pa.schema(table.schema().to_arrow()).equals(arrow_schema(type(row)))
    found = pq.read_table(table.file_uris()).to_pylist()
    assert [from_row(type(row), values) for values in found] == [row]


def test_the_answers_of_a_target_are_the_free_answers_but_for_one_column() -> None:
    free, typed = arrow_schema(answer_row(None)), arrow_schema(answer_row(Invoice))
    assert answer_row(None) is Answer
    assert answer_row(Invoice) is answer_row(Invoice)
    assert typed.names == free.names
    assert typed.field("answer").type == arrow_type(Invoice)


@pytest.mark.parametrize(
    ("model", "values", "wrong"),
    [
        (Answer, ANSWER_VALUES, {"confidence": 1.01}),
        (Answer, ANSWER_VALUES, {"page_first": 0}),
        (Answer, ANSWER_VALUES, {"page_first": 3}),
        (Answer, ANSWER_VALUES, {"finish_reason": "error"}),
        (Answer, ANSWER_VALUES, {"answered_at": datetime(2024, 5, 6)}),
        (Answer, ANSWER_VALUES, {"unknown": 1}),
        (Failure, FAILURE_VALUES, {"reason": "Needs password"}),
        (Failure, FAILURE_VALUES, {"stage": "unknown"}),
        (Failure, FAILURE_VALUES, {"page_first": 2, "page_last": 1}),
        (Failure, FAILURE_VALUES, {"page_first": 2}),
        (merged_row(Invoice), MERGED_VALUES, {"page_first": 3}),
        (Document, DOCUMENT_VALUES, {"items_failed": 0}),
        (Document, DOCUMENT_VALUES, {"status": "complete"}),
        (Box, {"x0": 0, "y0": 0, "x1": 1, "y1": 1}, {"x1": 0}),
        (Box, {"x0": 0, "y0": 0, "x1": 1, "y1": 1}, {"y1": 1.5}),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(
    model: type[BaseModel], values: dict[str, Any], wrong: dict[str, Any]
) -> None:
    model.model_validate(values)
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        model.model_validate(values | wrong)


def test_a_document_is_complete_partial_or_failed() -> None:
    assert document_status(3, 3) == "complete"
    assert document_status(3, 1) == "partial"
    assert document_status(3, 0) == "failed"
    assert document_status(0, 0) == "complete"  # no question is for it
