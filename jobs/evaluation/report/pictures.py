"""Pictures of pages for a report, as small WebP: drawn again, in the sandbox, out of what was asked.

In: where a page lies. Out: WebP bytes, or why it cannot be drawn; that is said in the report.
"""

import io
from collections.abc import Iterable, Iterator
from typing import Final

from PIL import Image

from jobs.evaluation.datasets.rasterizing import PATCH_SIZE, sandbox
from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.storage import explain, open_input

SIDE: Final = 848  # pixels of the longest edge: print is legible, and a page has some 40 KB
QUALITY: Final = 60
MAX_BYTES: Final = 2**30


def draw(places: Iterable[tuple[str, str, int]]) -> Iterator[tuple[str, bytes | str]]:
    """For each (key, uri, page), pages of a document in a row, the key with the picture or the reason."""
    last: str | None = None
    data: bytes | str = ""
    for key, uri, page in places:
        if uri != last:
            data, last = _read(uri), uri
        yield key, data if isinstance(data, str) else _picture(data, uri, page)


def _read(uri: str) -> bytes | str:
    try:
        with open_input(uri) as file:
            if file.size() > MAX_BYTES:
                return f"{uri} is too large"
            return bytes(file.read())
    except OSError as error:
        return explain(uri, error)
    except ValueError as error:
        return str(error)


def _picture(data: bytes, uri: str, page: int) -> bytes | str:
    try:
        with sandbox().open(data, uri) as opened:
            pixels, _, _ = opened.draw(page, max_side=SIDE, patch_size=PATCH_SIZE)
            image = Image.fromarray(pixels)
    except DocumentError as error:
        return error.message
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=QUALITY, method=2)
    return out.getvalue()
