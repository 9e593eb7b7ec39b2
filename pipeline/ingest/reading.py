"""A row of SOURCES in; the bytes of its document, its password, and the key of its content, out.

The bytes are a whole file, an object in a cloud, or a value in a column of a Parquet file, which may be a
list of pages. A document that cannot be read is a DocumentError with a reason: it becomes failures of its own
items, and the run goes on. No read of a local file waits for ever; those of a cloud have time-outs of their
own.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache, partial
from typing import Any, Final

import pyarrow as pa

from pipeline.ingest import messages, page_lists, parquet, storage
from pipeline.ingest.data_uris import decode, is_data_uri
from pipeline.ingest.deadline import Beat, in_time
from pipeline.ingest.fetching import FetchError, WebRules, fetch
from pipeline.ingest.file_types import MAX_BYTES, DocumentError
from pipeline.ingest.object_uris import is_object
from pipeline.ingest.roots import lies_on_web, lies_under
from pipeline.ingest.storage import resolve

WEB_SECONDS: Final = 120.0  # for a document at an address, from the look for its host to its last byte
LIST_SECONDS: Final = 1_800.0  # for all pages of a list, each of which may lie elsewhere
_SHOWN: Final = 200  # characters of an address in a sentence
_CHUNK_BYTES: Final = 64 * 2**20  # of a local file, read together


def read_source(source: Mapping[str, Any], roots: Sequence[str], web: WebRules | None = None) -> bytes:
    """The bytes of a row of SOURCES.

    Raises DocumentError: missing, unreadable, too_large, null_value, and not_allowed: a row of a Parquet file
    names what lies under none of the `roots`, or on the `web` beyond its rules. Rows of one Parquet row group
    are read fastest in their order and in one process: see `listing.split`.
    """
    uri, location = source["uri"], source["location"]
    _check_listed(source)
    with _explained(uri):
        if location is None:
            data = None
        elif source["column"] is not None:
            value = _read_row(location, source["column"], source["row_group"], source["row"])
            # A text that stands by itself was listed as a data: address.
            folder = location.rpartition("/")[0]
            data = decode(value) if isinstance(value, str) else _document(value, uri, folder, roots, web)
        else:
            data = _read_file(uri, location, None if source["parquet"] is None else roots, web)
    if data is None:
        raise DocumentError("null_value", f"{uri} is null")
    _check_size(uri, len(data))
    return data


def read_conversation(source: Mapping[str, Any]) -> bytes:
    """The conversation of a row of SOURCES, as `messages.to_json` has it. Raises DocumentError: as above."""
    uri, folder = source["uri"], source["location"].rpartition("/")[0]
    _check_listed(source)
    with _explained(uri):
        value = _read_row(source["location"], source["column"], source["row_group"], source["row"])
    if value is None:
        raise DocumentError("null_value", f"{uri} is null")
    data = messages.to_json(value, uri, partial(resolve, folder))
    _check_size(uri, len(data))
    return data


def read_named(address: str, name: str, roots: Sequence[str], web: WebRules | None = None) -> bytes:
    """What a conversation names: a data: address, a file or an object under one of the roots, or on the web.

    Raises DocumentError: missing, unreadable, too_large, not_allowed.
    """
    with _explained(name):
        if is_data_uri(address):
            return decode(address)
        return _read_file(name, address, roots, web)


def read_typed(place: str) -> bytes:
    """What a person names: a path, the address of a file or an object, or a data: address that holds it all.

    Raises DocumentError: missing, unreadable, too_large.
    """
    name = place if len(place) <= _SHOWN else f"{place[:_SHOWN]}..."
    with _explained(name):
        if is_data_uri(place):
            return decode(place)
        return _read_file(name, place if is_object(place) else storage.typed_path(place), None, None)


def read_password(source: Mapping[str, Any]) -> str | None:
    """The password beside a row of a Parquet file, if there is one. Raises DocumentError: see above."""
    if source["password_column"] is None:
        return None
    with _explained(source["uri"]):
        place = source["parquet"], source["password_column"], source["row_group"]
        password: str | None = _passwords(*place)[source["row"]]
    return password


def content_key(data: bytes) -> str:
    """SHA-256 of a document's bytes: equal for identical documents, wherever they lie."""
    return hashlib.sha256(data).hexdigest()


