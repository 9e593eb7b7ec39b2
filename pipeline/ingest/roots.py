"""The roots: the folders under which the rows of a Parquet input may name files, and nowhere else.

In: the inputs and what --allow-root names. Out: whether a location lies under one of the roots, compared
after links are resolved. A Parquet file is written by others, and a run may read what they may not:
/etc/passwd, or any bucket of its role. The roots are the folder of each input, on S3 its bucket, and what the
person allows.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest import storage
from pipeline.ingest.table_versions import ICEBERG, split_version

CHECKED: Final = 1_000  # URIs that are looked at before the run: a mistake shows in the first one mostly
SHOWN: Final = 200  # characters of a URI in a sentence


def find_roots(inputs: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
    """Absolute folders and S3 addresses. Raises ValueError for an --allow-root that is neither."""
    named = [root for given in inputs for root in _root_of(given)]
    return tuple(dict.fromkeys([*named, *map(_allowed, allowed)]))


def lies_under(location: str, roots: Sequence[str]) -> bool:
    """Whether a file or an object lies under one of the roots. Raises ValueError for what cannot be read."""
    if location.startswith("s3://"):
        parts = location.removeprefix("s3://").split("/")
        # A key may hold them, but what a server makes of them is its own affair.
        if ".." in parts or "." in parts:
            return False
        return any(
            root.startswith("s3://") and parts[: len(prefix)] == prefix
            for root in roots
            for prefix in [root.removeprefix("s3://").rstrip("/").split("/")]
        )
    path = PurePosixPath(os.path.realpath(storage.local_path(location)))
    folders = (os.path.realpath(root) for root in roots if not root.startswith("s3://"))
    return any(path.is_relative_to(folder) for folder in folders)


def check_first(sources: pa.Table, roots: Sequence[str]) -> None:
    """Raises ValueError if one of the first URIs that rows name lies outside. A later one fails by itself."""
    for parquet, location in islice(_named_by_rows(sources), CHECKED):
        try:
            inside = lies_under(location, roots)
        except ValueError:
            continue  # a document that cannot be read
        if not inside:
            shown = location if len(location) <= SHOWN else f"{location[:SHOWN]}..."
            raise ValueError(
                f"a row of {parquet} names {shown}, which lies outside the folders of the inputs: if that is "
                "meant, name its folder, or s3://bucket/prefix, with --allow-root"
            )


def _named_by_rows(sources: pa.Table) -> Iterator[tuple[str, str]]:
    for batch in sources.select(["parquet", "location", "column"]).to_batches(CHECKED):
        named = pc.and_(pc.is_valid(batch["parquet"]), pc.is_null(batch["column"]))
        rows = batch.filter(pc.and_(named, pc.is_valid(batch["location"])))
        yield from zip(rows["parquet"].to_pylist(), rows["location"].to_pylist(), strict=True)


def _root_of(given: str) -> Iterator[str]:
    """The folder of an input, on S3 its bucket; none for a glob among the folders of the top."""
    if given.startswith("s3://"):
        yield f"s3://{given.removeprefix('s3://').partition('/')[0]}"
        return
    given, _ = split_version(given)
    if given.startswith(ICEBERG):  # its rows name files by --allow-root alone
        return
    path = storage.typed_path(given)
    if os.path.isdir(path):
        yield path
    elif os.path.isfile(path):
        yield os.path.dirname(path)
    elif folder := storage.fixed_folder(path):
        yield folder


def _allowed(given: str) -> str:
    if given.startswith("s3://"):
        storage.check_bucket(given)
        return given.rstrip("/")
    if "://" in given and not given.startswith("file://"):
        raise ValueError(f"--allow-root {given}: give a folder or s3://bucket/prefix")
    path = storage.typed_path(given)
    if not os.path.isdir(path):
        raise ValueError(f"--allow-root {given}: there is no such folder")
    return path
