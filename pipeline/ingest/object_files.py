"""Google Cloud Storage and Azure Blob as a file system of pyarrow's.

In: a `Place`. Out: a file system whose paths are bucket/key. Its errors are those of `object_stores`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import obstore
import pyarrow as pa
import pyarrow.fs as pafs

from pipeline.ingest.object_stores import OddNameError, explained, open_store
from pipeline.ingest.object_uris import Place

WHOLE_BYTES: Final = 64 * 2**20  # of a file of a table that is read at once


class ObjectFiles(pafs.FileSystemHandler):  # type: ignore[misc]  # pyarrow ships no types
    """A bucket, or a container. Folders are what objects have in their names."""

    def __init__(self, place: Place) -> None:
        """Raises StoreError."""
        self.place = place
        self.store = open_store(place)

    def read_whole(self, path: str, check: Callable[[int], None]) -> bytes:
        """An object's bytes, in one request; `check` is called with its size first."""
        with explained(self.place, path):
            found = obstore.get(self.store, _key(path))
            check(found.meta["size"])
            return bytes(found.bytes())

    def pages(self, path: str, rows: int) -> Iterator[pa.RecordBatch]:
        """What lies below a path, as columns path, size, last_modified and others, in some order."""
        with explained(self.place, path):
            for batch in obstore.list(self.store, _key(path), chunk_size=rows, return_arrow=True):
                yield pa.record_batch(batch)

    def get_type_name(self) -> str:
        return "obstore"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        return list(map(self._info, paths))

    def _info(self, path: str) -> pafs.FileInfo:
        key = _key(path)
        if key:
            with suppress(FileNotFoundError), explained(self.place, path):
                return _file_info(path, obstore.head(self.store, key))
        try:
            with explained(self.place, path):
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
        with explained(self.place, selector.base_dir):
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
        with explained(self.place, path):
            size = obstore.head(self.store, _key(path))["size"]
        return pa.PythonFile(_Reader(self, path, size), mode="r")

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file for pyarrow's own threads: in its own memory, unless it is large.

        A thread that lets go of an object of Python's while the process ends would abort it.
        """
        with explained(self.place, path):
            found = obstore.get(self.store, _key(path))
            if (size := found.meta["size"]) > WHOLE_BYTES:
                return pa.PythonFile(_Reader(self, path, size), mode="r")
            whole = pa.allocate_buffer(size)
            memoryview(whole).cast("B")[:] = memoryview(found.bytes())
        return pa.BufferReader(whole)

    open_input_stream = open_input_file

    def open_output_stream(self, path: str, metadata: object) -> pa.NativeFile:
        with explained(self.place, path):
            return pa.PythonFile(_Writer(self, path), mode="w")

    def delete_file(self, path: str) -> None:
        with explained(self.place, path):
            obstore.delete(self.store, _key(path))

    def create_dir(self, path: str, recursive: bool) -> None:
        """There are none to create."""

    def _refused(self, *_: object) -> Any:
        raise NotImplementedError("nothing of Quire's moves objects, or deletes folders of them")

    delete_dir = delete_dir_contents = delete_root_dir_contents = move = copy_file = _refused
    open_append_stream = _refused


class _Reader:
    """An object as a file that pyarrow reads and seeks in; each read is a request."""

    def __init__(self, files: ObjectFiles, path: str, size: int) -> None:
        self._files, self._path, self._size = files, path, size
        self._at = 0
        self.closed = False

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        with explained(self._files.place, self._path):
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
        with explained(self._files.place, self._path):
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
            with explained(self._files.place, self._path):
                self._stream.close()

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


def _key(path: str) -> str:
    return path.partition("/")[2].rstrip("/")


def _file_info(path: str, meta: Any) -> pafs.FileInfo:
    # Whole seconds: that is what a request for one object tells, though a listing may tell more.
    return pafs.FileInfo(
        path, pafs.FileType.File, size=meta["size"], mtime=float(int(meta["last_modified"].timestamp()))
    )
