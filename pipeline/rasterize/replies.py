"""What a sandboxed child may say, as data: no reply is believed before each of its values was checked.

In: a message of the child's, and the form that it must have. Out: nothing, or `Malformed`. A document that
has taken the child over can still lie within these forms: about its own pages, and about those of the
documents that are opened in that child after it. A page of the greatest height and width fills the buffer of
pixels.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pipeline.ingest.file_types import IMAGES, MAIL, MAX_BYTES, MAX_TRAVEL_SIDE, PDF
from pipeline.ingest.page_lists import MEDIA_TYPE
from pipeline.rasterize.attached import MOST_DEPTH, MOST_PARTS, Kind
from pipeline.rasterize.ipc import Malformed, Message

MOST_PAGES: Final = 2**31 - 1  # MuPDF counts them in 32 bits
OFFICE_FILE: Final = "office_file"  # the reason for which a document is converted; its message is the format
MOST_NUMBER: Final = 2**31 - 1  # of an attachment
MOST_CHARACTERS: Final = 5_000  # of a sentence: as JSON at most 60,000 bytes

Check = Callable[[Any], bool]
Form = Mapping[str, Check]


def _whole(most: int) -> Check:
    return lambda value: type(value) is int and 1 <= value <= most


def _text(most: int) -> Check:
    """Text that a table can hold: JSON can name halves of characters, which have no bytes in UTF-8."""
    return lambda value: (
        type(value) is str and len(value) <= most and not any("\ud800" <= char <= "\udfff" for char in value)
    )


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _reason(value: Any) -> bool:
    return type(value) is str and re.fullmatch("[a-z_]{1,32}", value) is not None


def _is_part(value: Any) -> bool:
    """A path and a kind: a document's number, with those of the e-mails that it lies in before it."""
    if type(value) is not list or len(value) != 2 or type(value[0]) is not list or type(value[1]) is not int:
        return False
    path, kind = value
    is_path = 1 <= len(path) <= MOST_DEPTH + 1 and all(map(_whole(MOST_NUMBER), path))
    return is_path and kind in iter(Kind)


READY: Final[Form] = {"lacks": _or_null(_text(MOST_CHARACTERS))}
OPENED: Final[Form] = {
    "media_type": lambda value: type(value) is str and value in (PDF, MAIL, MEDIA_TYPE, *IMAGES),
    "page_count": _whole(MOST_PAGES),
}
DRAWN: Final[Form] = {
    "height": _whole(MAX_TRAVEL_SIDE),
    "width": _whole(MAX_TRAVEL_SIDE),
    "note": _or_null(_text(MOST_CHARACTERS)),
    "damaged": lambda value: type(value) is bool,
}
PARTS: Final[Form] = {
    "parts": lambda value: type(value) is list and len(value) <= MOST_PARTS + 1 and all(map(_is_part, value))
}
PART: Final[Form] = {"size": lambda value: type(value) is int and 0 <= value <= MAX_BYTES}
FAILED: Final[Form] = {"reason": _reason, "message": _text(MOST_CHARACTERS)}


def check(reply: Message, form: Form) -> None:
    """Raises Malformed unless `reply` has this form, or is the failure of a request."""
    if form is not READY and "reason" in reply:
        form = FAILED
    if reply.keys() != form.keys():
        raise Malformed("with other fields than were asked for")
    for name, is_valid in form.items():
        if not is_valid(reply[name]):
            raise Malformed(f"with a {name} that cannot be")
