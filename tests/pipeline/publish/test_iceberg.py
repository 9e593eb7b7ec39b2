"""An Iceberg table is some version of its Delta table, whole, whatever cuts or overtakes who publishes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import PyArrowFile
from pyiceberg.manifest import ManifestContent, ManifestFile
from pyiceberg.table import Table as IcebergTable
from sqlalchemy.orm import Session

from jobs.maintain import maintain
from pipeline.commit.delta_log import Change
from pipeline.commit.lease import Lease
from pipeline.commit.optional_columns import optional
from pipeline.commit.tables import (
    DataFile,
    OutputError,
    Table,
    create_tables,
    extend_table,
    handle_of,
    paths_of,
    read_table,
    write_rows,
)
from pipeline.ingest.catalogs import opened
from pipeline.ingest.delta import address, storage_options
from pipeline.ingest.storage import file_system
from pipeline.publish import iceberg
from pipeline.publish.iceberg import PROPERTIES, TABLE_ID, VERSION, Published, iceberg_name, publish
from schemas.arrow import to_table
from schemas.rows import Failure, answer_row
from schemas.targets import Receipt
from tests.pipeline.deletion_vectors import delete_by_vector
from tests.pipeline.publish.rest_catalog import serving
from tests.pipeline.s3 import Server
from tests.pipeline.stored import RECEIPT, answer, failure


class Place:
    """An output, and a catalog that several programs may open."""

    def __init__(self, output: str, properties: dict[str, str]) -> None:
        self.output = output
        self.tables = create_tables(output, Receipt)
        self.answers = Table(
            name=self.tables["answers"].uri.removeprefix(f"{output}/"),
            uri=self.tables["answers"].uri,
            schema=self.tables["answers"].schema,
        )
        self.properties = properties

    def add(self, *keys: str, replacing: bool = False) -> None:
        """One commit: a file with these rows; with `replacing`, in the place of one that is there."""
        rows = to_table(answer_row(Receipt), [answer(key, RECEIPT, Receipt) for key in keys])
        table = self.tables["answers"]
        with Lease(self.tables, "run") as lease:
            old = handle_of(table.uri).get_add_actions()
            sizes = dict(zip(old["path"].to_pylist(), old["size_bytes"].to_pylist(), strict=True))
            removed = dict(list(sizes.items())[:1]) if replacing else None
            lease.commit("answers", Change(added=[write_rows(table, rows)], removed=removed))

    def publish(self, namespace: str = "lake") -> Published:
        with opened("lake", self.properties) as catalog:
            (made,) = publish(catalog, namespace, self.output, [self.answers])
        return made

    def published(self, catalog: Catalog, namespace: str = "lake") -> IcebergTable:
        return catalog.load_table(f"{namespace}.{iceberg_name(self.answers.name)}")

    def check(self, namespace: str = "lake") -> int | None:
        """The version that the Iceberg table says it is, and is; None if there is no table."""
        with opened("lake", self.properties) as catalog:
            if not catalog.table_exists(f"{namespace}.{iceberg_name(self.answers.name)}"):
                return None
            table = self.published(catalog, namespace)
            snapshot = table.current_snapshot()
            assert snapshot is not None
            assert snapshot.summary is not None
            version = int(str(snapshot.summary[VERSION]))
            assert [one.snapshot_id for one in table.snapshots()] == [snapshot.snapshot_id]
            assert rows(table.scan().to_arrow()) == rows(self.delta(version))
        return version

    def delta(self, version: int) -> pa.Table:
        uri = self.answers.uri
        handle = DeltaTable(address(uri), version=version, storage_options=storage_options(uri))
        filesystem, folder = file_system(uri)
        schema = pa.schema(handle.schema().to_arrow())
        parts = [
            pq.read_table(f"{folder}/{path}", filesystem=filesystem, schema=schema)
            for path in paths_of(handle)
        ]
        return pa.concat_tables(parts) if parts else schema.empty_table()


def rows(table: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.to_pylist()
    return sorted(found, key=lambda row: str(row["item_key"]))


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """On a disk, under a path that URIs would have to escape."""
    folder = tmp_path / "à lake # 5%"
    folder.mkdir()
    return Place(str(folder / "out"), {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db"})


@pytest.fixture
def glue(
    s3_server: Server, bucket: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """On S3, with AWS Glue, played by moto, which takes an old VersionId, too; Glue refuses it."""
    update = GlueCatalog._update_glue_table

    def as_glue_does(catalog: GlueCatalog, *, version_id: str, **named: Any) -> None:
        there = catalog._get_glue_table(named["database_name"], named["table_name"])
        if there["VersionId"] != version_id:
            raise CommitFailedException("Glue detected concurrent update")
        update(catalog, version_id=version_id, **named)

    monkeypatch.setattr(GlueCatalog, "_update_glue_table", as_glue_does)
    name = request.node.name.replace("[", "-").replace("]", "")
    yield Place(f"{bucket}/{name} 1", {"type": "glue"})
    with opened("lake", {"type": "glue"}) as catalog:
        for namespace in catalog.list_namespaces():
            for table in catalog.list_tables(namespace):
                catalog.drop_table(table)


@pytest.fixture
def rest(tmp_path: Path) -> Iterator[Place]:
    """A REST catalog, over HTTP."""
    with serving(tmp_path / "warehouse 5%") as server:
        yield Place(str(tmp_path / "out"), {"type": "rest", "uri": f"http://127.0.0.1:{server.server_port}"})


@pytest.fixture(params=["here", pytest.param("glue", marks=pytest.mark.soak), "rest"])
def often(request: pytest.FixtureRequest) -> Place:
    """For what is done some twenty times: a minute with Glue."""
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["here", "glue", "rest"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def test_rows_are_those_of_delta(place: Place) -> None:
    place.publish()  # an empty table
    assert place.check() == 0
    place.add("a", "b")
    place.add("c")
    made = place.publish()
    assert (made.added, made.removed, made.is_new) == (2, 0, True)
    assert place.check() == made.version
    maintain(place.output)  # its files have texts as string_view, and no statistics of some columns
    place.add("d")
    made = place.publish()
    assert (made.added, made.removed) == (2, 2)
    assert place.check() == made.version
    with opened("lake", place.properties) as catalog:
        table = place.published(catalog)
        paths = {task.file.file_path for task in table.scan().plan_files()}
        assert paths == {f"{place.answers.uri}/{path}" for path in paths_of(handle_of(place.answers.uri))}
        found = table.scan(row_filter="item_key == 'd'", selected_fields=("item_key", "answer")).to_arrow()
        assert found["answer"].to_pylist() == [RECEIPT.model_dump()]
        (total,) = duckdb.sql("SELECT sum(answer.total) FROM found").fetchall()
        assert total == (RECEIPT.total,)


def test_the_same_version_is_published_once(place: Place) -> None:
    place.add("a")
    made = place.publish()
    with opened("lake", place.properties) as catalog:
        before = place.published(catalog).metadata_location
        again = place.publish()
        assert (again.version, again.added, again.removed, again.is_new) == (made.version, 0, 0, False)
        assert place.published(catalog).metadata_location == before


def test_a_new_column_comes_with_the_snapshot(here: Place) -> None:
    older = here.answers.schema.remove(here.answers.schema.get_field_index("page_damaged"))
    uri = f"{here.output}/answers/text"
    table = Table(name="answers/text", uri=uri, schema=older.remove(older.get_field_index("answer")))
    rows_ = to_table(answer_row(Receipt), [answer("a", RECEIPT, Receipt)])
    write_deltalake(uri, rows_.select(table.schema.names).cast(table.schema), mode="append")
    here.answers = table
    here.publish()
    assert here.check() == 0
    newer = table.schema.append(pa.field("page_damaged", pa.bool_()))
    newer = newer.with_metadata(here.tables["answers"].schema.metadata)
    extend_table(Table(name="answers/text", uri=uri, schema=newer))
    write_deltalake(uri, rows_.select(newer.names).cast(newer), mode="append")
    made = here.publish()
    assert (made.added, made.removed) == (1, 0)
    assert here.check() == made.version
    with opened("lake", here.properties) as catalog:
        found = here.published(catalog)
        assert found.schema().find_field("page_damaged").field_id == found.schema().highest_field_id
        names = [entry["names"] for entry in json.loads(found.properties["schema.name-mapping.default"])]
        assert ["page_damaged"] in names
        assert not any(
            "field_id" in str(pq.read_schema(path).metadata) for path in Path(uri).glob("*.parquet")
        )


class Cut(BaseException):
    """The process ends here."""


class Steps:
    """Counts what is written, before and behind each call, and cuts at one of them."""

    def __init__(self, cut_at: int) -> None:
        self.number = 0
        self._cut_at = cut_at

    def around(self, owner: type, name: str) -> Any:
        call = getattr(owner, name)

        def step(*given: Any, **named: Any) -> Any:
            self.count()
            result = call(*given, **named)
            self.count()
            return result

        return patch.object(owner, name, step)

    def count(self) -> None:
        self.number += 1
        if self.number == self._cut_at:
            raise Cut


def cut(place: Place, number: int, namespace: str) -> bool:
    """Publishes until step `number`; False if there are no so many."""
    steps = Steps(number)
    files = steps.around(PyArrowFile, "create")
    commits = steps.around(Session, "commit")
    calls = steps.around(GlueCatalog, "_update_glue_table"), steps.around(GlueCatalog, "_create_glue_table")
    requests = steps.around(RestCatalog, "commit_table")
    with files, commits, calls[0], calls[1], requests:
        try:
            place.publish(namespace)
        except Cut:
            return True
    assert number > (5 if place.properties["type"] == "rest" else 8), "most steps are not seen"
    return False


def test_a_first_publish_that_is_cut_anywhere_is_all_or_nothing(often: Place) -> None:
    often.add("a")
    often.add("b")
    number = 1
    seen: set[int | None] = set()
    while cut(often, number, f"lake{number}"):
        seen.add(found := often.check(f"lake{number}"))
        again = often.publish(f"lake{number}")
        assert again.is_new == (found is None)
        assert often.check(f"lake{number}") == again.version
        number += 1
    assert seen == {None, again.version}


def test_a_publish_that_is_cut_anywhere_leaves_the_old_version_or_the_new_one(often: Place) -> None:
    often.add("a")
    before = often.publish().version
    number = 1
    seen: set[bool] = set()
    while True:
        often.add(f"new {number}", f"other {number}", replacing=True)
        if not cut(often, number, "lake"):
            break
        found = often.check()
        again = often.publish()
        assert found in (before, again.version)
        assert again.is_new == (found == before)
        assert often.check() == again.version
        seen.add(found == before)
        before = again.version
        number += 1
    assert seen == {True, False}


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_one_fails_that_is_overtaken_early(
    often: Place, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    one_of_two_fails(often, monkeypatch, is_first=is_first, moment="described")


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_one_fails_and_the_newer_version_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    one_of_two_fails(place, monkeypatch, is_first=is_first, moment="written")


def one_of_two_fails(place: Place, monkeypatch: pytest.MonkeyPatch, *, is_first: bool, moment: str) -> None:
    """The other one publishes at that moment."""
    if not is_first:
        place.publish()
    place.add("a")
    others: list[int] = []

    def overtaken(call: Callable[..., Any]) -> Callable[..., Any]:
        def late(*given: Any, **named: Any) -> Any:
            if not others:
                others.append(0)
                place.add("b", replacing=True)
                others.append(place.publish().version)
            return call(*given, **named)

        return late

    if moment == "described":
        monkeypatch.setattr(iceberg, "_described", overtaken(iceberg._described))
    else:  # between the catalog's last look and its change
        for kind in (SqlCatalog, GlueCatalog):
            monkeypatch.setattr(kind, "_write_metadata", staticmethod(overtaken(kind._write_metadata)))
        monkeypatch.setattr(RestCatalog, "commit_table", overtaken(RestCatalog.commit_table))
    with pytest.raises(OutputError, match="was changed by another publish or tool meanwhile"):
        place.publish()
    assert place.check() == others[-1]
    assert not place.publish().is_new


def test_an_answer_that_gets_lost_is_asked_for(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    here.add("a")
    commit = SqlCatalog.commit_table

    def lost(*given: Any) -> None:
        commit(*given)
        raise ConnectionError("gone")

    monkeypatch.setattr(SqlCatalog, "commit_table", lost)
    assert here.publish().is_new
    here.add("b")
    monkeypatch.setattr(SqlCatalog, "commit_table", refuse)
    with pytest.raises(OutputError, match=r"cannot be published as .*: gone"):
        here.publish()


def refuse(*_: object) -> None:
    raise ConnectionError("gone")


def test_a_stale_append_of_another_tool_does_not_go_through(here: Place) -> None:
    here.add("a")
    here.publish()
    with opened("lake", here.properties) as catalog:
        stale = here.published(catalog)
        here.add("b")
        made = here.publish()
        with pytest.raises(CommitFailedException):
            stale.append(stale.scan().to_arrow())
    assert here.check() == made.version


def test_what_another_tool_has_done_is_undone_by_the_next_version(here: Place) -> None:
    here.add("a")
    here.publish()
    with opened("lake", here.properties) as catalog:
        table = here.published(catalog)
        table.append(table.scan().to_arrow())
        with table.transaction() as change:
            change.set_properties({"commit.retry.num-retries": "4", "gc.enabled": "true"})
            change.remove_properties("schema.name-mapping.default")
        made = here.publish()
        assert (made.added, made.removed, made.is_new) == (0, 1, True)
        found = here.published(catalog).properties
        assert found.items() >= PROPERTIES.items()
    assert here.check() == made.version


def test_a_table_made_anew_is_another_one(here: Place) -> None:
    here.publish()
    schema = here.answers.schema
    write_deltalake(f"{here.output}/other", schema.empty_table())
    Path(here.answers.uri).rename(f"{here.output}/gone")
    Path(f"{here.output}/other").rename(here.answers.uri)
    made = here.publish()
    assert (made.version, made.is_new) == (0, True)


def test_documents_are_published_last(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    first = iceberg._looked_up

    def noted(catalog: Catalog, namespace: str, table: Table) -> Any:
        looked_up.append(table.name)
        return first(catalog, namespace, table)

    monkeypatch.setattr(iceberg, "_looked_up", noted)
    tables = [here.tables["documents"], here.answers, here.tables["failures"]]
    with opened("lake", here.properties) as catalog:
        made = publish(catalog, "lake", here.output, tables)
    assert [one.table for one in made] == [here.answers.name, "failures", "documents"]
    assert looked_up == ["documents", "failures", here.answers.name]
    assert {one.identifier for one in made} >= {"lake.failures", "lake.documents"}


def test_what_iceberg_cannot_say_is_refused(here: Place, tmp_path: Path) -> None:
    here.add("a", "b")
    delete_by_vector(here.answers.uri, [0])
    with pytest.raises(ValueError, match="deleted with deletion vectors"):
        here.publish()
    uri = str(tmp_path / "parts")
    write_deltalake(uri, pa.table({"day": ["1"], "x": [1]}), partition_by=["day"])
    here.answers = Table(name="parts", uri=uri, schema=pa.schema([("day", pa.string())]))
    with pytest.raises(ValueError, match="was partitioned by another tool"):
        here.publish()
    assert here.check() is None


def test_a_table_of_somebody_else_is_left_alone(here: Place, tmp_path: Path) -> None:
    here.publish()
    other = Place(str(tmp_path / "other"), here.properties)
    with pytest.raises(ValueError, match=r"was not published from .*; choose another --namespace"):
        other.publish()
    assert other.publish("theirs").is_new
    assert here.check() == 0


@pytest.mark.processes
def test_an_address_that_would_be_misread_is_refused(glue: Place) -> None:
    glue.answers = Table(name="answers", uri=f"{glue.output}#1/answers", schema=glue.answers.schema)
    with pytest.raises(ValueError, match="has a # or a"):
        glue.publish()


def test_ids_of_versions_stand_in_the_summary(here: Place) -> None:
    made = here.publish()
    with opened("lake", here.properties) as catalog:
        snapshot = here.published(catalog).current_snapshot()
        assert snapshot is not None
        assert snapshot.summary is not None
        assert snapshot.summary[VERSION] == str(made.version)
        assert snapshot.summary[TABLE_ID] == str(handle_of(here.answers.uri).metadata().id)
        assert read_table(here.answers.uri).num_rows == 0


def test_metadata_lie_in_the_warehouse_or_under_the_output(here: Place, tmp_path: Path) -> None:
    here.add("a")
    here.publish()
    here.add("b")
    maintain(here.output, retention=0, force=True)  # it leaves them alone
    assert list(Path(here.output, "_iceberg").rglob("*.metadata.json"))
    made = here.publish()
    assert here.check() == made.version
    warehouse = tmp_path / "warehouse"
    other = Place(str(tmp_path / "other"), here.properties | {"warehouse": str(warehouse)})
    assert other.publish("other").is_new
    assert list(warehouse.rglob("*.metadata.json"))
    assert not Path(other.output, "_iceberg").exists()


def test_rows_that_another_tool_deleted_are_no_reason_to_guess(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.add("a")
    before = here.publish().version
    here.add("b")
    with monkeypatch.context() as patched:  # pyiceberg itself writes no such manifests
        patched.setattr(ManifestFile, "content", ManifestContent.DELETES)
        with pytest.raises(
            OutputError, match=r"were deleted by another tool; drop the table from the catalog"
        ):
            here.publish()
    assert here.check() == before


def test_files_of_tools_that_write_all_columns_as_optional_are_taken(here: Place) -> None:
    """Spark's OPTIMIZE does."""
    table = here.tables["answers"]
    one = to_table(answer_row(Receipt), [answer("a", RECEIPT, Receipt)])
    path = Path(table.uri, "part-spark.parquet")
    pq.write_table(one.cast(optional(table.schema)), path)
    file = DataFile(path=path.name, size=path.stat().st_size, rows=1)
    with Lease(here.tables, "run") as lease:
        lease.commit("answers", Change(added=[file]))
    assert here.publish().added == 1
    with opened("lake", here.properties) as catalog:
        assert rows(here.published(catalog).scan().to_arrow()) == rows(one)


@pytest.mark.filterwarnings("ignore:Iceberg scan planning")  # Polars wants a package of its own for it
def test_only_pyiceberg_reads_an_absent_list_of_structs_as_an_empty_one(tmp_path: Path) -> None:
    """As docs/warehouse.md says; once pyiceberg reads it as it is, the sentence there can leave."""
    place = Place(str(tmp_path / "out"), {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"})
    place.answers = table = place.tables["failures"]
    with Lease(place.tables, "run") as lease:
        rows_ = to_table(Failure, [failure("a"), failure("b")])
        lease.commit("failures", Change(added=[write_rows(table, rows_)]))
    place.publish()
    there = rows(read_table(table.uri))
    with opened("lake", place.properties) as catalog:
        published = place.published(catalog)
        read = rows(published.scan().to_arrow())
        assert [row["fields"] for row in read] == [[], []]
        assert [row | {"fields": None} for row in read] == there
        assert rows(pl.scan_iceberg(published).collect().to_arrow()) == there
