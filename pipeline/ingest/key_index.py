"""Many keys of 32 hex digits, sorted once; where each of other keys stands among them, in linear time.

Arrow's `index_in` hashes the keys that it looks in anew at each call, which over a table of many files is
quadratic. Here the keys are 16 bytes each and sorted, and those that are looked up are sorted, too: the
search then goes through memory in one direction. In memory: 20 bytes a key.
"""

from binascii import hexlify, unhexlify

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NOWHERE = -1
Digests = NDArray[np.uint64]  # (keys, 2): the first and the last 16 hex digits of each as a number

_HEX = "^[0-9a-f]{32}$"


class KeyIndex:
    """The places of keys in a column. A key that stands there twice has the place of the first."""

    def __init__(self, keys: pa.ChunkedArray | pa.Array) -> None:
        """Raises ValueError for a key that is not 32 hex digits."""
        digests = digests_of(keys)
        order = np.argsort(digests[:, 0], kind="stable").astype(np.int32)
        self._first, self._last = digests[order, 0], digests[order, 1]
        self._places = order
        self._sort_ties()

    def _sort_ties(self) -> None:
        """Keys with the same first half, which are rare: by their second half, and then by their places."""
        same = self._first[1:] == self._first[:-1]
        tied = np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
        if len(tied):
            order = tied[np.lexsort((self._places[tied], self._last[tied], self._first[tied]))]
            self._last[tied], self._places[tied] = self._last[order], self._places[order]

    def places(self, keys: pa.ChunkedArray | pa.Array) -> NDArray[np.int32]:
        """The place of each key; NOWHERE for one that is not there, or is null."""
        digests, known = _parse(keys)
        if known.all():
            return self._find(digests)
        places = np.full(len(keys), NOWHERE, np.int32)
        places[known] = self._find(digests[known])
        return places

    def _find(self, wanted: Digests) -> NDArray[np.int32]:
        order = np.argsort(wanted[:, 0])
        first, last = wanted[order, 0], wanted[order, 1]
        at = np.searchsorted(self._first, first)
        places = np.full(len(wanted), NOWHERE, np.int32)
        left = np.arange(len(wanted))
        while True:
            left = left[at[left] < len(self._first)]
            left = left[self._first[at[left]] == first[left]]
            same = self._last[at[left]] == last[left]
            places[order[left[same]]] = self._places[at[left[same]]]
            left = left[~same]  # another key with the same first half: the next one may be it
            if not len(left):
                return places
            at[left] += 1

    def repeated(self) -> NDArray[np.int32]:
        """The places of keys that stand further up, too."""
        same = (self._first[1:] == self._first[:-1]) & (self._last[1:] == self._last[:-1])
        return np.sort(self._places[1:][same])


def digests_of(keys: pa.ChunkedArray | pa.Array) -> Digests:
    """Keys as numbers. Raises ValueError for one that is not 32 hex digits."""
    digests, known = _parse(keys)
    if not known.all():
        raise ValueError(f"a key is not 32 hex digits: {keys.filter(pa.array(~known))[0]}")
    return digests


def hex_of(digests: Digests) -> pa.Array:
    """Numbers as keys, a string array."""
    return hex_strings(digests.astype(">u8").tobytes())


def hex_strings(data: bytes) -> pa.Array:
    """A string of 32 hex digits for each 16 bytes."""
    offsets = np.arange(0, 2 * len(data) + 1, 32, dtype=np.int32)
    return pa.StringArray.from_buffers(len(data) // 16, pa.py_buffer(offsets), pa.py_buffer(hexlify(data)))


def _parse(keys: pa.ChunkedArray | pa.Array) -> tuple[Digests, NDArray[np.bool_]]:
    """Keys as numbers, and which of them are keys: other tools may have written rows of their own."""
    digests, known = np.zeros((len(keys), 2), np.uint64), np.ones(len(keys), np.bool_)
    at = 0
    for chunk in keys.chunks if isinstance(keys, pa.ChunkedArray) else [keys]:
        there = slice(at, at := at + len(chunk))
        try:
            digests[there] = _numbers(chunk)
        except ValueError:
            fits = pc.fill_null(pc.match_substring_regex(chunk, _HEX), False)
            known[there] = fits.to_numpy(zero_copy_only=False)
            digests[there][known[there]] = _numbers(chunk.filter(fits))
    return digests, known


def _numbers(keys: pa.Array) -> Digests:
    """Raises ValueError where a key is not 32 hex digits, or null."""
    if not len(keys):
        return np.zeros((0, 2), np.uint64)
    _, offsets, data = keys.buffers()
    ends = np.frombuffer(offsets, np.int32)[keys.offset : keys.offset + len(keys) + 1]
    if keys.null_count or (np.diff(ends) != 32).any():
        raise ValueError("a key has not 32 digits")
    return np.frombuffer(unhexlify(memoryview(data)[ends[0] : ends[-1]]), ">u8").reshape(-1, 2)
