"""What the sandbox says of an e-mail's attachments, as data that its worker can check."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MOST_PARTS: Final = 1_000  # attachments of an e-mail, with those of e-mails in it
MOST_DEPTH: Final = 5  # e-mails in one another


class Kind(IntEnum):
    """Whether an attachment is read."""

    OTHER = 0  # a calendar, a signature, a text: no document
    DOCUMENT = 1
    OFFICE = 2  # a document where there is a LibreOffice
    TOO_MANY = 3  # this one and those behind it are not read
    TOO_DEEP = 4


@dataclass(frozen=True, kw_only=True)
class Part:
    """An attachment. `path` is its number, behind that of the attached e-mail that holds it, if one does."""

    path: tuple[int, ...]
    kind: Kind
