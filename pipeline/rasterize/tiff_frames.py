"""The directories of a TIFF that are pages, and each of them as if it were the file's first.

In: the bytes of a TIFF. Out: the places of its pages' directories, and the image at one of them. Pillow
itself reads the directories one after another, and none behind one that it does not know. Reduced copies and
masks of other pages are no pages. Refused: cameras' raw files, whose first picture is a thumbnail.
(TIFF 6.0; TIFF Technical Note 1 for trees; BigTIFF; DNG 1.7.)
"""

import io
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from PIL import TiffImagePlugin

from pipeline.ingest.file_types import DocumentError

# Tags, and types of values as struct spells them.
NEW_SUBFILE, SUBFILE, PHOTOMETRIC, SUB_DIRECTORIES, DNG_VERSION = 254, 255, 262, 330, 50706
TYPES: Final[Mapping[int, str]] = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
REDUCED_OR_MASK: Final = 0b101  # bits of NEW_SUBFILE; the third bit is a page of several
OLD_REDUCED: Final = 2  # as SUBFILE says it
SENSORS: Final = (32803, 34892)  # what PHOTOMETRIC is for the values of a camera's sensor
MOST_ENTRIES: Final = 2**16  # of a directory; a TIFF that is no BigTIFF can have no more

# Grey of 16 and 32 bits that Pillow could read, had its table the lines: by order, PHOTOMETRIC, format of the
# samples (1 without, 2 with a sign), order of bits, their number, and further samples.
MORE_GREY: Final = {
    (order, photometric, (sample_format,), 1, (bits,), ()): modes
    for photometric in (0, 1)
    for order, sample_format, bits, modes in (
        (b"MM", 1, 16, ("I;16B", "I;16B")),
        (b"II", 2, 16, ("I", "I;16S")),
        (b"MM", 2, 16, ("I", "I;16BS")),
        *((b"II", sample_format, 32, ("I", "I;32S")) for sample_format in (1, 2)),
        *((b"MM", sample_format, 32, ("I", "I;32BS")) for sample_format in (1, 2)),
    )
}
# libtiff gives values in this machine's order; of these Pillow takes them for the file's.
NATIVE: Final = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}

Tags = dict[int, int]


def pages(data: bytes, name: str) -> list[int]:
    """The places of the pages' directories. One that is damaged counts, as the last: no other can be found.

    Raises DocumentError: damaged, unsupported_type.
    """
    if data.startswith(b"MM\0+"):  # Pillow takes it for a TIFF that is not big
        message = f"{name} is a BigTIFF of big-endian order (convert it to a TIFF, or to little-endian order)"
        raise DocumentError("unsupported_type", message)
    found = list(_directories(data))
    if not found:
        raise DocumentError("damaged", f"{name} starts like a TIFF, and its first directory is damaged")
    if _is_raw(data, [tags for _, tags in found]):
        message = f"{name} is a camera's raw file, of which only a thumbnail is a TIFF (convert it to JPEG)"
        raise DocumentError("unsupported_type", message)
    return [place for place, tags in found if not _is_copy(tags)] or [place for place, _ in found]


def open_frame(data: bytes, place: int) -> TiffImagePlugin.TiffImageFile:
    """The image whose directory is at `place`. Raises Pillow's errors, and SyntaxError."""
    for key, modes in MORE_GREY.items():
        TiffImagePlugin.OPEN_INFO.setdefault(key, modes)
    try:
        image = TiffImagePlugin.TiffImageFile(_Rewritten(data, place))
    except SyntaxError as error:
        if isinstance(error.__cause__, KeyError) and str(error).isdigit():  # in Pillow's table of them
            raise SyntaxError(f"unknown compression {error}") from error
        raise
    image.tile = [
        tile._replace(args=(NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:]))
        if tile.codec_name == "libtiff" and isinstance(tile.args, tuple)
        else tile
        for tile in image.tile
    ]
    return image


class _Rewritten(io.BytesIO):
    """The bytes are not copied: the header is exchanged where it is read."""

    def __init__(self, data: bytes, place: int) -> None:
        super().__init__(data)
        order, is_big = _form(data)
        start = data[: 8 if is_big else 4]
        self._header = start + struct.pack(order + ("Q" if is_big else "I"), place)

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        found = super().read(size)
        header = self._header[start : start + len(found)]
        return header + found[len(header) :] if header else found


def _directories(data: bytes) -> Iterator[tuple[int, Tags]]:
    """Each directory's place and tags, none if the first is damaged; the last one may have no tags."""
    order, is_big = _form(data)
    seen: set[int] = set()
    try:
        (place,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
        while place and place not in seen:
            seen.add(place)
            tags, following = _directory(data, place, order, is_big=is_big)
            yield place, tags
            place = following
    except struct.error:
        if len(seen) > 1:
            yield place, {}


def _form(data: bytes) -> tuple[str, bool]:
    """The byte order as struct spells it, and whether places have 64 bits."""
    order = "<" if data.startswith(b"II") else ">"
    return order, struct.unpack_from(order + "H", data, 2) == (43,)


def _directory(data: bytes, place: int, order: str, *, is_big: bool) -> tuple[Tags, int]:
    """The first value of each entry that has integers in the entry itself, and the next directory's place.

    Raises struct.error where the file ends.
    """
    entry = struct.Struct(order + ("HHQ8s" if is_big else "HHI4s"))
    count_form = order + ("Q" if is_big else "H")
    (count,) = struct.unpack_from(count_form, data, place)
    if count > MOST_ENTRIES:
        raise struct.error(f"{count} entries")
    start = place + struct.calcsize(count_form)
    end = start + count * entry.size
    (following,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, end)
    tags: Tags = {}
    for tag, kind, _, value in entry.iter_unpack(memoryview(data)[start:end]):
        tags[tag] = struct.unpack_from(order + TYPES[kind], value)[0] if _is_short(kind, is_big) else 0
    return tags, following


def _is_short(kind: int, is_big: bool) -> bool:
    """Whether a value of this type has room in an entry."""
    return kind in TYPES and (is_big or TYPES[kind] != "Q")


def _is_copy(tags: Tags) -> bool:
    return bool(tags.get(NEW_SUBFILE, 0) & REDUCED_OR_MASK) or tags.get(SUBFILE) == OLD_REDUCED


def _is_raw(data: bytes, directories: list[Tags]) -> bool:
    """DNG and CR2 say what they are; others keep the picture in a tree below a reduced first one."""
    first = directories[0]
    return (
        DNG_VERSION in first
        or data[8:10] == b"CR"
        or (SUB_DIRECTORIES in first and _is_copy(first))
        or any(tags.get(PHOTOMETRIC) in SENSORS for tags in directories)
    )
