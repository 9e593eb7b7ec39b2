"""Names and bytes in; files in a folder or under an s3:// prefix, each whole or not there, out."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from pipeline.ingest.storage import explain, file_system
from pipeline.ingest.whole_file import whole_file


class Destination:
    """Where an export goes."""

    def __init__(self, place: str, *, force: bool) -> None:
        """Raises ValueError: it cannot be written, or there is something and `force` is not given."""
        self._place = place.rstrip("/")
        absolute = self._place if "://" in place else str(Path(place).expanduser().absolute())
        try:
            self._filesystem, folder = file_system(absolute)
            self._folder = folder.rstrip("/")
            self._is_local = isinstance(self._filesystem, pafs.LocalFileSystem)
            there = self._filesystem.get_file_info(pafs.FileSelector(self._folder, allow_not_found=True))
        except OSError as error:
            raise ValueError(f"--to {explain(place, error)}") from error
        if there and not force:
            raise ValueError(
                f"--to {place} is not empty: choose another folder, or give --force to write over the files "
                "of the same names"
            )

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """A stream of bytes into a file, which is there once the block has ended well. Raises ValueError."""
        path = f"{self._folder}/{name}"
        try:
            if self._is_local:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                with whole_file(self._filesystem, path) as stream:
                    yield stream
            except BaseException:
                if not self._is_local:
                    self._filesystem.delete_file(path)  # half of it
                raise
        except OSError as error:
            raise ValueError(f"--to {explain(self._place, error)}") from error

    def name(self, path: str) -> str:
        """A file of it, as a person would name it."""
        return f"{self._place}/{path}"
