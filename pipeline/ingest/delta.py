"""The Parquet files of a Delta table in; those of one version, and the rows that are not deleted, out.

The folder of a Delta table also holds files that its log has removed. A part of an Iceberg table has no log
that could be read here: it is refused.
"""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray

from pipeline.ingest import storage
from pipeline.ingest.changes import UnclearError, check_there, new_files
from pipeline.ingest.data_files import DataFile
from pipeline.ingest.delta_changes import LOG, changes
from pipeline.ingest.entries import Entries, Entry
from pipeline.ingest.feed import Feed, Position
from pipeline.ingest.object_stores import plain_http, table_options
from pipeline.ingest.object_uris import SCHEMES, is_object, place_of, unsigned
from pipeline.ingest.table_versions import Version, said

TOPS = (
    "",
    "/",
    *(f"{scheme}:{slashes}" for scheme in SCHEMES for slashes in ("/", "//")),
)  # above all folders

ANSI_COLOUR = re.compile(r"\x1b\[\d+m")  # deltalake colours its messages


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A version of a table: its files, and which rows of each are kept (None: all)."""

    id: str
    """Of the table."""
    version: int
    files: Mapping[str, NDArray[np.bool_] | None]


def storage_options(uri: str) -> dict[str, str] | None:
    """deltalake reads the clouds' variables from the environment, but wants plain http allowed in words."""
    if not is_object(uri):
        return None
    return table_options() | ({"allow_http": "true"} if plain_http(place_of(uri).scheme) else {})


def address(uri: str) -> str:
    """A table's address for deltalake, which takes a path as it is, and one in a cloud as a URL with escapes.

    Example: s3://bucket/out dir#1 is s3://bucket/out%20dir%231
    """
    if not is_object(uri):
        return uri
    place = place_of(uri)
    return f"{place.root}/{quote(place.key)}" if place.key else place.root


def plain(error: Exception) -> str:
    """An error's message on one line, without a signature."""
    text = unsigned(ANSI_COLOUR.sub("", str(error)))
    return " ".join(text.replace("↳", ":").split())


def is_table(uri: str) -> bool:
    """Whether there is a Delta table. Raises OSError, DeltaError."""
    return DeltaTable.is_deltatable(address(uri), storage_options=storage_options(uri))


def visible(
    found: Entries | Sequence[Entry],
    files: Sequence[Entry],
    folder: str | None,
    version: Version | None = None,
    feed: Feed | None = None,
    name: str | None = None,
) -> list[DataFile]:
    """Those of the Parquet `files` that their Delta tables hold, now or at a version.

    With a `feed`, only those with rows that came since the last run, if it wants no others. It knows the
    input as `name`, or else by its folder.

    `found` are all files of the input, under a folder; a file that the person named (None) stays in any case,
    and so do files outside of tables, unless there is a version. Raises ValueError: a table that cannot be
    read, or Iceberg; and OSError.
    """
    if folder is None:
        return [DataFile(entry=entry) for entry in files]
    listed = {entry.uri.partition(f"/{LOG}/")[0] for entry in found if f"/{LOG}/" in entry.uri}
    roots: dict[str, str | None] = dict.fromkeys(TOPS)  # folder -> the table around it
    tables: dict[str, Mapping[str, NDArray[np.bool_] | None]] = {}
    _refuse_iceberg(found, files, listed)
    result = []
    for entry in files:
        root = _root(entry.uri.rpartition("/")[0], listed, roots)
        if root is None and version is not None:
            raise ValueError(f"{said(version)} is a version of a table, and {entry.uri} is in none")
        if root is None:
            result.append(DataFile(entry=entry))
            continue
        if root not in tables:
            now = snapshot(root, version)
            tables[root] = now.files
            if feed is not None:
                since = feed.since(name or folder, root, now.id, now.version, moves=version is None)
                tables[root] = now.files if since is None else _since(root, now, since, feed)
        if entry.uri in tables[root]:
            result.append(DataFile(entry=entry, kept=tables[root][entry.uri]))
    there = {entry.uri for entry in files}
    for root in listed & tables.keys():  # all of its files were looked for
        if gone := tables[root].keys() - there:
            what = f"the Delta table {root}" if version is None else f"version {said(version)} of {root}"
            raise ValueError(f"{what} names a file that is not there: {min(gone)}")
    return result


