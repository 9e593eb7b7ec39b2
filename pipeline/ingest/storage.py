"""Files on local disks and objects in a cloud's storage: finding them, and reading them.

In: an input as a person types it: a path, a folder, a glob, file://, or an address of `object_uris`. Out: an
`Entry` for each file behind it, sorted by uri, and open files. S3 is pyarrow's, which obeys the AWS_*
variables, AWS_ENDPOINT_URL and the profiles of ~/.aws; the others are `object_files`. A prefix is listed as
`object_listing` says. An input behind which there is nothing is a ValueError of one sentence.
"""

import glob
import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from pipeline.ingest.entries import Entries, EntriesBuilder
from pipeline.ingest.object_files import ObjectFiles
from pipeline.ingest.object_listing import NotStreamedError, Objects, stream_objects, whole_objects
from pipeline.ingest.object_stores import StoreError
from pipeline.ingest.object_uris import EXAMPLES, Place, is_object, place_of, unsigned
from pipeline.ingest.progress import Progress
from pipeline.ingest.walk import Walk, matching, walk_of

MANY = 100_000  # objects whose listing may want memory

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The files behind one input. `folder` was searched for them; None if the input names a file itself."""

    entries: Entries
    folder: str | None
    skipped: Mapping[str, set[str]] = field(default_factory=dict)
    """Names in folders that were left out, by why: see `walk`."""


def find(given: str, progress: Progress | None = None) -> Found:
    """The files behind an input. Hidden names are left out. Raises ValueError, and OSError."""
    scheme, separator, _ = given.partition("://")
    if not given:
        raise ValueError(f"an input is empty: give a path, a glob, {EXAMPLES}")
    if is_object(given):
        return _find_objects(given, progress)
    if separator and scheme in ("http", "https"):
        raise ValueError(
            f"input {given}: what lies on the web is read from a list: give a Parquet file with a column of "
            "addresses, and --column and --allow-http"
        )
    if separator and scheme != "file":
        raise ValueError(f"input {given}: {scheme}:// is not supported: give a path, a glob, {EXAMPLES}")
    return _find_locally(given, progress)


def absolute(given: str) -> str:
    """A path, folder or glob as it reads from any folder."""
    return given if "://" in given else os.path.abspath(os.path.expanduser(given))


def resolve(folder: str, uri: str) -> str:
    """A URI in a column: a relative path starts at the Parquet file's folder."""
    return uri if "://" in uri or uri.startswith("/") else f"{folder}/{uri}"


def open_input(uri: str) -> Any:
    """A file to read and seek in, a pyarrow NativeFile. Raises ValueError, and OSError: see `explain`."""
    if is_object(uri):
        filesystem, path = _objects(uri)
        if isinstance(filesystem, pafs.PyFileSystem):
            return filesystem.handler.open_parts(path)
        return filesystem.open_input_file(path)
    file = open_file(uri)
    try:
        return pa.OSFile(f"/proc/self/fd/{file}")  # this very file, whatever its name leads to by now
    finally:
        os.close(file)


