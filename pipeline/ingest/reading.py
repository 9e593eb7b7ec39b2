"""A row of SOURCES in; the bytes of its document, and the key of its content, out.

The bytes are a whole file, an object on S3, or a value in a column of a Parquet file. A document that cannot
be read is a DocumentError with a reason: it becomes failures of its own items, and the run goes on.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import pyarrow as pa

from pipeline.ingest import parquet, storage
from pipeline.ingest.file_types import DocumentError

MAX_BYTES: Final = 2**30  # a document above 1 GiB is not read: several of them must fit in memory


def read_source(source: Mapping[str, Any]) -> bytes:
    """The bytes of a row of SOURCES. Raises DocumentError: missing, unreadable, too_large, null_value.

    Rows of one Parquet row group are read fastest in their order and in one process: see `listing.split`.
    """
    uri, location = source["uri"], source["location"]
    try:
        if location is None:
            data = None
        elif source["column"] is None:
            data = _read_file(uri, location)
        else:
            data = _row_reader().read(location, source["column"], source["row_group"], source["row"])
    except (FileNotFoundError, IndexError) as error:
        raise DocumentError("missing", f"{uri} is no longer there, or never was") from error
    except OSError as error:
        raise DocumentError("unreadable", storage.explain(uri, error)) from error
    except (ValueError, pa.ArrowException) as error:  # no such scheme; a damaged Parquet file
        raise DocumentError("unreadable", f"{uri} cannot be read: {error}") from error
    if data is None:
        raise DocumentError("null_value", f"{uri} is null")
    if len(data) > MAX_BYTES:  # a file is not even read
        raise DocumentError("too_large", f"{uri} has {len(data)} bytes, the limit is {MAX_BYTES}")
    return data


def content_key(data: bytes) -> str:
    """SHA-256 of a document's bytes: equal for identical documents, wherever they lie."""
    return hashlib.sha256(data).hexdigest()


def _read_file(uri: str, location: str) -> bytes:
    with storage.open_input(location) as file:
        if file.size() > MAX_BYTES:
            raise DocumentError("too_large", f"{uri} has {file.size()} bytes, the limit is {MAX_BYTES}")
        data: bytes = file.read()
    return data


@cache  # one a process: it keeps its place in a row group from one call to the next
def _row_reader() -> parquet.RowReader:
    return parquet.RowReader()
