"""The kinds of file that are documents, told by their first bytes; and the errors of those that fail."""

import dataclasses
import re
from typing import Final

PDF: Final = "application/pdf"
MAIL: Final = "message/rfc822"  # an e-mail
SNIFFED_BYTES: Final = 1024  # how much of a file `sniff` looks at
MAX_BYTES: Final = 2**30  # a document above 1 GiB is not read: several of them must fit in memory
MAX_TRAVEL_SIDE: Final = 4096  # a larger image is reduced before it travels


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageKind:
    """An image format: Pillow's name for it, the bytes its files start with, the suffixes of their names.

    The files of a format of the ISO container (ISO/IEC 14496-12) name it among their `brands` instead.
    """

    pillow: str
    starts: tuple[bytes, ...] = ()
    brands: frozenset[bytes] = frozenset()
    suffixes: tuple[str, ...]


IMAGES: Final[dict[str, ImageKind]] = {
    "image/png": ImageKind(pillow="PNG", starts=(b"\x89PNG\r\n\x1a\n",), suffixes=(".png",)),
    "image/jpeg": ImageKind(
        pillow="JPEG", starts=(b"\xff\xd8\xff",), suffixes=(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
    ),
    "image/tiff": ImageKind(
        pillow="TIFF", starts=(b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), suffixes=(".tif", ".tiff")
    ),
    "image/webp": ImageKind(pillow="WEBP", starts=(b"RIFF",), suffixes=(".webp",)),
    "image/bmp": ImageKind(pillow="BMP", starts=(b"BM",), suffixes=(".bmp",)),
    "image/gif": ImageKind(pillow="GIF", starts=(b"GIF87a", b"GIF89a"), suffixes=(".gif",)),
    "image/jp2": ImageKind(
        pillow="JPEG2000",
        starts=(b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
        suffixes=(".jp2", ".j2k", ".jpx"),
    ),
    "image/avif": ImageKind(pillow="AVIF", brands=frozenset({b"avif", b"avis"}), suffixes=(".avif",)),
    "image/heic": ImageKind(
        pillow="HEIF",  # pi_heif's
        brands=frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}),
        suffixes=(".heic", ".heif"),
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfficeKind:
    """A format that LibreOffice converts to PDF: what a person calls it, and its files' suffixes.

    The first suffix is that of the file that LibreOffice is given.
    """

    what: str
    package: str  # Debian's, with the part of LibreOffice that reads it
    suffixes: tuple[str, ...]

    @property
    def reader(self) -> str | None:
        """LibreOffice's filter, where its own choice is wrong: that for the web loses a first paragraph."""
        return "HTML (StarWriter)" if ".html" in self.suffixes else None


_WRITER, _CALC, _IMPRESS = (f"libreoffice-{part}-nogui" for part in ("writer", "calc", "impress"))
_OPEN_XML: Final = "application/vnd.openxmlformats-officedocument"
_OPEN_DOCUMENT: Final = "application/vnd.oasis.opendocument"
OFFICE: Final[dict[str, OfficeKind]] = {
    media_type: OfficeKind(what=what, package=package, suffixes=suffixes)
    for media_type, what, package, suffixes in (
        (f"{_OPEN_XML}.wordprocessingml.document", "a Word document", _WRITER, (".docx", ".docm", ".dotx")),
        (
            f"{_OPEN_XML}.spreadsheetml.sheet",
            "an Excel workbook",
            _CALC,
            (".xlsx", ".xlsm", ".xltx", ".xlsb"),
        ),
        (
            f"{_OPEN_XML}.presentationml.presentation",
            "a PowerPoint presentation",
            _IMPRESS,
            (".pptx", ".pptm", ".ppsx", ".potx"),
        ),
        (f"{_OPEN_DOCUMENT}.text", "an OpenDocument text", _WRITER, (".odt", ".ott")),
        (f"{_OPEN_DOCUMENT}.spreadsheet", "an OpenDocument spreadsheet", _CALC, (".ods", ".ots")),
        (f"{_OPEN_DOCUMENT}.presentation", "an OpenDocument presentation", _IMPRESS, (".odp", ".otp")),
        ("application/msword", "an old Word document", _WRITER, (".doc", ".dot")),
        ("application/vnd.ms-excel", "an old Excel workbook", _CALC, (".xls", ".xlt")),
        (
            "application/vnd.ms-powerpoint",
            "an old PowerPoint presentation",
            _IMPRESS,
            (".ppt", ".pps", ".pot"),
        ),
        ("application/rtf", "an RTF document", _WRITER, (".rtf",)),
        ("text/html", "an HTML page", _WRITER, (".html", ".htm", ".xhtml")),
    )
}
SUFFIXES: Final = frozenset({".pdf", ".eml"}.union(*(kind.suffixes for kind in IMAGES.values())))
OFFICE_SUFFIXES: Final = frozenset(suffix for kind in OFFICE.values() for suffix in kind.suffixes)

# Kinds that people put among their documents, so that nobody has to guess. _INSIDE is looked for in files
# that start with "<" or as a ZIP archive does.
_TO_PDF: Final = "(convert it to PDF)"
_INSIDE: Final = {
    b"word/": f"a Word document {_TO_PDF}",
    b"xl/": f"an Excel workbook {_TO_PDF}",
    b"ppt/": f"a PowerPoint presentation {_TO_PDF}",
    b"opendocument": f"an OpenDocument file {_TO_PDF}",
    b"epub+zip": f"an EPUB book {_TO_PDF}",
    b"<svg": f"an SVG drawing {_TO_PDF}",
    b"<html": f"an HTML page {_TO_PDF}",
}
_OTHERS: Final = {
    b"PAR1": "a Parquet file (name its column of documents)",
    b"PK\x03\x04": "a ZIP archive (unpack it)",
    b"\xd0\xcf\x11\xe0": f"an old Office document {_TO_PDF}",
    b"%!PS": f"PostScript {_TO_PDF}",
    b"{\\rtf": f"RTF {_TO_PDF}",
    b"AT&T": f"DjVu {_TO_PDF}",
}


class DocumentError(Exception):
    """A document that cannot be used at all: `reason` is a snake_case cause, `message` a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)  # both, so that it survives the way out of a child process
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class OfficeFileError(DocumentError):
    """A document that is none before it was converted; `media_type` is one of OFFICE."""

    def __init__(self, name: str, media_type: str) -> None:
        what = OFFICE[media_type].what
        message = f"{name} is {what} {_TO_PDF}, not a PDF or an image of a supported format"
        super().__init__("unsupported_type", message)
        self.media_type = media_type


class PageError(DocumentError):
    """One page that cannot be drawn; the document's other pages may be good."""


# Sizes of the header behind a BMP file's own, by version: two letters alone would make images of other files.
_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_NO_TEXT: Final = re.compile(rb"[\x00-\x07\x0e-\x1f\x7f]")  # control characters that no text has; ESC is one
_PDF_OBJECT: Final = re.compile(rb"\s*\d+\s+\d+\s+obj\b")


def sniff(data: bytes) -> str | None:
    """The media type of a document by its first SNIFFED_BYTES, or None if it is not supported."""
    start = data[:SNIFFED_BYTES]
    if _NO_TEXT.search(start):  # as every image has
        brands = _brands(start)
        for media_type, kind in IMAGES.items():
            if start.startswith(kind.starts) and _is_whole(media_type, start):
                return media_type
            if not kind.brands.isdisjoint(brands):
                return media_type
    return PDF if _is_pdf(start) else None


def _is_whole(media_type: str, start: bytes) -> bool:
    """Whether a file goes on as the formats do whose first bytes alone say little."""
    if media_type == "image/webp":
        return start[8:12] == b"WEBP"
    return media_type != "image/bmp" or int.from_bytes(start[14:18], "little") in _BMP_HEADERS


def _is_pdf(start: bytes) -> bool:
    """Readers of PDF allow rubbish before the header: PDF 1.7, appendix H.3, note 13.

    Text about PDF is none: behind words, the first line that is no comment must begin an object.
    """
    rubbish, header, rest = start.partition(b"%PDF-")
    if not header or rubbish.startswith(b"PAR1"):  # a Parquet file with PDFs in a column
        return False
    if _NO_TEXT.search(rubbish) or not rubbish.strip(b"\xef\xbb\xbf \t\r\n\f\v"):
        return True
    lines = rest.replace(b"\r", b"\n").split(b"\n")[1:]
    is_cut = len(start) == SNIFFED_BYTES
    for line in lines[: -1 if is_cut else None]:
        if line.strip() and not line.lstrip().startswith(b"%"):
            return bool(_PDF_OBJECT.match(line))
    return is_cut


def describe(data: bytes) -> str:
    """The kind that an unsupported file seems to be, and a remedy."""
    if brands := _brands(data):
        return f"a {brands[0].decode('ascii', 'replace').strip().upper()} file, as videos are"
    start = data[: 8 * SNIFFED_BYTES].lstrip()
    if start.startswith((b"<", b"PK\x03\x04")):
        lower = start.lower()
        for part, kind in _INSIDE.items():
            if part in lower:
                return kind
    return next(
        (kind for beginning, kind in _OTHERS.items() if start.startswith(beginning)), "of an unknown kind"
    )


def _brands(data: bytes) -> list[bytes]:
    """The formats that a file of the ISO container says to be, its own first; none for other files."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4]), SNIFFED_BYTES)
    return [data[8:12], *(data[start : start + 4] for start in range(16, end - 3, 4))]
