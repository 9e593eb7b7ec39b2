"""A name in; a stream of bytes into a file that is there, whole, once all of it is written, out."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow.fs as pafs


@contextmanager
def whole_file(filesystem: pafs.FileSystem, path: str) -> Iterator[Any]:
    """Until the block has ended well, a file of this name is what it was before. Raises OSError.

    On S3 a block that fails in its midst leaves an object of what it has written.
    """
    is_local = isinstance(filesystem, pafs.LocalFileSystem)
    draft = f"{path}.new" if is_local else path  # S3 puts it whole
    try:
        with filesystem.open_output_stream(draft) as stream:
            yield stream
    except BaseException:
        if is_local:
            with suppress(OSError):
                os.remove(draft)
        raise
    if is_local:
        os.replace(draft, path)
