"""A list of images as a document, and each of them as a page.

In: what `page_lists.pack` made. Out: its pages, undecoded, and one page in RGB. An element that is no image
costs itself.
"""

from typing import Final

from PIL import Image

from pipeline.ingest.file_types import PDF, DocumentError, PageError, describe, sniff
from pipeline.ingest.page_lists import Part, unpack
from pipeline.rasterize import images

_ROW: Final = "an element of a list is an image, and a PDF has a row of its own"


def open_list(data: bytes, name: str) -> list[Part]:
    """The pages of a document. Raises DocumentError: damaged."""
    try:
        return unpack(data)
    except ValueError as error:
        raise DocumentError("damaged", f"{name} is no list of images: {error}") from error


def decode(part: Part, name: str, page: int, max_pixels: int) -> tuple[Image.Image, str | None]:
    """Page `page` (from 1) in RGB, and a note. Raises PageError: as `images.decode_page`, and empty_file."""
    what = f"page {page} of {name}"
    if isinstance(part, DocumentError):
        raise PageError(part.reason, part.message)
    if not part:
        raise PageError("empty_file", f"{what} has 0 bytes")
    media_type = sniff(part)
    if media_type is None or media_type == PDF:
        kind = f"a PDF: {_ROW}" if media_type else f"{describe(part)}, not an image of a supported format"
        raise PageError("unsupported_type", f"{what} is {kind}")
    try:
        places = images.find_pages(part, what, media_type)
    except DocumentError as error:
        raise PageError(
            "damaged_page" if error.reason == "damaged" else error.reason, error.message
        ) from error
    image, note = images.decode_page(part, name, media_type, page, places[0], max_pixels)
    frames = f"first frame of {len(places)}" if len(places) > 1 else None
    return image, "; ".join(said for said in (frames, note) if said) or None
