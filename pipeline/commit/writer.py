"""New result rows and finished documents in; committed tables out. Lives in the driver.

The writer gathers rows, which are small text, into files of a useful size: a file for each task would leave
thousands. A document's rows become visible in an order in which its row in documents/ is never ahead of its
answers and failures, and neither is its merged row. First a stale row of documents/ leaves, and a stale
merged row; then the new answers and failures come, and the stale ones go with the same commits; then the
merged rows of documents that are done; the new rows of documents/ come last.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit.compaction import compact
from pipeline.commit.delta_log import Change, FilesReplacedError
from pipeline.commit.lease import Lease
from pipeline.commit.merged_rows import MergedRows, Opened
from pipeline.commit.stale_rows import Renewed, StaleRows
from pipeline.commit.tables import ATTEMPTS, DataFile, OutputError, Table, answers_of, write_rows
from pipeline.commit.uninterrupted import uninterrupted
from pipeline.ingest.delta import plain
from pipeline.plan.rows import ANSWER, FAILURE, column_of
from schemas.arrow import to_table
from schemas.rows import Document

COMMIT_ROWS = 5_000  # at the latest after so many rows,
COMMIT_SECONDS = 30.0  # or so many seconds: a driver that dies loses no more

_log = logging.getLogger(__name__)
Committed = Callable[[Table, str, pa.Table], None]  # a table, a new file of it, and the rows in their order


class Writer:
    """The tables of a run, to which rows are added. As a context it commits the rest at its end.

    Once a commit has failed, nothing is committed any more, not at the end either: the next run asks again
    what is not there.
    """

    def __init__(
        self,
        tables: Mapping[str, Table],
        lease: Lease,
        stale_rows: StaleRows,
        merged_rows: MergedRows,
        maintain_every: int | None = None,
        committed: Committed = lambda table, path, rows: None,
    ) -> None:
        """`maintain_every`: commits after which the files of the tables are merged.

        `committed` is called once answers or failures are in a table.
        """
        self.seconds = 0.0  # spent in writing and committing
        self._tables = tables
        self._lease = lease
        self._stale_rows = stale_rows
        self._merged_rows = merged_rows
        self._committed = committed
        self._results: list[pa.Table] = []
        self._documents: list[Document] = []
        self._last = time.monotonic()
        self._whole = True  # False from the start of a commit until it is made
        self._maintain_every = maintain_every
        self._commits = 0

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._whole:
            self.commit()

    def add(self, results: pa.Table, documents: Sequence[Document]) -> None:
        """New rows of `rows.result_schema`, and the documents that they complete. Raises OutputError."""
        if results.num_rows:
            self._results.append(results)
        self._documents += documents
        waiting = sum(table.num_rows for table in self._results) + len(self._documents)
        if waiting >= COMMIT_ROWS or time.monotonic() - self._last >= COMMIT_SECONDS:
            self.commit()
            self._commits += 1
            if self._maintain_every and self._commits % self._maintain_every == 0:
                self.maintain()

    def commit(self) -> None:
        """Writes and commits the gathered rows. Raises OutputError."""
        assert self._whole, "a commit has failed"
        with self._committing():
            self._write()

    def maintain(self) -> None:
        """Merges small files of the tables. Raises OutputError: another run has taken the output.

        The run goes on where a table cannot be written: its own next commit tells whether that lasts.
        """
        started = time.monotonic()
        for name, table in self._tables.items():
            self._lease.check(name)
            try:
                compact(table)
            except OutputError as error:
                _log.warning("%s", error)
        self.seconds += time.monotonic() - started

    @contextmanager
    def _committing(self) -> Iterator[None]:
        with uninterrupted():
            self._whole = False
            yield
            self._whole = True

    def _write(self) -> None:
        started = time.monotonic()
        results, documents = self._results, self._documents
        self._results, self._documents = [], []  # from here on, each row is in one attempt to commit it
        renewed = _renewed(results, documents)
        for name in ("documents", *self._merged_rows.names):
            self._commit(name, (), renewed)
        done = pa.array([document.source_key for document in documents], pa.string())
        answers = [(table.name, ANSWER, ask) for ask, table in enumerate(answers_of(self._tables))]
        for name, kind, ask in [*answers, ("failures", FAILURE, None)]:
            mine = [result.filter(_of(result, kind, ask)) for result in results]
            rows = [result for result in mine if len(result)]
            new = [self._rows_of(name, column_of(kind, ask or 0), rows)] if rows else []
            for file, part in zip(self._commit(name, new, renewed), new, strict=True):
                self._committed(self._tables[name], file.path, part)
                waiting = part.filter(pc.invert(pc.is_in(part["source_key"], value_set=done)))
                self._merged_rows.note(name, file.path, waiting)
        opened = [Opened(*(getattr(document, name) for name in Opened._fields)) for document in documents]
        for name in self._merged_rows.names:
            self._merge(name, opened, results, renewed)
        if documents:
            self._commit("documents", [to_table(Document, documents)], renewed)
        self._last = time.monotonic()
        self.seconds += self._last - started

    def merge_done(self, unmerged: Mapping[str, pa.Table]) -> None:
        """Merges documents that were done before their windows were merged. Raises OutputError."""
        for name, documents in unmerged.items():
            for batch in documents.to_batches(max_chunksize=COMMIT_ROWS):
                rows = [Opened(**row) for row in batch.to_pylist()]
                renewed = {row.source_key: Renewed(uri=row.uri, opened=True) for row in rows}
                with self._committing():
                    self._merge(name, rows, (), renewed)

    def _merge(
        self,
        name: str,
        documents: Sequence[Opened],
        results: Sequence[pa.Table],
        renewed: Mapping[str, Renewed],
    ) -> None:
        merged = self._merged_rows.rows(name, documents, results, self._lease.paths)
        self._commit(name, merged, renewed)

    def _commit(self, name: str, rows: Iterable[pa.Table], renewed: Mapping[str, Renewed]) -> list[DataFile]:
        """One commit to a table: the new rows come, if there are any, and the old ones leave.

        Returns the files of the new rows.
        """
        table = self._tables[name]
        try:
            written = [write_rows(table, part) for part in rows]
            for _ in range(ATTEMPTS):
                try:
                    taken = self._stale_rows.take(name, renewed, lambda: self._lease.paths(name))
                    change = Change(added=[*taken.added, *written], removed=taken.removed)
                    if change:
                        self._lease.commit(name, change)
                except (FilesReplacedError, FileNotFoundError):  # another tool was at it: where are they now?
                    continue
                self._stale_rows.settle(name, taken, written)
                return written
        except (OSError, pa.ArrowException) as error:
            raise OutputError(f"{table.uri} cannot be written: {plain(error)}") from error
        raise OutputError(
            f"{table.uri} cannot be written: other tools replace its files all the time; stop them first"
        )

    def _rows_of(self, name: str, column: str, results: Sequence[pa.Table]) -> pa.Table:
        """The rows of one table, out of the struct column in which they travel."""
        structs = pa.chunked_array([chunk for result in results for chunk in result[column].chunks])
        return pa.Table.from_arrays(structs.flatten(), schema=self._tables[name].schema)


def _of(results: pa.Table, kind: str, ask: int | None) -> pa.ChunkedArray:
    """Which rows are of a kind, and of an ask if that is given."""
    mine = pc.equal(results["kind"], kind)
    return mine if ask is None else pc.and_(mine, pc.equal(pc.fill_null(results["ask"], 0), ask))


def _renewed(results: Sequence[pa.Table], documents: Sequence[Document]) -> dict[str, Renewed]:
    """The documents that these rows are about, by source key."""
    found = {}
    for rows in results:
        columns = [rows[name].to_pylist() for name in ("source_key", "uri", "page_first")]
        for source_key, uri, page_first in zip(*columns, strict=True):
            found[source_key] = Renewed(uri=uri, opened=page_first is not None)
    for document in documents:
        opened = document.page_count is not None
        found[document.source_key] = Renewed(uri=document.uri, opened=opened)
    return found
