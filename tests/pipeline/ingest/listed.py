"""What the tests of listing and reading share: inputs, and what is listed or refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.listing import list_sources
from pipeline.ingest.reading import read_source
from pipeline.ingest.roots import find_roots
from pipeline.ingest.sources import SOURCES
from tests.pipeline.drawn import image_bytes, pdf_bytes

PDF = pdf_bytes()
PNG = image_bytes(Image.new("RGB", (4, 4)), "PNG")


def write(path: Path, data: bytes = PDF) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def uris(*inputs: str | Path, **options: Any) -> list[str]:
    table = list_sources([str(given) for given in inputs], **options)
    assert table.schema == SOURCES
    listed: list[str] = table["uri"].to_pylist()
    return listed


def keys(*inputs: str | Path, **options: Any) -> list[str]:
    listed: list[str] = list_sources([str(given) for given in inputs], **options)["source_key"].to_pylist()
    assert len(set(listed)) == len(listed)
    return listed


def contents(*inputs: str | Path, **options: Any) -> list[bytes]:
    given = list(map(str, inputs))
    roots = find_roots(given, ())
    return [read_source(row, roots) for row in list_sources(given, **options).to_pylist()]


def complaint(*inputs: str | Path, **options: Any) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- every test looks at the words
        list_sources([str(given) for given in inputs], **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def read_reason(source: dict[str, Any], roots: Sequence[str] = ("/",)) -> str:
    with pytest.raises(DocumentError) as caught:
        read_source(source, roots)
    assert str(source["uri"]) in caught.value.message
    return caught.value.reason


def parquet(path: Path, row_group_size: int = 2, **columns: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return str(path)
