"""Pages and images as they travel to the model: drawn in the sandbox, and copied out of its memory.

In: an open document, or the images of a conversation. Out: their pixels. A page that cannot be drawn is an
error in its place, since a window is asked about its other pages; a conversation without one of its images
is another conversation, and fails.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.messages import Image, Turn
from pipeline.plan.plan import Plan
from pipeline.rasterize.page_memory import copy
from pipeline.rasterize.sandbox import Document, Sandbox

MAX_PIXEL_BYTES: Final = 2**30  # of the images of a conversation together: a task holds them all


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page as it was drawn."""

    height: int
    width: int
    pixels: memoryview  # uint8 RGB, row by row
    note: str | None
    damaged: bool
    """Whether a part of it is lost."""


def draw(opened: Document, page: int, plan: Plan) -> Page | DocumentError:
    """A page of a document, or why it cannot be drawn."""
    try:
        image, note, damaged = opened.draw(page, max_side=plan.max_side, patch_size=plan.patch_size)
    except DocumentError as error:
        return error
    # A copy: the sandbox draws the next page into the same memory.
    pixels = copy(image)
    return Page(height=image.shape[0], width=image.shape[1], pixels=pixels, note=note, damaged=damaged)


def draw_images(
    turns: Sequence[Turn], name: str, read: Callable[[str, str], bytes], sandbox: Sandbox, plan: Plan
) -> list[Page]:
    """The images of a conversation in their order. Raises DocumentError, which names the image.

    `read` gives the bytes at an image's address; it is also told what to call the image in an error.
    """
    images = [part for turn in turns for part in turn.parts if isinstance(part, Image)]
    pages: list[Page] = []
    seconds = sandbox.limits.document_seconds
    for number, image in enumerate(images, 1):
        which = f"image {number} of {name}"
        data = read(image.address, which)
        with sandbox.open(data, which, seconds=seconds) as opened:
            if opened.page_count > 1:
                message = f"{which} has {opened.page_count} pages: an image of a message is a single one"
                raise DocumentError("bad_messages", message)
            page = draw(opened, 1, plan)
        seconds = opened.seconds
        if isinstance(page, DocumentError):
            raise page
        pages.append(page)
        if sum(len(one.pixels) for one in pages) > MAX_PIXEL_BYTES:
            message = f"the images of {name} have more than {MAX_PIXEL_BYTES >> 20} MiB of pixels together"
            raise DocumentError("too_many_pixels", message)
    return pages
