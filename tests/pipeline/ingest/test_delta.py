"""A Delta table as input is what its log says: rows that were deleted are no documents."""

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from pipeline.ingest import delta, storage
from pipeline.ingest.entries import Entry
from tests.pipeline.deletion_vectors import delete_by_vector
from tests.pipeline.ingest.listed import complaint, contents, parquet, uris, write


def table(place: Path, *ids: str, **options: object) -> str:
    """A Delta table with a document, its id as bytes, for each id."""
    place.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.table({"id": list(ids), "year": [id[0] for id in ids], "page": [id.encode() for id in ids]})
    write_deltalake(str(place), rows, **options)  # type: ignore[call-overload]  # passed on as they came
    return str(place)


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


@pytest.mark.parametrize("given", ["", "data", "data/*.parquet"])
def test_iceberg_is_refused(tmp_path: Path, given: str) -> None:
    parquet(tmp_path / "t" / "data" / "00000.parquet", page=[b"a"])
    write(tmp_path / "t" / "metadata" / "v1.metadata.json", b"{}")
    said = complaint(tmp_path / "t" / given, column="page")
    assert said.startswith(f"{tmp_path}/t is an Iceberg table, which Quire does not read")


@pytest.mark.parametrize("place", ["s3://data/t", "s3://bucket/data/t", "s3://bucket/a/data/year=1"])
def test_only_the_prefix_of_a_role_is_looked_at(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def look(path: str) -> None:
        assert path.startswith(place.split("/")[2] + "/"), "another bucket"
        raise OSError(f"When getting information for key '{path}': AWS Error ACCESS_DENIED during HeadObject")

    monkeypatch.setattr(storage, "_objects", lambda uri: (SimpleNamespace(get_file_info=look), uri[5:]))
    entry = Entry(uri=f"{place}/x.parquet", size=1, version=1)
    assert delta.visible([entry], [entry], place) == [delta.DataFile(entry=entry)]


@pytest.mark.processes
def test_a_table_on_s3_is_read_by_its_log(bucket: str) -> None:
    place, options = f"{bucket}/delta/in dir#1 [é]?", {"AWS_ALLOW_HTTP": "true"}
    rows = pa.table({"id": ["a", "b"], "page": [b"a", b"b"]})
    write_deltalake(delta.address(place), rows, storage_options=options)
    DeltaTable(delta.address(place), storage_options=options).delete("id = 'b'")
    assert contents(place, column="page") == [b"a"]
    assert contents(f"{bucket}/delta/in */*.parquet", column="page") == [b"a"]
