"""The bytes of a file in; which office format it has, out, by what is inside and not by its name.

Office Open XML and OpenDocument are ZIP archives that say it in a member; the formats before them are OLE2
containers (MS-CFB) with a stream of a known name; RTF and HTML are text. Refused: what is encrypted. These
are hostile bytes: a run gets here in the sandbox alone.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

from pipeline.ingest.file_types import OFFICE, DocumentError

ZIP, OLE2 = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MOST_READ: Final = 2**20  # bytes of a member that says what the others are
MOST_BEFORE: Final = 2**13  # bytes of a page of HTML in which its first tag must begin
DAMAGED: Final = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    zlib.error,
    ValueError,
)

_BY_SUFFIX: Final = {suffix: media_type for media_type, kind in OFFICE.items() for suffix in kind.suffixes}
# The content type of the main part: Microsoft's for those with macros, and for .xlsb.
_MAIN_PART: Final = {
    rb"wordprocessingml\.(?:document|template)\.main\+xml"
    rb"|ms-word\.(?:document|template)\.macroEnabled": ".docx",
    rb"spreadsheetml\.(?:sheet|template)\.main\+xml"
    rb"|ms-excel\.(?:sheet|template)\.(?:macroEnabled|binary)": ".xlsx",
    rb"presentationml\.(?:presentation|template|slideshow)\.main\+xml"
    rb"|ms-powerpoint\.(?:presentation|template|slideshow)\.macroEnabled": ".pptx",
}
_ENCRYPTED_PACKAGE: Final = "EncryptedPackage"  # MS-OFFCRYPTO: a whole Office Open XML file
_STREAMS: Final = {
    "WordDocument": ".doc",
    "Workbook": ".xls",
    "Book": ".xls",
    "PowerPoint Document": ".ppt",
}
_FREE: Final = 0xFFFFFFFA  # from here on, numbers of sectors and entries are marks
_ENTRY: Final = struct.Struct("<64sHBBIII")  # name, its bytes, type, colour, left, right, child
_HTML: Final = re.compile(
    rb"(?:\s|<!--.*?-->|<\?xml.*?\?>)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)


def office_type(data: bytes, name: str) -> str | None:
    """The media type, one of OFFICE, or None. Raises DocumentError: encrypted, damaged."""
    if data.startswith(ZIP):
        try:
            return _of_archive(data, name)
        except DAMAGED as error:
            message = (
                f"{name} starts like a ZIP archive, as office files do, and cannot be read as one: {error}"
            )
            raise DocumentError("damaged", message) from error
    if data.startswith(OLE2):
        return _of_container(data, name)
    if data.startswith(b"{\\rtf"):
        return _BY_SUFFIX[".rtf"]
    start = data[:MOST_BEFORE].removeprefix(b"\xef\xbb\xbf")
    return _BY_SUFFIX[".html"] if _HTML.match(start) else None


def _of_archive(data: bytes, name: str) -> str | None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.NameToInfo
        if "mimetype" in members:
            said = _read(archive, "mimetype").strip().decode("ascii", "replace")
            media_type = said.removesuffix("-template")
            if media_type in OFFICE and b"encryption-data" in _read(archive, "META-INF/manifest.xml"):
                raise _encrypted(name, media_type)
            return media_type if media_type in OFFICE else None
        parts = _read(archive, "[Content_Types].xml")
    found = (suffix for pattern, suffix in _MAIN_PART.items() if re.search(pattern, parts, re.I))
    suffix = next(found, None)
    return suffix and _BY_SUFFIX[suffix]


def _read(archive: zipfile.ZipFile, member: str) -> bytes:
    if member not in archive.NameToInfo:
        return b""
    with archive.open(member) as file:
        return file.read(MOST_READ)


def _of_container(data: bytes, name: str) -> str | None:
    try:
        names = set(_root_streams(data))
    except (struct.error, IndexError):
        return None
    if _ENCRYPTED_PACKAGE in names:
        message = f"{name} is an encrypted Office document: save it without its password first"
        raise DocumentError("encrypted", message)
    suffix = next((suffix for stream, suffix in _STREAMS.items() if stream in names), None)
    return suffix and _BY_SUFFIX[suffix]


def _encrypted(name: str, media_type: str) -> DocumentError:
    what = OFFICE[media_type].what
    return DocumentError(
        "encrypted", f"{name} is {what} that is encrypted: save it without its password first"
    )


def _root_streams(data: bytes) -> Iterator[str]:
    """The names in the root folder alone: a document may hold others, each in a folder of its own.

    Raises struct.error, IndexError where the container is damaged.
    """
    directory = _directory(data)
    entries = [_ENTRY.unpack_from(directory, at) for at in range(0, len(directory) - _ENTRY.size, 128)]
    waiting, seen = [entries[0][6]], set[int]()
    while waiting:
        number = waiting.pop()
        if number >= _FREE or number in seen:
            continue
        seen.add(number)
        name, size, _, _, left, right, _ = entries[number]
        yield name[: max(size - 2, 0)].decode("utf-16-le", "replace")
        waiting += [left, right]


def _directory(data: bytes) -> bytes:
    """The sectors of the directory: their chain starts in the header, and goes on in the allocation table."""
    (shift,) = struct.unpack_from("<H", data, 30)
    if not 7 <= shift <= 16:
        raise struct.error(f"sectors of 2^{shift} bytes")
    size = 1 << shift
    (sector,) = struct.unpack_from("<I", data, 48)
    tables = struct.unpack_from("<109I", data, 76)  # of a file of more than 7 MB there are others, elsewhere
    chain, seen = bytearray(), set[int]()
    while sector < _FREE and sector not in seen and len(chain) < MOST_READ:
        seen.add(sector)
        chain += data[(sector + 1) << shift : (sector + 2) << shift]
        table, place = divmod(sector, size // 4)
        if table >= len(tables) or tables[table] >= _FREE:
            break  # what was found so far has the root's streams, mostly
        (sector,) = struct.unpack_from("<I", data, ((tables[table] + 1) << shift) + 4 * place)
    return bytes(chain)
