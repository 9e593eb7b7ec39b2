"""A document's bytes become page images.

In: the bytes of one PDF or image and its name (for messages, and as a hint where a PDF's header is damaged).
Out: its media type and page count, and single pages as uint8 arrays of shape (height, width, 3). The first
bytes decide its type. Refused: anything but a PDF or a listed image format, a document whose password is not
among those given, and pages above the limits.

Hostile bytes can crash, hang or bloat the process that this runs in: a run goes through `sandbox`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import numpy as np
import pymupdf
from numpy.typing import NDArray
from pymupdf import mupdf

from model.network.image_grid import page_size
from pipeline.ingest.file_types import PDF, DocumentError, PageError, describe, sniff
from pipeline.rasterize import images

__all__ = ["DocumentError", "Opened", "PageError", "open_document", "rasterize"]

# The errors that PyMuPDF raises on damaged bytes; MuPDF's own errors derive from Exception alone.
_DAMAGED: Final = (RuntimeError, ValueError, mupdf.FzErrorBase)


@dataclass(kw_only=True)
class Opened:
    """An open document: close it, or use it in a `with` block."""

    name: str
    media_type: str
    page_count: int
    data: bytes = field(repr=False)
    pdf: pymupdf.Document | None = None
    note: str | None = None
    """A remark on all of its pages, for the readers of their answers."""

    def close(self) -> None:
        if self.pdf is not None:
            self.pdf.close()
            self.pdf = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_document(data: bytes, name: str, *, passwords: Sequence[str] = ()) -> Opened:
    """Open a PDF or an image from its bytes, with the first of `passwords` that fits if it needs one.

    Raises DocumentError with one of the reasons empty_file, unsupported_type, damaged, needs_password,
    wrong_password, zero_pages, too_many_pixels, memory.
    """
    if not data:
        raise DocumentError("empty_file", f"{name} has 0 bytes")
    media_type = sniff(data)
    if media_type is None and name.lower().endswith(".pdf"):
        media_type = PDF  # its header is damaged: MuPDF repairs it or says that it cannot
    if media_type is None:
        message = f"{name} is {describe(data)}, not a PDF or an image of a supported format"
        raise DocumentError("unsupported_type", message)
    if media_type == PDF:
        opened = _open_pdf(data, name, passwords)
    else:
        page_count = images.count_pages(data, name, media_type)
        opened = Opened(name=name, media_type=media_type, page_count=page_count, data=data)
    if opened.page_count == 0:
        opened.close()
        raise DocumentError("zero_pages", f"{name} opens, but has no pages")
    return opened


def rasterize(
    opened: Opened,
    page: int,
    *,
    max_side: int,
    patch_size: int,
    max_pixels: int = images.MAX_PIXELS,
    buffer: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.uint8], str | None]:
    """Draw page `page` (from 1) as an array (height, width, 3), and a note on what was done to it.

    A PDF page is drawn straight onto the model's grid, longest edge `max_side`. An image keeps its size, up
    to MAX_TRAVEL_SIDE. The array lies at the start of `buffer`, a flat array, or in new memory. Raises
    PageError with one of the reasons damaged_page, empty_page, too_many_pixels, memory.
    """
    assert 1 <= page <= opened.page_count, (page, opened.page_count)
    if opened.media_type == PDF:
        return _draw(opened, page, max_side, patch_size, buffer), opened.note
    image, note = images.decode_page(opened.data, opened.name, opened.media_type, page, max_pixels)
    pixels = _place((image.height, image.width, 3), buffer)
    pixels[:] = np.asarray(image)
    return pixels, note


def _place(shape: tuple[int, ...], buffer: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Memory for pixels: the start of the buffer if there is one."""
    return np.empty(shape, np.uint8) if buffer is None else buffer[: math.prod(shape)].reshape(shape)


def _open_pdf(data: bytes, name: str, passwords: Sequence[str]) -> Opened:
    pymupdf.TOOLS.mupdf_display_errors(False)  # MuPDF would print to stderr the errors that it also raises
    pymupdf.TOOLS.mupdf_display_warnings(False)
    try:
        pdf = pymupdf.open(stream=data, filetype="pdf")
        fits = not pdf.needs_pass or any(pdf.authenticate(password) for password in passwords)
    except _DAMAGED as error:
        raise DocumentError(
            _reason(error, "damaged"), f"{name} cannot be opened as a PDF: {error}"
        ) from error
    if not fits:  # an empty password was tried by MuPDF itself
        pdf.close()
        if passwords:
            raise DocumentError("wrong_password", f"{name} needs a password, and none that was given fits")
        raise DocumentError("needs_password", f"{name} needs a password (--password)")
    try:
        page_count = pdf.page_count
        note = _form_note(pdf)
    except _DAMAGED as error:
        pdf.close()
        message = f"the pages of {name} cannot be counted: {error}"
        raise DocumentError(_reason(error, "damaged"), message) from error
    return Opened(name=name, media_type=PDF, page_count=page_count, data=data, pdf=pdf, note=note)


def _form_note(pdf: pymupdf.Document) -> str | None:
    """A dynamic XFA form makes its pages with a program; the PDF's own ones mostly say "please wait"."""
    dynamic = pdf.xref_get_key(pdf.pdf_catalog(), "NeedsRendering") == ("bool", "true")
    return "dynamic XFA form: only its placeholder pages are drawn" if dynamic else None


def _draw(
    opened: Opened, page: int, max_side: int, patch_size: int, buffer: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """One page of a PDF, its two sides scaled apart so that they hit the grid exactly."""
    assert opened.pdf is not None, "the document was closed"
    what = f"page {page} of {opened.name}"
    try:
        pdf_page = opened.pdf.load_page(page - 1)
        bounds = pdf_page.rect  # the crop box, turned as /Rotate says
    except _DAMAGED as error:
        raise PageError(_reason(error, "damaged_page"), f"{what} cannot be loaded: {error}") from error
    if bounds.is_empty or bounds.is_infinite:
        raise PageError("empty_page", f"{what} has no area: {tuple(bounds)}")
    height, width = page_size(bounds.height, bounds.width, max_side=max_side, patch_size=patch_size)
    pixels = _place((height, width, 3), buffer)
    try:
        _run(pdf_page, pixels, width / bounds.width, height / bounds.height)
    except _DAMAGED as error:
        raise PageError(_reason(error, "damaged_page"), f"{what} cannot be drawn: {error}") from error
    return pixels


def _run(pdf_page: pymupdf.Page, pixels: NDArray[np.uint8], across: float, down: float) -> None:
    """Draws as `get_pixmap` does, but into our memory and without a display list: up to a tenth faster."""
    height, width, _ = pixels.shape
    pixmap = mupdf.fz_new_pixmap_with_bbox_and_data(
        pymupdf.csRGB.this,
        mupdf.FzIrect(0, 0, width, height),
        mupdf.FzSeparations(),
        0,  # no alpha
        mupdf.python_mutable_buffer_data(pixels.data),
    )
    mupdf.fz_clear_pixmap_with_value(pixmap, 0xFF)
    device = mupdf.fz_new_draw_device(mupdf.FzMatrix(across, 0, 0, down, 0, 0), pixmap)
    mupdf.fz_run_page(pdf_page.this, device, mupdf.FzMatrix(), mupdf.FzCookie())
    mupdf.fz_close_device(device)


def _reason(error: Exception, otherwise: str) -> str:
    """MuPDF's allocator raises its own error where memory has a limit: "malloc (5000000000 bytes) failed"."""
    return "memory" if "alloc (" in str(error) else otherwise
