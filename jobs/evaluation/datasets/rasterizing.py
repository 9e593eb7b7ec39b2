"""Pages of documents as images, for data sets that come as PDFs: drawn in the sandbox, as runs draw them."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.evaluation.asked import Picture
from pipeline.config import MAX_SIDE
from pipeline.ingest.file_types import MAX_TRAVEL_SIDE, DocumentError
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


def cut_picture(folder: str, path: str, box: Sequence[float], longest: int) -> Picture:
    """A part of an image under `folder`, at its own size, as PNG.

    `box` is left, top, right and bottom in pixels of the image, whose longest side is `longest`.

    Raises ValueError, which names the image.
    """
    pixels = _own_size(_place(folder, path), path)
    shrunk = min(1.0, MAX_TRAVEL_SIDE / longest)
    left, top, right, bottom = (max(0, round(side * shrunk)) for side in box)
    part = pixels[top:bottom, left:right]
    if not part.size:
        raise ValueError(f"its block lies outside the image {path}")
    return Picture(data=png(Image.fromarray(part)))


@lru_cache(2)
def _own_size(place: str, path: str) -> NDArray[np.uint8]:
    """The pixels of an image; the longest side is at most MAX_TRAVEL_SIDE."""
    with _opened(place, path) as opened:
        return opened.draw(1, max_side=MAX_TRAVEL_SIDE, patch_size=1)[0].copy()


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
