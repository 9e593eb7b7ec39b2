"""What the sandbox says of a document's attachments, as data that its worker can check."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MOST_PARTS: Final = 1_000  # attachments of a document, with those of documents in it
MOST_DEPTH: Final = 5  # documents in one another
MOST_INNER: Final = 128 * 2**20  # bytes of an attachment that is looked into for what is attached to it

UNLISTED: Final = "unlisted"  # why a document that can be opened does not tell what is attached to it


class Kind(IntEnum):
    """Whether an attachment is read."""

    OTHER = 0  # a calendar, a signature, a text: no document
    DOCUMENT = 1
    OFFICE = 2  # a document where there is a LibreOffice
    TOO_MANY = 3  # this one and those behind it are not read
    TOO_DEEP = 4
    TOO_LARGE = 5  # what is attached to a document of more than MOST_INNER bytes


@dataclass(frozen=True, kw_only=True)
class Part:
    """An attachment. `path` is its number, behind that of the attached document that holds it, if any."""

    path: tuple[int, ...]
    kind: Kind
