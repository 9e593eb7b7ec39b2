"""A document's bytes become page images.

In: the bytes of one PDF, image, list of images or e-mail, and its name (for messages, and as a hint where a
PDF's header is damaged). Out: its media type and page count, and single pages as uint8 arrays of shape
(height, width, 3). The first bytes decide its type. Refused: anything but those, as well as a document
whose password is not among those given, and pages above the limits.

Hostile bytes can crash, hang or bloat the process that this runs in: a run goes through `sandbox`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import numpy as np
import pymupdf
from numpy.typing import NDArray

from pipeline.ingest import page_lists
from pipeline.ingest.file_types import (
    MAIL,
    PDF,
    DocumentError,
    OfficeFileError,
    PageError,
    describe,
    sniff,
)
from pipeline.rasterize import images, page_list
from pipeline.rasterize.damage import printable
from pipeline.rasterize.mail import is_mail, text_pdf
from pipeline.rasterize.office_types import office_type
from pipeline.rasterize.page_tree import count_kids
from pipeline.rasterize.pdf_page import DAMAGED, cause, draw, place, reason

# Security handlers that encrypt for the holders of certificates (ISO 32000-2, table 20).
CERTIFICATES: Final = ("Adobe.PubSec", "Adobe.PPKLite", "Entrust.PPKEF", "Adobe.PPKMS")
HANDLER: Final = re.compile(r"unknown encryption handler: '(.*)'")
MAX_NAMED: Final = 5  # files of a portfolio

__all__ = ["DocumentError", "Opened", "PageError", "open_document", "rasterize"]


@dataclass(kw_only=True)
class Opened:
    """An open document: close it, or use it in a `with` block."""

    name: str
    media_type: str
    page_count: int
    data: bytes = field(repr=False)
    places: Sequence[int] = ()
    """Of an image file's pages."""
    parts: Sequence[page_lists.Part] = field(default=(), repr=False)
    """The images of a list."""
    pdf: pymupdf.Document | None = None
    note: str | None = None
    """A remark on all of its pages, for the readers of their answers."""
    damaged: bool = False
    """Whether a page of it has lost something: then nothing is kept from one page to the next."""

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
    wrong_password, encrypted, zero_pages, memory; OfficeFileError if it has to be converted first.
    """
    if not data:
        raise DocumentError("empty_file", f"{name} has 0 bytes")
    if page_lists.is_packed(data):
        return _open_list(data, name)
    media_type = sniff(data)
    if media_type is None and name.lower().endswith(".pdf"):
        media_type = PDF  # its header is damaged: MuPDF repairs it or says that it cannot
    if media_type is None and is_mail(data, name):
        return _open_mail(data, name)
    if media_type is None and (office := office_type(data, name)):
        raise OfficeFileError(name, office)
    if media_type is None:
        message = f"{name} is {describe(data)}, not a PDF or an image of a supported format"
        raise DocumentError("unsupported_type", message)
    if media_type == PDF:
        opened = open_pdf(data, name, passwords)
    else:
        places = images.find_pages(data, name, media_type)
        opened = Opened(name=name, media_type=media_type, page_count=len(places), data=data, places=places)
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
) -> tuple[NDArray[np.uint8], str | None, bool]:
    """Draw page `page` (from 1) as an array (height, width, 3), a note on it, and whether a part is lost.

    A PDF page is drawn straight onto the model's grid, longest edge `max_side`. An image keeps its size, up
    to MAX_TRAVEL_SIDE. The array lies at the start of `buffer`, a flat array, or in new memory. Raises
    PageError with one of the reasons damaged_page, empty_page, too_many_pixels, unsupported_type, memory.
    """
    assert 1 <= page <= opened.page_count, (page, opened.page_count)
    if opened.media_type in (PDF, MAIL):
        return _draw_page(opened, page, max_side, patch_size, buffer)
    if opened.media_type == page_lists.MEDIA_TYPE:
        image, note = page_list.decode(opened.parts[page - 1], opened.name, page, max_pixels)
    else:
        where = opened.places[page - 1]
        image, note = images.decode_page(opened.data, opened.name, opened.media_type, page, where, max_pixels)
    pixels = place((image.height, image.width, 3), buffer)
    pixels[:] = np.asarray(image)
    return pixels, note, False


def _open_list(data: bytes, name: str) -> Opened:
    parts = page_list.open_list(data, name)
    if not parts:
        raise DocumentError("zero_pages", f"{name} is a list without an image")
    media_type = page_lists.MEDIA_TYPE
    return Opened(name=name, media_type=media_type, page_count=len(parts), data=data, parts=parts)


def _draw_page(
    opened: Opened, page: int, max_side: int, patch_size: int, buffer: NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8], str | None, bool]:
    assert opened.pdf is not None, "the document was closed"
    what = f"page {page} of {opened.name}"
    forget, opened.damaged = opened.damaged, True  # what cannot be drawn is damaged too
    pixels, loss = draw(
        opened.pdf, page, what, max_side=max_side, patch_size=patch_size, buffer=buffer, forget=forget
    )
    opened.damaged = forget or loss is not None
    return pixels, "; ".join(note for note in (loss, opened.note) if note) or None, loss is not None


def open_pdf(data: bytes, name: str, passwords: Sequence[str]) -> Opened:
    """Open a PDF, of whatever number of pages. Raises DocumentError: as `open_document`."""
    pymupdf.TOOLS.mupdf_display_errors(False)  # MuPDF would print to stderr the errors that it also raises
    pymupdf.TOOLS.mupdf_display_warnings(False)
    try:
        pdf = pymupdf.open(stream=data, filetype="pdf")
        fits = not pdf.needs_pass or any(pdf.authenticate(password) for password in passwords)
    except DAMAGED as error:
        why = cause(error)
        if handler := HANDLER.search(why):
            raise DocumentError("encrypted", _encrypted(name, handler[1])) from error
        raise DocumentError(reason(error, "damaged"), f"{name} cannot be opened as a PDF: {why}") from error
    if not fits:  # an empty password was tried by MuPDF itself
        pdf.close()
        if passwords:
            raise DocumentError("wrong_password", f"{name} needs a password, and none that was given fits")
        raise DocumentError("needs_password", f"{name} needs a password (--password)")
    try:
        page_count = pdf.page_count or count_kids(pdf)
        note = _document_note(pdf)
    except DAMAGED as error:
        pdf.close()
        message = f"the pages of {name} cannot be counted: {cause(error)}"
        raise DocumentError(reason(error, "damaged"), message) from error
    return Opened(name=name, media_type=PDF, page_count=page_count, data=data, pdf=pdf, note=note)


def _open_mail(data: bytes, name: str) -> Opened:
    """The text of an e-mail, as a PDF of our own."""
    text, note = text_pdf(data, name)
    pdf = pymupdf.open(stream=text, filetype="pdf")
    return Opened(name=name, media_type=MAIL, page_count=pdf.page_count, data=data, pdf=pdf, note=note)


def _encrypted(name: str, handler: str) -> str:
    how = "with a certificate" if handler in CERTIFICATES else "by a program of its own"
    return f"{name} is encrypted {how} ({printable(handler)}), not with a password: decrypt it first"


def _document_note(pdf: pymupdf.Document) -> str | None:
    """On documents whose pages are not what matters."""
    catalog = pdf.pdf_catalog()
    if pdf.xref_get_key(catalog, "NeedsRendering") == ("bool", "true"):
        # A dynamic XFA form makes its pages with a program; the PDF's own ones mostly say "please wait".
        return "dynamic XFA form: only its placeholder pages are drawn"
    if pdf.xref_get_key(catalog, "Collection")[0] == "null":
        return None
    attached = [printable(name) for name in pdf.embfile_names()]
    if not attached:
        return "portfolio: only its cover is drawn, and it has no files"
    more = [f"and {len(attached) - MAX_NAMED} more"] if len(attached) > MAX_NAMED else []
    named = ", ".join(attached[:MAX_NAMED] + more)
    return f"portfolio: this is its cover, and its files ({named}) are documents with --attachments alone"
