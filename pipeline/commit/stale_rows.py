"""New rows of documents in; the old rows that they replace, file by file, out.

When a document, its questions or the settings have changed, or a failure is asked again, the old rows leave
the tables in the commits that bring the new ones: no reader of a table sees two generations of a document.
Rows of questions that are not asked any more stay, and so do rows of documents that the inputs no longer
hold. Delta keeps old versions of a table for those who ask for them.

In memory: 12 bytes for each remaining document and each file with rows of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.commit.delta_log import Change
from pipeline.commit.tables import Table, answers_of, file_size, read_file, write_rows
from pipeline.plan.items import asked_of
from pipeline.plan.keys import is_asked
from pipeline.plan.plan import Ask, Plan

NO_FILE = -1


@dataclass(frozen=True, kw_only=True)
class Renewed:
    """A document of which a commit brings rows."""

    uri: str
    opened: bool
    """False: it could not be opened, and its items have no pages."""


@dataclass
class _Index:
    """In which files of a table the rows of a document lie."""

    paths: list[str | None] = field(default_factory=list)  # None: a file that was emptied
    hashes: list[NDArray[np.int64]] = field(default_factory=list)  # of uris
    files: list[NDArray[np.int32]] = field(default_factory=list)  # indices of paths

    def add(self, path: str, uris: list[str]) -> None:
        self.hashes.append(np.array([hash(uri) for uri in uris], np.int64))
        self.files.append(np.full(len(uris), len(self.paths), np.int32))
        self.paths.append(path)

    def settle(self) -> None:
        """Sorts what was added."""
        if self.hashes:
            hashes, files = np.concatenate(self.hashes), np.concatenate(self.files)
            order = np.argsort(hashes, kind="stable")
            self.hashes, self.files = [hashes[order]], [files[order]]

    def spans(self, uris: set[str]) -> list[slice]:
        """Where a document's entries stand."""
        if not self.hashes:
            return []
        wanted = np.array([hash(uri) for uri in uris], np.int64)
        starts = np.searchsorted(self.hashes[0], wanted, "left")
        ends = np.searchsorted(self.hashes[0], wanted, "right")
        return [slice(start, end) for start, end in zip(starts, ends, strict=True) if end > start]


class StaleRows:
    """The old rows of the documents that a run does."""

    def __init__(
        self,
        plan: Plan,
        tables: Mapping[str, Table],
        several: Mapping[str, set[str]],
        again: frozenset[str],
    ) -> None:
        """`several`: the source keys of each uri that stands for several; `again`: reasons of failures."""
        self._plan = plan
        self._tables = tables
        self._several = several
        self._again = again
        self._asks = dict(zip((table.name for table in answers_of(tables)), plan.asks, strict=True))
        self._indices = {name: _Index() for name in tables}
        self._settled = False
        self.doubled = set[str]()  # items with an answer and a failure: a retry was cut between two commits

    def note(self, name: str, path: str, uris: pa.ChunkedArray) -> None:
        """Rows of these documents lie in a file."""
        if len(uris):
            self._indices[name].add(path, pc.unique(uris).to_pylist())

    def take(self, name: str, renewed: Mapping[str, Renewed]) -> Change:
        """The files that leave and come when a commit brings new rows of these documents, by source key."""
        if not self._settled:
            self._settled = True
            for index in self._indices.values():
                index.settle()
        index, table = self._indices[name], self._tables[name]
        uris = {one.uri for one in renewed.values()}
        spans = index.spans(uris)
        if not spans:
            return Change()
        numbers = {int(number) for span in spans for number in index.files[0][span] if number != NO_FILE}
        added, removed = [], {}
        for number in sorted(numbers):
            path = index.paths[number]
            if path is None:
                continue
            rows = read_file(table, path)
            kept = self._kept(name, rows, uris, renewed)
            if len(kept) == len(rows):
                continue
            removed[path] = file_size(table, path)
            index.paths[number] = None
            if len(kept):
                added.append(write_rows(table, kept))
                index.paths[number] = added[-1].path
        for span in spans:
            index.files[0][span] = NO_FILE
        return Change(added=added, removed=removed)

    def _kept(self, name: str, rows: pa.Table, uris: set[str], renewed: Mapping[str, Renewed]) -> pa.Table:
        mine = pc.is_in(rows["uri"], value_set=pa.array(sorted(uris), pa.string()))
        keep = pc.invert(mine).to_numpy(zero_copy_only=False).copy()
        plain = [column for column in rows.column_names if column not in ("answer", "fields", "crop")]
        candidates = rows.select(plain).filter(mine).to_pylist()
        keep[~keep] = [not self._is_old(name, row, renewed) for row in candidates]
        return rows.filter(pa.array(keep))

    def _is_old(self, name: str, row: Mapping[str, Any], renewed: Mapping[str, Renewed]) -> bool:
        uri, source_key = row["uri"], row["source_key"]
        document = renewed.get(source_key)
        gone = document is None and source_key not in self._several.get(uri, ())  # it has changed since
        if name == "documents":
            return gone or document is not None
        if not any(
            row["question_id"] == question.id and self._is_of(name, row, ask)
            for ask, question in asked_of(self._plan, uri)
        ):
            return False
        if gone or not is_asked(self._plan, row):
            return True
        if document is None:
            return False
        return (
            (row["page_first"] is not None) != document.opened
            or row.get("reason") in self._again
            or (name == "failures" and row["item_key"] in self.doubled)
        )

    def _is_of(self, name: str, row: Mapping[str, Any], ask: Ask) -> bool:
        """Whether a stored row may be one of this ask's: a target can have the name of a question."""
        if name in self._asks:
            return self._asks[name] is ask
        return (row["target"] is None) == (ask.target is None)
