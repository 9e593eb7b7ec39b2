"""A snapshot of an Iceberg table in; its Parquet files, and the rows of each that are not deleted, out.

A table is named by a catalog, or by a folder or a file of metadata. The files of a folder are found through
its newest metadata alone: the folder also holds files and rows that were removed. Refused, in a sentence:
deletes by equality, which pyiceberg does not read, and data files of other formats.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import _read_deletes  # it has no public name
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import FileFormat, ManifestFile
from pyiceberg.schema import index_by_name
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import FileScanTask, StaticTable, Table
from pyiceberg.table.name_mapping import MappedField
from pyiceberg.table.snapshots import Snapshot

from pipeline.ingest import catalogs, storage
from pipeline.ingest.cloud_file_io import CloudFileIO
from pipeline.ingest.columns import FieldIds
from pipeline.ingest.data_files import DataFile
from pipeline.ingest.entries import Entries, Entry
from pipeline.ingest.roots import lies_under
from pipeline.ingest.table_versions import ICEBERG, Version, said

_SUFFIX: Final = ".metadata.json"
_METADATA: Final = re.compile(r"(?:v(\d+)|(\d+)-[^/]*?)(?:\.gz)?\.metadata\.json")
_HINT: Final = "version-hint.text"


class ElsewhereError(Exception):
    """A table in a folder names a file outside of it. One sentence."""


@contextmanager
def named(address: str) -> Iterator[Table]:
    """The table iceberg://CATALOG/NAMESPACE.TABLE, while the context lasts. Raises ValueError."""
    catalog, _, identifier = address.removeprefix(ICEBERG).partition("/")
    if not catalog or "." not in identifier.strip("."):
        raise ValueError(f"input {address}: an Iceberg table reads {ICEBERG}CATALOG/NAMESPACE.TABLE")
    with catalogs.opened(catalog, {}) as opened:
        try:
            with catalogs.asking(opened):
                table = opened.load_table(identifier)
        except NoSuchTableError as error:
            raise ValueError(f"input {address}: the catalog {catalog} has no such table") from error
        yield table


def stored(metadata: str) -> Table:
    """The table that a file of metadata describes. Raises ValueError.

    The table's own properties are left alone: they could name a class to import, or another S3.
    """
    io = CloudFileIO(catalogs.file_properties())
    try:
        return StaticTable(
            identifier=("static-table", metadata),
            metadata=FromInputFile.table_metadata(io.new_input(_escaped(metadata))),
            metadata_location=metadata,
            io=io,
            catalog=NoopCatalog("static-table"),
        )
    except catalogs.CATALOG_ERRORS as error:
        raise ValueError(f"{metadata} cannot be read as Iceberg metadata: {catalogs.said(error)}") from error


def newest_metadata(folder: str, found: Entries) -> str:
    """The file of metadata that the table in this folder is at. Raises ValueError: only a catalog knows."""
    names = {entry.uri.rpartition("/")[2]: entry.uri for entry in found if _is_metadata(entry.uri, folder)}
    if (hint := f"{folder}/metadata/{_HINT}") in {entry.uri for entry in found}:
        text = storage.read_start(hint, 99).decode(errors="replace").strip()
        for name in (text, f"v{text}{_SUFFIX}", f"v{text}.gz{_SUFFIX}", f"{text}{_SUFFIX}"):
            if name in names:
                return names[name]
    numbers = {name: _number(name) for name in names}
    newest = [name for name, number in numbers.items() if number == max(numbers.values())]
    if len(newest) > 1:
        raise ValueError(
            f"the Iceberg table {folder} has {' and '.join(sorted(newest))}, and only its catalog knows at "
            f"which of them it is: give {ICEBERG}CATALOG/NAMESPACE.TABLE, or one of these files"
        )
    return names[newest[0]]


def snapshot_at(table: Table, version: Version | None, name: str) -> Snapshot | None:
    """The snapshot that a version means; None for a table that has none yet. Raises ValueError."""
    if version is None:
        return table.current_snapshot()
    if isinstance(version, datetime):
        found = table.snapshot_as_of_timestamp(int(version.timestamp() * 1000))
    else:
        found = table.snapshot_by_id(int(version)) if isinstance(version, str) else None
    if found is None:
        there = ", ".join(str(one.snapshot_id) for one in table.snapshots()[-5:]) or "none"
        raise ValueError(
            f"the Iceberg table {name} has no snapshot {said(version)}, or it has expired; its newest: "
            f"{there}"
        )
    return found


