"""The Parquet files of a Delta table in; those of its newest version, and the rows that are not deleted, out.

The folder of a Delta table also holds files that its log has removed. An Iceberg table has no log that could
be read here: it is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray

from pipeline.ingest import storage
from pipeline.ingest.entries import Entries, Entry
from pipeline.ingest.object_stores import plain_http, table_options
from pipeline.ingest.object_uris import SCHEMES, is_object, place_of

LOG = "_delta_log"
TOPS = (
    "",
    "/",
    *(f"{scheme}:{slashes}" for scheme in SCHEMES for slashes in ("/", "//")),
)  # above all folders


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A Parquet file, and which of its rows count: all of them if `kept` is None."""

    entry: Entry
    kept: NDArray[np.bool_] | None = None


def storage_options(uri: str) -> dict[str, str] | None:
    """deltalake reads the clouds' variables from the environment, but wants plain http allowed in words."""
    if not is_object(uri):
        return None
    scheme = place_of(uri).scheme
    if scheme == "s3":
        return {"AWS_ALLOW_HTTP": "true"} if plain_http(scheme) else None
    return table_options() | ({"allow_http": "true"} if plain_http(scheme) else {})


def address(uri: str) -> str:
    """A table's address for deltalake, which takes a path as it is, and one in a cloud as a URL with escapes.

    Example: s3://bucket/out dir#1 is s3://bucket/out%20dir%231
    """
    if not is_object(uri):
        return uri
    place = place_of(uri)
    return f"{place.root}/{quote(place.key)}" if place.key else place.root


def is_table(uri: str) -> bool:
    """Whether there is a Delta table. Raises OSError, DeltaError."""
    return DeltaTable.is_deltatable(address(uri), storage_options=storage_options(uri))


def visible(found: Entries | Sequence[Entry], files: Sequence[Entry], folder: str | None) -> list[DataFile]:
    """Those of the Parquet `files` that their Delta tables still hold; files outside of tables stay.

    `found` are all files of the input, under a folder; a file that the person named (None) stays in any case.
    Raises ValueError: a table that cannot be read, or Iceberg; and OSError.
    """
    if folder is None:
        return [DataFile(entry=entry) for entry in files]
    _refuse_iceberg(found, files)
    listed = {entry.uri.partition(f"/{LOG}/")[0] for entry in found if f"/{LOG}/" in entry.uri}
    roots: dict[str, str | None] = dict.fromkeys(TOPS)  # folder -> the table around it
    tables: dict[str, dict[str, NDArray[np.bool_] | None]] = {}
    result = []
    for entry in files:
        root = _root(entry.uri.rpartition("/")[0], listed, roots)
        if root is None:
            result.append(DataFile(entry=entry))
            continue
        if root not in tables:
            tables[root] = _snapshot(root)
        if entry.uri in tables[root]:
            result.append(DataFile(entry=entry, kept=tables[root][entry.uri]))
    there = {entry.uri for entry in files}
    for root in listed & tables.keys():  # all of its files were looked for
        if gone := tables[root].keys() - there:
            raise ValueError(f"the Delta table {root} names a file that is not there: {min(gone)}")
    return result


def _refuse_iceberg(found: Entries | Sequence[Entry], files: Sequence[Entry]) -> None:
    """Raises ValueError where files are an Iceberg table's: given as its folder, or as its data/ alone."""
    seen = list(found)
    folders = {entry.uri.rpartition("/data/")[0] for entry in files if "/data/" in entry.uri}
    for folder in sorted(folders - set(TOPS)):  # a bucket may be called data
        if storage.is_folder(f"{folder}/metadata"):
            seen += storage.find(f"{folder}/metadata").entries
    for entry in seen:
        if entry.uri.endswith(".metadata.json") and "/metadata/" in entry.uri:
            raise ValueError(
                f"{entry.uri.rpartition('/metadata/')[0]} is an Iceberg table, which Quire does not read: "
                "its folder also holds rows that were deleted; write its rows to Parquet files, or give a "
                "Delta table"
            )


def kept_rows(rows: pa.Table, file: DataFile, first: int) -> pa.Table:
    """The rows of a file, from its row number `first` on, without those that are deleted."""
    if file.kept is None:
        return rows
    kept = np.ones(len(rows), np.bool_)
    there = file.kept[first : first + len(rows)]  # what lies behind the last deleted row may be left out
    kept[: len(there)] = there
    return rows.filter(pa.array(kept))


def _root(folder: str, listed: set[str], known: dict[str, str | None]) -> str | None:
    """The innermost Delta table around a folder; None outside of tables."""
    if folder not in known:
        # On S3 a look costs a request, and a table may have many partitions, such as year=2024.
        partition = "=" in folder.rpartition("/")[2]
        if folder in listed or (not partition and storage.is_folder(f"{folder}/{LOG}")):
            known[folder] = folder
        else:
            known[folder] = _root(folder.rpartition("/")[0], listed, known)
    return known[folder]


def _snapshot(root: str) -> dict[str, NDArray[np.bool_] | None]:
    """The files of a table's newest version, and the rows of each that are kept. Raises ValueError."""
    try:
        table = DeltaTable(address(root), storage_options=storage_options(root))
        mapping = table.metadata().configuration.get("delta.columnMapping.mode", "none")
        if mapping != "none":
            raise ValueError(
                f"the Delta table {root} has a column mapping ({mapping}): its files name the columns "
                "otherwise, and Quire does not read them; write its rows to Parquet files"
            )
        paths = table.get_add_actions()["path"].to_pylist()
        vectors = {}
        if "deletionVectors" in (table.protocol().reader_features or ()):
            vectors = {
                unquote(row["filepath"]): np.array(row["selection_vector"], np.bool_)
                for batch in table.deletion_vectors()
                for row in pa.record_batch(batch).to_pylist()
            }
    except (DeltaError, OSError) as error:
        raise ValueError(f"the Delta table {root} cannot be read: {' '.join(str(error).split())}") from error
    if outside := [path for path in paths if "://" in path or path.startswith("/")]:
        raise ValueError(
            f"the Delta table {root} is a shallow clone: {outside[0]} lies elsewhere; give the table that "
            "was cloned"
        )
    kept: dict[str, NDArray[np.bool_] | None] = dict.fromkeys(f"{root}/{unquote(path)}" for path in paths)
    for place, vector in vectors.items():
        (uri,) = [uri for uri in kept if place.removeprefix("file://") == uri]
        kept[uri] = vector
    return kept
