"""Documents that are done, and have windows to merge, but no merged row: an output may be older than merging.

In: the listing, and the rows of the tables as the search for what is left streams them. Out: these documents,
for each table of merged rows. On the way, `merged_rows` learns where the windows of all documents lie that
are not merged yet, whether they are done or not.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.commit.chunks import PLACES, by_file, chunks, placed
from pipeline.commit.merged_rows import SETTINGS, MergedRows, Opened
from pipeline.commit.tables import Table
from pipeline.commit.uri_set import UriSet
from pipeline.ingest.key_index import KeyIndex

FACTS = list(Opened._fields)


class Unmerged:
    """The documents of a listing that have no merged row."""

    def __init__(
        self,
        listed: KeyIndex,
        uris: NDArray[np.int64],
        done: NDArray[np.bool_],
        tables: Mapping[str, Table],
        merged: MergedRows,
    ) -> None:
        """Of the documents of the listing: their keys, the hashes of their uris, and which are done."""
        self._listed = listed
        self._merged = merged
        self._documents = tables["documents"]
        self._lacking = {name: done.copy() for name in merged.names}
        for name, lacking in self._lacking.items():
            for rows, _ in chunks(tables[name], ["source_key", SETTINGS]):
                rows = rows.filter(pc.equal(rows[SETTINGS], merged.ask(name).settings_key))
                lacking[placed(rows, listed)[PLACES].to_numpy()] = False
        self._found = {name: np.zeros(len(done), np.bool_) for name in merged.names}
        self.wanted = UriSet(uris[np.logical_or.reduce([~done, *self._lacking.values()])])
        """The documents that are not done, or not merged."""

    def look(self, name: str, rows: pa.Table, paths: list[str]) -> None:
        """Notes what a chunk of a table has to merge. `rows` has the columns of a table's items."""
        if not self._lacking:
            return
        rows = self.wanted.of(rows)
        for path, part in by_file(rows, paths):
            self._merged.note(name, path, part)
        for merged, lacking in self._lacking.items():
            if name in (self._merged.of(merged), "failures"):
                places = self._places(merged, rows)
                self._found[merged][places[lacking[places]]] = True

    def _places(self, merged: str, rows: pa.Table) -> NDArray[np.int32]:
        mine = rows.filter(pc.equal(rows[SETTINGS], self._merged.ask(merged).settings_key))
        if "partial" in mine.column_names:
            mine = mine.filter(pc.is_valid(mine["partial"]))
        places: NDArray[np.int32] = placed(mine, self._listed)[PLACES].to_numpy()
        return places

    def documents(self) -> dict[str, pa.Table]:
        """The facts of the documents that were found, by the name of the table that lacks them."""
        parts: dict[str, list[pa.Table]] = {name: [] for name, found in self._found.items() if found.any()}
        for rows, _ in chunks(self._documents, FACTS) if parts else ():
            rows = placed(rows, self._listed)
            for name in parts:
                mine = self._found[name][rows[PLACES].to_numpy()]
                parts[name].append(rows.filter(pa.array(mine)).select(FACTS))
        return {name: pa.concat_tables(some) for name, some in parts.items() if some}
