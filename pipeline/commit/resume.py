"""What is left to do: the listed documents that an output's tables do not show as done.

In: the listing, the tables and the plan. Out: the remaining documents, with the keys of their items that have
a row, and the rows that the run will replace. A document is done when its row in documents/ was committed for
the same source_key and asked_key. Items of other documents that have a row are not asked again.

Only the listing's keys are in memory: the rows of the tables are streamed past them in chunks.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.commit.chunks import PLACES, chunks, placed
from pipeline.commit.document_progress import Counts
from pipeline.commit.merged_rows import MergedRows
from pipeline.commit.stale_rows import StaleRows
from pipeline.commit.tables import Table, answers_of, is_of_documents, stream_files
from pipeline.commit.unmerged import Unmerged
from pipeline.plan.keys import asked_key, is_asked
from pipeline.plan.plan import Plan

DOCUMENT_COLUMNS = ["uri", "source_key", "asked_key", "run_id", "status"]
COUNT_COLUMNS = ["items_expected", "items_answered", "items_failed"]
ITEM_COLUMNS = ["uri", "source_key", "settings_key", "item_key", "question_id", "question"]
PAGE_COLUMNS = ["page_first", "page_last"]
Items = tuple[NDArray[np.int64], pa.Array]  # each item's document, by its index in the listing, and its key


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
    sources: pa.Table, tables: Mapping[str, Table], plan: Plan, again: frozenset[str] | None = None
) -> Remaining:
    """Compares a listing with the tables.

    With `again`, only items that failed for one of these reasons are left, and documents that were begun.
    """
    counts = Counts(documents=len(sources))
    failed = _failed_again(sources, tables["failures"], plan, again) if again is not None else None
    done, run_ids = _done(sources, tables["documents"], plan, counts, failed)
    left = sources.filter(pa.array(~done))
    stale_rows = StaleRows(plan, tables, _uris_of_several(sources), again or frozenset())
    merged_rows = MergedRows(plan, tables)
    unmerged = Unmerged(sources, done, tables, merged_rows)
    for name in filter(is_of_documents, tables):
        for path, rows in stream_files(tables[name], ["uri"]):
            stale_rows.note(name, path, unmerged.of_wanted(rows)["uri"])
    again = again or frozenset()
    answered = _both([_items(left, table, plan, stale_rows, unmerged, again) for table in answers_of(tables)])
    failed_items = _items(left, tables["failures"], plan, stale_rows, unmerged, again)
    doubled = failed_items[1].filter(pc.is_in(failed_items[1], value_set=answered[1]))
    stale_rows.doubled.update(doubled.to_pylist())
    for column, items in (("answered", answered), ("failed", failed_items)):
        where = left.schema.get_field_index(column)
        left = left.set_column(where, left.schema.field(column), _lists(*items, len(left)))
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
    table: Table,
    plan: Plan,
    counts: Counts,
    failed: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Which documents are done, and by which runs; adds them to the counts."""
    asked = pc.dictionary_encode(
        pa.array(
            (asked_key(plan, uri) for chunk in sources["uri"].iterchunks() for uri in chunk.to_pylist()),
            pa.string(),
        )
    )
    wanted = asked.indices.to_numpy()
    done, run_ids = np.zeros(len(sources), np.bool_), set[str]()
    for rows, _ in chunks(table, [*DOCUMENT_COLUMNS, *COUNT_COLUMNS]):
        rows = placed(rows, sources["source_key"], rows["source_key"])
        places = rows[PLACES].to_numpy()
        code = pc.index_in(rows["asked_key"], value_set=asked.dictionary).fill_null(-1).to_numpy()
        same = code == wanted[places]
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


def _failed_again(sources: pa.Table, table: Table, plan: Plan, again: frozenset[str]) -> NDArray[np.bool_]:
    """The documents with a failure that is to be asked again."""
    found = np.zeros(len(sources), np.bool_)
    reasons = pa.array(sorted(again), pa.string())
    for rows, _ in chunks(table, [*ITEM_COLUMNS, *PAGE_COLUMNS, "reason"]):
        rows = rows.filter(pc.is_in(rows["reason"], value_set=reasons))
        rows = placed(rows, sources["source_key"], rows["source_key"])
        found[rows.filter(_asked(rows, plan))[PLACES].to_numpy()] = True
    return found


def _items(
    left: pa.Table,
    table: Table,
    plan: Plan,
    stale_rows: StaleRows,
    unmerged: Unmerged,
    again: frozenset[str],
) -> Items:
    """The items of unfinished documents that have a row: the document's index, and the item's key."""
    places: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    keys = [pa.array([], pa.string())]
    columns = [*ITEM_COLUMNS, *PAGE_COLUMNS]
    if table.name == "failures":
        columns += ["partial", *(["reason"] if again else [])]
    for rows, paths in chunks(table, columns):
        unmerged.look(table.name, rows, paths)
        rows = _of_listed(rows, left)
        for index, path in enumerate(paths):
            stale_rows.note(table.name, path, rows.filter(pc.equal(rows["file"], index))["uri"])
        rows = placed(rows, left["source_key"], rows["source_key"])
        if "reason" in columns:
            reasons = pa.array(sorted(again), pa.string())
            rows = rows.filter(pc.invert(pc.is_in(rows["reason"], value_set=reasons)))
        rows = rows.filter(_asked(rows, plan))
        places.append(rows[PLACES].to_numpy().astype(np.int64))
        keys += rows["item_key"].chunks
    return np.concatenate(places), pa.concat_arrays(keys)


def _both(parts: list[Items]) -> Items:
    """The items of several tables."""
    return np.concatenate([places for places, _ in parts]), pa.concat_arrays([keys for _, keys in parts])


def _asked(rows: pa.Table, plan: Plan) -> pa.Array:
    """Which rows are of items that the run expects."""
    settings_keys = pa.array([ask.settings_key for ask in plan.asks])
    same = pc.is_in(rows["settings_key"], value_set=settings_keys).to_numpy(zero_copy_only=False)
    columns = ["uri", "settings_key", "question_id", "question", *PAGE_COLUMNS]
    candidates = rows.select(columns).filter(pa.array(same)).to_pylist()
    same = same.copy()
    same[same] = [is_asked(plan, row) for row in candidates]
    return pa.array(same)


def _of_listed(rows: pa.Table, left: pa.Table) -> pa.Table:
    return rows.filter(pc.is_in(rows["uri"], value_set=left["uri"]))


def _lists(places: NDArray[np.int64], keys: pa.Array, length: int) -> pa.Array:
    """A list of keys for each document; null for those without."""
    order = np.argsort(places, kind="stable")
    sizes = np.bincount(places, minlength=length)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), keys.take(pa.array(order)), mask=pa.array(sizes == 0))


def _uris_of_several(sources: pa.Table) -> dict[str, set[str]]:
    """The keys of the documents that share their uri: rows of a Parquet column of URIs may name one twice."""
    found = pc.value_counts(sources["uri"])
    several = found.filter(pc.greater(found.field("counts"), 1)).field("values")
    rows = sources.filter(pc.is_in(sources["uri"], value_set=several))
    keys: dict[str, set[str]] = {}
    for uri, key in zip(rows["uri"].to_pylist(), rows["source_key"].to_pylist(), strict=True):
        keys.setdefault(uri, set()).add(key)
    return keys
