"""The images of one row as one document: what `pack` makes of them travels like the bytes of a file.

In: for each page its bytes, or why it has none. Out: bytes that are equal for equal pages alone, and the
pages again. A page that cannot be read costs itself: the document has it, and its failure, all the same.
"""

import struct
from collections.abc import Sequence
from typing import Final

from pipeline.ingest.file_types import DocumentError

MEDIA_TYPE: Final = "multipart/mixed"
_MAGIC: Final = b"\x89quire pages\r\n\x1a\n"
_COUNT: Final = struct.Struct("<I")
_PART: Final = struct.Struct("<?Q")  # whether it is an error, and bytes

Part = bytes | DocumentError


def pack(parts: Sequence[Part]) -> bytes:
    """Pages as one document."""
    bodies = [part if isinstance(part, bytes) else _words(part) for part in parts]
    heads = [
        _PART.pack(isinstance(part, DocumentError), len(body))
        for part, body in zip(parts, bodies, strict=True)
    ]
    return b"".join([_MAGIC, _COUNT.pack(len(parts)), *heads, *bodies])


def is_packed(data: bytes) -> bool:
    """Whether `pack` made this, or something that begins like it."""
    return data.startswith(_MAGIC)


def unpack(data: bytes) -> list[Part]:
    """The pages of a document. Raises ValueError: `pack` did not make it."""
    try:
        at = len(_MAGIC)
        (count,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        if count * _PART.size > len(data) - at:
            raise ValueError("it is cut off")
        heads = [_PART.unpack_from(data, at + number * _PART.size) for number in range(count)]
    except struct.error as error:
        raise ValueError("it is cut off") from error
    at += count * _PART.size
    if sum(size for _, size in heads) != len(data) - at:
        raise ValueError("its parts have another length than it says")
    parts: list[Part] = []
    for is_error, size in heads:
        body = data[at : at + size]
        parts.append(_error(body) if is_error else body)
        at += size
    return parts


def _words(error: DocumentError) -> bytes:
    return f"{error.reason}\n{error.message}".encode(errors="backslashreplace")


def _error(body: bytes) -> DocumentError:
    reason, _, message = body.decode(errors="replace").partition("\n")
    return DocumentError(reason, message)
