"""Documents that are done in; their merged rows, one a document and target, out.

A merged row is made when its document is done, of the rows of the document's windows: those of the same
commit, which are at hand, and those of earlier commits and runs, which are read from the tables. It comes
before the document's own row, and leaves as that one does when a window is asked again (`stale_rows`).

An output may hold documents that were done before anything was merged: `unmerged` finds them.

In memory: the windows of a few documents at a time, and 12 bytes for each remaining document and each file
with windows of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit.file_index import FileIndex
from pipeline.commit.tables import ATTEMPTS, Table, answers_of, merged_name, stream_rows
from pipeline.merge.merging import WindowAnswer, merge
from pipeline.plan.items import windows_of
from pipeline.plan.plan import Ask, Plan
from pipeline.plan.rows import ANSWER, FAILURE, Row, column_of
from schemas.arrow import from_json_text

GROUP_WINDOWS = 5_000  # of documents that are merged together: each look into the tables is for many
SEEN_COLUMNS = ("pages_missing", "note", "page_damaged")
WINDOW_COLUMNS = ("source_key", "item_key", "page_first", "page_last", "fields", *SEEN_COLUMNS)
ANSWER_COLUMNS = (*WINDOW_COLUMNS, "answer")
FAILURE_COLUMNS = (*WINDOW_COLUMNS, "partial")
SETTINGS = "settings_key"
Visible = Callable[[str], AbstractSet[str]]  # a table's name -> its files now


class Opened(NamedTuple):
    """What merging needs to know of a document."""

    source_key: str
    uri: str
    content_key: str | None
    page_count: int | None


class MergedRows:
    """The merged rows of the documents that a run does, of the targets whose answers it merges."""

    def __init__(self, plan: Plan, tables: Mapping[str, Table]) -> None:
        self._plan = plan
        self._tables = tables
        self._merging: dict[str, tuple[Ask, Table]] = {}  # by the name of the table of merged rows
        for ask, table in zip(plan.asks, answers_of(tables), strict=True):
            if (name := merged_name(table.name)) in tables:
                self._merging[name] = ask, table
        sources = {table.name for _, table in self._merging.values()} | {"failures"}
        self._indices = {name: FileIndex() for name in sources if self._merging}

    @property
    def names(self) -> list[str]:
        """The tables of merged rows."""
        return list(self._merging)

    def ask(self, name: str) -> Ask:
        """What a table of merged rows is about."""
        return self._merging[name][0]

    def of(self, name: str) -> str:
        """The table of answers that a table of merged rows is made of."""
        return self._merging[name][1].name

    def note(self, name: str, path: str, rows: pa.Table) -> None:
        """A file was looked at, or written: it holds these rows of documents that are not done."""
        if name in self._indices:
            self._indices[name].note(path, rows.filter(self._usable(name, rows))["uri"])

    def _usable(self, name: str, rows: pa.Table) -> pa.ChunkedArray:
        """Which rows have something to merge."""
        asks = [ask for ask, table in self._merging.values() if name in (table.name, "failures")]
        mine = pc.is_in(rows[SETTINGS], value_set=pa.array([ask.settings_key for ask in asks]))
        return pc.and_(mine, pc.is_valid(rows["partial"])) if name == "failures" else mine

    def rows(
        self, name: str, documents: Iterable[Opened], results: Sequence[pa.Table], visible: Visible
    ) -> Iterator[pa.Table]:
        """The merged rows of documents that are done, some at a time; none for one without an answer.

        `results` are those of the commit in which they were done. Raises OSError.
        """
        for group in self._groups(name, documents):
            rows = self._merged(name, group, results, visible)
            if rows:
                yield pa.Table.from_pylist(rows, schema=self._tables[name].schema)

    def _groups(self, name: str, documents: Iterable[Opened]) -> Iterator[dict[Opened, set[tuple[int, int]]]]:
        """Documents that were opened, with the windows that are expected of them."""
        group: dict[Opened, set[tuple[int, int]]] = {}
        size = 0
        for document in documents:
            if expected := set(windows_of(self._plan, self.ask(name), document.page_count or 0)):
                group[document] = expected
                size += len(expected)
            if size >= GROUP_WINDOWS:
                yield group
                group, size = {}, 0
        if group:
            yield group

    def _merged(
        self,
        name: str,
        group: Mapping[Opened, set[tuple[int, int]]],
        results: Sequence[pa.Table],
        visible: Visible,
    ) -> list[Row]:
        ask, answers = self._merging[name]
        kind = self._tables[name].schema.field("answer").type
        found: dict[str, dict[tuple[int, int], Row]] = {document.source_key: {} for document in group}
        _take(found, _at_hand(results, ask, found.keys()))
        left = {one for one, expected in group.items() if not expected <= found[one.source_key].keys()}
        for table in (answers, self._tables["failures"]):  # in this order: an answer goes before a failure
            _take(found, self._stored(table, ask, left, visible))
        rows = []
        for document, expected in group.items():
            there = {pages: row for pages, row in found[document.source_key].items() if pages in expected}
            windows = {pages: _window(kind, row) for pages, row in sorted(there.items())}
            if row := self._row(ask, kind, document, expected, windows, there):
                rows.append(row)
        return rows

    def _stored(
        self, table: Table, ask: Ask, documents: AbstractSet[Opened], visible: Visible
    ) -> Iterator[Row]:
        """The rows of documents' windows in a table."""
        index = self._indices[table.name]
        uris = {document.uri for document in documents}
        keys = pa.array([document.source_key for document in documents], pa.string())
        columns = [*(FAILURE_COLUMNS if table.name == "failures" else ANSWER_COLUMNS), SETTINGS]

        def wanted(batch: pa.RecordBatch) -> pa.Array:
            mine = pc.is_in(batch["source_key"], value_set=keys)
            return pc.and_(mine, pc.equal(batch[SETTINGS], ask.settings_key))

        for attempt in range(1, ATTEMPTS + 1):
            paths = set(index.there(index.spans(uris)))
            if not paths:
                return
            now = visible(table.name)
            if not now >= paths:
                index.look_again(table, now)
                paths = set(index.there(index.spans(uris)))
            try:
                batches = list(stream_rows(table, paths, columns, wanted))
            except FileNotFoundError:  # another tool was at it
                if attempt == ATTEMPTS:
                    raise
                continue
            for batch in batches:
                yield from batch.to_pylist()
            return

    def _row(
        self,
        ask: Ask,
        kind: pa.StructType,
        document: Opened,
        expected: AbstractSet[tuple[int, int]],
        windows: Mapping[tuple[int, int], WindowAnswer],
        there: Mapping[tuple[int, int], Row],
    ) -> Row | None:
        """None where a field that cannot be null has no value in any window."""
        merged = merge(kind, list(windows.values()))
        if any(merged.answer[part.name] is None and not part.nullable for part in kind):
            return None
        missing = {page for first, last in expected - windows.keys() for page in range(first, last + 1)}
        missing |= {page for window in windows.values() for page in window.missing}
        notes = [there[pages]["note"] for pages in windows if there[pages]["note"]]
        damaged = {there[pages]["page_damaged"] for pages in windows}
        (question,) = ask.questions
        return {
            "source_key": document.source_key,
            "uri": document.uri,
            "content_key": document.content_key,
            "settings_key": ask.settings_key,
            "run_id": self._plan.run_id,
            "page_first": min(first for first, _ in expected),
            "page_last": max(last for _, last in expected),
            "question_id": question.id,
            "question": question.text,
            "answer": merged.answer,
            "confidence": min((field["confidence"] for field in merged.fields), default=0.0),
            "fields": merged.fields,
            "conflicts": merged.conflicts,
            "pages_missing": sorted(missing) or None,
            "note": "; ".join(notes) or None,
            "page_damaged": True if True in damaged else None if None in damaged else False,
            "item_keys": [there[pages]["item_key"] for pages in windows],
            "merged_at": datetime.now(UTC),
        }


