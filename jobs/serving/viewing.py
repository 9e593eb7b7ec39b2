"""What a person shows the model: a path or an address in, its pages as images out.

Images and PDFs are opened and drawn in the sandbox, never in the process that has the model. What cannot be
read, fetched or drawn is a ValueError of one sentence.
"""

import logging
import re
from dataclasses import dataclass

from PIL import Image

from pipeline.ingest.fetching import WebRules, fetch, is_web
from pipeline.ingest.file_types import DocumentError
from pipeline.ingest.reading import read_typed
from pipeline.plan.limits import Limits
from pipeline.rasterize.sandbox import Document, Sandbox

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class View:
    """How a model sees what it is shown."""

    max_side: int
    """Longest edge in pixels."""
    patch_size: int
    """Side of the model's patches in pixels."""
    pages: tuple[int, int | None] = (1, None)
    """The first and the last page of each PDF or TIFF that are shown; None: to its end."""
    limit_images: int
    """Of a conversation, pages among them."""
    web: WebRules | None = None
    """What may be fetched; None: nothing."""


class Viewer:
    """Reads what it is told to, in a sandbox of its own."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._sandbox = Sandbox(Limits())

    def see(self, place: str, before: int = 0) -> list[Image.Image]:
        """The pages of a file, or of what lies at an address; `before` images were shown already.

        Raises ValueError.
        """
        name = place if len(place) <= 80 else f"{place[:80]}..."
        try:
            data = fetch(place, self.view.web) if is_web(place) else read_typed(place)
            with self._sandbox.open(data, name) as opened:
                return [self._draw(opened, page) for page in self._pages(opened, before)]
        except DocumentError as error:
            # Its limits have flags in other jobs.
            raise ValueError(re.sub(r" \(--[a-z-]+\)", "", error.message)) from error

    def close(self) -> None:
        """Ends the sandbox."""
        self._sandbox.close()

    def _pages(self, opened: Document, before: int) -> range:
        first, last = self.view.pages
        pages = range(first, min(last or opened.page_count, opened.page_count) + 1)
        if not pages:
            raise ValueError(f"--pages: {opened.name} has {opened.page_count} pages, and none of these")
        if before + len(pages) > self.view.limit_images:
            shown = f"{before} images were shown, and " if before else ""
            raise ValueError(
                f"{shown}{opened.name} has {len(pages)} pages: a conversation has {self.view.limit_images} "
                "images at most (--limit-images); --pages shows some of them"
            )
        return pages

    def _draw(self, opened: Document, page: int) -> Image.Image:
        pixels, note, _ = opened.draw(page, max_side=self.view.max_side, patch_size=self.view.patch_size)
        if note:
            _log.warning("page %d of %s: %s", page, opened.name, note)
        return Image.fromarray(pixels.copy())  # a copy: the next page is drawn into the same memory
