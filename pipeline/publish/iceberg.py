"""A version of a Delta table in; the same rows as the newest snapshot of an Iceberg table, out.

Both tables share their Parquet files: nothing is copied. One commit to the catalog adds the files that the
Iceberg table lacks, takes away those that Delta has removed, adds the columns that are new, and lets older
snapshots go, whose files maintenance may remove. The version stands in the snapshot's summary, so that the
same one is published once. Whatever cuts this, and whoever publishes meanwhile: the Iceberg table is some
version of the Delta table, whole.

Our files have no field ids. Readers find columns by name, as the table's name mapping says.

It refuses what Iceberg cannot say with these files: deletion vectors, a column mapping, partitions, files of
other tables; and an Iceberg table that others have made or in which they have deleted rows.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import unquote

import pyarrow as pa
from deltalake.exceptions import DeltaError
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchIcebergTableError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction
from pyiceberg.table.update.snapshot import ExpireSnapshots

from pipeline.commit.foreign_features import refuse_features
from pipeline.commit.lease import HOLDER
from pipeline.commit.optional_columns import optional
from pipeline.commit.tables import OutputError, Table, handle_of, paths_of
from pipeline.ingest.catalogs import CATALOG_ERRORS, asking, said
from pipeline.ingest.delta import plain
from pipeline.ingest.object_uris import with_account

NAME_MAPPING = "schema.name-mapping.default"
RETRIES = "commit.retry.num-retries"
SOURCE = "quire.delta-table"
VERSION, TABLE_ID = "quire.delta-version", "quire.delta-table-id"  # in the summary of a snapshot
PROPERTIES = {
    # By default pyiceberg makes a commit that was overtaken again, and a stale one goes through.
    RETRIES: "0",
    # The files are Delta's: engines that heed this do not delete them with a snapshot or the table.
    "gc.enabled": "false",
}
METADATA = "_iceberg"  # under OUT: maintenance leaves a name with an underscore alone
FOOTERS = 8  # that are read at a time


@dataclass(frozen=True, kw_only=True)
class Published:
    """What has become of one table."""

    table: str
    """Its path under OUT."""
    identifier: str
    """Its name in the catalog."""
    version: int
    """Of the Delta table."""
    added: int
    removed: int
    """Files; both 0 if the version was there."""
    is_new: bool
    """Whether the version was not there before."""


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A version of one Delta table, and the Iceberg table as it was just before."""

    name: str
    uri: str
    identifier: str
    iceberg: IcebergTable | None
    version: int
    schema: pa.Schema
    files: frozenset[str]
    """As Iceberg names them: absolute, and no escapes."""
    summary: dict[str, str]


def publish(catalog: Catalog, namespace: str, output: str, tables: Sequence[Table]) -> list[Published]:
    """Publishes the newest version of each table; `output` is absolute.

    Raises ValueError: nothing is published; and OutputError: a table, and those behind it, are not.
    """
    # A run commits to documents/ last. With its version looked up first and published last, a document
    # that is seen in it has its answers in theirs.
    ordered = sorted(tables, key=lambda table: table.name == HOLDER)
    with asking(catalog):
        if not catalog.namespace_exists(namespace):
            catalog.create_namespace_if_not_exists(namespace)
    steps = [_looked_up(catalog, namespace, table) for table in reversed(ordered)]
    return [_publish(catalog, output, step) for step in reversed(steps)]


def iceberg_name(table: str) -> str:
    """A name that every engine takes without quotes. Example: answers/Receipt-1a2b is answers_receipt_1a2b"""
    return "".join(sign if sign.isalnum() else "_" for sign in table.lower())


def _looked_up(catalog: Catalog, namespace: str, table: Table) -> _Step:
    """Raises ValueError: the table cannot be published."""
    if "://" in table.uri and set("#?") & set(table.uri):
        raise ValueError(
            f"{table.uri} has a # or a ? in its address, which pyiceberg misreads; copy it to another one"
        )
    identifier = f"{namespace}.{iceberg_name(table.name)}"
    # Before Delta's version. What somebody else publishes behind this line is a conflict, so that no newer
    # version is replaced by an older one.
    iceberg = _loaded(catalog, identifier, table.uri)
    try:
        delta = handle_of(table.uri)
        refuse_features(table.uri, delta)
        paths = paths_of(delta)
    except (DeltaError, OSError) as error:
        raise ValueError(f"{table.uri} cannot be read: {plain(error)}") from error
    if delta.metadata().partition_columns:
        raise ValueError(
            f"{table.uri} was partitioned by another tool, and its files lack the columns of their folders: "
            "it cannot be published"
        )
    if outside := sorted(path for path in paths if "://" in path or path.startswith("/")):
        raise ValueError(
            f"{table.uri} is a shallow clone: {outside[0]} lies elsewhere; publish the table that was cloned"
        )
    return _Step(
        name=table.name,
        uri=table.uri,
        identifier=identifier,
        iceberg=iceberg,
        version=delta.version(),
        schema=optional(pa.schema(delta.schema().to_arrow())),
        files=frozenset(f"{with_account(table.uri)}/{unquote(path)}" for path in paths),
        summary={VERSION: str(delta.version()), TABLE_ID: str(delta.metadata().id)},
    )


