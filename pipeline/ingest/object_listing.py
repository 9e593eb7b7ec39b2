"""A prefix in a cloud's storage in; the objects below it, a few thousand at a time, out.

pyarrow lists a prefix in one piece, and makes an object of Python's for each one there before the first is
seen. obstore hands over Arrow batches as the pages come. It does not know the profiles of ~/.aws, and refuses
some names that clouds allow (a//b, a line feed): then pyarrow lists after all.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
from obstore.exceptions import BaseError
from obstore.store import S3Store

from pipeline.ingest.object_files import ObjectFiles
from pipeline.ingest.object_stores import TRIED, OddNameError, native, plain_http

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

PART_OBJECTS: Final = 16_000  # handed over together; a page of S3 has 1,000
PROFILES: Final = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Some objects, as columns."""

    paths: pa.Array  # bucket/key
    sizes: pa.Array  # bytes, int64
    versions: pa.Array  # nanoseconds of the last change, int64


class NotStreamedError(Exception):
    """obstore cannot list, or cannot list to the end."""


def stream_objects(filesystem: pafs.FileSystem, folder: str) -> Iterator[Objects]:
    """What lies below bucket/prefix, in the order in which the cloud lists it.

    Raises NotStreamedError: it is to be listed in one piece; and OSError.
    """
    if isinstance(filesystem, pafs.PyFileSystem):
        files: ObjectFiles = filesystem.handler
        try:
            for batch in files.pages(folder, PART_OBJECTS):
                yield _objects(folder.partition("/")[0], batch, 1_000_000)
        except OddNameError as error:
            raise NotStreamedError(str(error)) from error
        return
    if not os.environ.get("AWS_ACCESS_KEY_ID") and _has_profiles():
        raise NotStreamedError("the credentials are in a profile of ~/.aws")
    bucket, _, prefix = folder.partition("/")
    try:
        first = obstore.list(
            _store(filesystem, bucket, {"connect_timeout": TRIED}, {"max_retries": 1}), prefix
        )
        if next(first, None) is None:
            return
        store = _store(filesystem, bucket, {}, {})
        for batch in obstore.list(store, prefix, chunk_size=PART_OBJECTS, return_arrow=True):
            yield _objects(bucket, pa.record_batch(batch), 1_000)  # milliseconds, as pyarrow has them
    except BaseError as error:
        raise NotStreamedError(str(error).partition("\n")[0]) from error


def _has_profiles() -> bool:
    """pyarrow's credentials are those of a profile, before any that a container or a machine has."""
    places = (os.environ.get(name, place) for name, place in PROFILES.items())
    return any(Path(place).expanduser().is_file() for place in places)


def _store(
    filesystem: pafs.FileSystem, bucket: str, options: "ClientConfig", retries: "RetryConfig"
) -> S3Store:
    return S3Store(
        bucket,
        region=filesystem.region,  # pyarrow has found out where the bucket lies
        client_options={"allow_http": plain_http("s3"), **options},
        retry_config=retries,
    )


def _objects(bucket: str, batch: pa.RecordBatch, step: int) -> Objects:
    """Times of change are cut to steps of so many microseconds, as a look at one object has them."""
    changed = batch["last_modified"].cast(pa.int64()).to_numpy()  # microseconds
    return Objects(
        paths=pc.binary_join_element_wise(bucket, batch["path"], "/"),
        sizes=batch["size"].cast(pa.int64()),
        versions=pa.array(changed // step * step * 1_000),
    )


def whole_objects(filesystem: pafs.FileSystem, folder: str) -> Objects:
    """The same in one piece, by pyarrow. Raises OSError."""
    step = 1
    if isinstance(filesystem, pafs.PyFileSystem):
        filesystem, step = native(filesystem.handler.place), 1_000_000_000
    selector = pafs.FileSelector(folder, recursive=True, allow_not_found=True)
    found: list[Any] = [
        info for info in filesystem.get_file_info(selector) if info.type == pafs.FileType.File
    ]
    return Objects(
        paths=pa.array([info.path for info in found], pa.string()),
        sizes=pa.array(np.fromiter((info.size for info in found), np.int64, len(found))),
        versions=pa.array(
            np.fromiter((info.mtime_ns for info in found), np.int64, len(found)) // step * step
        ),
    )