def open_file(uri: str) -> int:
    """The descriptor of a local file that is open for reading. Raises as `open_input` does.

    Only regular files: to open a pipe waits for who writes to it, and a device may do anything.
    """
    file = os.open(local_path(uri), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise OSError(f"it is {what}, not a file")
    return file


def read_object(uri: str, check: Callable[[int], None]) -> bytes:
    """A whole object; `check` is called with its size first. Raises as `open_input` does."""
    filesystem, path = _objects(uri)
    if isinstance(filesystem, pafs.PyFileSystem):
        files: ObjectFiles = filesystem.handler
        return files.read_whole(path, check)
    with filesystem.open_input_file(path) as file:
        check(file.size())
        data: bytes = file.read()
    return data


def file_system(uri: str) -> tuple[pafs.FileSystem, str]:
    """pyarrow's file system for an absolute path or an address, and the path in it.

    Raises ValueError, and OSError: see `explain`.
    """
    if not is_object(uri):
        system, path = pafs.FileSystem.from_uri(uri)
        return system, path
    place = place_of(uri)
    if place.scheme != "s3":
        return _objects(uri)
    # Only the bucket is parsed as a URI, so that a key may hold any character.
    return pafs.FileSystem.from_uri(place.root)[0], place.path


def is_folder(uri: str) -> bool:
    """Whether there is a folder, or an object below this prefix. Raises ValueError, and OSError.

    What may not be looked at is none: a role often has the rights to a prefix, and not to those above it.
    """
    if not is_object(uri):
        return os.path.isdir(local_path(uri))
    return bool(_type_of(uri) == pafs.FileType.Directory)


def is_there(given: str) -> bool:
    """Whether there is a folder or a file of this very name, as a person types it. Raises as `is_folder`."""
    if is_object(given):
        return bool(_type_of(given) != pafs.FileType.NotFound)
    return os.path.exists(typed_path(given))


def _type_of(uri: str) -> pafs.FileType:
    filesystem, path = _objects(uri)
    try:
        return filesystem.get_file_info(path).type
    except OSError as error:
        if "ACCESS_DENIED" in str(error) or "refused the credentials" in str(error):
            return pafs.FileType.NotFound
        raise


def read_start(uri: str, size: int) -> bytes:
    """The first `size` bytes of a file, fewer if it has fewer. Raises as `open_input` does."""
    with open_input(uri) as source:
        data: bytes = source.read(size)
    return data


def explain(uri: str, error: OSError) -> str:
    """One sentence on why a file or folder cannot be read, with a remedy."""
    if isinstance(error, StoreError):
        return f"{uri}: {error}"
    if isinstance(error, FileNotFoundError) and is_object(uri):
        return f"{uri}: there is no such {place_of(uri).kind}, or no such object"
    text = unsigned(" ".join(str(error).split()))
    if error.errno is not None:
        return f"{error.filename or uri} cannot be read: {os.strerror(error.errno)}"
    code = re.search(r"AWS Error ([A-Z_]+)", text)
    if code is None:
        return f"{uri} cannot be read: {text}"
    if code[1] in _REFUSALS:
        keys = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
        return f"{uri}: S3 refused the credentials ({code[1]}): check {keys}, and what they may read"
    if code[1] == "NO_SUCH_BUCKET":
        return f"{uri}: this bucket does not exist"
    if code[1] == "NETWORK_CONNECTION":
        where = os.environ.get("AWS_ENDPOINT_URL") or "AWS; for another S3 set AWS_ENDPOINT_URL"
        return f"{uri}: S3 cannot be reached at {where}"
    return f"{uri}: S3 answered {text}"


_REFUSALS = {
    "ACCESS_DENIED",
    "EXPIRED_TOKEN",
    "INVALID_ACCESS_KEY_ID",
    "INVALID_CLIENT_TOKEN_ID",
    "INVALID_SIGNATURE",
    "MISSING_AUTHENTICATION_TOKEN",
    "SIGNATURE_DOES_NOT_MATCH",
    "UNRECOGNIZED_CLIENT",
}


def fixed_folder(pattern: str) -> str:
    """The folder of a glob that has no wildcard yet: /a of /a/b*/c.pdf."""
    return re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[0]


# Local disks


def _find_locally(given: str, progress: Progress | None) -> Found:
    path = typed_path(given)
    if os.path.isdir(path):
        return _found(walk_of(path, progress), path)
    if os.path.isfile(path):
        return _found(walk_of(path, progress), None)
    if os.path.exists(path):
        raise ValueError(f"input {given} is neither a file nor a folder")
    if not glob.has_magic(given):
        raise ValueError(f"input {given}: there is no such file or folder")
    folder = fixed_folder(path)
    matched = matching(path, folder or "/", progress)
    if matched is None:
        raise ValueError(f"input {given} matches no file")
    return _found(matched, folder)


def _found(walk: Walk, folder: str | None) -> Found:
    files = EntriesBuilder()
    for path, size, version in zip(walk.files, walk.sizes, walk.versions, strict=True):
        files.add(_local_uri(path), size, version)
    return Found(entries=files.build(), folder=folder, skipped=walk.skipped)


def _local_uri(path: str) -> str:
    """The path itself; a name that is no UTF-8 cannot stand in a table and becomes file:// with %XX."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return Path(path).as_uri()
    return path


def local_path(uri: str) -> str:
    """The path that a path or a file:// address names. Raises ValueError for another address."""
    if uri.startswith("file://"):
        return os.fsdecode(unquote_to_bytes(urlsplit(uri).path))
    if "://" in uri:
        raise ValueError(f"{uri} cannot be read: give a path, file://, {EXAMPLES}")
    return uri


def typed_path(given: str) -> str:
    """The absolute path of a local input, as a person types it."""
    return os.path.abspath(local_path(given) if "://" in given else os.path.expanduser(given))


# Objects


def _objects(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system for the bucket of an address, and the address's path in it: bucket/key."""
    place = place_of(uri)
    return _bucket(replace(place, key="")), place.path


@cache  # on AWS, each call asks for the bucket's region
def _bucket(place: Place) -> pafs.FileSystem:
    return file_system(place.root)[0] if place.scheme == "s3" else pafs.PyFileSystem(ObjectFiles(place))


def _find_objects(given: str, progress: Progress | None) -> Found:
    filesystem, path = _objects(given)
    place = place_of(given)
    info = filesystem.get_file_info(path)
    if info.type == pafs.FileType.File:
        one = EntriesBuilder()
        one.add(place.uri, info.size, info.mtime_ns)
        return Found(entries=one.build(), folder=None)
    folder, pattern = path, None
    if info.type == pafs.FileType.NotFound:
        if filesystem.get_file_info(place.bucket).type == pafs.FileType.NotFound:
            raise ValueError(f"input {given}: the {place.kind} {place.bucket} does not exist")
        if not glob.has_magic(place.key):
            raise ValueError(f"input {given}: there is no such object or folder; to match names, end with *")
        folder, pattern = fixed_folder(path), _glob_pattern(path)
    try:
        found = _chosen(stream_objects(filesystem, folder), place, folder, pattern, progress)
    except NotStreamedError as error:
        found = _chosen([whole_objects(filesystem, folder)], place, folder, pattern, progress)
        if len(found) >= MANY:
            _log.warning("%s: listed in one piece, some 500 bytes of memory an object: %s", given, error)
    if pattern is not None and not len(found):
        raise ValueError(f"input {given} matches no object")
    return Found(entries=found, folder=f"{place.root}{folder.removeprefix(place.bucket)}")


def _chosen(
    parts: Iterable[Objects],
    place: Place,
    folder: str,
    pattern: re.Pattern[str] | None,
    progress: Progress | None,
) -> Entries:
    """The objects that are not hidden, and that the pattern matches. Raises NotStreamedError."""
    files = EntriesBuilder(progress)
    for part in _until_broken(parts, files):
        wanted = pc.invert(pc.match_substring(pc.utf8_slice_codeunits(part.paths, len(folder)), "/."))
        if pattern is not None:
            matches = [pattern.fullmatch(path) is not None for path in part.paths.to_pylist()]
            wanted = pc.and_(wanted, pa.array(matches, pa.bool_()))
        keys = pc.utf8_slice_codeunits(part.paths, len(place.bucket))
        uris = pc.binary_join_element_wise(place.root, keys, "")
        files.add_all(*(column.filter(wanted) for column in (uris, part.sizes, part.versions)))
    return files.build()


def _until_broken(parts: Iterable[Objects], files: EntriesBuilder) -> Iterator[Objects]:
    try:
        yield from parts
    except NotStreamedError:
        files.forget()
        raise


def _glob_pattern(path: str) -> re.Pattern[str]:
    """A glob as a regular expression: * stays in a folder, ** does not, and a folder stands for its files.

    Example: bucket/2024-*/**/*.pdf is bucket/2024-[^/]*/(?:[^/]+/)*[^/]*\\.pdf(?:/.*)?
    """
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+])", path)
    wild = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = []
    for part in parts:
        choice = part.replace("\\", "\\\\").replace("[!", "[^")
        pieces.append(wild.get(part) or (choice if part[:1] == "[" and part[1:] else re.escape(part)))
    try:
        return re.compile("".join(pieces) + "(?:/.*)?")
    except re.error as error:
        raise ValueError(f"the pattern {path} cannot be read: {error}") from error
