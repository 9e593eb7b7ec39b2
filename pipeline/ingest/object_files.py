"""Google Cloud Storage and Azure Blob as a file system of pyarrow's, by obstore.

In: a `Place`. Out: a file system whose paths are bucket/key. obstore is the Python face of the library by
which deltalake reads and writes tables: credentials come from the same GOOGLE_* and AZURE_* variables, or
from the machine, for documents as for tables. Every error is an OSError: FileNotFoundError, or a StoreError
that says what to do. No message holds an address that somebody has signed.

obstore refuses to list, or read, names with an empty part (a//b), a part of one or two dots, or a line feed.
pyarrow's own file systems of these clouds list them, in one piece: `native`.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import obstore
import pyarrow as pa
import pyarrow.fs as pafs
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore

from pipeline.ingest.object_uris import Place

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

# What is turned down is asked again for about two minutes. By itself the library gives up after two seconds.
FIRST_WAIT, BASE, LONGEST_WAIT = 0.5, 3, 15.0  # seconds; each wait is up to BASE times the last one
MAX_RETRIES: Final = 20
RETRY_SECONDS: Final = 180.0
WHOLE_BYTES: Final = 64 * 2**20  # of a file of a table that is read at once
LIMITS: Final = {  # of a request to its last byte, which may be a gigabyte; and without a byte
    "timeout": timedelta(minutes=15),
    "read_timeout": timedelta(minutes=1),
}
TRIED: Final = timedelta(seconds=2)  # to connect at first, and to what gives a machine its credentials
_ODD_NAME: Final = "invalid path"
_STATUS: Final = re.compile(r"status code: (\d+)")
_KEYS_OF: Final = {
    "gs": (
        "Google Cloud Storage",
        "GOOGLE_APPLICATION_CREDENTIALS, or log in by `gcloud auth application-default login`; a public "
        "bucket is read with GOOGLE_SKIP_SIGNATURE=true",
    ),
    "az": (
        "Azure",
        "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or AZURE_CLIENT_ID, AZURE_TENANT_ID and "
        "AZURE_CLIENT_SECRET; a public container is read with AZURE_SKIP_SIGNATURE=true",
    ),
}
Store = GCSStore | AzureStore


class StoreError(OSError):
    """A cloud's storage does not do what it was asked for: part of a sentence, without the address."""


class OddNameError(StoreError):
    """A name that obstore does not know is in the way."""


