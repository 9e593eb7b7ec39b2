"""The limits of one document. A page, or a document, beyond them is a failure that names the limit."""

from dataclasses import dataclass

MIB = 2**20
LEAST_BYTES = 256 * MIB  # a child process that has drawn a page holds 70 MB

MOST_SECONDS = 86_400
CONVERSATION_IMAGES = 64  # twice as many as fit in 131,072 tokens at 1,024 pixels


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits that a person can set; travels to every task."""

    page_seconds: float = 30
    """Of computing, for opening a document and for drawing each of its pages."""
    page_bytes: int = 2048 * MIB
    """Memory of the process that opens a document and draws its pages."""
    document_pages: int = 20_000
    """A PDF can claim any number of pages, and each would be an item."""
    document_seconds: float = 21_600
    """Of computing, for all pages of a document together; a second for each of 20,000, and some more."""
    images: int | None = None
    """Of one question: those of a conversation, or the pages of a window. None: 64 in a conversation."""
    sandbox_required: bool = False
    """Whether a machine that lacks a part of the confinement is refused, or does with the others."""

    @property
    def conversation_images(self) -> int:
        """Most images of a conversation."""
        return CONVERSATION_IMAGES if self.images is None else self.images

    @property
    def memory_exceeded(self) -> str:
        """The end of a sentence about a page that went beyond its memory."""
        return f"took more than {self.page_bytes // MIB} MiB (--page-memory)"

    @property
    def document_exceeded(self) -> str:
        """The end of a sentence about a document that took too long."""
        return f"{self.document_seconds:g} s (--document-timeout)"

    def __post_init__(self) -> None:
        for flag, seconds in (
            ("--page-timeout", self.page_seconds),
            ("--document-timeout", self.document_seconds),
        ):
            if not 0 < seconds <= MOST_SECONDS:
                raise ValueError(f"{flag} {seconds:g}: it must be above 0, {MOST_SECONDS} (a day) at most")
        if self.page_bytes < LEAST_BYTES:
            raise ValueError(
                f"--page-memory {self.page_bytes // MIB}: it must be at least {LEAST_BYTES // MIB} MiB"
            )
        if self.images is not None and self.images < 1:
            raise ValueError(f"--limit-images {self.images}: it must be at least 1")
        if self.document_pages < 1:
            raise ValueError(f"--document-pages {self.document_pages}: it must be at least 1")
