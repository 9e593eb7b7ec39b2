"""Inputs become a list of documents with keys, and their bytes; a wrong input is one clear sentence."""

import io
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.exceptions
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.listing import SOURCES, list_sources, split
from pipeline.ingest.reading import content_key, read_source
from tests.pipeline.drawn import image_bytes, pdf_bytes

PDF = pdf_bytes()
PNG = image_bytes(Image.new("RGB", (4, 4)), "PNG")


def write(path: Path, data: bytes = PDF) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def uris(*inputs: str | Path, **options: str) -> list[str]:
    table = list_sources([str(given) for given in inputs], **options)
    assert table.schema == SOURCES
    listed: list[str] = table["uri"].to_pylist()
    return listed


def keys(*inputs: str | Path, **options: str) -> list[str]:
    listed: list[str] = list_sources([str(given) for given in inputs], **options)["source_key"].to_pylist()
    assert len(set(listed)) == len(listed)
    return listed


def contents(*inputs: str | Path, **options: str) -> list[bytes]:
    return [read_source(row) for row in list_sources([str(given) for given in inputs], **options).to_pylist()]


def complaint(*inputs: str | Path, **options: str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- every test looks at the words
        list_sources([str(given) for given in inputs], **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def read_reason(source: dict[str, Any]) -> str:
    with pytest.raises(DocumentError) as caught:
        read_source(source)
    assert str(source["uri"]) in caught.value.message
    return caught.value.reason


# Files, folders, globs


def test_a_file_is_one_document_with_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.pdf")
    monkeypatch.chdir(tmp_path)
    (source,) = list_sources(["a.pdf"]).to_pylist()
    assert source["uri"] == source["location"] == path
    assert source["size"] == len(PDF)
    assert source["column"] is source["row_group"] is source["row"] is None
    assert read_source(source) == PDF


def test_a_folder_gives_the_documents_in_it_and_below_sorted(tmp_path: Path) -> None:
    b, a = write(tmp_path / "b.PNG", PNG), write(tmp_path / "a" / "deep" / "x.pdf")
    write(tmp_path / ".hidden.pdf")
    write(tmp_path / ".git" / "y.pdf")
    assert uris(tmp_path) == [a, b]
    assert contents(tmp_path) == [PDF, PNG]


def test_a_file_in_a_folder_is_a_document_by_its_bytes_whatever_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = [write(tmp_path / "contract.v2"), write(tmp_path / "scan", PNG)]
    write(tmp_path / "notes.txt", b"text")
    write(tmp_path / "more.txt", b"text")
    write(tmp_path / "README", b"text")
    write(tmp_path / "empty", b"")
    with caplog.at_level(logging.WARNING):
        assert uris(tmp_path) == found
    assert "skipped 4 files that are no documents: 2 without a suffix, 2 .txt" in caplog.text


def test_a_named_file_is_a_document_whatever_it_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "notes.txt", b"text")
    assert uris(path) == [path]


def test_a_broken_link_and_a_pipe_in_a_folder_are_no_documents(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf")
    (tmp_path / "dead.pdf").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.pdf")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.pdf").symlink_to(tmp_path / "self.pdf")
    assert uris(tmp_path) == [path]


def test_globs_match_files_and_folders(tmp_path: Path) -> None:
    a, b = write(tmp_path / "2024-a" / "x.pdf"), write(tmp_path / "2024-b" / "y.png", PNG)
    write(tmp_path / "2025" / "z.pdf")
    assert uris(tmp_path / "2024-*") == [a, b]
    assert uris(tmp_path / "**" / "*.p[dn][fg]") == [a, b, str(tmp_path / "2025" / "z.pdf")]
    assert uris(tmp_path / "2024-?" / "*.png") == [b]


def test_a_name_that_looks_like_a_glob_is_itself_first(tmp_path: Path) -> None:
    path = write(tmp_path / "scan[1].pdf")
    write(tmp_path / "scan1.pdf")
    assert uris(path) == [path]


def test_the_home_folder_and_file_uris_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a b.pdf")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert uris("~/a b.pdf") == uris(Path(path).as_uri()) == [path]


def test_a_name_that_is_no_utf_8_is_listed_and_read(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.pdf"
    with open(path, "wb") as file:
        file.write(PDF)
    assert uris(tmp_path) == [f"{tmp_path.as_uri()}/caf%E9.pdf"]
    assert contents(tmp_path) == [PDF]


def test_each_document_is_listed_once_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.pdf"), write(tmp_path / "b.pdf")
    assert uris(b, tmp_path, tmp_path / "*.pdf", a) == [b, a]


def test_the_key_of_a_file_changes_with_its_place_size_and_time_and_with_nothing_else(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.pdf"))
    os.utime(path, ns=(1, 10**18))
    before = keys(path)
    os.utime(path, ns=(2, 10**18))  # when it was last read
    assert keys(path) == keys(tmp_path) == before
    os.utime(path, ns=(2, 10**18 + 1))
    assert keys(path) != before
    write(path, PDF + b" ")
    os.utime(path, ns=(1, 10**18))
    assert keys(path) != before
    moved = path.rename(tmp_path / "b.pdf")
    moved.write_bytes(PDF)
    os.utime(moved, ns=(1, 10**18))
    assert keys(moved) != before


def test_the_content_key_is_the_sha_256_of_the_bytes() -> None:
    assert content_key(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nothing.pdf", "there is no such file or folder"),
        ("no*.pdf", "matches no file"),
        ("", "empty"),
        ("https://example.com/a.pdf", "https:// is not supported"),
        ("s3://", "names no bucket"),
        ("s3:///key", "names no bucket"),
        ("pipe", "neither a file nor a folder"),
        ("folder", "holds no PDF and no image: it is empty"),
        ("texts", "holds no PDF and no image, only 1 .txt"),
    ],
)
def test_an_input_with_nothing_behind_it_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.mkdir("folder")
    write(tmp_path / "texts" / "a.txt", b"text")
    message = complaint(given)
    assert says in message
    assert given in message


def test_no_input_at_all_and_an_id_column_alone_are_errors(tmp_path: Path) -> None:
    assert "there is no input" in complaint()
    assert "--id-column" in complaint(write(tmp_path / "a.pdf"), id_column="id")


def test_a_document_that_went_away_or_is_too_large_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(write(tmp_path / "a.pdf"))
    (source,) = list_sources([str(path)]).to_pylist()
    monkeypatch.setattr("pipeline.ingest.reading.MAX_BYTES", len(PDF) - 1)
    assert read_reason(source) == "too_large"
    path.unlink()
    assert read_reason(source) == "missing"
    path.mkdir()
    assert read_reason(source) == "unreadable"


# Parquet


def parquet(path: Path, row_group_size: int = 2, **columns: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return str(path)


def test_rows_of_bytes_are_documents_read_in_any_order(tmp_path: Path) -> None:
    values = [f"document {number}".encode() for number in range(25)]
    path = parquet(tmp_path / "x.parquet", row_group_size=10, page=values, other=list(range(25)))
    table = list_sources([path], column="page")
    assert table["uri"].to_pylist() == [f"{path}#{row}" for row in range(25)]
    assert table["row_group"].to_pylist() == [0] * 10 + [1] * 10 + [2] * 5
    assert table["size"].null_count == 25
    rows = table.to_pylist()
    assert [read_source(row) for row in rows] == values
    assert [read_source(row) for row in reversed(rows)] == values[::-1]
    assert [read_source(rows[row]) for row in (9, 3, 3, 4, 21)] == [values[row] for row in (9, 3, 3, 4, 21)]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(3), pa.binary_view()])
def test_every_type_of_bytes_is_read(tmp_path: Path, kind: Any) -> None:
    path = parquet(tmp_path / "x.parquet", page=pa.array([b"abc", b"def"], kind))
    assert contents(path, column="page") == [b"abc", b"def"]


def test_a_column_of_uris_leads_to_files(tmp_path: Path) -> None:
    a, b = write(tmp_path / "deep" / "a.pdf"), write(tmp_path / "b.png", PNG)
    for number, kind in enumerate([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]):
        column = pa.array(["deep/a.pdf", b, Path(b).as_uri()], pa.string()).cast(kind)
        path = parquet(tmp_path / f"{number}.parquet", where=column)
        assert uris(path, column="where") == [a, b, Path(b).as_uri()]
        assert contents(path, column="where") == [PDF, PNG, PNG]
        assert len(keys(path, column="where")) == 3  # one a row, though two are the same file


def test_a_dot_leads_into_a_struct(tmp_path: Path) -> None:
    images = [{"bytes": PNG, "path": "a.png"}, None, {"bytes": None, "path": "c.png"}]
    path = parquet(tmp_path / "x.parquet", image=images)
    sources = list_sources([path], column="image.bytes").to_pylist()
    assert read_source(sources[0]) == PNG
    assert [read_reason(source) for source in sources[1:]] == ["null_value", "null_value"]
    assert "image.bytes, image.path" in complaint(path, column="image")


def test_a_null_is_a_document_that_failed_and_the_rows_after_it_are_read(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "x.parquet", row_group_size=9, page=[None, b"x", None, b"y"], uri=["x", None] * 2
    )
    sources = list_sources([path], column="page").to_pylist()
    assert read_reason(sources[0]) == read_reason(sources[2]) == "null_value"
    assert [read_source(sources[1]), read_source(sources[3])] == [b"x", b"y"]
    assert read_reason(list_sources([path], column="uri").to_pylist()[1]) == "null_value"


def test_a_dataset_folder_is_its_parquet_files(tmp_path: Path) -> None:
    parquet(tmp_path / "year=2024" / "part-0.parquet", page=[b"a"])
    parquet(tmp_path / "part-1.snappy.parquet", page=[b"b", b"c"])
    parquet(tmp_path / "_delta_log" / "1.parquet", other=[1])
    write(tmp_path / "_SUCCESS", b"")
    write(tmp_path / "scan.pdf")
    assert contents(tmp_path, column="page") == [b"b", b"c", b"a"]
    assert contents(tmp_path / "year=*", column="page") == [b"a"]


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
        tags=[["a"], ["b"], ["c"]],
        id=["x", "y", "x"],
        gap=["x", "y", None],
    )
    options = {"column": column} | ({"id_column": id_column} if id_column else {})
    assert says.format(path) in complaint(path, **options)