def _document(value: Any, name: str, folder: str, roots: Sequence[str], web: WebRules | None) -> bytes | None:
    """What a row holds: bytes, an address, a struct of both as `datasets` has it, or a list of such."""
    if isinstance(value, list):
        return page_lists.pack(_pages(value, name, folder, roots, web))
    if isinstance(value, Mapping):
        value = value["bytes"] if value["bytes"] is not None else (value.get("path") or None)
    if isinstance(value, bytes) and value[:5].lower() == b"data:":
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return read_named(value if is_data_uri(value) else resolve(folder, value), name, roots, web)
    data: bytes | None = value
    return data


def _pages(
    values: Sequence[Any], name: str, folder: str, roots: Sequence[str], web: WebRules | None
) -> list[page_lists.Part]:
    """The pages that the elements of a list are. One that cannot be read costs itself."""
    pages: list[page_lists.Part] = []
    size = 0
    deadline = time.monotonic() + LIST_SECONDS
    for number, value in enumerate(values, 1):
        which = f"page {number} of {name}"
        try:
            if time.monotonic() > deadline:
                raise DocumentError("unreadable", f"the pages before {which} took {LIST_SECONDS:g} s to read")
            with _explained(which):
                data = _document(value, which, folder, roots, web)
            if data is None:
                raise DocumentError("null_value", f"{which} is null")
        except DocumentError as error:
            pages.append(error)
            continue
        size += len(data)
        _check_size(name, size)  # of all of them
        pages.append(data)
    return pages


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Errors of reading become a DocumentError."""
    try:
        yield
    except (FileNotFoundError, IndexError) as error:
        raise DocumentError("missing", f"{uri} is no longer there, or never was") from error
    except FetchError as error:
        raise DocumentError(error.reason, str(error)) from error
    except OSError as error:
        if error.filename is not None:
            error.filename = None  # it may be no UTF-8, or as long as the row made it: tables name the uri
        raise DocumentError("unreadable", storage.explain(uri, error)) from error
    except (ValueError, pa.ArrowException) as error:  # no such scheme; a damaged Parquet file
        raise DocumentError("unreadable", f"{uri} cannot be read: {' '.join(str(error).split())}") from error


def _check_listed(source: Mapping[str, Any]) -> None:
    """Raises DocumentError for a Parquet file that could not be read when its rows were to be listed."""
    if source["refused"] is not None:
        raise DocumentError("unreadable", source["refused"])


def _check_size(uri: str, size: int) -> None:
    if size > MAX_BYTES:
        raise DocumentError("too_large", f"{uri} has {size} bytes, the limit is {MAX_BYTES}")


def _check_allowed(uri: str, location: str, roots: Sequence[str] | None) -> None:
    if roots is not None and not lies_under(location, roots):
        raise DocumentError("not_allowed", f"{uri} lies outside the inputs' folders, and in no --allow-root")


def _read_file(uri: str, location: str, roots: Sequence[str] | None, web: WebRules | None) -> bytes:
    """A whole file or object; with `roots` it must lie under one of them, or on the web."""
    if lies_on_web(location, roots or ()):
        return fetch(location, web)
    if not is_object(location):
        return in_time(lambda beat: _read_local(uri, location, roots, beat))
    _check_allowed(uri, location, roots)
    return storage.read_object(location, partial(_check_size, uri))


def _read_local(uri: str, location: str, roots: Sequence[str] | None, beat: Beat) -> bytes:
    _check_allowed(uri, location, roots)
    file = storage.open_file(location)
    try:
        # Again, of the file that was opened: a link may have been turned since.
        _check_allowed(uri, os.readlink(f"/proc/self/fd/{file}"), roots)
        expected = os.fstat(file).st_size
        _check_size(uri, expected)
        chunks, size = [], 0
        # No more memory than the file has bytes, and one more, for one that grows.
        while chunk := os.read(file, min(_CHUNK_BYTES, max(0, expected - size) + 1)):
            beat()
            chunks.append(chunk)
            size += len(chunk)
            _check_size(uri, size)
    finally:
        os.close(file)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _read_row(location: str, column: str, row_group: int, row: int) -> Any:
    try:
        return in_time(lambda beat: _row_reader().read(location, column, row_group, row))
    except TimeoutError:
        _row_reader.cache_clear()  # the thread that hangs has this one
        raise


@cache  # one a process: it keeps its place in a row group from one call to the next
def _row_reader() -> parquet.RowReader:
    return parquet.RowReader()


@lru_cache(maxsize=4)  # row groups whose rows one task reads, and another one beside it
def _passwords(location: str, column: str, row_group: int) -> list[str | None]:
    return in_time(lambda beat: parquet.passwords(location, column, row_group))