def _loaded(catalog: Catalog, identifier: str, source: str) -> IcebergTable | None:
    """The Iceberg table, with our properties; None if there is none. Raises ValueError: it is not ours."""
    try:
        with asking(catalog):
            iceberg = catalog.load_table(identifier)
    except NoSuchIcebergTableError as error:
        raise ValueError(f"{identifier} is a table of another kind; choose another --namespace") from error
    except NoSuchTableError:
        return None
    if iceberg.properties.get(SOURCE) != source:
        raise ValueError(
            f"{identifier} in the catalog {catalog.name} was not published from {source}, but from "
            f"{iceberg.properties.get(SOURCE, 'elsewhere')}; choose another --namespace"
        )
    if any(iceberg.properties.get(key) != value for key, value in PROPERTIES.items()):
        # Somebody has changed them. In a commit of its own: pyiceberg reads RETRIES before one.
        with asking(catalog), iceberg.transaction() as transaction:
            transaction.set_properties(PROPERTIES)
    return iceberg


def _publish(catalog: Catalog, output: str, step: _Step) -> Published:
    """Raises OutputError: nothing of it is visible."""
    told = Published(
        table=step.name, identifier=step.identifier, version=step.version, added=0, removed=0, is_new=False
    )
    if step.iceberg is not None and _holds(step.iceberg, step.summary):
        return told
    there = _files(step)
    added = sorted(step.files - there.keys())
    removed = sorted(there.keys() - step.files)
    try:
        transaction = _create(catalog, output, step) if step.iceberg is None else _alter(step.iceberg, step)
        _stage(transaction, step, _described(transaction, added), [there[path] for path in removed])
        transaction.commit_transaction()
    except (CommitFailedException, TableAlreadyExistsError) as error:
        raise OutputError(
            f"{step.identifier} was changed by another publish or tool meanwhile, and version {step.version} "
            f"of {step.name} is not published"
        ) from error
    except CATALOG_ERRORS as error:
        if not _is_there(catalog, step):  # the answer to a commit may get lost
            raise OutputError(
                f"version {step.version} of {step.name} cannot be published as {step.identifier}: "
                f"{said(error)}"
            ) from error
    return replace(told, added=len(added), removed=len(removed), is_new=True)


def _is_there(catalog: Catalog, step: _Step) -> bool:
    try:
        iceberg = _loaded(catalog, step.identifier, step.uri)
    except ValueError:  # it cannot be asked; the next publish sees what there is
        return False
    return iceberg is not None and _holds(iceberg, step.summary)


def _holds(iceberg: IcebergTable, summary: dict[str, str]) -> bool:
    """Whether the newest snapshot is of this version. One that another tool made has no such summary."""
    snapshot = iceberg.current_snapshot()
    if snapshot is None or snapshot.summary is None:
        return False
    return all(snapshot.summary.get(key) == value for key, value in summary.items())


def _files(step: _Step) -> dict[str, DataFile]:
    """The files of the newest snapshot, by their paths. Raises OutputError: rows of them are deleted."""
    snapshot = step.iceberg.current_snapshot() if step.iceberg else None
    if step.iceberg is None or snapshot is None:
        return {}
    files = {}
    for manifest in snapshot.manifests(step.iceberg.io):
        if manifest.content == ManifestContent.DELETES:
            raise OutputError(
                f"rows of {step.identifier} were deleted by another tool; drop the table from the catalog, "
                "without its files, and publish it anew"
            )
        for entry in manifest.fetch_manifest_entry(step.iceberg.io, discard_deleted=True):
            files[entry.data_file.file_path] = entry.data_file
    return files


def _create(catalog: Catalog, output: str, step: _Step) -> Transaction:
    """A transaction that creates the table: nobody sees it before it has its rows."""
    has_place = isinstance(catalog, RestCatalog) or "warehouse" in catalog.properties
    transaction = catalog.create_table_transaction(
        step.identifier,
        step.schema,
        location=None if has_place else f"{with_account(output)}/{METADATA}/{step.name}",
        properties=PROPERTIES | {SOURCE: step.uri},
    )
    _map_names(transaction)
    return transaction


def _alter(iceberg: IcebergTable, step: _Step) -> Transaction:
    """A transaction on the table, with the columns that are new."""
    transaction = iceberg.transaction()
    if transaction.table_metadata.name_mapping() is None:  # somebody took it away
        _map_names(transaction)
    with transaction.update_schema() as update:  # the mapping follows
        update.union_by_name(step.schema)
    return transaction


def _map_names(transaction: Transaction) -> None:
    mapping = transaction.table_metadata.schema().name_mapping
    transaction.set_properties({NAME_MAPPING: mapping.model_dump_json()})


def _described(transaction: Transaction, paths: Sequence[str]) -> list[DataFile]:
    """The files as Iceberg lists them, with what their footers say: sizes, least and greatest values."""
    metadata, io = transaction.table_metadata, transaction._table.io
    with ThreadPoolExecutor(FOOTERS) as threads:
        return list(threads.map(lambda path: parquet_file_to_data_file(io, metadata, path), paths))


def _stage(
    transaction: Transaction, step: _Step, added: Sequence[DataFile], removed: Sequence[DataFile]
) -> None:
    """One snapshot, and the end of those before it. Tags and branches of other people's stay."""
    older = [snapshot.snapshot_id for snapshot in transaction.table_metadata.snapshots]
    with transaction.update_snapshot(snapshot_properties=step.summary).overwrite() as snapshot:
        for file in added:
            snapshot.append_data_file(file)
        for file in removed:
            snapshot.delete_data_file(file)
    kept = {reference.snapshot_id for reference in transaction.table_metadata.refs.values()}
    if expired := [number for number in older if number not in kept]:
        ExpireSnapshots(transaction).by_ids(expired).commit()
