"""New result rows and finished documents in; committed tables out. Lives in the driver.

The writer gathers rows, which are small text, into files of a useful size: a file for each task would leave
thousands. A document's rows become visible in an order in which its row in documents/ is never ahead of its
answers and failures. First a stale row of documents/ leaves; then the new answers and failures come, and the
stale ones go with the same commits; the new rows of documents/ come last.
"""

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit.delta_log import Change, OutputError
from pipeline.commit.lease import Lease
from pipeline.commit.stale_rows import Renewed, StaleRows
from pipeline.commit.tables import Table, answers_of, write_rows
from pipeline.plan.rows import ANSWER, FAILURE, column_of
from schemas.arrow import to_table
from schemas.rows import Document

COMMIT_ROWS = 5_000  # at the latest after so many rows,
COMMIT_SECONDS = 30.0  # or so many seconds: a driver that dies loses no more


class Writer:
    """The tables of a run, to which rows are added. As a context it commits the rest at its end."""

    def __init__(self, tables: Mapping[str, Table], lease: Lease, stale_rows: StaleRows) -> None:
        self.seconds = 0.0  # spent in writing and committing
        self._tables = tables
        self._lease = lease
        self._stale_rows = stale_rows
        self._results: list[pa.Table] = []
        self._documents: list[Document] = []
        self._last = time.monotonic()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, OutputError):
            self.commit()

    def add(self, results: pa.Table, documents: Sequence[Document]) -> None:
        """New rows of `rows.result_schema`, and the documents that they complete."""
        if results.num_rows:
            self._results.append(results)
        self._documents += documents
        waiting = sum(table.num_rows for table in self._results) + len(self._documents)
        if waiting >= COMMIT_ROWS or time.monotonic() - self._last >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Writes and commits the gathered rows. Raises OutputError."""
        with _uninterrupted():
            self._write()

    def _write(self) -> None:
        started = time.monotonic()
        renewed = self._renewed()
        self._commit("documents", self._take("documents", renewed))
        answers = [(table.name, ANSWER, ask) for ask, table in enumerate(answers_of(self._tables))]
        for name, kind, ask in [*answers, ("failures", FAILURE, None)]:
            change = self._take(name, renewed)
            rows = [
                result.filter(mine)
                for result in self._results
                if pc.any(mine := _of(result, kind, ask)).as_py()
            ]
            if rows:
                change = self._with(change, name, self._rows_of(name, column_of(kind, ask or 0), rows))
            self._commit(name, change)
        if self._documents:
            self._commit("documents", self._with(Change(), "documents", to_table(Document, self._documents)))
        self._results, self._documents = [], []
        self._last = time.monotonic()
        self.seconds += self._last - started

    def _renewed(self) -> dict[str, Renewed]:
        """The documents that these rows are about, by source key."""
        found = {}
        for results in self._results:
            columns = [results[name].to_pylist() for name in ("source_key", "uri", "page_first")]
            for source_key, uri, page_first in zip(*columns, strict=True):
                found[source_key] = Renewed(uri=uri, opened=page_first is not None)
        for document in self._documents:
            opened = document.page_count is not None
            found[document.source_key] = Renewed(uri=document.uri, opened=opened)
        return found

    def _take(self, name: str, renewed: Mapping[str, Renewed]) -> Change:
        try:
            return self._stale_rows.take(name, renewed)
        except OSError as error:
            raise self._refused(name, error) from error

    def _with(self, change: Change, name: str, rows: pa.Table) -> Change:
        """The change, and these new rows."""
        try:
            return Change(added=[*change.added, write_rows(self._tables[name], rows)], removed=change.removed)
        except OSError as error:
            raise self._refused(name, error) from error

    def _refused(self, name: str, error: OSError) -> OutputError:
        return OutputError(f"{self._tables[name].uri} cannot be written: {error}")

    def _commit(self, name: str, change: Change) -> None:
        if change:
            self._lease.commit(name, change)

    def _rows_of(self, name: str, column: str, results: Sequence[pa.Table]) -> pa.Table:
        """The rows of one table, out of the struct column in which they travel."""
        structs = pa.chunked_array([chunk for result in results for chunk in result[column].chunks])
        return pa.Table.from_arrays(structs.flatten(), schema=self._tables[name].schema)


def _of(results: pa.Table, kind: str, ask: int | None) -> pa.ChunkedArray:
    """Which rows are of a kind, and of an ask if that is given."""
    mine = pc.equal(results["kind"], kind)
    return mine if ask is None else pc.and_(mine, pc.equal(pc.fill_null(results["ask"], 0), ask))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait: a commit that was broken off would commit its first half a second time."""
    if current_thread() is not main_thread():  # no signal is handled there
        yield
        return
    came = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number))

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)
