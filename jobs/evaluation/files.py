"""Small files of an evaluation under a folder, or a prefix in a cloud."""

import os
from pathlib import Path

import pyarrow.fs as pafs

from pipeline.ingest.storage import explain, file_system


class Folder:
    """A folder that need not exist. All its errors are ValueErrors of one sentence."""

    def __init__(self, place: str) -> None:
        self.place = place
        full = place if "://" in place else str(Path(place).expanduser().absolute())
        try:
            self._system, self._root = file_system(full)
        except OSError as error:
            raise ValueError(explain(place, error)) from error
        self._local = isinstance(self._system, pafs.LocalFileSystem)
        self._made: set[str] = set()

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None if it is not there."""
        path = f"{self._root}/{name}"
        try:
            if self._system.get_file_info(path).type != pafs.FileType.File:
                return None
            with self._system.open_input_stream(path) as stream:
                return bytes(stream.read())
        except OSError as error:
            raise ValueError(explain(path, error)) from error

    def write(self, name: str, data: bytes, *, replace: bool = True) -> None:
        """Writes a file in one step. Without `replace`, one of this name is taken for the same."""
        path = f"{self._root}/{name}"
        new = f"{path}.new" if self._local else path  # S3 puts it whole
        try:
            if not replace and self._system.get_file_info(path).type == pafs.FileType.File:
                return
            parent = path.rpartition("/")[0]
            if self._local and parent not in self._made:
                self._system.create_dir(parent, recursive=True)
                self._made.add(parent)
            with self._system.open_output_stream(new) as stream:
                stream.write(data)
            if self._local:
                os.replace(new, path)
        except OSError as error:
            raise ValueError(explain(path, error)) from error
