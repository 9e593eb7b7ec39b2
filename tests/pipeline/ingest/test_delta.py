"""A Delta table as input is what its log says: rows that were deleted are no documents."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from pyarrow.fs import FileType

from pipeline.ingest import delta, storage
from pipeline.ingest.data_files import DataFile
from pipeline.ingest.entries import Entry
from pipeline.ingest.table_versions import split_version
from tests.pipeline.deletion_vectors import delete_by_vector
from tests.pipeline.ingest.listed import complaint, contents, keys, parquet, uris, write
from tests.pipeline.ingest.tables import table


def test_deleted_rows_are_not_listed_nor_those_of_replaced_files(tmp_path: Path) -> None:
    place = table(tmp_path / "t 1#é", "a", "b", "c")
    table(tmp_path / "t 1#é", "d", mode="append")
    DeltaTable(place).delete("id = 'b'")
    DeltaTable(place).optimize.compact()
    assert len(list(Path(place).glob("*.parquet"))) > 1
    assert sorted(contents(place, column="page")) == [b"a", b"c", b"d"]
    assert sorted(contents(f"{place}/*.parquet", column="page")) == [b"a", b"c", b"d"]
    assert sorted(contents(place, column="page", id_column="id")) == [b"a", b"c", b"d"]


def test_deletion_vectors_are_obeyed(tmp_path: Path) -> None:
    place = table(tmp_path / "t", *(f"{number:02}" for number in range(12)))
    delete_by_vector(place, [0, 3, 9])
    assert contents(place, column="page") == [b"%02d" % number for number in (1, 2, 4, 5, 6, 7, 8, 10, 11)]
    (file,) = Path(place).glob("*.parquet")
    assert uris(place, column="page")[0] == f"{file}#1", "a row keeps its number in the file"


def test_a_partition_and_a_table_among_other_folders_are_seen_as_of_the_log(tmp_path: Path) -> None:
    place = table(tmp_path / "in" / "t", "a1", "a2", "b1", partition_by=["year"])
    DeltaTable(place).delete("id = 'a1'")
    parquet(tmp_path / "in" / "plain" / "x.parquet", page=[b"x"], id=["x"])
    assert sorted(contents(tmp_path / "in", column="page")) == [b"a2", b"b1", b"x"]
    assert contents(f"{place}/year=a", column="page") == [b"a2"]


def test_a_partition_whose_column_begins_with_an_underscore_is_data(tmp_path: Path) -> None:
    parquet(tmp_path / "t" / "_year=2024" / "1.parquet", page=[b"a"])
    assert contents(tmp_path / "t", column="page") == [b"a"]


def test_a_file_of_a_table_that_is_named_is_read_whole(tmp_path: Path) -> None:
    place = table(tmp_path / "t", "a", "b")
    (file,) = Path(place).glob("*.parquet")
    DeltaTable(place).delete("id = 'b'")
    assert contents(file, column="page") == [b"a", b"b"]


def test_a_table_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    place = table(tmp_path / "t", "a")
    (file,) = Path(place).glob("*.parquet")
    log = Path(place, "_delta_log", f"{0:020}.json")
    file.rename(tmp_path / "elsewhere")
    table(tmp_path / "t", "b", mode="append")
    assert "names a file that is not there" in complaint(place, column="page")
    log.write_text("no log")
    assert f"the Delta table {place} cannot be read: " in complaint(place, column="page")


def test_a_column_mapping_is_refused(tmp_path: Path) -> None:
    place = table(tmp_path / "t", "a", configuration={"delta.columnMapping.mode": "name"})
    assert "has a column mapping (name)" in complaint(place, column="page")


def test_a_version_is_chosen_by_its_number_or_a_time(tmp_path: Path) -> None:
    place = table(tmp_path / "t", "a", "b")
    table(tmp_path / "t", "c", mode="append")
    DeltaTable(place).delete("id = 'a'")
    assert sorted(contents(f"{place}@v0", column="page")) == [b"a", b"b"]
    assert sorted(contents(f"{place}@v1")) == [b"a", b"b", b"c"]
    assert sorted(contents(f"{place}@v2/", column="page")) == [b"b", b"c"]
    stamps = {entry["version"]: entry["timestamp"] for entry in DeltaTable(place).history()}
    when = datetime.fromtimestamp(stamps[1] / 1000, UTC).isoformat()
    assert sorted(contents(f"{place}@{when}")) == [b"a", b"b", b"c"]
    assert keys(f"{place}@v2", column="page") == keys(place, column="page")
    assert f"the Delta table {place}@v9 cannot be read: " in complaint(f"{place}@v9", column="page")
    assert f"{place} is a Delta table, whose versions are numbers" in complaint(f"{place}@99", column="page")


def test_a_version_that_was_vacuumed_is_one_sentence(tmp_path: Path) -> None:
    place = table(tmp_path / "t", "a")
    table(tmp_path / "t", "b", mode="overwrite")
    DeltaTable(place).vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert f"version @v0 of {place} names a file that is not there" in complaint(f"{place}@v0", column="page")


def test_a_version_of_what_is_no_table_is_one_sentence(tmp_path: Path) -> None:
    path = parquet(tmp_path / "in" / "x.parquet", page=[b"a"])
    assert "@v3 is a version of a table, and this is a file" in complaint(f"{path}@v3", column="page")
    assert f"@v3 is a version of a table, and {path} is in none" in complaint(
        tmp_path / "in@v3", column="page"
    )


def test_a_table_that_is_delta_and_iceberg_is_delta(tmp_path: Path) -> None:
    place = table(tmp_path / "t", "a", "b")
    DeltaTable(place).delete("id = 'a'")
    write(tmp_path / "t" / "metadata" / "v1.metadata.json", b"{}")
    assert contents(place) == [b"b"]


def test_no_sentence_on_a_table_holds_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object, **options: object) -> DeltaTable:
        raise DeltaError("GET https://acme.blob.core.windows.net/scans/t?sv=1&sig=c2VjcmV0%3D in 1 s")

    monkeypatch.setattr(delta, "DeltaTable", broken)
    with pytest.raises(ValueError, match="cannot be read: GET https://") as caught:
        delta.snapshot("abfss://scans@acme.dfs.core.windows.net/t", None)
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize("kind", [FileType.File, FileType.Directory, FileType.NotFound])
def test_an_object_of_that_very_name_goes_before_a_version(
    monkeypatch: pytest.MonkeyPatch, kind: FileType
) -> None:
    filesystem = SimpleNamespace(get_file_info=lambda path: SimpleNamespace(type=kind))
    monkeypatch.setattr(storage, "_objects", lambda uri: (filesystem, uri))
    place, version = ("s3://b/page", "12") if kind == FileType.NotFound else ("s3://b/page@12", None)
    assert split_version("s3://b/page@12") == (place, version)


def test_tables_have_the_same_patience_in_every_cloud() -> None:
    wanted = {"max_retries": "20", "retry_timeout": "180s"}.items()
    for place in ("s3://bucket/t", "gs://bucket/t", "az://container/t"):
        assert wanted <= (delta.storage_options(place) or {}).items()
    assert delta.storage_options("/t") is None


@pytest.mark.parametrize("place", ["s3://data/t", "s3://bucket/data/t", "s3://bucket/a/data/year=1"])
def test_only_the_prefix_of_a_role_is_looked_at(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def look(path: str) -> None:
        assert path.startswith(place.split("/")[2] + "/"), "another bucket"
        raise OSError(f"When getting information for key '{path}': AWS Error ACCESS_DENIED during HeadObject")

    monkeypatch.setattr(storage, "_objects", lambda uri: (SimpleNamespace(get_file_info=look), uri[5:]))
    entry = Entry(uri=f"{place}/x.parquet", size=1, version=1)
    assert delta.visible([entry], [entry], place) == [DataFile(entry=entry)]


@pytest.mark.processes
def test_a_table_on_s3_is_read_by_its_log(bucket: str) -> None:
    place, options = f"{bucket}/delta/in dir#1 [é]?", {"AWS_ALLOW_HTTP": "true"}
    rows = pa.table({"id": ["a", "b"], "page": [b"a", b"b"]})
    write_deltalake(delta.address(place), rows, storage_options=options)
    DeltaTable(delta.address(place), storage_options=options).delete("id = 'b'")
    assert contents(place, column="page") == [b"a"]
    assert contents(f"{bucket}/delta/in */*.parquet", column="page") == [b"a"]