def _take(found: Mapping[str, dict[tuple[int, int], Row]], rows: Iterable[Row]) -> None:
    for row in rows:
        if row["page_first"] is not None and ("answer" in row or row["partial"] is not None):
            found[row["source_key"]].setdefault((row["page_first"], row["page_last"]), row)


def _at_hand(results: Sequence[pa.Table], ask: Ask, keys: Iterable[str]) -> Iterator[Row]:
    """The rows of documents' windows among rows of `rows.result_schema`, answers first."""
    wanted = pa.array(list(keys), pa.string())
    for kind, columns in ((ANSWER, ANSWER_COLUMNS), (FAILURE, FAILURE_COLUMNS)):
        for table in results:
            mine = pc.and_(pc.equal(table["kind"], kind), pc.is_in(table["source_key"], value_set=wanted))
            mine = pc.and_(mine, pc.equal(pc.fill_null(table["ask"], 0), ask.number))
            structs = table.filter(mine)[column_of(kind, ask.number)]
            for chunk in structs.chunks:
                parts = pa.Table.from_arrays(chunk.flatten(), names=[part.name for part in chunk.type])
                yield from parts.select(columns).to_pylist()


def _window(kind: pa.StructType, row: Mapping[str, Any]) -> WindowAnswer:
    return WindowAnswer(
        first=row["page_first"],
        last=row["page_last"],
        answer=row["answer"] if "answer" in row else from_json_text(kind, row["partial"]),
        fields={field["path"]: field for field in row["fields"]},
        missing=frozenset(row["pages_missing"] or ()),
    )
