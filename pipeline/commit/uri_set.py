"""Names of documents as numbers of 64 bits, and the set of some of them: 8 bytes a document.

Two names may have the same number. So the set says of a row that it may be of one of its documents: enough to
note in which files of a table to look again, and too little to take a row for a document's.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

PART_ROWS = 65_536  # names that are Python's at a time


class UriSet:
    """Some documents, by the hashes of their uris."""

    def __init__(self, hashes: NDArray[np.int64]) -> None:
        self._hashes = np.unique(hashes)

    def __len__(self) -> int:
        return len(self._hashes)

    def of(self, rows: pa.Table) -> pa.Table:
        """The rows about these documents."""
        return rows.filter(pa.array(self.has(uri_hashes(rows["uri"])))) if len(self) else rows.slice(0, 0)

    def has(self, hashes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these are in the set."""
        if not len(self):
            return np.zeros(len(hashes), np.bool_)
        at = np.searchsorted(self._hashes, hashes)
        found: NDArray[np.bool_] = self._hashes[np.minimum(at, len(self) - 1)] == hashes
        return found


def uri_hashes(uris: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
    """A number for each name, the same in all of this process."""
    hashes = np.empty(len(uris), np.int64)
    for at in range(0, len(uris), PART_ROWS):
        part = uris.slice(at, PART_ROWS).to_pylist()
        hashes[at : at + len(part)] = hashes_of(part)
    return hashes


def hashes_of(uris: Iterable[str]) -> NDArray[np.int64]:
    """The same for names that are Python's."""
    return np.fromiter(map(hash, uris), np.int64)


def repeated(hashes: NDArray[np.int64]) -> UriSet:
    """Those that are there more than once."""
    ordered = np.sort(hashes)
    return UriSet(ordered[1:][ordered[1:] == ordered[:-1]])