def test_parquet_without_a_column_and_a_column_without_parquet_are_clear_errors(tmp_path: Path) -> None:
    path = parquet(tmp_path / "data" / "x.parquet", page=[b"a"], url=["u"], n=[1])
    message = complaint(path)
    assert "is Parquet: say with --column which column holds the documents (page, url)" in message
    assert "name the column with --column" in complaint(tmp_path / "data")
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
    assert read_source(first) == b"a"
    parquet(tmp_path / "x.parquet", page=[b"a"])
    assert read_source(first) == b"a"
    assert read_reason(second) == "missing"
    Path(path).write_bytes(b"PAR1 nonsense")
    assert read_reason(first) == "unreadable"
    Path(path).unlink()
    assert read_reason(first) == "missing"


def test_a_uri_of_an_unknown_kind_is_a_document_that_failed(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", where=["https://example.com/a.pdf", "gone.pdf"])
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
        read_source(row)
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


# S3, served by moto


@dataclass(frozen=True)
class S3:
    """A server of our own: what is put into its bucket, and who may read."""

    url: str
    client: Any

    def put(self, key: str, data: bytes = PDF) -> str:
        self.client.put_object(Bucket="pile", Key=key, Body=data)
        return f"s3://pile/{key}"

    def check_keys(self, check: bool) -> None:
        """Whether access keys must be known to the server: none are."""
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth",
            data=b"0" if check else b"inf",
            headers={"Content-Type": "text/plain"},
        )
        urllib.request.urlopen(request).close()


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        log = (tmp_path_factory.mktemp("s3") / "log").open("wb")
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log
        )
        try:
            client = boto3.client("s3")
            deadline = time.monotonic() + 60
            while True:
                try:
                    client.create_bucket(Bucket="pile")
                    break
                except botocore.exceptions.EndpointConnectionError:
                    assert time.monotonic() < deadline, "the S3 server did not start"
                    time.sleep(0.2)
            yield S3(url, client)
        finally:
            server.terminate()
            server.wait()
            log.close()


