"""Documents are opened, and their pages drawn, in a child process that may crash, hang or be killed.

In: the bytes of a document. Out: its type and page count, and its pages' pixels, or an error that names the
cause. A worker has one child for all its documents, and replaces it when it dies. A page at which the child
crashes, or takes all its memory, is tried once more in a fresh child before the error is believed: an earlier
document may have left the first child in ruins, or somebody else have killed it. MuPDF and Pillow are never
loaded in this process.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.file_types import MAX_TRAVEL_SIDE, OFFICE, DocumentError, OfficeFileError, PageError
from pipeline.plan.limits import Limits
from pipeline.rasterize.attached import Kind, Part
from pipeline.rasterize.ipc import Message
from pipeline.rasterize.replies import DRAWN, OFFICE_FILE, OPENED, PART, PARTS, Form
from pipeline.rasterize.supervisor import Child, Died, SharedBuffer

MAX_TIMEOUTS: Final = 3  # of one document, before its other pages are not tried
KEPT_SHARE: Final = 8  # of a page's memory one part may go to a document whose attachments are read
SMALL_BYTES: Final = 2**20  # of a document that the child may hold until the next: a message is a page's work


class Sandbox:
    """Opens documents, one at a time. It starts its child with the first of them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.starts = 0  # children so far
        self._buffer = SharedBuffer(3 * MAX_TRAVEL_SIDE**2)
        self._child: Child | None = None
        self._document: Document | None = None  # the one that is open in the child
        self._kept: tuple[Child, bytes] | None = None  # who has a document whose attachments are asked for

    def open(
        self, data: bytes, name: str, passwords: Sequence[str] = (), *, seconds: float | None = None
    ) -> "Document":
        """The document, to be closed, which has so many seconds in all (default: those of the limits).

        Raises DocumentError: as `pdf.open_document`, and too_many_pages, crash, killed, memory, timeout;
        OfficeFileError.
        """
        left = self.limits.document_seconds if seconds is None else seconds
        return Document(self, data, name, passwords, left)

    def parts(
        self, data: bytes, name: str, passwords: Sequence[str] = (), *, in_pdfs: bool = False
    ) -> list[Part]:
        """The attachments of an e-mail, with `in_pdfs` of a PDF, too; of another document there are none.

        Raises DocumentError: damaged, unlisted, crash, killed, memory, timeout; of PDFs as `open`.
        """
        request: Message = {"do": "parts", "name": name, "passwords": list(passwords), "in_pdfs": in_pdfs}
        reply = self._once(request, PARTS, data, name)
        return [Part(path=tuple(path), kind=Kind(kind)) for path, kind in reply["parts"]]

    def part(
        self,
        data: bytes,
        name: str,
        path: Sequence[int],
        passwords: Sequence[str] = (),
        *,
        more: bool = False,
    ) -> bytes:
        """The bytes of an attachment of `data`. Raises DocumentError: as `parts`, and missing, too_large.

        With `more`, others of the same `data` will be asked for: the child does not read it again for each.
        """
        keep = more and len(data) <= self.limits.page_bytes // KEPT_SHARE
        request: Message = {"do": "part", "name": name, "passwords": list(passwords), "path": list(path)}
        child, kept = self._started(), self._kept
        is_there = kept is not None and kept[0] is child and kept[1] is data
        self._kept = None
        size = self._once(request | {"keep": keep}, PART, b"" if is_there else data, name)["size"]
        self._kept = (child, data) if keep else None
        content = bytearray(self._buffer.pixels[:size])
        while len(content) < size:
            if self._once({"do": "more", "at": len(content)}, PART, b"", name)["size"] != size:
                raise DocumentError("killed", f"{name} could not be read: its process was killed meanwhile")
            content += self._buffer.pixels[: size - len(content)].tobytes()
        return bytes(content)

    def close(self) -> None:
        """Ends the child; the next document starts another."""
        if self._child is not None:
            self._child.kill()
            self._child, self._document = None, None

    def _started(self) -> Child:
        """The child, a new one if there is none, or none that can be asked."""
        if self._child is None or not self._child.is_alive():
            self.close()
            self.starts += 1
            self._child = Child(self.limits, self._buffer)
        return self._child

    def _once(self, request: Message, form: Form, data: bytes, name: str) -> Message:
        """The reply to a request about attachments, which is not tried again. Raises DocumentError."""
        try:
            reply = self._started().ask(request, form, data)
        except Died as died:
            raise DocumentError(died.reason, f"{name} {died.how}") from died
        if "reason" in reply:
            raise DocumentError(reply["reason"], reply["message"])
        return reply

    def ask(self, document: "Document", request: Message | None) -> Message:
        """The child's reply to a request about `document`, or if that is None to its opening. Raises Died."""
        self._started()
        if self._document is not document:
            if self._document is not None:
                self.forget(self._document)
            reply = self._timed(document, document.opening, OPENED, document.data)
            if "reason" in reply:
                return reply
            self._document = document
            if request is None:
                return reply
        assert request is not None, document.name
        return self._timed(document, request, DRAWN)

    def _timed(self, document: "Document", request: Message, form: Form, data: bytes = b"") -> Message:
        assert self._child is not None
        try:
            return self._child.ask(request, form, data, document.seconds)
        finally:
            document.seconds -= self._child.computed

    def forget(self, document: "Document") -> None:
        """Closes the document in the child if it is open there; a small one, when the next is opened."""
        if self._document is document:
            self._document = None
            if len(document.data) > SMALL_BYTES and self._child is not None and self._child.is_alive():
                self._child.tell({"do": "close"})

    def pixels(self, height: int, width: int) -> NDArray[np.uint8]:
        """The page that the child has drawn, until its next reply."""
        return self._buffer.pixels[: height * width * 3].reshape(height, width, 3)