def _refuse_iceberg(found: Entries | Sequence[Entry], files: Sequence[Entry], listed: set[str]) -> None:
    """Raises ValueError where files are an Iceberg table's, of which a part is given, or among others.

    A Delta table may be both.
    """
    metadata: list[Entry] = []
    folders = {entry.uri.rpartition("/data/")[0] for entry in files if "/data/" in entry.uri}
    for folder in sorted(folders - set(TOPS)):  # a bucket may be called data
        if storage.is_folder(f"{folder}/metadata"):
            metadata += storage.find(f"{folder}/metadata").entries
    for entry in chain(found, metadata):
        root = entry.uri.rpartition("/metadata/")[0]
        if root and entry.uri.endswith(".metadata.json") and root not in listed:
            raise ValueError(
                f"{root} is an Iceberg table, and the files in its folder also hold rows that were deleted: "
                f"give {root} itself as an input, or iceberg://CATALOG/NAMESPACE.TABLE"
            )


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


def _since(root: str, now: Snapshot, since: Position, feed: Feed) -> Mapping[str, NDArray[np.bool_] | None]:
    """The files with rows that came behind a position; all of them where that cannot be told."""
    try:
        behind = changes(root, since["version"], now.version)
        fresh = new_files(behind, was_cut=since["was_cut"], unread=since.get("unread", ()))
        if lost := [file for file, version in fresh.items() if version is None and file not in now.files]:
            raise UnclearError(f"its log adds {min(lost)}, which it does not hold")
        found = {file: now.files[file] for file, version in fresh.items() if version is None}
        for version in {version for version in fresh.values() if version is not None}:
            merged = {file for file, its in fresh.items() if its == version}
            check_there(merged)
            found |= {file: kept for file, kept in _at(root, version).items() if file in merged}
    except UnclearError as error:
        feed.unclear(root, str(error))
        return now.files
    return found


def _same_file(place: str, root: str, files: Container[str]) -> str:
    """The file of a table that deltalake calls `place`, which may differ in what stands before its folder."""
    parts = place.split("/")
    names = ("/".join([root, *parts[start:]]) for start in range(len(parts)))  # the longest goes first
    return next(name for name in names if name in files)


def _at(root: str, version: int) -> Mapping[str, NDArray[np.bool_] | None]:
    """The files of an old version. Raises UnclearError."""
    try:
        return snapshot(root, version).files
    except ValueError as error:
        raise UnclearError(f"version {version} is known no more") from error


def snapshot(root: str, version: Version | None) -> Snapshot:
    """A version of a table (None: the newest). Raises ValueError."""
    if isinstance(version, str):
        raise ValueError(
            f"{root} is a Delta table, whose versions are numbers: {root}@v12, not {said(version)}"
        )
    try:
        table = DeltaTable(address(root), storage_options=storage_options(root))
        if version is not None:
            table.load_as_version(version)
        mapping = table.metadata().configuration.get("delta.columnMapping.mode", "none")
        if mapping != "none":
            raise ValueError(
                f"the Delta table {root} has a column mapping ({mapping}): its files name the columns "
                "otherwise, and Quire does not read them; write its rows to Parquet files"
            )
        paths = table.get_add_actions()["path"].to_pylist()
        id, number = str(table.metadata().id), table.version()
        vectors = {}
        if "deletionVectors" in (table.protocol().reader_features or ()):
            vectors = {
                unquote(place): vector.values.to_numpy(zero_copy_only=False)
                for batch in map(pa.record_batch, table.deletion_vectors())
                for place, vector in zip(
                    batch["filepath"].to_pylist(), batch["selection_vector"], strict=True
                )
            }
    except (DeltaError, OSError) as error:
        what = root if version is None else f"{root}{said(version)}"
        raise ValueError(f"the Delta table {what} cannot be read: {plain(error)}") from error
    if outside := [path for path in paths if "://" in path or path.startswith("/")]:
        raise ValueError(
            f"the Delta table {root} is a shallow clone: {outside[0]} lies elsewhere; give the table that "
            "was cloned"
        )
    kept: dict[str, NDArray[np.bool_] | None] = dict.fromkeys(f"{root}/{unquote(path)}" for path in paths)
    for place, vector in vectors.items():
        kept[_same_file(place, root, kept)] = vector
    return Snapshot(id=id, version=number, files=kept)
