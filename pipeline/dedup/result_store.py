"""Result rows in; the row of any item that has one, of this run or of an earlier one, out.

The resolver may want an answer long after it came, for another item with the same prompt. Until a row of this
run is committed, the store holds it in memory. From then on it notes the row's file and its place there, as
of the rows of earlier runs, and reads it again where it is wanted: some 40 bytes an item, in a private file
of SQLite. It holds in memory the names of those files, and the rows around those that were wanted last.

Other tools may rewrite files (OPTIMIZE), and remove the old ones (VACUUM): then the store looks in the new
ones.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.commit.tables import Table, handle_of, paths_of, read_file, stream_batches, stream_files
from pipeline.dedup.registry import Pair, private_database
from pipeline.ingest.key_index import Digests, digests_of, hex_of
from pipeline.plan.rows import ANSWER, FAILURE, Row, column_of

CACHE_MIB = 16  # of places
WINDOW_ROWS = 4096  # that are read from a file together
WINDOWS_IN_MEMORY = 8
SEED_ROWS = 2**20  # of earlier runs, which are sorted together: 48 bytes each
SEED_PAIRS = 2**16  # handed over together
SEED_COLUMNS = ["item_key", "prompt_key", "settings_key"]


class _Seeds(NamedTuple):
    """Answers of earlier runs: columns."""

    items: Digests
    prompts: Digests
    files: NDArray[np.int64]  # numbers of `_files`
    rows: NDArray[np.int64]


class ResultStore:
    """Where each item's row lies."""

    def __init__(self, answers: Sequence[Table], schema: pa.Schema) -> None:
        """The tables of answers in the order of the asks, and the schema of this run's results."""
        self._answers = answers
        answers_columns = [column_of(ANSWER, ask) for ask in range(len(answers))]
        self._columns = ["kind", "item_key", "ask", *answers_columns, FAILURE]
        self._new: dict[str, tuple[pa.RecordBatch, int]] = {}  # not committed yet
        self._files: list[tuple[Table, str]] = []
        self._database = private_database(CACHE_MIB)
        columns = "item BLOB PRIMARY KEY, file INTEGER, row INTEGER"
        self._database.execute(f"CREATE TABLE rows ({columns}) WITHOUT ROWID")
        self._window = lru_cache(WINDOWS_IN_MEMORY)(self._read_window)

    def seed(self, ask: int, settings_key: str) -> Iterator[list[Pair]]:
        """Notes the answers in the table of an ask; yields their prompts, some at a time.

        Keys are hashes: a million that are sorted first go through the database in one direction, where each
        by itself would ask for another page of it.
        """
        table, start = self._answers[ask], 0
        found: list[_Seeds] = []
        for path, rows in stream_files(table, SEED_COLUMNS):
            if (table, path) not in self._files[-1:]:  # not the next part of the last file
                self._files.append((table, path))
                start = 0
            mine = pc.and_(pc.equal(rows["settings_key"], settings_key), pc.is_valid(rows["prompt_key"]))
            places = np.flatnonzero(mine.to_numpy()) + start
            items, prompts = (digests_of(rows[name].filter(mine)) for name in ("item_key", "prompt_key"))
            found.append(_Seeds(items, prompts, np.full(len(places), len(self._files) - 1), places))
            start += len(rows)
            if sum(len(some.rows) for some in found) >= SEED_ROWS:
                yield from self._note_seeds(found)
                found = []
        if found:
            yield from self._note_seeds(found)

    def _note_seeds(self, found: Sequence["_Seeds"]) -> Iterator[list[Pair]]:
        seeds = _Seeds(*(np.concatenate(column) for column in zip(*found, strict=True)))
        order = np.lexsort((seeds.items[:, 1], seeds.items[:, 0]))
        keys = seeds.items[order].astype(">u8").tobytes()
        items = (keys[at : at + 16] for at in range(0, len(keys), 16))
        self._insert(zip(items, seeds.files[order].tolist(), seeds.rows[order].tolist(), strict=True))
        order = np.lexsort((seeds.prompts[:, 1], seeds.prompts[:, 0]))  # the first of equal ones stays it
        for at in range(0, len(order), SEED_PAIRS):
            some = order[at : at + SEED_PAIRS]
            pairs = (hex_of(column[some]).to_pylist() for column in (seeds.prompts, seeds.items))
            yield list(zip(*pairs, strict=True))

    def keep(self, results: pa.Table) -> list[str]:
        """Keeps the answers and failures among rows of `rows.result_schema`; their items' keys."""
        there = results.filter(pc.is_in(results["kind"], value_set=pa.array([ANSWER, FAILURE])))
        if not len(there):
            return []
        items: list[str] = there["item_key"].to_pylist()
        batch = there.select(self._columns).combine_chunks().to_batches()[0]
        self._new |= {
            item: (batch, row) for row, item in reversed(list(enumerate(items))) if item not in self
        }
        return items

    def committed(self, table: Table, path: str, items: Sequence[str]) -> None:
        """The rows of these items are a file of the table, in this order."""
        self._files.append((table, path))
        file = len(self._files) - 1
        self._insert((bytes.fromhex(item), file, row) for row, item in enumerate(items))
        for item in items:
            self._new.pop(item, None)

    def _insert(self, places: Iterable[tuple[bytes, int, int]]) -> None:
        """Items, each with the number of its file and its row there."""
        self._database.executemany("INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", places)

    def __contains__(self, item: str) -> bool:
        return item in self._new or self._find(item) is not None

    def get(self, item: str) -> tuple[str, Row] | None:
        """ANSWER or FAILURE, and the item's row; None if it has none. Raises OSError if its file is gone."""
        if item in self._new:
            batch, row = self._new[item]
            (result,) = batch.slice(row, 1).to_pylist()
            kind = result["kind"]
            return kind, result[column_of(kind, result["ask"] or 0)]
        found = self._find(item)
        if found is None:
            return None
        try:
            return self._stored(*found)
        except OSError:
            self._look_again(self._files[found[0]][0])
            there = self._find(item)
            if there is None or there == found:
                raise
            return self._stored(*there)

    def _find(self, item: str) -> tuple[int, int] | None:
        query = "SELECT file, row FROM rows WHERE item = ?"
        found: tuple[int, int] | None = self._database.execute(query, (bytes.fromhex(item),)).fetchone()
        return found

    def _stored(self, file: int, row: int) -> tuple[str, Row]:
        window, offset = divmod(row, WINDOW_ROWS)
        (stored,) = self._window(file, window).slice(offset, 1).to_pylist()
        return FAILURE if self._files[file][0].name == "failures" else ANSWER, stored

    def _read_window(self, file: int, window: int) -> pa.Table:
        """So many rows of a file. It is decoded from its start, and only these are kept."""
        table, path = self._files[file]
        left, rows = window * WINDOW_ROWS, 0
        parts: list[pa.RecordBatch] = []
        for batch in stream_batches(table, [path], table.schema.names):
            part = batch.slice(min(left, len(batch)), WINDOW_ROWS - rows)
            left -= min(left, len(batch))
            rows += len(part)
            parts.append(part)
            if rows == WINDOW_ROWS:
                break
        return pa.Table.from_batches(parts, table.schema)

    def _look_again(self, table: Table) -> None:
        """Notes where the rows of files lie that are gone. Raises OSError."""
        known = {path for one, path in self._files if one.name == table.name}
        update = "UPDATE rows SET file = ?, row = ? WHERE item = ?"
        for path in sorted(paths_of(handle_of(table.uri)) - known):
            items = read_file(table, path, ["item_key"])["item_key"].to_pylist()
            places = ((len(self._files), row, bytes.fromhex(item)) for row, item in enumerate(items))
            self._database.executemany(update, places)
            self._files.append((table, path))