class Document:
    """An open document in a sandbox: `media_type`, `page_count`, `draw`, and the `seconds` it has left."""

    def __init__(
        self, sandbox: Sandbox, data: bytes, name: str, passwords: Sequence[str], seconds: float
    ) -> None:
        self.data, self.name, self.seconds = data, name, seconds
        self.opening: Message = {"do": "open", "name": name, "passwords": list(passwords)}
        self._sandbox = sandbox
        self._timeouts = 0
        reply = self._ask(None, DocumentError, name)
        self.media_type: str = reply["media_type"]
        self.page_count: int = reply["page_count"]
        limit = sandbox.limits.document_pages
        if self.page_count > limit:
            self.close()
            message = f"{name} has {self.page_count} pages, the limit is {limit} (--document-pages)"
            raise DocumentError("too_many_pages", message)

    def draw(
        self, page: int, *, max_side: int, patch_size: int
    ) -> tuple[NDArray[np.uint8], str | None, bool]:
        """Page `page` (from 1), a note, and whether a part is lost, as `pdf.rasterize`.

        The pixels last until the next page.

        Raises PageError: as there, and crash, killed, memory, timeout.
        """
        assert max_side <= MAX_TRAVEL_SIDE, max_side
        what = f"page {page} of {self.name}"
        if self._timeouts >= MAX_TIMEOUTS:
            message = f"{what} was not tried: {MAX_TIMEOUTS} other pages took too long"
            raise PageError("timeout", message)
        request = {"do": "draw", "page": page, "max_side": max_side, "patch_size": patch_size}
        reply = self._ask(request, PageError, what)
        return self._sandbox.pixels(reply["height"], reply["width"]), reply["note"], reply["damaged"]

    def close(self) -> None:
        """It cannot be drawn from any more."""
        self._sandbox.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: Message | None, failure: type[DocumentError], what: str) -> Message:
        for last in (False, True):
            if self.seconds <= 0:
                limit = self._sandbox.limits.document_exceeded
                raise failure("timeout", f"{what} was not tried: others took the document's {limit}")
            try:
                reply = self._sandbox.ask(self, request)
            except Died as died:
                if died.reason == "timeout":
                    self._timeouts += 1
                elif not last:
                    continue
                raise failure(died.reason, f"{what} {died.how}") from died
            if reply.get("reason") == "memory":  # it met the hard limit before the watch saw it
                self._sandbox.close()
                if last:
                    raise failure("memory", f"{what} {self._sandbox.limits.memory_exceeded}")
            elif "reason" in reply:
                if request is None and reply["reason"] == OFFICE_FILE and reply["message"] in OFFICE:
                    raise OfficeFileError(self.name, reply["message"])
                raise failure(reply["reason"], reply["message"])
            else:
                return reply
        raise AssertionError("the second reply is believed")
