"""Small files of an evaluation under a folder or an s3:// prefix."""

from pathlib import Path

import pyarrow.fs as pafs

from pipeline.ingest.storage import explain
from pipeline.ingest.whole_file import whole_file


class Folder:
    """A folder that need not exist. All its errors are ValueErrors of one sentence."""

    def __init__(self, place: str) -> None:
        self.place = place
        full = place if "://" in place else str(Path(place).expanduser().absolute())
        try:
            self._system, self._root = pafs.FileSystem.from_uri(full)
        except OSError as error:
            raise ValueError(explain(place, error)) from error
        self._local = isinstance(self._system, pafs.LocalFileSystem)
        self._made: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        path = f"{self._root}/{name}"
        try:
            return bool(self._system.get_file_info(path).type == pafs.FileType.File)
        except OSError as error:
            raise ValueError(explain(path, error)) from error

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None if it is not there."""
        if not self.has(name):
            return None
        path = f"{self._root}/{name}"
        try:
            with self._system.open_input_stream(path) as stream:
                return bytes(stream.read())
        except OSError as error:
            raise ValueError(explain(path, error)) from error

    def write(self, name: str, data: bytes, *, replace: bool = True) -> None:
        """Writes a file in one step. Without `replace`, one of this name is taken for the same."""
        path = f"{self._root}/{name}"
        try:
            if not replace and self.has(name):
                return
            parent = path.rpartition("/")[0]
            if self._local and parent not in self._made:
                self._system.create_dir(parent, recursive=True)
                self._made.add(parent)
            with whole_file(self._system, path) as stream:
                stream.write(data)
        except OSError as error:
            raise ValueError(explain(path, error)) from error
