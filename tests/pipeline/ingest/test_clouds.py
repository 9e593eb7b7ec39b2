"""Objects on Google Cloud Storage and Azure are listed and read as files are, with clear errors."""

import io
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from pipeline.ingest import delta, object_listing, storage
from pipeline.ingest.listing import list_sources
from pipeline.ingest.object_stores import native
from pipeline.ingest.object_uris import place_of
from tests.pipeline.clouds import KEY, Cloud
from tests.pipeline.conftest import AZURITE
from tests.pipeline.ingest.listed import PDF, PNG, complaint, contents, keys, read_reason, uris


def test_objects_prefixes_and_globs(cloud: Cloud) -> None:
    a = cloud.put("2024-a/x y+z#1%41.pdf", PDF)
    b = cloud.put("2024-b/deep/ä~&=;.png", PNG)
    c = cloud.put("top.pdf", PDF)
    cloud.put("2024-b/.hidden/h.pdf", PDF)
    cloud.put("2024-b/notes.txt", b"text")
    at = cloud.address
    assert uris(at) == uris(f"{at}/") == [a, b, c]
    assert uris(f"{at}/2024-a") == uris(f"{at}/2024-a/") == uris(a) == [a]
    assert uris(f"{at}/2024-*") == [a, b]
    assert uris(f"{at}/*.pdf") == [c]
    assert uris(f"{at}/**/*.pdf") == [a, c]
    assert contents(at) == [PDF, PNG, PDF]
    assert contents(a) == [PDF]


