"""Result rows in; the new ones among them, and the row of each document whose last item has arrived, out.

This is the driver's account of a run. Ray may deliver a row twice, when it repeats a task: the first one
counts. Rows of items may come before the DOCUMENTS row that says how many of them are expected. Only
unfinished documents keep their items in memory; those that are done take 9 bytes each.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.key_index import digests_of
from pipeline.plan.keys import asked_key
from pipeline.plan.plan import Plan
from pipeline.plan.rows import ANSWER, FAILURE
from schemas.rows import Document, document_status


@dataclass(kw_only=True)
class Counts:
    """Where a run stands."""

    documents: int  # listed
    documents_open: int = 0  # that a task has opened, or failed to open
    documents_done: int = 0
    complete: int = 0  # this and the next two: of the documents that are done
    partial: int = 0
    failed_documents: int = 0
    pages: int = 0  # with an item that came back
    expected: int = 0  # items of the documents that were opened
    answered: int = 0
    failed: int = 0
    shared: int = 0  # of both, in this run: they have the result of an identical item that was asked


@dataclass
class _Account:
    """One unfinished document."""

    opened: dict[str, Any] | None = None
    answered: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    pages: set[int] = field(default_factory=set)


class DocumentProgress:
    """Which items of which documents have arrived."""

    def __init__(self, plan: Plan, source_keys: pa.ChunkedArray, counts: Counts) -> None:
        """The documents that the run is to do, and where its counts start."""
        self.counts = counts
        self._plan = plan
        self._accounts: dict[str, _Account] = {}
        self._done = _Done(source_keys)

    def take(self, results: pa.Table) -> tuple[pa.Table, list[Document]]:
        """The rows whose items are new, and the documents that they complete."""
        touched: dict[str, _Account] = {}
        for opened in pc.list_flatten(results["documents"]).to_pylist():
            account = self._touch(opened.pop("source_key"), touched)
            if account is not None and account.opened is None:
                self._open_account(account, opened)
        names = ["kind", "source_key", "item_key", "page_first", "page_last", "shared_from"]
        new = [self._is_new(row, touched) for row in results.select(names).to_pylist()]
        return results.filter(pa.array(new, pa.bool_())), [
            self._close(key, account) for key, account in touched.items() if _is_done(account)
        ]

    def _touch(self, source_key: str, touched: dict[str, _Account]) -> _Account | None:
        """The document's account, which is noted as touched; None if the document is done."""
        if source_key in self._done:
            return None
        account = touched[source_key] = self._accounts.setdefault(source_key, _Account())
        return account

    def _open_account(self, account: _Account, opened: dict[str, Any]) -> None:
        account.opened = opened
        self.counts.documents_open += 1
        self.counts.expected += opened["items_expected"]
        self.counts.answered += opened["items_answered"]
        self.counts.failed += opened["items_failed"]

    def _is_new(self, row: dict[str, Any], touched: dict[str, _Account]) -> bool:
        if row["kind"] not in (ANSWER, FAILURE):
            return False
        account, key = self._touch(row["source_key"], touched), row["item_key"]
        if account is None or key in account.answered or key in account.failed:
            return False
        if row["kind"] == ANSWER:
            account.answered.add(key)
            self.counts.answered += 1
        else:
            account.failed.add(key)
            self.counts.failed += 1
        self.counts.shared += row["shared_from"] is not None
        if row["page_first"]:
            before = len(account.pages)
            account.pages.update(range(row["page_first"], row["page_last"] + 1))
            self.counts.pages += len(account.pages) - before
        return True

    def _close(self, source_key: str, account: _Account) -> Document:
        del self._accounts[source_key]
        self._done.add(source_key)
        assert account.opened is not None, source_key
        opened = dict(account.opened)
        answered = len(account.answered) + opened.pop("items_answered")
        failed = len(account.failed) + opened.pop("items_failed")
        status = document_status(opened["items_expected"], answered)
        self.counts.documents_done += 1
        match status:
            case "complete":
                self.counts.complete += 1
            case "partial":
                self.counts.partial += 1
            case "failed":
                self.counts.failed_documents += 1
        return Document(
            source_key=source_key,
            settings_key=self._plan.settings_key,
            run_id=self._plan.run_id,
            items_answered=answered,
            items_failed=failed,
            status=status,
            finished_at=datetime.now(UTC),
            asked_key=asked_key(self._plan, opened["uri"]),
            **opened,
        )

    def check(self) -> None:
        """At the end: every document is done, and every expected item was answered or failed."""
        counts = self.counts
        missing = [(key, account) for key, account in self._accounts.items()]
        assert counts.documents_done == counts.documents, (counts, missing[:3])
        assert counts.answered + counts.failed == counts.expected, (counts, missing[:3])


def _is_done(account: _Account) -> bool:
    if account.opened is None:
        return False
    opened = account.opened
    there = len(account.answered) + len(account.failed) + opened["items_answered"] + opened["items_failed"]
    assert there <= opened["items_expected"], account
    return bool(there == opened["items_expected"])


class _Done:
    """Which of many keys of 32 hex digits are done; two with the same first 16 would fail `check`."""

    def __init__(self, keys: pa.ChunkedArray) -> None:
        self._digests = digests_of(keys)[:, 0].copy()
        self._digests.sort()
        self._marks = np.zeros(len(keys), np.bool_)

    def add(self, key: str) -> None:
        self._marks[self._place(key)] = True

    def __contains__(self, key: str) -> bool:
        return bool(self._marks[self._place(key)])

    def _place(self, key: str) -> int:
        digest = np.uint64(int(key[:16], 16))
        place = int(np.searchsorted(self._digests, digest))
        assert self._digests[place : place + 1] == [digest], key
        return place
