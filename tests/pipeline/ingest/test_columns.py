"""Which column holds the documents: as it is named, in whatever case, or as it can only be."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ingest.columns import form_of, guess
from pipeline.ingest.listing import list_sources
from pipeline.ingest.reading import read_source
from tests.pipeline.ingest.listed import PDF, PNG, complaint, contents, parquet, read_reason, uris, write

PAIR = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def said_by_datasets(**features: Any) -> dict[bytes, bytes]:
    """What the library `datasets` writes beside its columns."""
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (pa.binary(), "bytes"),
        (pa.dictionary(pa.int32(), pa.string()), "text"),
        (PAIR, "struct"),
        (pa.struct([("bytes", pa.large_binary())]), "struct"),
        (pa.struct([("bytes", pa.binary()), ("path", pa.null())]), "struct"),
        (pa.struct([("bytes", pa.null()), ("path", pa.string())]), "struct"),
        (pa.struct([("bytes", pa.null()), ("path", pa.null())]), None),
        (pa.list_(PAIR), "list"),
        (pa.list_(pa.binary(), 2), "list"),
        (pa.large_list(pa.string()), "list"),
        (pa.list_(pa.list_(pa.binary())), None),
        (pa.list_(pa.int64()), None),
        (pa.struct([("bytes", pa.binary()), ("rate", pa.int64())]), None),
        (pa.struct([("path", pa.string())]), None),
    ],
)
def test_forms_of_documents(kind: pa.DataType, form: str | None) -> None:
    assert form_of(kind) == form


@pytest.mark.parametrize(
    ("columns", "metadata", "found"),
    [
        ({"id": pa.string(), "page": pa.binary()}, None, "page"),
        ({"id": pa.string(), "page": pa.list_(pa.binary())}, None, "page"),
        ({"image": PAIR, "thumbnail": pa.binary()}, None, "image"),
        ({"a": pa.binary(), "b": pa.binary()}, None, None),
        ({"a": PAIR, "b": pa.list_(PAIR)}, None, None),
        ({"uri": pa.string()}, None, None),
        ({"a": PAIR, "b": PAIR}, said_by_datasets(a={"_type": "Audio"}, b={"_type": "Pdf"}), "b"),
        ({"a": PAIR, "b": PAIR}, said_by_datasets(a={"_type": "Image"}, b={"_type": "Image"}), None),
        ({"a": PAIR}, said_by_datasets(a={"_type": "Audio"}), None),
        ({"a": pa.list_(PAIR)}, said_by_datasets(a={"feature": {"_type": "Image"}, "_type": "List"}), "a"),
        ({"a": pa.list_(PAIR)}, said_by_datasets(a=[{"_type": "Image"}]), "a"),
        ({"a": PAIR}, {b"huggingface": b"no JSON"}, "a"),
    ],
)
def test_the_column_that_can_only_be_it_is_guessed(
    columns: dict[str, pa.DataType], metadata: dict[bytes, bytes] | None, found: str | None
) -> None:
    assert guess(pa.schema(list(columns.items()), metadata)) == found


def test_parquet_alone_needs_no_column(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = parquet(tmp_path / "x.parquet", id=["a", "b"], page=[b"a", b"b"])
    assert contents(path) == contents(tmp_path) == [b"a", b"b"]
    assert f"the documents of {path} are taken from its column page" in caplog.text
    write(tmp_path / "a.pdf")
    assert uris(tmp_path) == [f"{tmp_path}/a.pdf"], "beside documents, Parquet is skipped as before"
    several = parquet(tmp_path / "y" / "1.parquet", id=["a"], page=[b"a"], back=[b"b"])
    said = f"{several} is Parquet: say with --column which column holds the documents (id, page, back)"
    assert complaint(several) == said
    write(tmp_path / "z" / "1.parquet", b"PAR1 no more")
    assert "1.parquet cannot be read as Parquet" in complaint(tmp_path / "z")


def test_a_parquet_file_that_begins_with_a_pdf_is_none(tmp_path: Path) -> None:
    parquet(tmp_path / "in" / "x.parquet", page=pa.array([PDF]))
    assert b"%PDF" in (tmp_path / "in" / "x.parquet").read_bytes()[:1024]
    assert contents(tmp_path / "in") == [PDF]
    write(tmp_path / "in" / "a.png", PNG)
    assert uris(tmp_path / "in") == [f"{tmp_path}/in/a.png"]


def test_a_struct_is_its_bytes_or_else_the_file_at_its_path(tmp_path: Path) -> None:
    write(tmp_path / "b.pdf")
    rows = [
        {"bytes": PNG, "path": "a.png"},
        {"bytes": None, "path": "b.pdf"},
        None,
        {"bytes": None, "path": None},
        {"bytes": None, "path": "/etc/passwd"},
        {"bytes": None, "path": "c.pdf"},
    ]
    path = parquet(tmp_path / "x.parquet", image=pa.array(rows, PAIR))
    sources = list_sources([path]).to_pylist()
    assert [source["uri"] for source in sources] == [f"{path}#{number}" for number in range(6)]
    roots = [str(tmp_path)]
    assert [read_source(source, roots) for source in sources[:2]] == [PNG, PDF]
    reasons = [read_reason(source, roots) for source in sources[2:]]
    assert reasons == ["null_value", "null_value", "not_allowed", "missing"]


def test_capitals_of_a_warehouse_are_found(tmp_path: Path) -> None:
    write(tmp_path / "a.pdf")
    path = parquet(tmp_path / "x.parquet", DOCUMENT_URI=["a.pdf"], ID=["7"], KEY=["x"])
    table = list_sources([path], column="document_uri", id_column="id", password_column="key")
    assert table["uri"].to_pylist() == [f"{tmp_path}/a.pdf"]
    assert table["password_column"].to_pylist() == ["KEY"]
    exact = list_sources([path], column="DOCUMENT_URI", id_column="ID")
    assert table["source_key"] == exact["source_key"]
    both = parquet(tmp_path / "y.parquet", Page=[b"a"], PAGE=[b"b"])
    assert contents(both, column="PAGE") == [b"b"]
    assert complaint(both, column="page").endswith("has Page and PAGE; give one as it is written there")


def unloaded(path: Path, **columns: Any) -> str:
    """A file as UNLOAD of a warehouse writes it: several row groups, INT96, dictionaries, decimals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.table(columns)
    pq.write_table(
        rows, path, row_group_size=2, use_deprecated_int96_timestamps=True, use_dictionary=True, version="1.0"
    )
    return str(path)


