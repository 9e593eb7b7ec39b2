"""The driver's account: an item counts once, a document is done when its last item arrives."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.commit.document_progress import Counts, DocumentProgress
from pipeline.plan.rows import ANSWER, DOCUMENTS, FAILURE, Row, result_schema, table_of
from schemas.rows import Document
from tests.pipeline.plans import plan_for

Make = Callable[..., DocumentProgress]

OPENED = {"uri": "/in/a.pdf", "content_key": "c", "media_type": "application/pdf", "page_count": 2}
NOTHING_BEFORE = {"items_answered": 0, "items_failed": 0}


def row(item: str, *, kind: str = ANSWER, page: int = 1, source: str = "a") -> Row:
    """One result."""
    where = {"page_first": page, "page_last": page}
    return {"kind": kind, "source_key": source * 32, "item_key": item, **where}


def opened(expected: int, *sources: str, **changes: int) -> Row:
    """What is known of documents, of one called "a" if none is named."""
    document = OPENED | NOTHING_BEFORE | {"items_expected": expected} | changes
    keys = [{"source_key": source * 32} for source in sources or "a"]
    return {"kind": DOCUMENTS, "documents": [document | key for key in keys]}


@pytest.fixture(scope="module")
def progress(tiny_checkpoint: Path) -> Make:
    plan = plan_for(tiny_checkpoint)

    def make(documents: int = 1) -> DocumentProgress:
        keys = pa.chunked_array([[letter * 32 for letter in "abc"[:documents]]])
        return DocumentProgress(plan, keys, Counts(documents=documents))

    return make


def take(account: DocumentProgress, *rows: Row) -> tuple[list[str], list[Document]]:
    new, documents = account.take(table_of(rows, result_schema(None)))
    return new["item_key"].to_pylist(), documents


def test_a_document_is_done_with_its_last_item(progress: Make) -> None:
    account = progress()
    assert take(account, opened(3), row("1"), row("2", kind=FAILURE)) == (["1", "2"], [])
    new, (document,) = take(account, row("3", page=2))
    assert new == ["3"]
    assert (document.items_expected, document.items_answered, document.items_failed) == (3, 2, 1)
    assert document.status == "partial"
    assert (document.uri, document.page_count, document.run_id) == ("/in/a.pdf", 2, account._plan.run_id)
    account.check()


def test_items_may_come_before_what_is_known_of_their_document(
    progress: Make,
) -> None:
    account = progress()
    assert take(account, row("1"), row("2"))[1] == []
    assert take(account, row("3")) == (["3"], [])
    assert len(take(account, opened(3))[1]) == 1
    assert account.counts.expected == 3


def test_what_comes_twice_counts_once(progress: Make) -> None:
    account = progress()
    first, known = row("1"), opened(2)
    assert take(account, known, first, first)[0] == ["1"]
    assert take(account, known, first, row("2"))[0] == ["2"]
    assert take(account, known, first, row("2", kind=FAILURE)) == ([], [])  # long done, and then otherwise
    assert (account.counts.documents_open, account.counts.expected) == (1, 2)
    assert (account.counts.answered, account.counts.failed, account.counts.documents_done) == (2, 0, 1)
    account.check()


def test_a_document_of_which_nothing_is_asked_is_complete(progress: Make) -> None:
    account = progress()
    new, (document,) = take(account, opened(0))
    assert new == []
    assert document.status == "complete"
    account.check()


def test_pages_count_once_for_all_their_questions(progress: Make) -> None:
    account = progress()
    take(account, opened(4), row("1"), row("2"), row("3", page=2), row("4", page=2))
    assert account.counts.pages == 2


def test_items_of_earlier_runs_count(progress: Make) -> None:
    account = progress()
    assert take(account, row("1"), opened(5, items_answered=2, items_failed=1))[1] == []
    _, (document,) = take(account, row("2"))
    assert (document.items_answered, document.items_failed, document.asked_key is None) == (4, 1, False)
    assert (account.counts.answered, account.counts.failed) == (4, 1)
    account.check()


def test_a_missing_item_is_noticed(progress: Make) -> None:
    account = progress(documents=2)
    take(account, opened(2), row("1"))
    with pytest.raises(AssertionError, match="documents_done=0"):
        account.check()


def test_an_item_too_many_is_noticed(progress: Make) -> None:
    account = progress()
    with pytest.raises(AssertionError):
        take(account, opened(1), row("1"), row("2"))


@given(st.data())
def test_any_order_and_any_repetition_give_the_same_account(progress: Make, data: st.DataObject) -> None:
    rows = [
        row(f"{source}{item}", source=source, kind=(ANSWER, FAILURE)[item % 2])
        for source in "abc"
        for item in range(3)
    ]
    every = [*rows, opened(3, "a", "b"), opened(3, "c")]
    delivered = data.draw(st.permutations(every + data.draw(st.lists(st.sampled_from(every), max_size=9))))
    account = progress(documents=3)
    kept: list[str] = []
    documents: list[Document] = []
    while delivered:
        size = data.draw(st.integers(1, len(delivered)))
        new, done = take(account, *delivered[:size])
        kept, documents, delivered = kept + new, documents + done, delivered[size:]
    assert sorted(kept) == sorted(each["item_key"] for each in rows)
    assert sorted(document.source_key for document in documents) == [letter * 32 for letter in "abc"]
    assert {(document.items_answered, document.items_failed) for document in documents} == {(2, 1)}
    assert all(document.finished_at <= datetime.now(UTC) for document in documents)
    account.check()