def test_a_prefix_is_listed_page_by_page(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [cloud.put(f"many/{number}.pdf", PDF) for number in range(7)]
    monkeypatch.setattr(storage, "whole_objects", None)  # what lists in one piece
    monkeypatch.setattr(object_listing, "PART_OBJECTS", 2)
    assert uris(f"{cloud.address}/many") == uris(f"{cloud.address}/many/*.pdf") == found


@pytest.mark.parametrize("cloud", ["gs", AZURITE], indirect=True)  # the other one is too little for pyarrow
def test_names_that_the_library_refuses_cost_only_themselves(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [cloud.put(f"{name}.pdf", PDF) for name in "az"]
    before = keys(cloud.address)
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")  # else pyarrow wants an account that Google knows
    with odd_name(cloud) as odd:
        assert uris(cloud.address) == uris(f"{cloud.address}/*") == [found[0], odd, found[1]]
        assert keys(cloud.address)[::2] == before
        assert contents(found[1]) == [PDF]
        (source,) = (row for row in list_sources([cloud.address]).to_pylist() if row["uri"] == odd)
        assert read_reason(source) == "unreadable"


@contextmanager
def odd_name(cloud: Cloud) -> Iterator[str]:
    if cloud.scheme == "gs":
        cloud.ask_google("PUT", "b//c.pdf", PDF)
        try:
            yield f"{cloud.address}/b//c.pdf"
        finally:
            cloud.ask_google("DELETE", "b//c.pdf")
        return
    files = native(place_of(cloud.address))
    with files.open_output_stream("quire/b\nc.pdf") as file:
        file.write(PDF)
    try:
        yield f"{cloud.address}/b\nc.pdf"
    finally:
        files.delete_file("quire/b\nc.pdf")


def test_a_whole_bucket_may_be_a_table_with_versions(cloud: Cloud) -> None:
    at = cloud.address
    for number in range(2):
        rows = pa.table({"id": [str(number)], "page": [b"%d" % number]})
        write_deltalake(at, rows, mode="append", storage_options=delta.storage_options(at))
    assert sorted(contents(at, column="page")) == [b"0", b"1"]
    assert contents(f"{at}@v0", column="page") == contents(f"{at}@v0/") == [b"0"]
    assert uris(f"{at}@v0", id_column="id", column="page") == [f"{uris(f'{at}@v0')[0].partition('#')[0]}#0"]
    assert f"the Delta table {at}@v9 cannot be read" in complaint(f"{at}@v9", column="page")


def test_an_object_without_a_suffix_is_looked_at(cloud: Cloud) -> None:
    found = cloud.put("0c9f", PNG)
    cloud.put("README", b"text")
    cloud.put("empty", b"")
    assert uris(cloud.address) == [found]


def test_the_key_of_an_object_is_kept_until_it_is_written_again(cloud: Cloud) -> None:
    uri = cloud.put("a.pdf", PDF)
    before = keys(uri)
    assert keys(cloud.address) == before
    cloud.put("a.pdf", PDF + b" ")
    assert keys(uri) != before


def test_parquet_holds_bytes_or_leads_to_objects(cloud: Cloud) -> None:
    where = cloud.put("docs/a.pdf", PDF)
    buffer = io.BytesIO()
    pq.write_table(pa.table({"page": [PNG, PDF], "where": ["docs/a.pdf", where]}), buffer, row_group_size=1)
    rows = cloud.put("rows.parquet", buffer.getvalue())
    assert contents(rows, column="page") == [PNG, PDF]
    assert uris(cloud.address, column="where") == [where, where]
    assert contents(cloud.address, column="where") == [PDF, PDF]


def test_a_delta_table_is_read_by_its_log(cloud: Cloud) -> None:
    place = f"{cloud.address}/delta/in dir#1 [é]?"
    options = delta.storage_options(place)
    rows = pa.table({"id": ["a", "b"], "page": [PDF, PNG]})
    write_deltalake(delta.address(place), rows, storage_options=options)
    DeltaTable(delta.address(place), storage_options=options).delete("id = 'b'")
    assert contents(place, column="page") == [PDF]
    assert contents(f"{cloud.address}/delta/in */*.parquet", column="page") == [PDF]


def test_a_row_names_nothing_of_another_bucket(cloud: Cloud) -> None:
    buffer = io.BytesIO()
    elsewhere = f"{cloud.scheme}://elsewhere/a.pdf"
    pq.write_table(pa.table({"where": [elsewhere]}), buffer)
    (source,) = list_sources([cloud.put("rows.parquet", buffer.getvalue())], column="where").to_pylist()
    assert read_reason(source, [cloud.address]) == "not_allowed"


def test_what_is_not_there_is_a_clear_error(cloud: Cloud) -> None:
    at, kind = cloud.address, "container" if cloud.scheme == "az" else "bucket"
    cloud.put("notes.txt", b"text")
    nowhere = f"{cloud.scheme}://no-such-one"
    assert f"{nowhere}/x: the {kind} no-such-one does not exist" in complaint(f"{nowhere}/x")
    assert f"the {kind} no-such-one does not exist" in complaint(f"{nowhere}/x*")
    assert "there is no such object or folder" in complaint(f"{at}/nothing")
    assert "matches no object" in complaint(f"{at}/x*")
    assert "holds no PDF and no image, only 1 .txt" in complaint(at)


def test_an_object_that_went_away_is_a_document_that_failed(cloud: Cloud) -> None:
    (source,) = list_sources([cloud.put("a.pdf", PDF)]).to_pylist()
    cloud.clear()
    assert read_reason(source) == "missing"


@pytest.mark.parametrize("cloud", ["gs", "az"], indirect=True)
def test_refused_credentials_are_a_clear_error(cloud: Cloud) -> None:
    uri = cloud.put("a.pdf", PDF)
    (source,) = list_sources([uri]).to_pylist()
    cloud.fail(403, 1_000, "", "")
    for given in (uri, cloud.address, f"{cloud.address}/*"):
        message = complaint(given)
        assert given in message
        assert "refused the credentials" in message
        assert ("AZURE_STORAGE_ACCOUNT_KEY" if cloud.scheme == "az" else "GOOGLE_APPLICATION") in message
        assert KEY not in message
    assert read_reason(source) == "unreadable"
    assert cloud.struck() > 3


@pytest.mark.parametrize("cloud", ["gs", "az"], indirect=True)
def test_faults_that_pass_are_waited_out(cloud: Cloud) -> None:
    found = [cloud.put(f"{number}.pdf", PDF) for number in range(4)]
    cloud.fail(503, 3, "", "")
    assert uris(cloud.address) == found
    assert cloud.struck() == 3
    for fault in (503, "reset"):
        cloud.fail(fault, 2, "GET", "0.pdf")
        assert contents(found[0]) == [PDF]
        assert cloud.struck() == 2


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_no_credentials_at_all_are_a_clear_error(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("GOOGLE_", "AZURE_", "AZURITE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nowhere")
    with socket.socket() as closed:  # where the machine's own credentials would come from
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("GOOGLE_METADATA_HOST", address)
        monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"http://{address}/metadata/identity/oauth2/token")
        storage._bucket.cache_clear()
        if scheme == "az":
            assert "set AZURE_STORAGE_ACCOUNT_NAME" in complaint("az://scans/a")
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acme1")
        message = complaint(f"{scheme}://scans/a")
    name = "Azure" if scheme == "az" else "Google Cloud Storage"
    assert f"{scheme}://scans/a: no credentials for {name} were found: set " in message
    assert "SKIP_SIGNATURE=true" in message


def test_a_public_bucket_needs_no_credentials(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    if cloud.scheme == "az":
        pytest.skip("the emulator's account comes with its key")
    cloud.put("a.pdf", PDF)
    monkeypatch.delenv("GOOGLE_SERVICE_ACCOUNT")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    storage._bucket.cache_clear()
    assert contents(f"{cloud.address}/a.pdf") == [PDF]


@pytest.mark.parametrize("cloud", ["gs", "az"], indirect=True)
def test_a_server_that_does_not_answer_is_a_clear_error(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = Cloud(port=closed.getsockname()[1], scheme=cloud.scheme, folder=cloud.folder)
        for name, value in gone.settings.items():
            monkeypatch.setenv(name, value)
        assert complaint(gone.address).endswith("cannot be reached")