def files_at(table: Table, snapshot: Snapshot | None, name: str, within: str | None) -> list[DataFile]:
    """The Parquet files of a snapshot. With `within`, all of them must lie under that folder or bucket.

    Raises ValueError, and OSError.
    """
    if snapshot is None:
        return []
    try:
        if within is not None:
            _check_within(plain_uri(table.location()), within, name)  # by which rows with ids are known
        manifests_of(table, snapshot, name, within)
        tasks = list(table.scan(snapshot_id=snapshot.snapshot_id).plan_files())
        if within is not None:
            for file in (file for task in tasks for file in (task.file, *task.delete_files)):
                _check_within(plain_uri(file.file_path), within, name)
        deleted = _deleted(table.io, tasks)
    except ElsewhereError as error:
        raise ValueError(str(error)) from error
    except catalogs.CATALOG_ERRORS as error:
        why = catalogs.said(error)
        if "equality" in why:
            why = "rows of it were deleted by equality, which pyiceberg does not read; compact it first"
        raise ValueError(f"the Iceberg table {name} cannot be read: {why}") from error
    fields = _fields(table)
    files = []
    for task in tasks:
        if task.file.file_format != FileFormat.PARQUET:
            raise ValueError(
                f"the Iceberg table {name} holds {task.file.file_format} files: {task.file.file_path}; "
                "write its rows to Parquet files"
            )
        uri = plain_uri(task.file.file_path)
        # Its files never change, so that their names are version enough.
        entry = Entry(uri=uri, size=task.file.file_size_in_bytes, version=0)
        files.append(
            DataFile(entry=entry, kept=_kept(task, deleted), fields=fields, table=plain_uri(table.location()))
        )
    return sorted(files, key=lambda file: file.entry)


def manifests_of(table: Table, snapshot: Snapshot, name: str, within: str | None) -> list[ManifestFile]:
    """The manifests of a snapshot. With `within`, nothing outside of it is opened. Raises ElsewhereError."""
    if within is not None:
        _check_within(plain_uri(snapshot.manifest_list), within, name)
    manifests = snapshot.manifests(table.io)
    if within is not None:
        for manifest in manifests:
            _check_within(plain_uri(manifest.manifest_path), within, name)
    return manifests


def _check_within(uri: str, folder: str, name: str) -> None:
    """Raises ElsewhereError for a file that a table in a folder names, and that lies outside of it."""
    if not lies_under(uri, [folder]):
        raise ElsewhereError(
            f"the Iceberg table {name} names {uri}, which lies elsewhere: if it was not moved or copied, "
            f"give {ICEBERG}CATALOG/NAMESPACE.TABLE"
        )


def plain_uri(location: str) -> str:
    """An address as Iceberg has it, as ours. Example: s3a://bucket/x is s3://bucket/x, file:/x is /x"""
    location = re.sub(r"^s3[an]://", "s3://", location)
    return re.sub(r"^file:(?://)?(?=/)", "", location)


def _is_metadata(uri: str, folder: str) -> bool:
    return uri.endswith(_SUFFIX) and uri.rpartition("/")[0] == f"{folder}/metadata"


def _number(name: str) -> int:
    found = _METADATA.fullmatch(name)
    return int(found[1] or found[2]) if found else -1


def _escaped(uri: str) -> str:
    if "://" in uri and set("#?") & set(uri):
        raise ValueError(
            f"{uri} has a # or a ? in its address, which pyiceberg misreads; copy it to another one"
        )
    return uri


def _deleted(io: FileIO, tasks: Sequence[FileScanTask]) -> dict[str, list[NDArray[np.int64]]]:
    """The deleted rows of each file, by its path as Iceberg has it."""
    files: dict[str, IcebergFile] = {file.file_path: file for task in tasks for file in task.delete_files}
    deleted: dict[str, list[NDArray[np.int64]]] = {}
    for file in files.values():
        for path, places in _read_deletes(io, file).items():
            deleted.setdefault(path, []).append(places.to_numpy())
    return deleted


def _kept(task: FileScanTask, deleted: dict[str, list[NDArray[np.int64]]]) -> NDArray[np.bool_] | None:
    places = deleted.get(task.file.file_path) if task.delete_files else None
    if places is None:
        return None
    kept = np.ones(task.file.record_count, np.bool_)
    for some in places:
        kept[some[some < len(kept)]] = False
    return kept


def _fields(table: Table) -> FieldIds:
    mapping = table.name_mapping()
    names = dict(_names(mapping.root)) if mapping else {}
    return FieldIds(ids=index_by_name(table.schema()), names=names)


def _names(fields: Sequence[MappedField], before: str = "") -> Iterator[tuple[int, list[str]]]:
    for field in fields:
        if field.field_id is not None:
            yield field.field_id, [f"{before}{name}" for name in field.names]
        for name in field.names:
            yield from _names(field.fields, f"{before}{name}.")
