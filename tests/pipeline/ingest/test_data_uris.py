"""data: addresses in a column of URIs are documents, and stand in the tables as rows of their file."""

import base64
from pathlib import Path

import pytest

from pipeline.ingest.data_uris import decode, is_data_uri
from pipeline.ingest.listing import list_sources
from pipeline.ingest.parquet_rows import MOST_URI
from pipeline.ingest.reading import read_source
from tests.pipeline.ingest.listed import PDF, PNG, contents, parquet, read_reason, uris, write


@pytest.mark.parametrize(
    ("uri", "data"),
    [
        ("data:,abc", b"abc"),
        ("data:text/plain,a%20b%FF", b"a b\xff"),
        ("data:application/pdf;base64,aGk_aGk-", b"hi?hi>"),
        ("data:;base64,aGk/aGk+", b"hi?hi>"),
        ("DATA:application/pdf;charset=x;BASE64,YQ==", b"a"),
        ("data:;base64,YQ", b"a"),
        ("data:;base64,Y%0AQ%3D%3D", b"a"),
        ("data:;base64, Y Q = =", b"a"),
        ("data:;base64,", b""),
        ("data:base64,aGk=", b"aGk="),  # the media type base64: no encoding
    ],
)
def test_an_address_is_decoded(uri: str, data: bytes) -> None:
    assert is_data_uri(uri)
    assert decode(uri) == data


@pytest.mark.parametrize(
    ("uri", "says"),
    [("data:", "no comma"), ("data:;base64,Y", "no base64"), ("data:;base64,Y!Q=", "no base64")],
)
def test_one_that_is_damaged_says_so(uri: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decode(uri)


def test_rows_may_mix_files_and_documents(tmp_path: Path) -> None:
    file = write(tmp_path / "a.pdf")
    png = "data:image/png;base64," + base64.b64encode(PNG).decode()
    path = parquet(tmp_path / "x.parquet", where=["a.pdf", png, None, png, "a.pdf"])
    assert uris(path, column="where") == [file, f"{path}#1", f"{path}#2", f"{path}#3", file]
    table = list_sources([path], column="where")
    assert len(str(table.to_pylist())) < 5_000  # the documents stay in their file
    rows = table.to_pylist()
    assert [read_source(row, ("/",)) for row in (rows[3], rows[1], rows[0])] == [PNG, PNG, PDF]
    assert read_reason(rows[2]) == "null_value"


def test_ids_name_them(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", where=["data:,a", "data:,b"], id=["x", "y"])
    assert uris(path, column="where", id_column="id") == [f"{path}#x", f"{path}#y"]
    assert contents(path, column="where", id_column="id") == [b"a", b"b"]


def test_a_damaged_one_and_one_that_is_an_address_no_more_cost_themselves(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", where=["data:", "data:;base64,!", "data:,c"])
    rows = list_sources([path], column="where").to_pylist()
    assert [read_reason(row) for row in rows[:2]] == ["unreadable"] * 2
    assert read_source(rows[2], ()) == b"c"
    parquet(tmp_path / "x.parquet", where=["/etc/passwd"] * 3)
    assert read_reason(rows[2]) == "unreadable"


def test_what_is_too_long_to_be_a_name_stands_in_no_table(tmp_path: Path) -> None:
    long = "x" * (MOST_URI + 1)
    path = parquet(tmp_path / "x.parquet", where=[long, "y" * 300])
    first, second = list_sources([path], column="where").to_pylist()
    assert first["uri"] == f"{path}#0"
    assert second["uri"] == f"{tmp_path}/{'y' * 300}"
    assert read_reason(first) == read_reason(second) == "unreadable"
