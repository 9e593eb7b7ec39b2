"""What is attached to a document: to an e-mail, to a PDF, and to those that are attached to it themselves.

In: the bytes of a document. Out: its attachments, as data, or the bytes of one. What nobody could read (a
calendar, a signature) is told from documents by its first bytes; only of office files more is read. Depth,
number and sizes are bounded. These are hostile bytes: a run gets here in the sandbox alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice

from pipeline.ingest.file_types import MAX_BYTES, PDF, DocumentError, sniff
from pipeline.rasterize import mail, pdf_files
from pipeline.rasterize.attached import MOST_DEPTH, MOST_INNER, MOST_PARTS, UNLISTED, Kind, Part
from pipeline.rasterize.files import File
from pipeline.rasterize.office_types import OLE2, ZIP, office_type
from pipeline.rasterize.pdf import open_pdf
from pipeline.rasterize.pdf_page import DAMAGED, cause, reason

START_BYTES = 2**16  # of an attachment, by which its kind is told


class _TooLargeError(Exception):
    """An attachment is not looked into."""


class Container:
    """A document that others may be attached to. It keeps the one in it that was looked into last."""

    def __init__(
        self, data: bytes, name: str, passwords: Sequence[str] = (), *, in_pdfs: bool = True, depth: int = 0
    ) -> None:
        """With `in_pdfs`, PDFs may be containers, too. Raises DocumentError: as `pdf.open_document`."""
        self._name = name
        self._depth = depth
        self._inner: tuple[int, Container] | None = None
        self._open = partial(Container, passwords=passwords, in_pdfs=in_pdfs, depth=depth + 1)
        self._in_pdfs = in_pdfs
        self._pdf = None  # which the files are read from
        self._files: list[File] = []
        is_mail = mail.is_mail(data, name)
        # A PDF may have lines like a header's before its own; and an e-mail a PDF, as it is, near its start.
        if in_pdfs and _is_pdf(data, name) and not (is_mail and name.lower().endswith(".eml")):
            self._pdf = open_pdf(data, name, passwords).pdf
            assert self._pdf is not None, name
            try:
                self._files = list(islice(pdf_files.files_of(self._pdf), MOST_PARTS + 1))
            except DAMAGED as error:
                raise DocumentError(reason(error, UNLISTED), cause(error)) from error
        elif is_mail:
            self._files = list(islice(mail.files_of(data, name), MOST_PARTS + 1))

    def parts(self) -> Iterator[Part]:
        """The attachments in their order, each before those in it."""
        for number, (path, file) in enumerate(self._walk(())):
            if number == MOST_PARTS:
                yield Part(path=path, kind=Kind.TOO_MANY)
                return
            if file is None:
                yield Part(path=path, kind=Kind.TOO_LARGE)
            else:
                yield Part(path=path, kind=_kind_of(file) if len(path) <= MOST_DEPTH else Kind.TOO_DEEP)

    def part(self, path: Sequence[int]) -> bytes:
        """The bytes of an attachment. Raises DocumentError: damaged, missing, too_large."""
        number, *below = path
        if not 1 <= number <= len(self._files):
            raise DocumentError("missing", f"{self._name} has no attachment {number}")
        if below:
            inner = self._inside(number)
            if inner is None:
                raise DocumentError("missing", f"{self._name}#{number} has no attachment {below[0]}")
            return inner.part(below)
        data = self._files[number - 1].read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            what = f"{self._name}#{number} has more than {MAX_BYTES} bytes, the limit"
            raise DocumentError("too_large", what)
        return data

    def _walk(self, above: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], File | None]]:
        """None stands for all that is attached to a file that is too large to look."""
        for number, file in enumerate(self._files, 1):
            path = (*above, number)
            yield path, file
            if self._depth >= MOST_DEPTH:
                continue
            try:
                inner = self._inside(number)
            except _TooLargeError:
                yield (*path, 1), None
            except DocumentError:
                continue  # its own opening says what is wrong with it
            else:
                if inner is not None:
                    yield from inner._walk(path)

    def _inside(self, number: int) -> "Container | None":
        """The attached document that may hold others. Raises DocumentError, _TooLargeError."""
        if self._inner is None or self._inner[0] != number:
            self._inner = None  # its memory is free before the next one takes more
            file = self._files[number - 1]
            start = file.read(START_BYTES)
            is_mail = file.is_mail and mail.is_mail(start, ".eml")  # which may hold a PDF near its start
            is_pdf = self._in_pdfs and not is_mail and _is_pdf(start, file.name)
            if not (is_pdf or file.is_mail):
                return None
            data = file.read(MOST_INNER + 1)
            if len(data) > MOST_INNER:
                raise _TooLargeError
            name = f"{self._name}#{number}{'' if is_pdf else '.eml'}"  # by which an e-mail is known as one
            self._inner = number, self._open(data, name)
        return self._inner[1]


def _is_pdf(data: bytes, name: str) -> bool:
    return sniff(data) == PDF or (name.lower().endswith(".pdf") and sniff(data) is None)


def _kind_of(file: File) -> Kind:
    with suppress(DocumentError):  # its opening says what is wrong with it
        start = file.read(START_BYTES)
        if sniff(start) or file.is_mail or mail.is_mail(start, ""):
            return Kind.DOCUMENT
        if start.startswith((ZIP, OLE2)):
            start = file.read(MOST_INNER)
        return Kind.OFFICE if office_type(start, "an attachment") else Kind.OTHER
    return Kind.DOCUMENT
