"""The tables of an output in; the same tables, with the same rows, in files that are quick to read, out.

Four steps a table: small files are merged (`compaction`), a checkpoint sums up the log, entries of the log
that are older than the retention leave, and so do files that left the table so long ago, or that no commit
ever named. Each step is deltalake's, and may be cut at any point: what is left of it is done the next time.
Readers that are under way, and time travel, lose nothing that is younger than the retention.

Under a lease: no run writes meanwhile. So no file that a commit is about to name is taken for a stray one.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipeline.commit.compaction import TARGET_BYTES, compact
from pipeline.commit.foreign_features import refuse_features
from pipeline.commit.lease import HOLDER, Lease
from pipeline.commit.tables import (
    OutputError,
    Table,
    absolute_uri,
    handle_of,
    paths_of,
    place_of,
)
from pipeline.ingest.delta import is_table, plain
from pipeline.ingest.storage import file_system

RETENTION_HOURS = 168  # Delta's own of removed files, unless a table has another one
HALF_WRITTEN = re.compile(r"\.(?:parquet|json)#\d+$")  # until a file is whole, it is called so
LOG_RETENTION = "delta.logRetentionDuration"


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """What maintenance aims at."""

    target_size: int = TARGET_BYTES
    """Bytes of a file: smaller ones are merged."""
    retention_hours: int = RETENTION_HOURS
    """For which removed files and entries of the log stay. The log keeps a week at least."""
    force: bool = False
    """Whether removed files may leave before readers and time travel are done with them."""

    def __post_init__(self) -> None:
        if self.target_size < 1:
            raise ValueError("--target-size: it must be at least 1 MiB")
        if self.retention_hours < 0:
            raise ValueError(f"--retention {self.retention_hours}: it must be at least 0 hours")


@dataclass(frozen=True, kw_only=True)
class TableSize:
    """What a table consists of. Sizes in bytes."""

    files: int
    size: int
    small: int
    """Of the files, those below the target size."""
    unused: int
    """Files that are there and not in the table: removed ones, strays, those of a run that was cut."""
    unused_size: int
    log_files: int
    log_size: int


def find_tables(output: str) -> dict[str, Table]:
    """All tables that runs have written under an output, by their paths there. Raises ValueError."""
    root = absolute_uri(output)
    filesystem, folder = file_system(root)
    found = {}
    try:
        for name in _folders(filesystem, folder):
            if table := _table(root, name):
                found[name] = table
                continue
            for inner in _folders(filesystem, f"{folder}/{name}"):
                if table := _table(root, f"{name}/{inner}"):
                    found[table.name] = table
    except (OSError, DeltaError) as error:
        raise ValueError(f"output {output} cannot be read: {plain(error)}") from error
    if HOLDER not in found:
        raise ValueError(f"there is no output of a run at {output}: it has no table {HOLDER}/")
    return found


def _folders(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    infos = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    names = [info.base_name for info in infos if info.type == pafs.FileType.Directory]
    return sorted(name for name in names if not name.startswith(("_", ".")))


def _table(root: str, name: str) -> Table | None:
    """None if there is no table of a run's."""
    uri = f"{root}/{name}"
    if not is_table(uri):
        return None
    handle = handle_of(uri)
    if "schema_version" not in handle.metadata().configuration:  # somebody else's
        return None
    refuse_features(uri, handle)
    return Table(name=name, uri=uri, schema=pa.schema(handle.schema().to_arrow()))


def size_of(table: Table, upkeep: Upkeep) -> TableSize:
    """Raises OutputError."""
    try:
        handle = handle_of(table.uri)
        sizes = handle.get_add_actions()["size_bytes"].to_pylist()
        filesystem, folder = file_system(table.uri)
        infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True))
        visible = {place_of(folder, path) for path in paths_of(handle)}
    except (OSError, DeltaError) as error:
        raise OutputError(f"{table.uri} cannot be read: {plain(error)}") from error
    log, unused = [], []
    for info in infos:
        if info.path.startswith(f"{folder}/_delta_log/"):
            log.append(info.size)
        elif info.type == pafs.FileType.File and info.path not in visible:
            unused.append(info.size)
    return TableSize(
        files=len(sizes),
        size=sum(sizes),
        small=sum(size < upkeep.target_size for size in sizes),
        unused=len(unused),
        unused_size=sum(unused),
        log_files=len(log),
        log_size=sum(log),
    )


def removable(table: Table, upkeep: Upkeep) -> int:
    """Files that maintenance would remove now. Raises ValueError if readers may still need them."""
    try:
        return len(_vacuum(handle_of(table.uri), upkeep, dry_run=True)) + len(_half_written(table, upkeep))
    except (OSError, DeltaError) as error:
        if "minimum retention" not in str(error):
            raise ValueError(f"{table.uri} cannot be read: {plain(error)}") from error
        raise ValueError(
            f"--retention {upkeep.retention_hours}: readers and time travel may need the removed files of "
            f"{table.uri} for longer; choose more hours ({RETENTION_HOURS} are usual), or give --force"
        ) from error


def maintain(lease: Lease, tables: Mapping[str, Table], upkeep: Upkeep) -> None:
    """All steps for each table. Raises OutputError: a table cannot be written, or the lease is lost."""
    for name, table in tables.items():
        for step in STEPS:
            lease.check(name)
            try:
                step(table, upkeep)
            except (OSError, DeltaError) as error:
                raise OutputError(f"{table.uri} cannot be maintained: {plain(error)}") from error


def merge_files(table: Table, upkeep: Upkeep) -> None:
    compact(table, upkeep.target_size)


def write_checkpoint(table: Table, upkeep: Upkeep) -> None:
    """The log up to now in one file, from which readers start."""
    handle = handle_of(table.uri)
    hours = f"interval {max(upkeep.retention_hours, RETENTION_HOURS)} hours"
    if handle.metadata().configuration.get(LOG_RETENTION) != hours:
        handle.alter.set_table_properties({LOG_RETENTION: hours})
    handle.create_checkpoint()


def clean_log(table: Table, upkeep: Upkeep) -> None:
    """Entries before the last checkpoint leave, once they are old enough."""
    handle_of(table.uri).cleanup_metadata()


def remove_files(table: Table, upkeep: Upkeep) -> None:
    """Files that left the table, and strays, leave the disk, once they are old enough."""
    _vacuum(handle_of(table.uri), upkeep, dry_run=False)
    for path in _half_written(table, upkeep):
        path.unlink(missing_ok=True)


STEPS: tuple[Callable[[Table, Upkeep], None], ...] = (merge_files, write_checkpoint, clean_log, remove_files)


def _vacuum(handle: DeltaTable, upkeep: Upkeep, *, dry_run: bool) -> list[str]:
    return handle.vacuum(
        upkeep.retention_hours,
        dry_run=dry_run,
        enforce_retention_duration=not upkeep.force,
        full=True,  # files that a run left without a commit, too
    )


def _half_written(table: Table, upkeep: Upkeep) -> list[Path]:
    """Files on a disk in whose midst deltalake was killed: it does not see them itself. S3 shows none."""
    filesystem, folder = file_system(table.uri)
    if not isinstance(filesystem, pafs.LocalFileSystem):
        return []
    before = time.time() - 3600 * upkeep.retention_hours
    found = [path for path in Path(folder).rglob("*#*") if HALF_WRITTEN.search(path.name)]
    return [path for path in found if path.stat().st_mtime < before]