@pytest.fixture
def s3(s3_server: S3) -> S3:
    for listed in s3_server.client.list_objects_v2(Bucket="pile").get("Contents", []):
        s3_server.client.delete_object(Bucket="pile", Key=listed["Key"])
    return s3_server


def test_objects_prefixes_and_globs_on_s3(s3: S3) -> None:
    a = s3.put("2024-a/x y+z#1.pdf")
    b = s3.put("2024-b/deep/ä.png", PNG)
    c = s3.put("top.pdf")
    s3.put("2024-b/.hidden/h.pdf")
    s3.put("2024-b/notes.txt", b"text")
    assert uris("s3://pile") == uris("s3://pile/") == [a, b, c]
    assert uris("s3://pile/2024-a") == uris("s3://pile/2024-a/") == uris(a) == [a]
    assert uris("s3://pile/2024-*") == [a, b]
    assert uris("s3://pile/*.pdf") == [c]
    assert uris("s3://pile/**/*.pdf") == [a, c]
    assert uris("s3://pile/2024-[!a]/*/?.png") == [b]
    assert contents("s3://pile") == [PDF, PNG, PDF]


def test_an_object_without_a_suffix_is_looked_at(s3: S3) -> None:
    found = s3.put("0c9f", PNG)
    s3.put("README", b"text")
    assert uris("s3://pile") == [found]


