"""Names and bytes in; files in a folder or under an s3:// prefix, each whole or not there, out."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from pipeline.ingest.storage import explain, file_system


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
        draft = f"{path}.new" if self._is_local else path  # S3 puts it whole
        try:
            if self._is_local:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                with self._filesystem.open_output_stream(draft) as stream:
                    yield stream
            except BaseException:
                self._filesystem.delete_file(draft)  # half of it
                raise
            if self._is_local:
                os.replace(draft, path)
        except OSError as error:
            raise ValueError(f"--to {explain(self._place, error)}") from error

    def name(self, path: str) -> str:
        """A file of it, as a person would name it."""
        return f"{self._place}/{path}"
