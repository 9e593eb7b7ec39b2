"""Documents in; the files of a table in which rows of them lie, out.

Other tools may rewrite the files of a table in mid-run (OPTIMIZE, a DELETE), and so does this run, which
takes stale rows out. So a file may be gone when it is wanted: `look_again` reads what has come in its place.

In memory: 12 bytes for each document and each file with rows of it, and the names of all files.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.commit.tables import Table, read_file
from pipeline.commit.uri_set import hashes_of, uri_hashes

NO_FILE = -1


@dataclass
class FileIndex:
    """In which files of a table the rows of a document lie."""

    paths: list[str | None] = field(default_factory=list)  # None: a file that was emptied, or is gone
    known: set[str] = field(default_factory=set)  # all files that were looked at, or written by this run
    _hashes: list[NDArray[np.int64]] = field(default_factory=list)  # of uris
    _files: list[NDArray[np.int32]] = field(default_factory=list)  # indices of paths
    _settled: bool = True  # one array of each, in the order of the hashes; or none

    def note(self, path: str, uris: pa.ChunkedArray) -> None:
        """A file was looked at, or the next part of the last one: rows of these documents lie in it."""
        self.known.add(path)
        if len(uris):
            self._add(path, uri_hashes(pc.unique(uris)))

    def _add(self, path: str, hashes: NDArray[np.int64]) -> None:
        if path not in self.paths[-1:]:
            self.paths.append(path)
        self._hashes.append(hashes)
        self._files.append(np.full(len(hashes), len(self.paths) - 1, np.int32))
        self._settled = False

    def is_empty(self) -> bool:
        """No file has rows of a document."""
        return not self._hashes

    def spans(self, uris: AbstractSet[str]) -> list[slice]:
        """Where the entries of documents stand, until something is noted."""
        self._settle()
        if not self._hashes:
            return []
        wanted = hashes_of(uris)
        starts = np.searchsorted(self._hashes[0], wanted, "left")
        ends = np.searchsorted(self._hashes[0], wanted, "right")
        return [slice(start, end) for start, end in zip(starts, ends, strict=True) if end > start]

    def there(self, spans: Sequence[slice]) -> list[str]:
        """The files of these entries, in the order in which they were noted."""
        numbers = {int(number) for span in spans for number in self._files[0][span] if number != NO_FILE}
        return [path for number in sorted(numbers) if (path := self.paths[number]) is not None]

    def places(self, hashes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each of these documents, numbers of its first file and of its first row among all; -1: none."""
        none = np.full(len(hashes), NO_FILE, np.int64)
        if not self._hashes:
            return none, none
        known, files = np.concatenate(self._hashes), np.concatenate(self._files)
        order = np.argsort(known, kind="stable")
        at = np.minimum(np.searchsorted(known[order], hashes), len(order) - 1)
        rows = np.where(known[order[at]] == hashes, order[at], NO_FILE)
        return np.where(rows == NO_FILE, NO_FILE, files[rows]), rows

    def in_file(self, path: str, but: Sequence[slice]) -> NDArray[np.int64]:
        """The hashes of a file's documents, without those of some entries."""
        mine = self._files[0] == self.paths.index(path)
        for span in but:
            mine[span] = False
        return np.unique(self._hashes[0][mine])

    def move(self, gone: AbstractSet[str], came: Mapping[str, NDArray[np.int64]]) -> None:
        """Files left, and others came, which are known, each with rows of documents of these hashes."""
        self.paths = [None if path in gone else path for path in self.paths]
        for path, hashes in came.items():
            if len(hashes):
                self._add(path, hashes)

    def drop(self, spans: Sequence[slice]) -> None:
        """These entries are not wanted any more."""
        for span in spans:
            self._files[0][span] = NO_FILE

    def look_again(self, table: Table, visible: AbstractSet[str]) -> None:
        """Notes what others have made of the files in which rows of documents lay. Raises OSError."""
        self._settle()
        self.paths = [path if path in visible else None for path in self.paths]
        for path in sorted(visible - self.known):
            hashes = uri_hashes(pc.unique(read_file(table, path, ["uri"])["uri"]))
            self.known.add(path)
            self._add(path, hashes[np.isin(hashes, self._hashes[0])])
        self._settle()

    def _settle(self) -> None:
        """Sorts what was added."""
        if not self._settled:
            self._settled = True
            hashes, files = np.concatenate(self._hashes), np.concatenate(self._files)
            there = np.array([path is not None for path in self.paths] + [False])  # the last one: NO_FILE
            wanted = there[files]
            hashes, files = hashes[wanted], files[wanted]
            order = np.argsort(hashes, kind="stable")
            self._hashes, self._files = [hashes[order]], [files[order]]
