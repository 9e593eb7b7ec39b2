"""New rows of documents in; the old rows that they replace, file by file, out.

When a document, its questions or the settings have changed, or a failure is asked again, the old rows leave
the tables in the commits that bring the new ones: no reader of a table sees two generations of a document.
Rows of questions that are not asked any more stay, and so do rows of documents that the inputs no longer
hold. Delta keeps old versions of a table for those who ask for them.

Where rows lie is looked up among the files that are visible when they are taken (`file_index`).
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.commit.file_index import FileIndex
from pipeline.commit.rests import Rests
from pipeline.commit.tables import (
    DataFile,
    Table,
    answers_of,
    file_size,
    is_of_documents,
    stream_batches,
)
from pipeline.commit.work_order import together, work_order
from pipeline.ingest.sources import is_attached
from pipeline.plan.items import asked_of
from pipeline.plan.keys import is_asked
from pipeline.plan.plan import Ask, Plan

BULKY = (
    "answer",
    "fields",
    "crop",
    "conflicts",
    "item_keys",
    "raw_text",
    "partial",
)  # nothing depends on them


@dataclass(frozen=True, kw_only=True)
class Renewed:
    """A document of which a commit brings rows."""

    uri: str
    opened: bool
    """False: it could not be opened, and its items have no pages."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The files that leave a table, and the rest of them that comes back, once a commit has said so."""

    added: list[DataFile] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)  # path -> bytes
    later: dict[str, NDArray[np.int64]] = field(
        default_factory=dict
    )  # path -> documents left to replace there
    spans: list[slice] = field(default_factory=list)  # entries in the index of which nothing is left


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
        self._indices = {name: FileIndex() for name in tables}
        self.doubled = set[str]()  # items with an answer and a failure: a retry was cut between two commits

    def note(self, name: str, path: str, uris: pa.ChunkedArray) -> None:
        """A file of a table was looked at: rows of these documents lie in it."""
        self._indices[name].note(path, uris)

    def take(
        self, name: str, renewed: Mapping[str, Renewed], visible: Callable[[], AbstractSet[str]]
    ) -> Taken:
        """What leaves when a commit brings new rows of these documents, by source key.

        `visible` gives the files of the table now; it is asked where there may be old rows. Until `settle` is
        told that the commit was made, nothing counts as taken. Raises OSError.
        """
        index, table = self._indices[name], self._tables[name]
        uris = {one.uri for one in renewed.values()}
        spans = index.spans(uris)
        files = index.there(spans)
        if not files:
            return Taken()
        now = visible()
        if not now >= set(files):
            index.look_again(table, now)
            spans = index.spans(uris)
            files = index.there(spans)
        # A uri that stands for several documents stays in the index: not all of them may be renewed now.
        done = index.spans({uri for uri in uris if uri not in self._several})
        removed, rests = {}, Rests(table)
        for path in files:
            kept = self._kept(name, path, uris, renewed)
            if kept.all():
                continue
            removed[path] = file_size(table, path)
            if kept.any():
                rests.add(path, kept, index.in_file(path, but=done))
        rests.close()
        return Taken(added=rests.files, removed=removed, later=rests.later, spans=done)

    def settle(self, name: str, taken: Taken, written: Sequence[DataFile]) -> None:
        """What was taken has left the table, with the commit that brought the files `written`."""
        index = self._indices[name]
        index.drop(taken.spans)
        index.known.update(file.path for file in (*taken.added, *written))
        index.move(taken.removed.keys(), taken.later)

    def ordered(self, sources: pa.Table) -> pa.Table:
        """Documents in the order in which to do them. Before any of their rows is taken.

        Documents in a Parquet file stay as listed: a reader decodes a row group again for each step back.
        Attachments stay behind the document that holds them, which is read once for all.
        """
        if sources["column"].null_count < len(sources):
            return sources
        items = [index for name, index in self._indices.items() if not is_of_documents(name)]
        order = work_order(sources["uri"], items)
        return sources if order is None else sources.take(pa.array(together(order, is_attached(sources))))

    def _kept(
        self, name: str, path: str, uris: set[str], renewed: Mapping[str, Renewed]
    ) -> NDArray[np.bool_]:
        """Which rows of a file do not leave."""
        table, wanted = self._tables[name], pa.array(sorted(uris), pa.string())
        columns = [column for column in table.schema.names if column not in BULKY]
        kept = [np.zeros(0, np.bool_)]
        for rows in stream_batches(table, [path], columns):
            mine = pc.is_in(rows["uri"], value_set=wanted)
            keep = pc.invert(mine).to_numpy(zero_copy_only=False).copy()
            candidates = rows.filter(mine).to_pylist()
            keep[~keep] = [not self._is_old(name, row, renewed) for row in candidates]
            kept.append(keep)
        return np.concatenate(kept)

    def _is_old(self, name: str, row: Mapping[str, Any], renewed: Mapping[str, Renewed]) -> bool:
        uri, source_key = row["uri"], row["source_key"]
        if row["run_id"] == self._plan.run_id:  # OPTIMIZE put it into one file with old rows
            return False
        document = renewed.get(source_key)
        gone = document is None and source_key not in self._several.get(uri, ())  # it has changed since
        if is_of_documents(name):
            return gone or document is not None
        if not any(
            row["question_id"] == question.id and self._is_of(name, row, ask)
            for ask, question in asked_of(self._plan, uri)
        ):
            return False
        if document is None:  # another document's of the same uri: they leave with its own new ones
            return gone
        return (
            not is_asked(self._plan, row)
            or (row["page_first"] is not None) != document.opened
            or row.get("reason") in self._again
            or (name == "failures" and row["item_key"] in self.doubled)
        )

    def _is_of(self, name: str, row: Mapping[str, Any], ask: Ask) -> bool:
        """Whether a stored row may be one of this ask's: a target can have the name of a question."""
        if name in self._asks:
            return self._asks[name] is ask
        return (row["target"] is None) == (ask.target is None)
