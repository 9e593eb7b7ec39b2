"""A document of any kind is opened: an office file as the PDF that LibreOffice makes of it.

In: the bytes of a document. Out: a `Document` of the sandbox. Its `data` is what was opened there, so that
whoever draws the pages later has no need to convert the document again.
"""

from collections.abc import Sequence

from pipeline.ingest.file_types import OfficeFileError
from pipeline.rasterize.office import Office
from pipeline.rasterize.sandbox import Document, Sandbox


def open_any(
    sandbox: Sandbox,
    office: Office,
    data: bytes,
    name: str,
    passwords: Sequence[str] = (),
    *,
    seconds: float | None = None,
) -> Document:
    """As `Sandbox.open`; an office file is converted. Raises DocumentError: as there, and `Office.to_pdf`."""
    try:
        return sandbox.open(data, name, passwords, seconds=seconds)
    except OfficeFileError as error:
        media_type = error.media_type
    document = sandbox.open(office.to_pdf(data, name, media_type), name, seconds=seconds)
    document.media_type = media_type
    return document
