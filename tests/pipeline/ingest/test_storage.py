"""Objects on S3 are listed and read as files are; what S3 refuses is one clear sentence."""

import io
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.bench.keys_parts import object_server
from jobs.bench.object_pages import BUCKET, PREFIX, key_of, size_of
from pipeline.ingest import object_listing, progress, storage
from pipeline.ingest.listing import list_sources
from pipeline.ingest.object_listing import Objects, stream_objects, whole_objects
from pipeline.ingest.progress import Progress
from tests.pipeline.ingest.listed import (
    PDF,
    PNG,
    complaint,
    contents,
    keys,
    read_reason,
    uris,
)


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


ODD = ["a+b #1.pdf", "b%41.pdf", "c?*[.pdf", "d/ä/é.pdf", "e/.hidden.pdf", "f/", "g.pdf"]


def columns(objects: Objects) -> list[list[Any]]:
    return [column.to_pylist() for column in (objects.paths, objects.sizes, objects.versions)]


def test_objects_are_listed_page_by_page_as_in_one_piece(s3: S3) -> None:
    for number, key in enumerate(ODD):
        s3.put(key, b"x" * number)
    filesystem, _ = storage._objects("s3://pile")
    for folder in ("pile", "pile/d", "pile/none"):
        whole = columns(whole_objects(filesystem, folder))
        parts = list(map(columns, stream_objects(filesystem, folder)))
        assert [list(chain.from_iterable(part[column] for part in parts)) for column in range(3)] == whole


def no_listing(*_: object, **__: object) -> None:
    raise AssertionError("the listing came in one piece")


def test_a_prefix_is_listed_page_by_page(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [s3.put(f"many/{number}.pdf") for number in range(5)]
    monkeypatch.setattr(storage, "whole_objects", no_listing)
    monkeypatch.setattr(object_listing, "PART_OBJECTS", 2)
    assert uris("s3://pile/many") == uris("s3://pile/many/*.pdf") == found


def test_a_name_that_cannot_be_listed_page_by_page_is_found_all_the_same(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_listing, "PART_OBJECTS", 2)
    found = [s3.put(key) for key in ("0.pdf", "1.pdf", "2.pdf", "x//y.pdf", "z.pdf")]
    said = list[str]()
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    sources = list_sources(["s3://pile"], progress=Progress(said.append))
    assert sources["uri"].to_pylist() == found
    assert said[-1] == "listing: 5 documents so far", "those of the pages that came count once"
    assert contents("s3://pile/z.pdf") == [PDF]


def test_credentials_of_a_profile_are_pyarrows(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = s3.put("a.pdf")
    profile = tmp_path / "credentials"
    profile.write_text("[default]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setattr(object_listing, "_store", no_listing)
    storage._bucket.cache_clear()
    try:
        assert uris("s3://pile") == [found]
    finally:
        storage._bucket.cache_clear()


def test_thousands_of_objects_are_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    with object_server(2_500) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        storage._bucket.cache_clear()
        said = list[str]()
        monkeypatch.setattr(progress, "SECONDS", 0.0)
        sources = list_sources([f"s3://{BUCKET}/{PREFIX}"], progress=Progress(said.append))
    storage._bucket.cache_clear()
    assert sources["uri"].to_pylist() == [f"s3://{BUCKET}/{key_of(number)}" for number in range(2_500)]
    assert sources["size"].to_pylist() == list(map(size_of, range(2_500)))
    assert len(set(sources["source_key"].to_pylist())) == 2_500
    assert said == ["listing: 2,500 documents so far"]


@pytest.mark.processes  # it waits: seconds, in which the client tries again
def test_a_server_that_does_not_answer_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        message = complaint("s3://unreachable")
    assert message == f"input s3://unreachable: S3 cannot be reached at {url}"
