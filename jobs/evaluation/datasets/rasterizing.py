"""Pages of documents as images, for data sets that come as PDFs: drawn in the sandbox, as runs draw them."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache

from PIL import Image

from jobs.evaluation.asked import Picture
from pipeline.config import MAX_SIDE
from pipeline.ingest.file_types import DocumentError
from pipeline.plan.limits import Limits
from pipeline.rasterize.sandbox import Document, Sandbox

PAGES = 20  # of a document, at most
PATCH_SIZE = 16  # of Pixtral and nano: sides are multiples of it


@cache
def sandbox() -> Sandbox:
    """The child that opens documents, once in this process."""
    return Sandbox(Limits())


def page_picture(folder: str, path: str, page: int) -> Picture:
    """A page of a document under `folder`, as PNG. Raises ValueError, which names the document."""
    return Picture(data=_draw(_place(folder, path), path, page))


def document_pictures(folder: str, path: str, most: int) -> list[Picture]:
    """The first pages of a document, as PNG. Raises ValueError, which names the document."""
    place = _place(folder, path)
    with _opened(place, path) as opened:
        count = opened.page_count
    return [Picture(data=_draw(place, path, page)) for page in range(1, min(count, most) + 1)]


def _place(folder: str, path: str) -> str:
    place = os.path.join(folder, path)
    # Links are followed: the hub's cache is made of them.
    if not os.path.normpath(place).startswith(os.path.normpath(folder) + os.sep):
        raise ValueError(f"the document {path} lies outside {folder}")
    return place


@contextmanager
def _opened(place: str, path: str) -> Iterator[Document]:
    try:
        with open(place, "rb") as file:
            data = file.read()
        with sandbox().open(data, path) as opened:
            yield opened
    except OSError as error:
        raise ValueError(f"the document {place} of the data set cannot be read: {error.strerror}") from error
    except DocumentError as error:
        raise ValueError(f"the document {place} cannot be drawn: {error.message}") from error


@lru_cache(64)  # rows about one page follow one another
def _draw(place: str, path: str, page: int) -> bytes:
    with _opened(place, path) as opened:
        pixels, _, _ = opened.draw(page, max_side=MAX_SIDE, patch_size=PATCH_SIZE)
        return png(Image.fromarray(pixels))


def png(image: Image.Image) -> bytes:
    """The image's bytes as PNG, with little effort: disks are larger than patience."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()
