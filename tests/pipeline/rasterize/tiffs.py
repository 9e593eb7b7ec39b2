"""TIFFs of kinds that no library at hand writes, made byte by byte: one strip a frame, any tags."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BYTE, SHORT, LONG, RATIONAL = 1, 3, 4, 5
SIZES = {BYTE: "B", SHORT: "H", LONG: "I", RATIONAL: "II"}
FORMATS = {"u": 1, "i": 2, "f": 3}  # of samples


@dataclass(frozen=True)
class Frame:
    """A picture of shape (height, width) or (height, width, samples), and tags as (type, values)."""

    values: NDArray[np.generic]
    tags: Mapping[int, tuple[int, Sequence[int]]] = field(default_factory=dict)
    photometric: int = 1
    deflate: bool = False


def tiff(*frames: Frame, order: str = "<", is_big: bool = False) -> bytes:
    """The file; `order` is "<" or ">", for its values too."""
    place = "Q" if is_big else "I"
    out = bytearray(b"II" if order == "<" else b"MM")
    out += struct.pack(order + ("HHHQ" if is_big else "HI"), *((43, 8, 0) if is_big else (42,)), 0)
    link = len(out) - struct.calcsize(order + place)  # where the place of the next directory goes
    for frame in frames:
        height, width, *rest = frame.values.shape
        samples = rest[0] if rest else 1
        data = frame.values.astype(frame.values.dtype.newbyteorder("<" if order == "<" else ">")).tobytes()
        data = zlib.compress(data) if frame.deflate else data
        tags: dict[int, tuple[int, Sequence[int]]] = {
            256: (LONG, [width]),
            257: (LONG, [height]),
            258: (SHORT, [8 * frame.values.dtype.itemsize] * samples),
            259: (SHORT, [8 if frame.deflate else 1]),
            262: (SHORT, [frame.photometric]),
            273: (LONG, [len(out)]),
            277: (SHORT, [samples]),
            278: (LONG, [height]),
            279: (LONG, [len(data)]),
            339: (SHORT, [FORMATS[frame.values.dtype.kind]] * samples),
            **frame.tags,
        }
        out += data
        entries = []
        for tag, (kind, values) in sorted(tags.items()):
            count = len(values) // len(SIZES[kind])
            packed = struct.pack(order + SIZES[kind] * count, *values)
            room = struct.calcsize(order + place)
            if len(packed) > room:
                packed, at = struct.pack(order + place, len(out)), packed
                out += at
            entries.append(struct.pack(order + "HH" + place, tag, kind, count) + packed.ljust(room, b"\0"))
        struct.pack_into(order + place, out, link, len(out))
        out += struct.pack(order + ("Q" if is_big else "H"), len(entries)) + b"".join(entries)
        link = len(out)
        out += bytes(struct.calcsize(order + place))
    return bytes(out)