class ObjectFiles(pafs.FileSystemHandler):  # type: ignore[misc]  # pyarrow ships no types
    """A bucket, or a container. Folders are what objects have in their names."""

    def __init__(self, place: Place) -> None:
        """Raises StoreError: no credentials are found, no account, or no server."""
        self.root = place.root
        self._place = place
        self.kind = "gs" if place.scheme == "gs" else "az"
        with self.explained(place.root):
            self.store = _store(place, LIMITS, _patience())
            # With patience, a server that is not there would be asked for minutes. A refusal is an answer.
            first = _store(place, {"connect_timeout": TRIED}, {"max_retries": 2})
            try:
                next(iter(obstore.list(first, chunk_size=1)), None)
            except BaseError as error:
                is_answer = _STATUS.search(str(error)) or _ODD_NAME in str(error)
                if not is_answer or _lacks_credentials(error):
                    raise

    def read_whole(self, path: str, check: Callable[[int], None]) -> bytes:
        """An object's bytes, in one request; `check` is called with its size first."""
        with self.explained(path):
            found = obstore.get(self.store, _key(path))
            check(found.meta["size"])
            return bytes(found.bytes())

    def pages(self, path: str, rows: int) -> Iterator[pa.RecordBatch]:
        """What lies below a path, as columns path, size, last_modified and others, in some order."""
        with self.explained(path):
            for batch in obstore.list(self.store, _key(path), chunk_size=rows, return_arrow=True):
                yield pa.record_batch(batch)

    def native(self) -> pafs.FileSystem:
        """pyarrow's own file system for the same bucket. Raises OSError."""
        return _native_google() if self.kind == "gs" else _native_azure(self._place)

    def get_type_name(self) -> str:
        return "obstore"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        return list(map(self._info, paths))

    def _info(self, path: str) -> pafs.FileInfo:
        key = _key(path)
        if key:
            with suppress(FileNotFoundError), self.explained(path):
                return _file_info(path, obstore.head(self.store, key))
        try:
            with self.explained(path):
                below = next(iter(obstore.list(self.store, key, chunk_size=1)), None)
        except OddNameError:
            return pafs.FileInfo(path, pafs.FileType.Directory)
        except FileNotFoundError:  # there is no such bucket
            return pafs.FileInfo(path, pafs.FileType.NotFound)
        is_there = below or not key  # an empty bucket is one
        return pafs.FileInfo(path, pafs.FileType.Directory if is_there else pafs.FileType.NotFound)

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        bucket = selector.base_dir.partition("/")[0]
        key = _key(selector.base_dir)
        with self.explained(selector.base_dir):
            if selector.recursive:
                objects, folders = list(obstore.list(self.store, key).collect()), []
            else:
                found = obstore.list_with_delimiter(self.store, key)
                objects, folders = list(found["objects"]), list(found["common_prefixes"])
        if not (objects or folders or selector.allow_not_found):
            raise FileNotFoundError(selector.base_dir)
        infos = [_file_info(f"{bucket}/{one['path']}", one) for one in objects]
        return infos + [pafs.FileInfo(f"{bucket}/{name}", pafs.FileType.Directory) for name in folders]

    def open_parts(self, path: str) -> pa.NativeFile:
        """A file of which only what is read is fetched."""
        with self.explained(path):
            size = obstore.head(self.store, _key(path))["size"]
        return pa.PythonFile(_Reader(self, path, size), mode="r")

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file for pyarrow's own threads: in its own memory, unless it is large.

        A thread that lets go of an object of Python's while the process ends would abort it.
        """
        with self.explained(path):
            found = obstore.get(self.store, _key(path))
            if (size := found.meta["size"]) > WHOLE_BYTES:
                return pa.PythonFile(_Reader(self, path, size), mode="r")
            whole = pa.allocate_buffer(size)
            memoryview(whole).cast("B")[:] = memoryview(found.bytes())
        return pa.BufferReader(whole)

    open_input_stream = open_input_file

    def open_output_stream(self, path: str, metadata: object) -> pa.NativeFile:
        with self.explained(path):
            return pa.PythonFile(_Writer(self, path), mode="w")

    def delete_file(self, path: str) -> None:
        with self.explained(path):
            obstore.delete(self.store, _key(path))

    def create_dir(self, path: str, recursive: bool) -> None:
        """There are none to create."""

    def _refused(self, *_: object) -> Any:
        raise NotImplementedError("nothing of Quire's moves objects, or deletes folders of them")

    delete_dir = delete_dir_contents = delete_root_dir_contents = move = copy_file = _refused
    open_append_stream = _refused

    @contextmanager
    def explained(self, path: str) -> Iterator[None]:
        """Errors of obstore's become OSErrors."""
        try:
            yield
        except (NotFoundError, FileNotFoundError):
            raise FileNotFoundError(path) from None
        except StoreError:
            raise
        except (BaseError, OSError) as error:  # streams raise OSErrors
            if "status code: 404" in str(error):  # there is no such bucket
                raise FileNotFoundError(path) from None
            if _ODD_NAME in str(error):
                raise OddNameError(_cause(self.kind, error)) from None
            raise StoreError(_cause(self.kind, error)) from None  # its own text holds what was signed


class _Reader:
    """An object as a file that pyarrow reads and seeks in; each read is a request."""

    def __init__(self, files: ObjectFiles, path: str, size: int) -> None:
        self._files, self._path, self._size = files, path, size
        self._at = 0
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        with self._files.explained(self._path):
            data = bytes(
                obstore.get_range(self._files.store, _key(self._path), start=self._at, length=wanted)
            )
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False


