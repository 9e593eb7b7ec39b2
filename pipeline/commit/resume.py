"""What is left to do: the listed documents that an output's tables do not show as done.

In: the listing, the tables and the plan. Out: the remaining documents, with the keys of their items that have
a row, and the rows that the run will replace. A document is done when its row in documents/ was committed for
the same source_key and asked_key. Items of other documents that have a row are not asked again.

The listing is sorted by key once, and the rows of the tables are streamed past it in chunks: the time is
linear in both. In memory are the listing, some 40 bytes a document of it (`key_index`, `uri_set`), 20 bytes
for each item of unfinished documents that has a row, and the chunk.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.commit.chunks import PLACES, by_file, chunks, placed
from pipeline.commit.document_progress import Counts
from pipeline.commit.merged_rows import MergedRows
from pipeline.commit.stale_rows import StaleRows
from pipeline.commit.tables import Table, answers_of, is_of_documents
from pipeline.commit.unmerged import Unmerged
from pipeline.commit.uri_set import PART_ROWS, UriSet, repeated, uri_hashes
from pipeline.ingest.key_index import Digests, KeyIndex, digests_of, hex_of
from pipeline.ingest.progress import Progress
from pipeline.plan.keys import asked_key, is_asked
from pipeline.plan.plan import Plan

DOCUMENT_COLUMNS = ["source_key", "asked_key", "run_id", "status"]
COUNT_COLUMNS = ["items_expected", "items_answered", "items_failed"]
ITEM_COLUMNS = ["uri", "source_key", "settings_key", "item_key", "question_id", "question"]
PAGE_COLUMNS = ["page_first", "page_last"]
LIST_ITEMS = 2**20  # keys of items in one array: Arrow's offsets end at 2 GiB, which are 67 million keys
Items = tuple[NDArray[np.int32], Digests]  # each item's document, by its index among those left, and its key


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """The documents of a listing that are left to do, and what is known of the others."""

    sources: pa.Table
    """The documents that are not done, with the keys of their items that have a row."""
    counts: Counts
    """Of the whole listing, before the run: its documents, and how many of them are done."""
    run_ids: tuple[str, ...]
    """The earlier runs that did the documents that are done."""
    stale_rows: StaleRows
    """The rows that the run's own will replace."""
    merged_rows: MergedRows
    """What makes the merged rows of documents that are done."""
    unmerged: dict[str, pa.Table]
    """By the table of merged rows, the documents that are done and have no row there."""


def find_remaining(
    sources: pa.Table,
    tables: Mapping[str, Table],
    plan: Plan,
    again: frozenset[str] | None = None,
    progress: Progress | None = None,
) -> Remaining:
    """Compares a listing with the tables.

    With `again`, only items that failed for one of these reasons are left, and documents that were begun.
    """
    counts = Counts(documents=len(sources))
    listed, uris = KeyIndex(sources["source_key"]), uri_hashes(sources["uri"])
    failed = (
        _failed_again(listed, len(sources), tables["failures"], plan, again) if again is not None else None
    )
    done, run_ids = _done(sources, listed, tables["documents"], plan, counts, failed, progress)
    left = sources.filter(pa.array(~done)) if done.any() else sources
    stale_rows = StaleRows(plan, tables, _uris_of_several(sources, uris), again or frozenset())
    merged_rows = MergedRows(plan, tables)
    unmerged = Unmerged(listed, uris, done, tables, merged_rows)
    if len(unmerged.wanted):
        for name in filter(is_of_documents, tables):
            for rows, paths in chunks(tables[name], ["uri"], progress):
                for path, part in by_file(unmerged.wanted.of(rows), paths):
                    stale_rows.note(name, path, part["uri"])
        look = _Look(
            plan=plan,
            listed=listed,
            done=done,
            left=UriSet(uris[~done]),
            stale_rows=stale_rows,
            unmerged=unmerged,
            again=again or frozenset(),
            progress=progress,
        )
        answered = _both([look.items(table) for table in answers_of(tables)])
        failed_items = look.items(tables["failures"])
        stale_rows.doubled.update(_in_both(failed_items[1], answered[1]))
        left = _with_lists(left, "answered", answered)
        left = _with_lists(left, "failed", failed_items)
    if failed is not None:
        begun = pc.or_(pc.is_valid(left["answered"]), pc.is_valid(left["failed"]))
        begun = pc.or_(begun, pa.array(failed[~done]))
        counts.documents -= len(left) - pc.sum(begun).as_py() if len(left) else 0
        left = left.filter(begun)
    return Remaining(
        sources=stale_rows.ordered(left),
        counts=counts,
        run_ids=run_ids,
        stale_rows=stale_rows,
        merged_rows=merged_rows,
        unmerged=unmerged.documents(),
    )


