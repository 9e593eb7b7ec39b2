"""The bytes of a document have a key, and a document that cannot be read says why."""

from pathlib import Path

import pytest

from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.listing import list_sources
from pipeline.ingest.reading import content_key, read_source
from tests.pipeline.ingest.listed import PDF, parquet, read_reason, write


def test_the_content_key_is_the_sha_256_of_the_bytes() -> None:
    assert content_key(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


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


def test_a_row_above_the_limit_of_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.ingest.reading.MAX_BYTES", 3)
    path = parquet(tmp_path / "a.parquet", page=[b"1234", b"123"])
    large, good = list_sources([path], column="page").to_pylist()
    with pytest.raises(DocumentError, match="has 4 bytes, the limit is 3") as caught:
        read_source(large, ())
    assert caught.value.reason == "too_large"
    assert read_source(good, ()) == b"123"
