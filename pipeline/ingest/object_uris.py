"""Addresses of objects in a cloud's storage, and their parts.

In: s3://bucket/key, gs://bucket/key, az://container/key (abfs:// and abfss:// too), with the account of Azure
in the environment or as container@account.dfs.core.windows.net, and the URL of a blob as Azure's portal shows
it. Out: a `Place`. Nothing but a blob's URL is escaped: a key stands as it is, with spaces, # and %.
"""

import os
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

SCHEMES: Final = ("s3", "gs", "az", "abfs", "abfss")
EXAMPLES: Final = "s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
CREDENTIALS: Final = (
    "an address holds credentials, which would end up in tables and logs: leave them out, and set "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what your cloud has instead"
)
VERSION: Final = r"v\d{1,18}|\d{1,19}|\d{4}-\d\d-\d\d(?:[T ][0-9:.]+)?(?:Z|[+-]\d\d:?\d\d)?"  # behind an @
_PREFIXES: Final = tuple(f"{scheme}://" for scheme in SCHEMES)
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{3,255}|\$web|\$root|\$logs")  # of a bucket, or of a container
_OF_ACCOUNT: Final = re.compile(r"([^@]*)@([a-z0-9]{3,24})\.(?:dfs|blob)\.core\.windows\.net")
_BLOB_URL: Final = re.compile(r"https://([a-z0-9]{3,24})\.(?:blob|dfs)\.core\.windows\.net/")

_SIGNATURE: Final = re.compile(r"\bsig=[^&\s]+")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A bucket, or on Azure a container, and a key in it, which may be empty."""

    root: str  # the address of the bucket: gs://bucket, az://container, abfss://container@account...
    bucket: str
    key: str
    account: str | None = None  # of Azure, where the address names it

    @property
    def uri(self) -> str:
        return f"{self.root}/{self.key}" if self.key else self.root

    @property
    def path(self) -> str:
        """As pyarrow's file systems have it."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    @property
    def kind(self) -> str:
        """What the cloud calls it."""
        return "container" if self.scheme.startswith("a") else "bucket"

    @property
    def scheme(self) -> str:
        return self.root.partition("://")[0]


def is_object(uri: str) -> bool:
    """Whether an address is for `place_of`."""
    return uri.startswith(_PREFIXES) or _BLOB_URL.match(uri) is not None


def place_of(uri: str) -> Place:
    """The parts of an address. Raises ValueError if it names no bucket, or holds a signature."""
    if blob := _BLOB_URL.match(uri):
        bucket, _, key = uri[blob.end() :].partition("/")
        if "?" in key or "?" in bucket:
            raise ValueError(
                "the URL of a blob has a query, which may hold a signature: leave out what stands behind the "
                "question mark, and set AZURE_STORAGE_SAS_TOKEN"
            )
        return _place(uri, f"abfss://{unquote(bucket)}@{blob[1]}.dfs.core.windows.net", unquote(key))
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return _place(uri, f"{scheme}://{bucket}", key)


def without_version(uri: str) -> str:
    """The address of a bucket without the version of the table that it is; any other as it stands.

    No bucket has an @ in its name. Example: s3://bucket@v3 is s3://bucket, and s3://key:secret@v3 stays.
    """
    bucket, _, version = uri.rstrip("/").rpartition("@")
    scheme, _, host = bucket.partition("://")
    is_bucket = scheme in SCHEMES and (_NAME.fullmatch(host) or _OF_ACCOUNT.fullmatch(host))
    return bucket if is_bucket and re.fullmatch(VERSION, version) else uri


def canonical(uri: str) -> str:
    """An address as tables have it, of an object or of anything else."""
    return place_of(uri).uri if is_object(uri) else uri


def with_account(uri: str) -> str:
    """An address in the form that other programs know: of Azure's, which the environment completes, abfss."""
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if account is None or not uri.startswith("az://"):
        return uri
    place = place_of(uri)
    return _place(uri, f"abfss://{place.bucket}@{account}.dfs.core.windows.net", place.key).uri


def holds_credentials(uri: str) -> bool:
    """Whether an address has a user's name or a password, such as s3://key:secret@bucket."""
    scheme, separator, rest = without_version(uri).partition("://")
    host = rest.partition("/")[0]
    return bool(separator) and "@" in host and not (scheme.startswith("abfs") and _OF_ACCOUNT.fullmatch(host))


def unsigned(text: str) -> str:
    """What a library says without the signatures of Azure's addresses, which it may repeat."""
    return _SIGNATURE.sub("sig=...", text)


def is_private(text: str) -> bool:
    """Whether a text is an address that nobody else may see: with credentials, or perhaps a signature."""
    return holds_credentials(text) or (text.startswith(("http://", "https://")) and "?" in text)


def _place(uri: str, root: str, key: str) -> Place:
    scheme, _, host = root.partition("://")
    of_account = _OF_ACCOUNT.fullmatch(host) if scheme.startswith("abfs") else None
    bucket, account = of_account.groups() if of_account else (host, None)
    if account:
        root = f"abfss://{bucket}@{account}.dfs.core.windows.net"
    elif scheme.startswith("abfs"):
        root = f"az://{bucket}"
    place = Place(root=root, bucket=bucket, key=key.rstrip("/"), account=account)
    if not _NAME.fullmatch(bucket):
        if re.search(":.*@", host):
            raise ValueError(CREDENTIALS)
        raise ValueError(f"{uri} names no {place.kind}: it should read {scheme}://{place.kind}/prefix")
    return place
