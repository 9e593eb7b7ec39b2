"""An Iceberg table as input is one of its snapshots: rows that were deleted are no documents."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFileContent
from pyiceberg.types import BinaryType

from pipeline.ingest import catalogs, iceberg
from pipeline.ingest.listing import list_sources
from pipeline.ingest.outages import is_outage
from pipeline.ingest.reading import read_source
from pipeline.ingest.table_versions import split_version
from tests.pipeline.iceberg_deletes import delete_by_position
from tests.pipeline.ingest.listed import complaint, contents, keys, parquet, uris, write
from tests.pipeline.ingest.tables import made, place, rows
from tests.web import running


def test_a_table_is_named_by_its_catalog_its_folder_or_its_metadata(lake: Catalog) -> None:
    table = made(lake, "a", "b")
    table.append(rows("c"))
    table.delete("id = 'b'")
    for given in ("iceberg://lake/docs.scans", place(table), iceberg.plain_uri(table.metadata_location)):
        assert sorted(contents(given, column="page")) == [b"a", b"c"]
        assert sorted(contents(given)) == [b"a", b"c"], "the column can only be it"
    assert keys("iceberg://lake/docs.scans") == keys(place(table))
    assert all(uri.startswith(f"{place(table)}/data/") for uri in uris(place(table)))


def test_a_snapshot_is_chosen_by_its_id_or_a_time(lake: Catalog) -> None:
    table = made(lake, "a")
    first = table.current_snapshot()
    assert first is not None
    table.append(rows("b"))
    for given in ("iceberg://lake/docs.scans", place(table)):
        assert contents(f"{given}@{first.snapshot_id}") == [b"a"]
        when = datetime.fromtimestamp(first.timestamp_ms / 1000, UTC)
        assert contents(f"{given}@{when.isoformat()}") == [b"a"]
        before = (when - timedelta(days=1)).isoformat()
        assert f"has no snapshot @{before}, or it has expired; its newest: " in complaint(f"{given}@{before}")
        assert "has no snapshot @17, or it has expired" in complaint(f"{given}@17")
        assert "has no snapshot @v3" in complaint(f"{given}@v3")


def test_ids_keep_their_keys_when_a_table_is_rewritten(lake: Catalog) -> None:
    table = made(lake, "a", "b")
    before = keys(place(table), id_column="ID", column="page")
    table.overwrite(rows("b", "c"))
    after = keys("iceberg://lake/docs.scans", id_column="id", column="PAGE")
    assert after[0] == before[1]
    assert after[1] not in before


def test_a_renamed_column_is_found_in_old_files_by_its_id(lake: Catalog) -> None:
    table = made(lake, "a")
    with table.update_schema() as update:
        update.rename_column("page", "scan")
    table.append(rows("b", name="scan"))
    assert sorted(contents(place(table), column="scan", id_column="id")) == [b"a", b"b"]
    assert "--column page" in complaint(place(table), column="page")


def test_a_column_that_took_the_name_of_another_is_not_read_in_its_place(lake: Catalog) -> None:
    table = made(lake, "a")
    with table.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("page")
    with table.update_schema() as update:
        update.add_column("page", BinaryType())
    table.append(rows("b"))
    found = list_sources([place(table)], column="page").to_pylist()
    assert [read_source(source, ()) for source in found if source["refused"] is None] == [b"b"]
    (refused,) = [source["refused"] for source in found if source["refused"] is not None]
    assert "was written before its table had this column" in refused


def test_rows_deleted_by_position_are_left_out(lake: Catalog) -> None:
    table = made(lake, *"abcdef")
    (task,) = table.scan().plan_files()
    delete_by_position(table, task.file.file_path, [0, 3])
    delete_by_position(table, task.file.file_path, [5])
    assert contents(place(table)) == [b"b", b"c", b"e"]
    assert [uri.rpartition("#")[2] for uri in uris("iceberg://lake/docs.scans")] == ["1", "2", "4"]
    assert table.scan().to_arrow()["id"].to_pylist() == ["b", "c", "e"]


def test_deletes_by_equality_are_refused(lake: Catalog) -> None:
    table = made(lake, "a", "b")
    (task,) = table.scan().plan_files()
    delete_by_position(table, task.file.file_path, [0], DataFileContent.EQUALITY_DELETES)
    assert "rows of it were deleted by equality, which pyiceberg does not read" in complaint(place(table))


def test_only_a_catalog_knows_which_of_two_files_of_metadata_counts(lake: Catalog) -> None:
    table = made(lake, "a")
    newest = Path(iceberg.plain_uri(table.metadata_location))
    number = newest.name.partition("-")[0]
    shutil.copy(newest, newest.with_name(f"{number}-other.metadata.json"))
    assert "only its catalog knows at which of them it is" in complaint(place(table))
    write(newest.with_name("version-hint.text"), newest.name.removesuffix(".metadata.json").encode())
    assert contents(place(table)) == [b"a"]


def test_documents_beside_a_folder_called_metadata_are_documents(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.pdf")
    write(tmp_path / "in" / "metadata" / "a.pdf.metadata.json", b"{}")
    assert uris(tmp_path / "in") == [f"{tmp_path}/in/a.pdf"]


def test_a_table_that_was_moved_is_refused(lake: Catalog, tmp_path: Path) -> None:
    table = made(lake, "a")
    shutil.move(place(table), tmp_path / "moved")
    assert "which lies elsewhere: if it was not moved or copied" in complaint(tmp_path / "moved")


def test_metadata_of_a_stranger_imports_no_class_and_reaches_no_other_place(
    lake: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = made(lake, "a")
    metadata = Path(iceberg.plain_uri(table.metadata_location))
    said = json.loads(metadata.read_text())
    said["properties"] = {"py-io-impl": "tests.pipeline.ingest.hostile.Class", "s3.endpoint": "http://x"}
    metadata.write_text(json.dumps(said))
    imported: list[str] = []
    monkeypatch.setattr("pyiceberg.io._import_file_io", lambda name, properties: imported.append(name))
    assert contents(place(table)) == [b"a"]
    assert not imported
    for snapshot in said["snapshots"]:
        snapshot["manifest-list"] = "hdfs://elsewhere/x.avro"
    metadata.write_text(json.dumps(said))
    assert complaint(place(table)).count("hdfs://elsewhere/x.avro") == 1


def test_a_part_of_a_table_and_a_table_among_other_files_are_refused(lake: Catalog) -> None:
    table = made(lake, "a")
    outer = Path(place(table)).parent
    for given in (f"{place(table)}/data", f"{place(table)}/data/*.parquet", outer):
        said = complaint(given, column="page")
        assert said.startswith(f"{place(table)} is an Iceberg table")
        assert f"give {place(table)} itself as an input" in said


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("iceberg://lake/docs.none", "the catalog lake has no such table"),
        ("iceberg://lake", "an Iceberg table reads iceberg://CATALOG/NAMESPACE.TABLE"),
        ("iceberg://nowhere/docs.scans", "the catalog nowhere cannot be opened"),
    ],
)
def test_a_table_that_is_not_there_is_one_sentence(lake: Catalog, given: str, says: str) -> None:
    assert says in complaint(given)


def test_an_empty_table_and_broken_metadata_are_one_sentence(lake: Catalog, tmp_path: Path) -> None:
    table = lake.create_table("docs.empty", rows().schema)
    assert "is Parquet without rows" in complaint(place(table), column="page")
    parquet(tmp_path / "t" / "data" / "x.parquet", page=[b"a"])
    metadata = write(tmp_path / "t" / "metadata" / "v1.metadata.json", b"{}")
    for given in (tmp_path / "t", metadata):
        assert f"{metadata} cannot be read as Iceberg metadata" in complaint(given)


def test_versions_stand_behind_an_at_unless_a_file_is_called_so(tmp_path: Path) -> None:
    assert split_version("in/t@v12") == ("in/t", 12)
    assert split_version("iceberg://lake/docs.scans@8310") == ("iceberg://lake/docs.scans", "8310")
    assert split_version("t@2026-11-29T12:00:00Z") == ("t", datetime(2026, 11, 29, 12, tzinfo=UTC))
    assert split_version(f"t@v{10**18}") == (f"t@v{10**18}", None), "no number of a version"
    assert split_version("t@2026-11-29") == ("t", datetime(2026, 11, 29, tzinfo=UTC))
    for plain in ("t@2026-13-29", "t@x", "t", "@v1", "me@example.pdf"):
        assert split_version(plain) == (plain, None)
    there = parquet(tmp_path / "t@v12", page=[b"a"])
    assert split_version(there) == (there, None)


@pytest.mark.parametrize(("status", "passes"), [(503, True), (500, True), (401, False), (404, False)])
def test_a_catalog_that_fails_is_no_mistake(status: int, passes: bool) -> None:
    class Sick(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Sick)) as server:
        assert is_outage(not_opened(f"http://127.0.0.1:{server.server_address[1]}")) is passes


def test_a_catalog_that_is_not_there_may_come_back() -> None:
    assert is_outage(not_opened("http://127.0.0.1:1"))


def not_opened(address: str) -> ValueError:
    """Why a catalog at this address cannot be opened."""
    with (
        pytest.raises(ValueError, match="the catalog sick cannot be opened") as raised,
        catalogs.opened("sick", {"type": "rest", "uri": address}),
    ):
        pass
    return raised.value