class _Writer:
    """A stream into an object, which is there once it is closed: in one put, or above 10 MB in parts."""

    def __init__(self, files: ObjectFiles, path: str) -> None:
        self._files, self._path = files, path
        self._stream = obstore.open_writer(files.store, _key(path))
        self._size = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        some = memoryview(data).cast("B")  # pyarrow's buffers are of signed bytes, which obstore refuses
        with self._files.explained(self._path):
            self._stream.write(some)
        self._size += len(some)
        return len(some)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing is there before it is closed."""

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            with self._files.explained(self._path):
                self._stream.close()

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


def plain_http(scheme: str) -> bool:
    """Whether the environment leads to a server without TLS, which the libraries want allowed in words."""
    if scheme == "s3":
        return os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    if scheme == "gs":
        return os.environ.get("GOOGLE_BASE_URL", "").startswith("http://")
    addresses = (os.environ.get(name, "") for name in ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"))
    return _is_set("AZURE_STORAGE_USE_EMULATOR") or any(
        address.startswith("http://") for address in addresses
    )


def table_options() -> dict[str, str]:
    """The same patience, as deltalake wants it said."""
    return {
        "max_retries": str(MAX_RETRIES),
        "retry_timeout": f"{RETRY_SECONDS:.0f}s",
        "backoff_config.init_backoff": f"{1_000 * FIRST_WAIT:.0f}ms",
        "backoff_config.max_backoff": f"{1_000 * LONGEST_WAIT:.0f}ms",
        "backoff_config.base": str(BASE),
    }


def _patience() -> "RetryConfig":
    first, longest = timedelta(seconds=FIRST_WAIT), timedelta(seconds=LONGEST_WAIT)
    return {
        "max_retries": MAX_RETRIES,
        "retry_timeout": timedelta(seconds=RETRY_SECONDS),
        "backoff": {"init_backoff": first, "max_backoff": longest, "base": BASE},
    }


def _store(place: Place, options: "ClientConfig", retries: "RetryConfig") -> Store:
    client: ClientConfig = {"allow_http": plain_http(place.scheme), **options}
    if place.scheme == "gs":
        return GCSStore(place.bucket, client_options=client, retry_config=retries)
    account = place.account or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if account is None and not plain_http("az"):
        raise StoreError(
            "the address names no account of Azure: set AZURE_STORAGE_ACCOUNT_NAME, or write "
            f"abfss://{place.bucket}@ACCOUNT.dfs.core.windows.net/..."
        )
    if account is None:
        return AzureStore(place.bucket, client_options=client, retry_config=retries)
    return AzureStore(place.bucket, account_name=account, client_options=client, retry_config=retries)


def _native_google() -> pafs.FileSystem:
    # It reads GOOGLE_APPLICATION_CREDENTIALS by itself.
    scheme, _, server = os.environ.get("GOOGLE_BASE_URL", "").partition("://")
    return pafs.GcsFileSystem(
        anonymous=_is_set("GOOGLE_SKIP_SIGNATURE"),
        scheme=scheme or "https",
        endpoint_override=server or None,
        retry_time_limit=timedelta(seconds=RETRY_SECONDS),
    )


def _native_azure(place: Place) -> pafs.FileSystem:
    known = ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID")
    client = [os.environ.get(name) for name in known]
    options = (
        dict(zip(("client_id", "client_secret", "tenant_id"), client, strict=True)) if all(client) else {}
    )
    if key := os.environ.get("AZURE_STORAGE_ACCOUNT_KEY"):
        options = {"account_key": key}
    elif token := os.environ.get("AZURE_STORAGE_SAS_TOKEN"):
        options = {"sas_token": token}
    if _is_set("AZURE_STORAGE_USE_EMULATOR"):
        address = os.environ.get("AZURITE_BLOB_STORAGE_URL", "http://127.0.0.1:10000")
        scheme, _, server = address.partition("://")
        options |= {f"{kind}_storage_authority": server for kind in ("blob", "dfs")}
        options |= {f"{kind}_storage_scheme": scheme for kind in ("blob", "dfs")}
    return pafs.AzureFileSystem(place.account or os.environ["AZURE_STORAGE_ACCOUNT_NAME"], **options)


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("true", "1")


def _lacks_credentials(error: Exception) -> bool:
    """Whether there were none, and the machine, asked for its own, had none either."""
    return any(sign in str(error) for sign in ("token request", "computeMetadata", "identity/oauth2/token"))


def _cause(kind: str, error: Exception) -> str:
    """Why a request failed."""
    name, keys = _KEYS_OF[kind]
    text = str(error)
    status = _STATUS.search(text)
    if _lacks_credentials(error):
        return f"no credentials for {name} were found: set {keys}"
    refused = isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError)
    if refused or (status and status[1] in ("401", "403")):
        return f"{name} refused the credentials: check what they may read and write, or set {keys}"
    if status:
        return f"{name} answered {status[1]}"
    if "error sending request" in text or "connect" in text.lower():
        return f"{name} cannot be reached"
    if _ODD_NAME in text:
        return "a name has an empty part, a part of dots, or a line feed, which cannot be read: rename it"
    why = text.partition("\n")[0].removeprefix("Generic ").partition("error: ")[2] or text
    return f"{name} cannot be used so: {re.sub('[?][^ ]*', '', why)}"


def _key(path: str) -> str:
    return path.partition("/")[2].rstrip("/")


def _file_info(path: str, meta: Any) -> pafs.FileInfo:
    # Whole seconds: that is what a request for one object tells, though a listing may tell more.
    return pafs.FileInfo(
        path, pafs.FileType.File, size=meta["size"], mtime=float(int(meta["last_modified"].timestamp()))
    )
