"""Google Cloud Storage and Azure Blob by obstore: the stores, their credentials, patience and errors.

obstore is the Python face of the library by which deltalake reads and writes tables: credentials come from
the same GOOGLE_* and AZURE_* variables, or from the machine, for documents as for tables. Every error is an
OSError: FileNotFoundError, or a StoreError that says what to do. No message holds an address that somebody
has signed.

obstore refuses to list, or read, names with an empty part (a//b), a part of one or two dots, or a line feed.
pyarrow's own file systems of these clouds list them, in one piece: `native`.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import obstore
import pyarrow.fs as pafs
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore

from pipeline.ingest.object_uris import Place
from pipeline.ingest.outages import is_outage

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

# What is turned down is asked again for about two minutes. By itself the library gives up after two seconds.
FIRST_WAIT, BASE, LONGEST_WAIT = 0.5, 3, 15.0  # seconds; each wait is up to BASE times the last one
MAX_RETRIES: Final = 20
RETRY_SECONDS: Final = 180.0
LIMITS: Final[
    "ClientConfig"
] = {  # of a request to its last byte, which may be a gigabyte; and without a byte
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

    def __init__(self, message: str, *, is_outage: bool = False) -> None:
        super().__init__(message)
        self.is_outage = is_outage
        """Whether that passes: see `outages`."""


class OddNameError(StoreError):
    """A name that obstore does not know is in the way."""


def open_store(place: Place) -> Store:
    """The store of a bucket, or a container. Raises StoreError: no credentials, no account, no server."""
    with explained(place, place.root):
        # With patience, a server that is not there would be asked for minutes. A refusal is an answer.
        first = _store(place, {"connect_timeout": TRIED}, {"max_retries": 2})
        try:
            next(iter(obstore.list(first, chunk_size=1)), None)
        except BaseError as error:
            is_answer = _STATUS.search(str(error)) or _ODD_NAME in str(error)
            if not is_answer or _lacks_credentials(error):
                raise
        return _store(place, LIMITS, _patience())


def native(place: Place) -> pafs.FileSystem:
    """pyarrow's own file system for the same bucket. Raises OSError."""
    return _native_google() if place.scheme == "gs" else _native_azure(place)


@contextmanager
def explained(place: Place, path: str) -> Iterator[None]:
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
            raise OddNameError(_cause(place, error)) from None
        passes = is_outage(error) and not _lacks_credentials(error)
        raise StoreError(_cause(place, error), is_outage=passes) from None  # its text holds what was signed


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


def _cause(place: Place, error: Exception) -> str:
    """Why a request failed."""
    name, keys = _KEYS_OF["gs" if place.scheme == "gs" else "az"]
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