def _done(
    sources: pa.Table,
    listed: KeyIndex,
    table: Table,
    plan: Plan,
    counts: Counts,
    failed: NDArray[np.bool_] | None,
    progress: Progress | None,
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Which documents are done, and by which runs; adds them to the counts."""
    numbers, asked_keys = _asked_keys(sources["uri"], plan)
    done, run_ids = np.zeros(len(sources), np.bool_), set[str]()
    for rows, _ in chunks(table, [*DOCUMENT_COLUMNS, *COUNT_COLUMNS], progress):
        rows = placed(rows, listed)
        places = rows[PLACES].to_numpy()
        number = pc.index_in(rows["asked_key"], value_set=asked_keys).fill_null(-1).to_numpy()
        same = number == numbers[places]
        if failed is not None:
            same &= ~failed[places]
        rows = rows.filter(pa.array(same))
        done[places[same]] = True
        run_ids.update(pc.unique(rows["run_id"]).to_pylist())
        _add(counts, rows)
    return done, tuple(sorted(run_ids))


def _add(counts: Counts, rows: pa.Table) -> None:
    """Documents that are done count as those that a run does."""
    status = Counter(rows["status"].to_pylist())
    counts.documents_open += len(rows)
    counts.documents_done += len(rows)
    counts.complete += status["complete"]
    counts.partial += status["partial"]
    counts.failed_documents += status["failed"]
    expected, answered, failed = (pc.sum(rows[name]).as_py() or 0 for name in COUNT_COLUMNS)
    counts.expected += expected
    counts.answered += answered
    counts.failed += failed


def _asked_keys(uris: pa.ChunkedArray, plan: Plan) -> tuple[NDArray[np.int32], pa.Array]:
    """What is asked of each document, as a number, and the asked_key of each number."""
    if not any(question.documents for ask in plan.asks for question in ask.questions):
        return np.broadcast_to(np.int32(0), len(uris)), pa.array([asked_key(plan, "")])
    numbers: dict[str, int] = {}
    found = np.empty(len(uris), np.int32)
    for at in range(0, len(uris), PART_ROWS):
        part = uris.slice(at, PART_ROWS).to_pylist()
        keys = (asked_key(plan, uri) for uri in part)
        found[at : at + len(part)] = [numbers.setdefault(key, len(numbers)) for key in keys]
    return found, pa.array(numbers, pa.string())


def _failed_again(
    listed: KeyIndex, documents: int, table: Table, plan: Plan, again: frozenset[str]
) -> NDArray[np.bool_]:
    """The documents with a failure that is to be asked again."""
    found = np.zeros(documents, np.bool_)
    reasons = pa.array(sorted(again), pa.string())
    for rows, _ in chunks(table, [*ITEM_COLUMNS, *PAGE_COLUMNS, "reason"]):
        rows = rows.filter(pc.is_in(rows["reason"], value_set=reasons))
        rows = placed(rows, listed)
        found[rows.filter(_asked(rows, plan))[PLACES].to_numpy()] = True
    return found


@dataclass(frozen=True, kw_only=True)
class _Look:
    """The search for the items of unfinished documents in the tables."""

    plan: Plan
    listed: KeyIndex
    done: NDArray[np.bool_]
    left: UriSet
    stale_rows: StaleRows
    unmerged: Unmerged
    again: frozenset[str]
    progress: Progress | None

    def items(self, table: Table) -> Items:
        """Those that have a row here."""
        ranks = np.cumsum(~self.done, dtype=np.int32) - 1  # a document's index among those that are left
        places = [np.empty(0, np.int32)]
        digests = [np.empty((0, 2), np.uint64)]
        columns = [*ITEM_COLUMNS, *PAGE_COLUMNS]
        if table.name == "failures":
            columns += ["partial", *(["reason"] if self.again else [])]
        for rows, paths in chunks(table, columns, self.progress):
            self.unmerged.look(table.name, rows, paths)
            rows = self.left.of(rows)
            for path, part in by_file(rows, paths):
                self.stale_rows.note(table.name, path, part["uri"])
            rows = placed(rows, self.listed)
            rows = rows.filter(pa.array(~self.done[rows[PLACES].to_numpy()]))
            if "reason" in columns:
                reasons = pa.array(sorted(self.again), pa.string())
                rows = rows.filter(pc.invert(pc.is_in(rows["reason"], value_set=reasons)))
            rows = rows.filter(_asked(rows, self.plan))
            places.append(ranks[rows[PLACES].to_numpy()])
            digests.append(digests_of(rows["item_key"]))
        return np.concatenate(places), np.concatenate(digests)


def _both(parts: list[Items]) -> Items:
    """The items of several tables."""
    return np.concatenate([places for places, _ in parts]), np.concatenate([keys for _, keys in parts])


def _in_both(some: Digests, others: Digests) -> list[str]:
    """The keys that are among both."""
    if not len(some) or not len(others):
        return []
    others = others[np.isin(others[:, 0], some[:, 0])]  # few are in both, and sorting pairs is slow
    some = some[np.isin(some[:, 0], others[:, 0])]
    pair = np.dtype([("first", np.uint64), ("last", np.uint64)])
    both = np.intersect1d(some.view(pair), others.view(pair))
    keys: list[str] = hex_of(both.view(np.uint64).reshape(-1, 2)).to_pylist()
    return keys


def _asked(rows: pa.Table, plan: Plan) -> pa.Array:
    """Which rows are of items that the run expects."""
    settings_keys = pa.array([ask.settings_key for ask in plan.asks])
    same = pc.is_in(rows["settings_key"], value_set=settings_keys).to_numpy(zero_copy_only=False)
    columns = ["uri", "settings_key", "question_id", "question", *PAGE_COLUMNS]
    candidates = rows.select(columns).filter(pa.array(same)).to_pylist()
    same = same.copy()
    same[same] = [is_asked(plan, row) for row in candidates]
    return pa.array(same)


def _with_lists(left: pa.Table, column: str, items: Items) -> pa.Table:
    """The documents with a list of these items' keys for each in a column; null for those without."""
    if not len(items[0]):
        return left
    where = left.schema.get_field_index(column)
    return left.set_column(where, left.schema.field(column), pa.chunked_array(_lists(*items, len(left))))


def _lists(places: NDArray[np.int32], digests: Digests, length: int) -> Iterator[pa.Array]:
    order = np.argsort(places, kind="stable")
    sizes = np.bincount(places, minlength=length)
    ends = np.cumsum(sizes)
    start = before = 0
    while start < length:
        stop = max(start + 1, int(np.searchsorted(ends, before + LIST_ITEMS, "right")))
        some = sizes[start:stop]
        after = int(ends[stop - 1])
        offsets = np.concatenate([[0], np.cumsum(some)]).astype(np.int32)
        keys = hex_of(digests[order[before:after]])
        yield pa.ListArray.from_arrays(pa.array(offsets), keys, mask=pa.array(some == 0))
        start, before = stop, after


def _uris_of_several(sources: pa.Table, uris: NDArray[np.int64]) -> dict[str, set[str]]:
    """The keys of the documents that share their uri: rows of a Parquet column of URIs may name one twice."""
    rows = sources.select(["uri", "source_key"]).filter(pa.array(repeated(uris).has(uris)))
    keys: dict[str, set[str]] = {}
    for uri, key in zip(rows["uri"].to_pylist(), rows["source_key"].to_pylist(), strict=True):
        keys.setdefault(uri, set()).add(key)
    return {uri: some for uri, some in keys.items() if len(some) > 1}
