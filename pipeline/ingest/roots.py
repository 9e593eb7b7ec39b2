"""The roots: the folders under which the rows of a Parquet input may name files, and nowhere else.

In: the inputs and what --allow-root names. Out: whether a location lies under one of the roots, compared
after links are resolved. A Parquet file is written by others, and a run may read what they may not:
/etc/passwd, or any bucket of its role. The roots are the folder of each input, in a cloud its bucket, and
what the person allows.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest import storage
from pipeline.ingest.fetching import WebRules, is_web
from pipeline.ingest.object_uris import EXAMPLES, Place, is_object, place_of, with_account, without_version
from pipeline.ingest.table_versions import ICEBERG, split_version

CHECKED: Final = 1_000  # URIs that are looked at before the run: a mistake shows in the first one mostly
SHOWN: Final = 200  # characters of a URI in a sentence


def find_roots(inputs: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
    """Absolute folders and addresses of objects. Raises ValueError for an --allow-root that is neither."""
    named = [root for given in inputs for root in _root_of(given)]
    return tuple(dict.fromkeys([*named, *map(_allowed, allowed)]))


def lies_under(location: str, roots: Sequence[str]) -> bool:
    """Whether a file or an object lies under one of the roots. Raises ValueError for what cannot be read."""
    if is_object(location):
        place = place_of(location)
        parts = place.key.split("/")
        # A key may hold them, but what a server makes of them is its own affair.
        if ".." in parts or "." in parts:
            return False
        bucket = with_account(place.root)
        return any(_holds(place_of(root), bucket, parts) for root in roots if is_object(root))
    path = PurePosixPath(os.path.realpath(storage.local_path(location)))
    folders = (os.path.realpath(root) for root in roots if not is_object(root))
    return any(path.is_relative_to(folder) for folder in folders)


def lies_on_web(location: str, roots: Sequence[str]) -> bool:
    """Whether a location is to be fetched. The URL of a blob under one of the roots is read from Azure."""
    try:
        return is_web(location) and not (is_object(location) and lies_under(location, roots))
    except ValueError:  # it is signed: that is for whoever fetches it
        return True


def _holds(root: Place, bucket: str, parts: Sequence[str]) -> bool:
    prefix = root.key.split("/") if root.key else []
    return with_account(root.root) == bucket and list(parts[: len(prefix)]) == prefix


def check_first(sources: pa.Table, roots: Sequence[str], web: WebRules | None = None) -> None:
    """Raises ValueError if one of the first URIs that rows name lies outside. A later one fails by itself."""
    for parquet, location in islice(_named_by_rows(sources), CHECKED):
        shown = location if len(location) <= SHOWN else f"{location[:SHOWN]}..."
        try:
            on_web = lies_on_web(location, roots)
            inside = on_web or lies_under(location, roots)
        except ValueError:
            continue  # a document that cannot be read
        if on_web and web is None:
            raise ValueError(
                f"a row of {parquet} names {shown}, which lies on the web: to fetch it, give --allow-http"
            )
        if not inside:
            raise ValueError(
                f"a row of {parquet} names {shown}, which lies outside the folders of the inputs: if that is "
                f"meant, name its folder, or {EXAMPLES}, with --allow-root"
            )


def _named_by_rows(sources: pa.Table) -> Iterator[tuple[str, str]]:
    for batch in sources.select(["parquet", "location", "column"]).to_batches(CHECKED):
        named = pc.and_(pc.is_valid(batch["parquet"]), pc.is_null(batch["column"]))
        rows = batch.filter(pc.and_(named, pc.is_valid(batch["location"])))
        yield from zip(rows["parquet"].to_pylist(), rows["location"].to_pylist(), strict=True)


def _root_of(given: str) -> Iterator[str]:
    """The folder of an input, in a cloud its bucket; none for a glob among the folders of the top."""
    if is_object(given):
        yield place_of(without_version(given)).root
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
    if is_object(given):
        return place_of(given).uri
    if "://" in given and not given.startswith("file://"):
        raise ValueError(f"--allow-root {given}: give a folder, {EXAMPLES}")
    path = storage.typed_path(given)
    if not os.path.isdir(path):
        raise ValueError(f"--allow-root {given}: there is no such folder")
    return path
