"""Result rows in; the row of any item that has one, of this run or of an earlier one, out.

The resolver may want an answer long after it came, for another item with the same prompt. The store keeps
this run's rows as Arrow batches in a private file of SQLite. Of the rows in the answers table it notes the
file and the place, and reads them there when they are wanted. It holds in memory the names of those files,
and the batches and files that were wanted last.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit.tables import Table, read_file, stream_files
from pipeline.dedup.registry import Pair, private_database
from pipeline.plan.rows import ANSWER, FAILURE, Row, column_of

CACHE_MIB = 16  # of places, and of the rows that came last
BATCHES_IN_MEMORY = 64  # of some rows each
FILES_IN_MEMORY = 8  # of some thousand rows each
SEED_COLUMNS = ["item_key", "prompt_key", "settings_key"]


class ResultStore:
    """Where each item's row lies."""

    def __init__(self, answers: Sequence[Table], schema: pa.Schema) -> None:
        """The tables of answers in the order of the asks, and the schema of this run's results."""
        self._answers = answers
        answers_columns = [column_of(ANSWER, ask) for ask in range(len(answers))]
        self._schema = pa.schema(
            [schema.field(name) for name in ("kind", "item_key", "ask", *answers_columns, FAILURE)]
        )
        self._files: list[tuple[Table, str]] = []
        self._database = private_database(CACHE_MIB)
        # A place is a batch's number; for a file of the table, -1 minus its number.
        columns = "item BLOB PRIMARY KEY, place INTEGER, row INTEGER"
        self._database.execute(f"CREATE TABLE rows ({columns}) WITHOUT ROWID")
        self._database.execute("CREATE TABLE batches (place INTEGER PRIMARY KEY, data BLOB)")
        self._batches = 0
        self._batch = lru_cache(BATCHES_IN_MEMORY)(self._read_batch)
        self._file = lru_cache(FILES_IN_MEMORY)(self._read_file)

    def seed(self, ask: int, settings_key: str) -> Iterator[list[Pair]]:
        """Notes the answers in the table of an ask; yields their prompts, file by file."""
        for path, rows in stream_files(self._answers[ask], SEED_COLUMNS):
            rows = rows.append_column("row", pa.array(range(len(rows)), pa.int64()))
            rows = rows.filter(
                pc.and_(pc.equal(rows["settings_key"], settings_key), pc.is_valid(rows["prompt_key"]))
            )
            if not len(rows):
                continue
            self._files.append((self._answers[ask], path))
            items, places = rows["item_key"].to_pylist(), rows["row"].to_pylist()
            self._note(-len(self._files), zip(items, places, strict=True))
            yield list(zip(rows["prompt_key"].to_pylist(), items, strict=True))

    def keep(self, results: pa.Table) -> list[str]:
        """Keeps the answers and failures among rows of `rows.result_schema`; their items' keys."""
        there = results.filter(pc.is_in(results["kind"], value_set=pa.array([ANSWER, FAILURE])))
        if not len(there):
            return []
        items: list[str] = there["item_key"].to_pylist()
        batch = there.select(self._schema.names).combine_chunks().to_batches()[0]
        self._database.execute("INSERT INTO batches VALUES (?, ?)", (self._batches, batch.serialize()))
        self._note(self._batches, ((item, row) for row, item in enumerate(items)))
        self._batches += 1
        return items

    def _note(self, place: int, items: Iterable[tuple[str, int]]) -> None:
        rows = ((bytes.fromhex(item), place, row) for item, row in items)
        self._database.executemany("INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", rows)

    def __contains__(self, item: str) -> bool:
        return self._find(item) is not None

    def get(self, item: str) -> tuple[str, Row] | None:
        """ANSWER or FAILURE, and the item's row; None if it has none. Raises OSError if its file is gone."""
        found = self._find(item)
        if found is None:
            return None
        place, row = found
        if place < 0:
            (answer,) = self._file(place).slice(row, 1).to_pylist()
            return ANSWER, answer
        (result,) = self._batch(place).slice(row, 1).to_pylist()
        kind = result["kind"]
        return kind, result[column_of(kind, result["ask"] or 0)]

    def _find(self, item: str) -> tuple[int, int] | None:
        query = "SELECT place, row FROM rows WHERE item = ?"
        found: tuple[int, int] | None = self._database.execute(query, (bytes.fromhex(item),)).fetchone()
        return found

    def _read_batch(self, place: int) -> pa.RecordBatch:
        query = "SELECT data FROM batches WHERE place = ?"
        (data,) = self._database.execute(query, (place,)).fetchone()
        return pa.ipc.read_record_batch(pa.py_buffer(data), self._schema)

    def _read_file(self, place: int) -> pa.Table:
        return read_file(*self._files[-1 - place])