def test_the_key_of_an_object_is_kept_until_it_is_written_again(s3: S3) -> None:
    uri = s3.put("a.pdf")
    before = keys(uri)
    assert keys("s3://pile") == before
    s3.put("a.pdf", PDF + b" ")
    assert keys(uri) != before


def test_parquet_on_s3_holds_bytes_or_leads_to_objects(s3: S3) -> None:
    where = s3.put("docs/a.pdf")
    buffer = io.BytesIO()
    pq.write_table(pa.table({"page": [PNG, PDF], "where": ["docs/a.pdf", where]}), buffer, row_group_size=1)
    s3.put("rows.parquet", buffer.getvalue())
    assert contents("s3://pile/rows.parquet", column="page") == [PNG, PDF]
    assert uris("s3://pile", column="where") == [where, where]
    assert contents("s3://pile", column="where") == [PDF, PDF]


def test_what_is_not_on_s3_is_a_clear_error(s3: S3) -> None:
    s3.put("notes.txt", b"text")
    assert "s3://no-such-bucket/x: the bucket no-such-bucket does not exist" in complaint(
        "s3://no-such-bucket/x"
    )
    assert "the bucket no-such-bucket does not exist" in complaint("s3://no-such-bucket/x*")
    assert "there is no such object or folder" in complaint("s3://pile/nothing")
    assert "matches no object" in complaint("s3://pile/x*")
    assert "the pattern pile/[z-a]* cannot be read" in complaint("s3://pile/[z-a]*")
    assert "holds no PDF and no image, only 1 .txt" in complaint("s3://pile")


def test_an_object_that_went_away_is_a_document_that_failed(s3: S3) -> None:
    uri = s3.put("a.pdf")
    (source,) = list_sources([uri]).to_pylist()
    s3.client.delete_object(Bucket="pile", Key="a.pdf")
    assert read_reason(source) == "missing"


def test_refused_credentials_are_a_clear_error(s3: S3) -> None:
    uri = s3.put("a.pdf")
    (source,) = list_sources([uri]).to_pylist()
    s3.check_keys(True)
    try:
        for given in (uri, "s3://pile", "s3://pile/*"):
            message = complaint(given)
            assert given in message
            assert "S3 refused the credentials" in message
            assert "AWS_ACCESS_KEY_ID" in message
        assert read_reason(source) == "unreadable"
    finally:
        s3.check_keys(False)


def test_a_server_that_does_not_answer_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        message = complaint("s3://unreachable")
    assert message == f"input s3://unreachable: S3 cannot be reached at {url}"


def test_passwords_lie_beside_bytes_or_uris_and_leave_the_keys_alone(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", page=[b"a", b"b"], at=["1.pdf", "2.pdf"], key=["x", None])
    for column in ("page", "at"):
        table = list_sources([path], column=column, password_column="key")
        assert table["password"].to_pylist() == ["x", None]
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


def test_a_row_above_the_limit_of_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.ingest.reading.MAX_BYTES", 3)
    path = parquet(tmp_path / "a.parquet", page=[b"1234", b"123"])
    large, good = list_sources([path], column="page").to_pylist()
    with pytest.raises(DocumentError, match="has 4 bytes, the limit is 3") as caught:
        read_source(large)
    assert caught.value.reason == "too_large"
    assert read_source(good) == b"123"
