"""An input whose rows are documents in; its Parquet files, of a table those of a version, out.

Delta tables are found by the folder of their log. An Iceberg table is given as its folder, as a file of its
metadata, or by its catalog; pyiceberg is imported for these alone, since it comes with an extra.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from glob import has_magic
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extras import missing
from pipeline.ingest import delta, storage
from pipeline.ingest.changes import UnclearError
from pipeline.ingest.data_files import DataFile
from pipeline.ingest.delta_changes import LOG
from pipeline.ingest.feed import Feed
from pipeline.ingest.parquet_rows import parquet_files
from pipeline.ingest.storage import Found
from pipeline.ingest.table_versions import Version, said

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

_METADATA = ".metadata.json"
_EXTRA = "iceberg"


def is_iceberg(found: Found) -> bool:
    """Whether an input is an Iceberg table's folder, or a file of its metadata."""
    if found.folder is None:
        return all(file.uri.endswith(_METADATA) for file in found.entries)
    uris = found.entries.table["uri"]
    is_metadata = _are(uris, f"{found.folder}/metadata/", _METADATA)
    return is_metadata and not _are(uris, f"{found.folder}/{LOG}/", ".json")  # one table may be both


def table_files(
    given: str, found: Found, version: Version | None, feed: Feed | None = None
) -> list[DataFile]:
    """The Parquet files of an input, whose version is none of `given`. Raises ValueError, and OSError."""
    if not is_iceberg(found):
        if version is not None and found.folder is None:
            raise ValueError(f"input {given}: {said(version)} is a version of a table, and this is a file")
        # A glob may match a part of a table: how far that was read says nothing of the rest.
        name = storage.absolute(given) if has_magic(given) else None
        files = parquet_files(given, found)
        return delta.visible(found.entries, files, found.folder, version, feed, name)
    with _extra():
        from pipeline.ingest import iceberg
    if found.folder is None:
        (metadata,) = (file.uri for file in found.entries)
        folder = metadata.rpartition("/metadata/")[0] or metadata.rpartition("/")[0]
    else:
        folder = found.folder
        metadata = iceberg.newest_metadata(folder, found.entries)
    return _iceberg_files(iceberg.stored(metadata), given, folder, version, feed)


def catalog_files(address: str, version: Version | None, feed: Feed | None = None) -> list[DataFile]:
    """The Parquet files of iceberg://CATALOG/NAMESPACE.TABLE. Raises ValueError, and OSError."""
    with _extra():
        from pipeline.ingest import iceberg
    with iceberg.named(address) as table:
        return _iceberg_files(table, address, None, version, feed)


def _iceberg_files(
    table: "IcebergTable", name: str, within: str | None, version: Version | None, feed: Feed | None
) -> list[DataFile]:
    from pipeline.ingest import iceberg, iceberg_changes

    snapshot = iceberg.snapshot_at(table, version, name)
    if feed is not None:
        place, id = iceberg.plain_uri(table.location()), str(table.metadata.table_uuid)
        number, moves = (snapshot.snapshot_id, version is None) if snapshot else (0, False)
        since = feed.since(within or name, place, id, number, moves=moves)
        if since is not None and snapshot is not None:
            try:
                return iceberg_changes.new_files_at(table, snapshot, since, name, within)
            except UnclearError as error:
                feed.unclear(place, str(error))
    return iceberg.files_at(table, snapshot, name, within)


def _are(uris: pa.ChunkedArray, start: str, end: str) -> bool:
    """Whether one begins and ends so."""
    return bool(pc.any(pc.and_(pc.starts_with(uris, start), pc.ends_with(uris, end))).as_py())


@contextmanager
def _extra() -> Iterator[None]:
    """Raises ValueError: pyiceberg is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(missing(error, _EXTRA)) from error
