"""Rows as runs store them, for the tests of tables and commits."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
from pydantic import BaseModel

from pipeline.commit.delta_log import Change
from pipeline.commit.lease import Lease
from pipeline.commit.tables import DataFile, Table, read_table, write_rows
from schemas.arrow import to_table
from schemas.rows import Answer, Document, Failure, answer_row
from schemas.targets import Receipt, ReceiptItem

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
RECEIPT = Receipt(
    merchant="Köfte & Çay",
    date=date(2026, 1, 2),
    items=[ReceiptItem(name="tea", amount=Decimal("1.50")), ReceiptItem(name="", amount=Decimal("-0.25"))],
    total=Decimal("1.25"),
)


def answer(key: str, value: str | Receipt = "42", target: type[BaseModel] | None = None) -> Answer:
    return answer_row(target).model_validate(
        {
            "item_key": key,
            "source_key": "s",
            "settings_key": "t",
            "run_id": "r",
            "uri": "/docs/a.pdf",
            "page_first": 1,
            "page_last": 1,
            "question_id": "q",
            "question": "How many?",
            "answer": value,
            "raw_text": " 42",
            "confidence": 0.5,
            "fields": [{"path": "total", "confidence": 0.25}],
            "finish_reason": "stop",
            "prompt_tokens": 10,
            "cached_tokens": 0,
            "output_tokens": 2,
            "answered_at": NOW,
        }
    )


def failure(key: str) -> Failure:
    return Failure(
        item_key=key,
        source_key="s",
        settings_key="t",
        run_id="r",
        uri="/docs/b.pdf",
        question_id="q",
        question="How many?",
        stage="open",
        reason="needs_password",
        message="The document needs a password.",
        failed_at=NOW,
    )


def document(uri: str) -> Document:
    """A document of one page that a run before has completed."""
    return Document(
        source_key=uri,
        settings_key="settings",
        asked_key="asked",
        run_id="before",
        uri=uri,
        page_count=1,
        items_expected=1,
        items_answered=1,
        items_failed=0,
        status="complete",
        finished_at=NOW,
    )


def answers_file(tables: Mapping[str, Table], *keys: str) -> DataFile:
    return write_rows(tables["answers"], to_table(Answer, [answer(key) for key in keys]))


def failures_file(tables: Mapping[str, Table], *keys: str) -> DataFile:
    return write_rows(tables["failures"], to_table(Failure, [failure(key) for key in keys]))


def show(tables: Mapping[str, Table], table: Table, rows: pa.Table) -> None:
    """Commits rows to one of the tables, in a run of their own."""
    with Lease(tables, "run") as lease:
        lease.commit(table.name, Change(added=[write_rows(table, rows)]))


def visible(table: Table) -> list[str]:
    return sorted(read_table(table.uri, columns=["item_key"])["item_key"].to_pylist())
