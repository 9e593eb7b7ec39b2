"""The snapshots of an Iceberg table in; what each did to its files, and the files with new rows, out."""

from collections.abc import Iterable, Iterator

from pyiceberg.io import FileIO
from pyiceberg.manifest import ManifestContent, ManifestEntryStatus, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of

from pipeline.ingest import catalogs
from pipeline.ingest.changes import Change, Kind, UnclearError, check_there, new_files
from pipeline.ingest.data_files import DataFile
from pipeline.ingest.feed import Position
from pipeline.ingest.iceberg import ElsewhereError, files_at, manifests_of, plain_uri


def new_files_at(
    table: Table, snapshot: Snapshot, since: Position, name: str, within: str | None
) -> list[DataFile]:
    """The files of a snapshot with the rows that came behind a position.

    Raises UnclearError, ValueError, and OSError.
    """
    try:
        behind = _changes(table, snapshot, since["version"], name, within)
        fresh = new_files(behind, was_cut=since["was_cut"], unread=since.get("unread", ()))
    except ElsewhereError as error:
        raise ValueError(str(error)) from error
    except catalogs.CATALOG_ERRORS as error:
        raise ValueError(f"the Iceberg table {name} cannot be read: {catalogs.said(error)}") from error
    found: list[DataFile] = []
    for version in set(fresh.values()):
        at = snapshot if version is None else table.snapshot_by_id(version)
        if at is None:
            raise UnclearError(f"snapshot {version} has expired")
        wanted = {file for file, its in fresh.items() if its == version}
        files = [file for file in files_at(table, at, name, within) if file.entry.uri in wanted]
        if version is not None:
            check_there(file.entry.uri for file in files)
        found += files
    return sorted(found, key=lambda file: file.entry)


def _changes(table: Table, snapshot: Snapshot, since: int, name: str, within: str | None) -> Iterator[Change]:
    behind: list[Snapshot] = []
    for one in ancestors_of(snapshot, table.metadata):
        if one.snapshot_id == since:
            break
        behind.append(one)
    if snapshot.snapshot_id != since and behind[-1].parent_snapshot_id != since:
        raise UnclearError(f"snapshot {since}, which was read, has expired or was rolled back")
    return (_change(one, manifests_of(table, one, name, within), table.io) for one in reversed(behind))


def _change(snapshot: Snapshot, manifests: Iterable[ManifestFile], io: FileIO) -> Change:
    added, removed, deletes = set(), set(), False
    for manifest in manifests:
        if manifest.added_snapshot_id != snapshot.snapshot_id:
            continue
        for entry in manifest.fetch_manifest_entry(io, discard_deleted=False):
            if entry.snapshot_id != snapshot.snapshot_id or entry.status == ManifestEntryStatus.EXISTING:
                continue
            if manifest.content == ManifestContent.DELETES:
                deletes = True
            elif entry.status == ManifestEntryStatus.ADDED:
                added.add(plain_uri(entry.data_file.file_path))
            else:
                removed.add(plain_uri(entry.data_file.file_path))
    operation = snapshot.summary.operation if snapshot.summary else Operation.OVERWRITE
    return Change(
        version=snapshot.snapshot_id,
        before=snapshot.parent_snapshot_id or 0,
        kind=_kind(operation, comes=bool(added), goes=bool(removed) or deletes),
        added=frozenset(added),
        removed=frozenset(removed),
        in_place=deletes,
        what=operation.value,
    )


def _kind(operation: Operation, *, comes: bool, goes: bool) -> Kind:
    if operation == Operation.REPLACE:
        return "rewrite"
    if not comes:
        return "delete"
    return "unclear" if goes else "append"
