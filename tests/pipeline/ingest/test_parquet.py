"""Rows of Parquet files are documents: their bytes, keys and passwords, and what cannot be used."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ingest import parquet as parquet_files
from pipeline.ingest import parquet_rows
from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.listing import list_sources, split
from pipeline.ingest.parquet_rows import MOST_URI
from pipeline.ingest.reading import read_conversation, read_password, read_source
from tests.pipeline.ingest.listed import (
    PDF,
    PNG,
    complaint,
    contents,
    keys,
    parquet,
    read_reason,
    uris,
    write,
)


def test_rows_of_bytes_are_documents_read_in_any_order(tmp_path: Path) -> None:
    values = [f"document {number}".encode() for number in range(25)]
    path = parquet(tmp_path / "x.parquet", row_group_size=10, page=values, other=list(range(25)))
    table = list_sources([path], column="page")
    assert table["uri"].to_pylist() == [f"{path}#{row}" for row in range(25)]
    assert table["row_group"].to_pylist() == [0] * 10 + [1] * 10 + [2] * 5
    assert table["size"].null_count == 25
    rows = table.to_pylist()
    assert [read_source(row, ()) for row in rows] == values
    assert [read_source(row, ()) for row in reversed(rows)] == values[::-1]
    assert [read_source(rows[row], ()) for row in (9, 3, 3, 4, 21)] == [
        values[row] for row in (9, 3, 3, 4, 21)
    ]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(3), pa.binary_view()])
def test_every_type_of_bytes_is_read(tmp_path: Path, kind: Any) -> None:
    path = parquet(tmp_path / "x.parquet", page=pa.array([b"abc", b"def"], kind))
    assert contents(path, column="page") == [b"abc", b"def"]


def test_bytes_are_addresses_where_all_of_the_first_are(tmp_path: Path) -> None:
    a = Path(write(tmp_path / "a.pdf")).as_uri().encode()
    path = parquet(tmp_path / "x.parquet", page=pa.array([a, None, b"", a], pa.binary()))
    assert uris(path, column="page")[0] == a.decode()
    path = parquet(tmp_path / "y.parquet", page=pa.array([b"a note", a, b"<p>", b""], pa.binary()))
    assert uris(path, column="page") == [f"{path}#{row}" for row in range(4)]


def test_a_column_of_uris_leads_to_files(tmp_path: Path) -> None:
    a, b = write(tmp_path / "deep" / "a.pdf"), write(tmp_path / "b.png", PNG)
    for number, kind in enumerate([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]):
        column = pa.array(["deep/a.pdf", b, Path(b).as_uri()], pa.string()).cast(kind)
        path = parquet(tmp_path / f"{number}.parquet", where=column)
        assert uris(path, column="where") == [a, b, Path(b).as_uri()]
        assert contents(path, column="where") == [PDF, PNG, PNG]
        assert len(keys(path, column="where")) == 3  # one a row, though two are the same file


@pytest.mark.parametrize("rows", [1, 3, 4, 65_536])
def test_rows_are_the_same_however_many_are_listed_together(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "y" * (MOST_URI + 1)
    where = ["a.pdf", "/b.pdf", None, "data:,x", "s3://pile/c.pdf", "DATA:,y", long, f"d/{long}", "", "ä.pdf"]
    path = parquet(tmp_path / "x.parquet", row_group_size=4, where=where, id=list(range(10)))
    rows_of_one = list_sources([path], column="where").to_pylist()
    with_ids = list_sources([path], column="where", id_column="id").to_pylist()
    monkeypatch.setattr(parquet_rows, "PART_ROWS", rows)
    monkeypatch.setattr(parquet_files, "_GATHERED_BYTES", 1)
    assert list_sources([path], column="where").to_pylist() == rows_of_one
    assert list_sources([path], column="where", id_column="id").to_pylist() == with_ids
    named = [f"{tmp_path}/a.pdf", "/b.pdf", None, None, "s3://pile/c.pdf", None, None, None, f"{tmp_path}/"]
    named.append(f"{tmp_path}/ä.pdf")
    assert [row["uri"] for row in rows_of_one] == [
        name or f"{path}#{number}" for number, name in enumerate(named)
    ]
    in_column = [row["column"] for row in rows_of_one]
    assert in_column == ["where" if number in (3, 5) else None for number in range(10)]
    assert [row["location"] for row in rows_of_one[2:8]] == [
        None,
        path,
        "s3://pile/c.pdf",
        path,
        f"{tmp_path}/{long}",
        f"{tmp_path}/d/{long}",
    ]
    assert [(row["row_group"], row["row"]) for row in rows_of_one] == [divmod(row, 4) for row in range(10)]
    assert [row["uri"] for row in with_ids[2:4]] == [f"{path}#2", f"{path}#3"]


def test_a_dot_leads_into_a_struct(tmp_path: Path) -> None:
    images = [{"bytes": PNG, "path": "a.png"}, None, {"bytes": None, "path": "c.png"}]
    path = parquet(tmp_path / "x.parquet", image=images)
    sources = list_sources([path], column="image.bytes").to_pylist()
    assert read_source(sources[0], ()) == PNG
    assert [read_reason(source) for source in sources[1:]] == ["null_value", "null_value"]


def test_a_null_is_a_document_that_failed_and_the_rows_after_it_are_read(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "x.parquet", row_group_size=9, page=[None, b"x", None, b"y"], uri=["x", None] * 2
    )
    sources = list_sources([path], column="page").to_pylist()
    assert read_reason(sources[0]) == read_reason(sources[2]) == "null_value"
    assert [read_source(sources[1], ()), read_source(sources[3], ())] == [b"x", b"y"]
    assert read_reason(list_sources([path], column="uri").to_pylist()[1]) == "null_value"


def test_a_dataset_folder_is_its_parquet_files(tmp_path: Path) -> None:
    parquet(tmp_path / "year=2024" / "part-0.parquet", page=[b"a"])
    parquet(tmp_path / "part-1.snappy.parquet", page=[b"b", b"c"])
    parquet(tmp_path / "_temporary" / "1.parquet", other=[1])
    parquet(tmp_path / "year=2024" / "_metadata.parquet", other=[1])
    write(tmp_path / "_SUCCESS", b"")
    write(tmp_path / "scan.pdf")
    assert contents(tmp_path, column="page") == [b"b", b"c", b"a"]
    assert contents(tmp_path / "year=*", column="page") == [b"a"]


def test_the_parquet_files_of_a_folder_are_known_by_their_names_or_without_one_by_their_bytes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, name in enumerate(["000000_0", "a.parq", "b.PARQUET", "c.pq", "d.pqt"]):
        parquet(tmp_path / name, page=[b"%d" % number])
    write(tmp_path / "README", b"PAR is not there")
    write(tmp_path / "notes.txt", b"PAR1")
    write(tmp_path / "_SUCCESS", b"")
    assert contents(tmp_path, column="page") == [b"0", b"1", b"2", b"3", b"4"]
    assert "skipped 2 files that are no Parquet: 1 without a suffix, 1 .txt" in caplog.text
    assert contents(tmp_path) == [b"0", b"1", b"2", b"3", b"4"]


def deviating(folder: Path) -> dict[str, str]:
    """Parts of a dataset that cannot be read, and what is said of each."""
    good = Path(parquet(folder / "good.parquet", page=[b"x" * 999, b"y"], id=["8", "9"])).read_bytes()
    size = int.from_bytes(good[-8:-4], "little")  # of its metadata
    return {
        write(folder / "cut.parquet", good[:-20]): "cannot be read as Parquet",
        write(folder / "empty.parquet", b""): "Parquet file size is 0 bytes",
        write(
            folder / "metadata.parquet", good[: -8 - size] + b"\xff" * size + good[-8:]
        ): "metadata.parquet",
        write(folder / "text.parquet", b"no Parquet at all"): "cannot be read as Parquet",
        parquet(folder / "column.parquet", other=[b"a"], id=["3"]): "has no such column",
        parquet(folder / "kind.parquet", page=[1], id=["4"]): "is int64, not bytes or URIs",
        parquet(folder / "more.parquet", other=[1], id=["5"], page=[b"a"]): "",  # it can
        parquet(folder / "no_id.parquet", page=[b"a"]): "--id-column id",
        parquet(folder / "null_id.parquet", page=[b"a", b"b"], id=["6", None]): "is null in row 1",
    }


def test_a_part_that_cannot_be_read_costs_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = deviating(tmp_path / "in")
    fine = [path for path, said in parts.items() if not said] + [str(tmp_path / "in" / "good.parquet")]
    sources = list_sources([str(tmp_path / "in")], column="page", id_column="id").to_pylist()
    rows = [source for source in sources if source["refused"] is None]
    assert sorted({source["parquet"] for source in rows}) == sorted(fine)
    assert [read_source(row, ()) for row in rows] == [b"x" * 999, b"y", b"a"]
    refused = {source["uri"]: source for source in sources if source["refused"] is not None}
    assert refused.keys() == parts.keys() - set(fine)
    for path, source in refused.items():
        assert parts[path] in source["refused"]
        assert "\n" not in source["refused"]
        assert read_reason(source) == "unreadable"
    with pytest.raises(DocumentError, match="has no such column"):
        read_conversation(refused[str(tmp_path / "in" / "column.parquet")])
    assert f"{len(refused)} Parquet files cannot be read, and fail: " in caplog.text
    before = {source["source_key"] for source in refused.values()}
    assert len(before) == len(refused)
    empty = tmp_path / "in" / "empty.parquet"
    os.utime(empty, ns=(1, 1))  # written again, it is another document
    again = list_sources([str(tmp_path / "in")], column="page", id_column="id").to_pylist()
    (key,) = [source["source_key"] for source in again if source["uri"] == str(empty)]
    assert key not in before


def test_parquet_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.data", page=[b"a"])
    assert contents(path, column="page") == [b"a"]


def test_a_row_s_key_is_its_file_s_key_its_number_and_column(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", front=[b"a"] * 3, back=[b"b"] * 3)
    before = keys(path, column="front")
    assert keys(tmp_path, column="front") == before
    assert not set(keys(path, column="back")) & set(before)
    os.utime(path, ns=(1, 1))
    assert not set(keys(path, column="front")) & set(before)


@pytest.mark.parametrize("ids", [["x", "y", "z"], [7, 8, 9]])
def test_an_id_column_keeps_keys_when_files_are_rewritten_and_merged(tmp_path: Path, ids: list[Any]) -> None:
    path = parquet(tmp_path / "1.parquet", page=[b"a", b"b"], id=ids[:2])
    before = keys(tmp_path, column="page", id_column="id")
    assert uris(path, column="page", id_column="id") == [f"{path}#{ids[0]}", f"{path}#{ids[1]}"]
    Path(path).unlink()
    merged = parquet(tmp_path / "merged.parquet", page=[b"c", b"b", b"a"], id=ids[::-1])
    assert keys(merged, column="page", id_column="id")[:0:-1] == before


@pytest.mark.parametrize(
    ("column", "id_column", "says"),
    [
        ("pgae", None, "--column pgae: {} has no such column; its columns: page, number, tags, id, gap"),
        ("page", "key", "--id-column key: {} has no such column; its columns: page, number, tags, id, gap"),
        ("number", None, "column number of {} is int64, not bytes or URIs; these are: page, id, gap"),
        ("tags", None, "not bytes or URIs"),
        ("page", "tags", "but ids are strings or integers"),
        ("page", "page", "column page of {} holds binary, but ids are strings or integers"),
        ("page", "gap", "column gap of {} is null in row 2"),
        ("page", "id", "an id stands twice in column id: {}#x"),
    ],
)
def test_a_column_that_cannot_be_used_is_a_clear_error(
    tmp_path: Path, column: str, id_column: str | None, says: str
) -> None:
    path = parquet(
        tmp_path / "x.parquet",
        page=[b"a", b"b", b"c"],
        number=[1, 2, 3],
        tags=[[1], [2], [3]],
        id=["x", "y", "x"],
        gap=["x", "y", None],
    )
    options = {"column": column} | ({"id_column": id_column} if id_column else {})
    assert says.format(path) in complaint(path, **options)


def test_parquet_without_a_column_and_a_column_without_parquet_are_clear_errors(tmp_path: Path) -> None:
    path = parquet(tmp_path / "data" / "x.parquet", page=[b"a"], url=["u"], n=[1], back=[b"a"])
    for given in (path, tmp_path / "data"):
        message = f"{given} is Parquet: say with --column which column holds the documents (page, url, back)"
        assert complaint(given) == message
    pdf = write(tmp_path / "a.pdf")
    assert "is not a Parquet file" in complaint(pdf, column="page")
    write(tmp_path / "pdfs" / "a.pdf")
    assert "holds no .parquet file" in complaint(tmp_path / "pdfs", column="page")
    broken = write(tmp_path / "broken.parquet", b"PAR1 and then nothing")
    assert "cannot be read as Parquet" in complaint(broken, column="page")
    empty = parquet(tmp_path / "empty.parquet", page=pa.array([], pa.binary()))
    assert "Parquet without rows" in complaint(empty, column="page")


def test_a_parquet_file_that_changes_after_the_listing_fails_its_rows(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", page=[b"a", b"b"])
    first, second = list_sources([path], column="page").to_pylist()
    assert read_source(first, ()) == b"a"
    parquet(tmp_path / "x.parquet", page=[b"a"])
    assert read_source(first, ()) == b"a"
    assert read_reason(second) == "missing"
    Path(path).write_bytes(b"PAR1 nonsense")
    assert read_reason(first) == "unreadable"
    Path(path).unlink()
    assert read_reason(first) == "missing"


def test_a_uri_of_an_unknown_kind_is_a_document_that_failed(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", where=["ftp://example.com/a.pdf", "gone.pdf"])
    first, second = list_sources([path], column="where").to_pylist()
    assert read_reason(first) == "unreadable"
    assert read_reason(second) == "missing"


def test_a_row_group_is_decoded_once_for_rows_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(tmp_path / "x.parquet", row_group_size=50, page=[b"x" * 100] * 100)
    table = list_sources([path], column="page")
    opened = []

    def count(*arguments: Any, **options: Any) -> Any:
        opened.append(arguments)
        return pq.ParquetFile(*arguments, **options)

    monkeypatch.setattr("pipeline.ingest.parquet.pq", SimpleNamespace(ParquetFile=count))
    for row in table.to_pylist():
        read_source(row, ())
    assert len(opened) == 2


def test_pieces_keep_row_groups_whole_and_files_even(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", row_group_size=4, page=[b"x"] * 11)
    rows = list_sources([path], column="page")
    assert [len(piece) for piece in split(rows, 1)] == [4, 4, 3]
    assert [len(piece) for piece in split(rows, 5)] == [8, 3]
    for number in range(5):
        write(tmp_path / f"{number}.pdf")
    files = list_sources([str(tmp_path / "*.pdf")])
    pieces = split(files, 2)
    assert [len(piece) for piece in pieces] == [2, 2, 1]
    assert pa.concat_tables(pieces).equals(files)


def test_passwords_lie_beside_bytes_or_uris_and_leave_the_keys_alone(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", page=[b"a", b"b"], at=["1.pdf", "2.pdf"], key=["x", None])
    for column in ("page", "at"):
        table = list_sources([path], column=column, password_column="key")
        assert [read_password(row) for row in table.to_pylist()] == ["x", None]
        assert '"x"' not in str(table.to_pylist()).replace("'", '"')
        assert table["source_key"].to_pylist() == keys(path, column=column)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"password_column": "key"}, "--password-column names a column of Parquet inputs"),
        ({"column": "page", "password_column": "kye"}, "--password-column kye: .* has no such column"),
        ({"column": "page", "password_column": "page"}, "holds binary, but passwords are strings"),
    ],
)
def test_a_password_column_that_cannot_be_used_is_a_clear_error(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    path = parquet(tmp_path / "a.parquet", page=[b"a"], key=["x"])
    with pytest.raises(ValueError, match=says):
        list_sources([path], **options)