def test_what_snowflake_bigquery_and_athena_unload_is_read(tmp_path: Path) -> None:
    for name in "abcde":
        write(tmp_path / "scans" / f"{name}.pdf", PDF + name.encode())
    when = pa.array([0, 1, 2], pa.timestamp("us"))
    rest = {"LOADED_AT": when, "AMOUNT": pa.array([1, 2, 3], pa.decimal128(12, 2))}
    ids = pa.array([1, 2, 3], pa.decimal128(38, 0))
    place = tmp_path / "unload"
    where = [f"file://{tmp_path}/scans/{name}.pdf" for name in "abc"]
    unloaded(place / "data_0_0_0.snappy.parquet", ID=ids, URI=where, **rest)
    # Athena's have no suffix; and some writers do not say of bytes that they are text.
    more = [f"file://{tmp_path}/scans/{name}.pdf".encode() for name in "de"]
    unloaded(place / "20261129_000000_00007_x_uuid", ID=pa.array([4, 5]), URI=pa.array(more, pa.binary()))
    found = list_sources([str(place)], column="uri", id_column="id").to_pylist()
    read = {source["uri"]: read_source(source, [str(tmp_path)]) for source in found}
    assert sorted(read.values()) == [PDF + name.encode() for name in "abcde"]
    assert sorted(read) == [f"file://{tmp_path}/scans/{name}.pdf" for name in "abcde"]
    assert [source["parquet"].rpartition("/")[2][:2] for source in found] == ["20"] * 2 + ["da"] * 3
    scale = parquet(tmp_path / "y.parquet", PAGE=[b"a"], ID=pa.array([1], pa.decimal128(4, 2)))
    assert "but ids are strings or integers" in complaint(scale, column="page", id_column="id")


@pytest.mark.parametrize("value", [b"%PDF-1.7 s3://bucket/x", b"a://b\0", b"datax", b"x" * 9_000])
def test_bytes_that_are_no_address_stay_bytes(tmp_path: Path, value: bytes) -> None:
    path = parquet(tmp_path / "x.parquet", page=[value])
    assert contents(path, column="page") == [value]


def test_bytes_of_data_addresses_are_decoded(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", page=[None, b"data:,abc", b"DATA:;base64,YWJj"])
    rows = list_sources([path], column="page").to_pylist()
    assert [read_source(row, ()) for row in rows[1:]] == [b"abc", b"abc"]
