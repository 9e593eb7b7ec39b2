"""Images whose pixels are all there, though something else in their file is not.

In: the bytes of an image that Pillow refuses. Out: bytes that it reads, or the image, if nothing of the
picture is missing. A PNG may have damaged or overlong texts; a JPEG may lack the two bytes of its end.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from PIL import Image

_SIGNATURE: Final = 8  # bytes
_ANCILLARY: Final = 0x20  # in the first letter of a chunk's name: pictures are decoded without it
# Those of them that say something about how the picture is shown.
_SHOWN: Final = frozenset({b"tRNS", b"pHYs", b"eXIf"})
_END: Final = b"\xff\xd9"
_SOME: Final = bytes(range(1, 128))
_RESTARTS: Final = range(0xD0, 0xD8)  # the marks between the parts of a JPEG, which follow each other in turn


def png_without_texts(data: bytes) -> bytes:
    """A PNG without the chunks that no pixel depends on, and without such whose checksum is wrong."""
    return data[:_SIGNATURE] + b"".join(_needed(data))


def _needed(data: bytes) -> Iterator[bytes]:
    at = _SIGNATURE
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 12 + size
        is_needed = not name[0] & _ANCILLARY
        if not is_needed and name in _SHOWN and end <= len(data):
            (checksum,) = struct.unpack_from(">I", data, end - 4)
            is_needed = zlib.crc32(data[at + 4 : end - 4]) == checksum
        if is_needed:
            yield data[at:end]
        at = end
    yield data[at:]


def jpeg_without_end(data: bytes, open_image: Callable[[io.BytesIO], Image.Image]) -> Image.Image | None:
    """The decoded image of a JPEG that lacks the mark of its end, and nothing else; None for all others.

    Raises Pillow's errors.
    """
    rest = data.rstrip(b"\xff")
    first, second = (open_image(io.BytesIO(rest + more + _END)) for more in (b"", _more_of(rest)))
    for image in (first, second):
        image.load()
    return first if first.tobytes() == second.tobytes() else None


def _more_of(data: bytes) -> bytes:
    """Bytes that are decoded as a part of a JPEG that lacks some, and are skipped behind a whole one."""
    _, last = max((data.rfind(bytes([0xFF, mark])), mark) for mark in _RESTARTS)
    parts = (bytes([0xFF, _RESTARTS[(last + number) % len(_RESTARTS)]]) + _SOME for number in range(1, 9))
    return _SOME + b"".join(parts)
