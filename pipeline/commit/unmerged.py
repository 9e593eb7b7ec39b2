"""Documents that are done, and have windows to merge, but no merged row: an output may be older than merging.

In: the listing, and the rows of the tables as the search for what is left streams them. Out: these documents,
for each table of merged rows. On the way, `merged_rows` learns where the windows of all documents lie that
are not merged yet, whether they are done or not.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.commit.chunks import PLACES, chunks, placed
from pipeline.commit.merged_rows import SETTINGS, MergedRows, Opened
from pipeline.commit.tables import Table

FACTS = list(Opened._fields)


class Unmerged:
    """The documents of a listing that have no merged row."""

    def __init__(
        self, sources: pa.Table, done: NDArray[np.bool_], tables: Mapping[str, Table], merged: MergedRows
    ) -> None:
        """`done` says which documents of the listing are."""
        self._keys = sources["source_key"]
        self._merged = merged
        self._documents = tables["documents"]
        self._lacking = {name: done.copy() for name in merged.names}
        for name, lacking in self._lacking.items():
            for rows, _ in chunks(tables[name], ["source_key", SETTINGS]):
                rows = rows.filter(pc.equal(rows[SETTINGS], merged.ask(name).settings_key))
                lacking[placed(rows, self._keys, rows["source_key"])[PLACES].to_numpy()] = False
        self._found = {name: np.zeros(len(done), np.bool_) for name in merged.names}
        wanted = np.logical_or.reduce([~done, *self._lacking.values()])
        self._uris = sources["uri"].filter(pa.array(wanted))

    def of_wanted(self, rows: pa.Table) -> pa.Table:
        """The rows of documents that are not done, or not merged."""
        return rows.filter(pc.is_in(rows["uri"], value_set=self._uris))

    def look(self, name: str, rows: pa.Table, paths: list[str]) -> None:
        """Notes what a chunk of a table has to merge. `rows` has the columns of a table's items."""
        if not self._lacking:
            return
        rows = self.of_wanted(rows)
        for index, path in enumerate(paths):
            self._merged.note(name, path, rows.filter(pc.equal(rows["file"], index)))
        for merged, lacking in self._lacking.items():
            if name in (self._merged.of(merged), "failures"):
                places = self._places(merged, rows)
                self._found[merged][places[lacking[places]]] = True

    def _places(self, merged: str, rows: pa.Table) -> NDArray[np.int64]:
        mine = rows.filter(pc.equal(rows[SETTINGS], self._merged.ask(merged).settings_key))
        if "partial" in mine.column_names:
            mine = mine.filter(pc.is_valid(mine["partial"]))
        places: NDArray[np.int64] = placed(mine, self._keys, mine["source_key"])[PLACES].to_numpy()
        return places

    def documents(self) -> dict[str, pa.Table]:
        """The facts of the documents that were found, by the name of the table that lacks them."""
        if not any(found.any() for found in self._found.values()):
            return {}
        parts = list(self._facts())
        schema = pa.schema([self._documents.schema.field(name) for name in FACTS])
        facts = pa.concat_tables(parts) if parts else schema.empty_table()
        keys = {name: self._keys.filter(pa.array(found)) for name, found in self._found.items()}
        return {
            name: facts.filter(pc.is_in(facts["source_key"], value_set=some))
            for name, some in keys.items()
            if len(some)
        }

    def _facts(self) -> Iterator[pa.Table]:
        wanted = self._keys.filter(pa.array(np.logical_or.reduce(list(self._found.values()))))
        for rows, _ in chunks(self._documents, FACTS):
            yield rows.filter(pc.is_in(rows["source_key"], value_set=wanted)).select(FACTS)
