"""Documents that are left to do in; the order to do them in out, so that each old file is replaced in one go.

The rows of a listing's neighbours may lie in many files: workers are done with documents in any order, and so
is each run that added some. In the listing's order every commit would then write every file anew. Instead,
documents follow each other whose old rows do, file by file; and the files in the order of their first
document in the listing. A document without old rows keeps its place in it.
"""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.commit.file_index import NO_FILE, FileIndex
from pipeline.commit.uri_set import uri_hashes


def work_order(uris: pa.ChunkedArray, indices: Collection[FileIndex]) -> NDArray[np.int64] | None:
    """The indices of the documents, in their order; None: as they are listed. Before any row has left.

    Of several tables, the first one with rows of a document decides.
    """
    if not len(uris) or all(map(FileIndex.is_empty, indices)):
        return None
    hashes = uri_hashes(uris)
    files, rows = np.full(len(uris), NO_FILE, np.int64), np.full(len(uris), NO_FILE, np.int64)
    for index in indices:
        more_files, more_rows = index.places(hashes)
        new = (files == NO_FILE) & (more_files != NO_FILE)
        files[new] = more_files[new] + files.max(initial=NO_FILE) + 1
        rows[new] = more_rows[new]
    firsts = np.arange(len(uris))
    there = np.flatnonzero(files != NO_FILE)
    _, first, where = np.unique(files[there], return_index=True, return_inverse=True)
    firsts[there] = there[first[where]]
    order: NDArray[np.int64] = np.lexsort((rows, firsts))
    return order


def together(order: NDArray[np.int64], is_attached: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The same order, in which documents that are attached to the one before them follow it again."""
    if not is_attached.any():
        return order
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    groups = np.cumsum(~is_attached) - 1
    firsts = np.minimum.reduceat(places, np.flatnonzero(~is_attached))
    found: NDArray[np.int64] = np.lexsort((np.arange(len(order)), firsts[groups]))
    return found
