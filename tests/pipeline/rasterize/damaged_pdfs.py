"""PDFs of one page with one damage each, and their whole twins, made byte by byte.

The image of a page is its scan (it covers the page) or its logo (a corner, beside forty lines of text).
"""

import base64
import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from tests.pipeline.drawn import image_bytes

SIDE = 200  # points of a page, and of the scan's width in pixels four times as many
PIXELS = 800
TEXT = (
    b"BT /F0 4 Tf 4 TL 10 150 Td "
    + b"(The quick brown fox jumps over the lazy dog, twice a day.) ' " * 34
    + b"ET\n"
)
SCAN = b"q 200 0 0 200 0 0 cm /Im0 Do Q\n"
LOGO = b"q 30 0 0 30 10 160 cm /Im0 Do Q\n" + TEXT
FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def stream(entries: bytes, data: bytes, *, length: int | None = None) -> bytes:
    """A stream object; `length` is what it says of itself."""
    said = len(data) if length is None else length
    return b"<<%b/Length %d>>stream\n%b\nendstream" % (entries, said, data)


def pdf(objects: dict[int, bytes], *, root: int = 1) -> bytes:
    """A file of these objects with a right table of their places."""
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    places = {}
    for number, body in objects.items():
        places[number] = out.tell()
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    table, size = out.tell(), max(objects) + 1
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % size)
    for number in range(1, size):
        out.write(b"%010d 00000 n \n" % places[number] if number in places else b"0000000000 65535 f \n")
    out.write(b"trailer\n<</Size %d/Root %d 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (size, root, table))
    return out.getvalue()


def page(
    content: bytes | dict[int, bytes] = TEXT,
    *,
    resources: bytes = b"",
    others: dict[int, bytes] | None = None,
    extra: bytes = b"",
    contents: bytes = b"4 0 R",
    fonts: bytes = b"<</F0 5 0 R>>",
) -> bytes:
    """A file of one page; `content` is a stream's data, or the objects that `contents` names."""
    streams = {4: stream(b"", content)} if isinstance(content, bytes) else content
    return pdf(
        {
            1: b"<</Type/Catalog/Pages 2 0 R>>",
            2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            3: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents %b/Resources<</Font%b%b>>%b>>"
            % (SIDE, SIDE, contents, fonts, resources, extra),
            **streams,
            5: FONT,
            **(others or {}),
        }
    )


@cache
def picture() -> Image.Image:
    """A grey scan: lines of text from top to bottom, and a little noise, as scanners make it."""
    noise = np.random.default_rng(5).integers(225, 256, (PIXELS, PIXELS), np.uint8)
    scan = Image.fromarray(noise)
    draw = ImageDraw.Draw(scan)
    for line in range(2, 78):
        draw.text(
            (10, 10 * line), f"{line}: the quick brown fox jumps over the lazy dog, {line**3} times", fill=0
        )
    return scan


def bilevel() -> Image.Image:
    return picture().point(lambda value: 255 * (value > 128)).convert("1")


@cache
def tiff_strip(compression: str, *, black_and_white: bool) -> bytes:
    """The compressed data in a TIFF of one strip: what a PDF holds of it."""
    image = bilevel() if black_and_white else picture()
    data = image_bytes(image, "TIFF", compression=compression, tiffinfo={278: PIXELS})
    with Image.open(io.BytesIO(data)) as opened:
        tags = opened.tag_v2  # type: ignore[attr-defined]  # a TIFF's own
        (start,), (size,) = tags[273], tags[279]
    return data[start : start + size]


@cache
def jbig2() -> bytes:
    """An embedded JBIG2 stream (ITU-T T.88): page information, and a generic region coded with MMR."""
    coded = tiff_strip("group4", black_and_white=True)
    information = struct.pack(">IIIIBH", PIXELS, PIXELS, 0, 0, 0, 0)
    region = struct.pack(">IIIIB", PIXELS, PIXELS, 0, 0, 0) + b"\x01" + coded

    def segment(number: int, kind: int, data: bytes) -> bytes:
        return struct.pack(">IBBBI", number, kind, 0, 1, len(data)) + data

    return segment(0, 48, information) + segment(1, 38, region)


@cache
def encoded(kind: str) -> tuple[bytes, bytes]:
    """Entries of an image's dictionary, and its data."""
    grey, bits = b"/ColorSpace/DeviceGray/BitsPerComponent 8", b"/ColorSpace/DeviceGray/BitsPerComponent 1"
    raw = picture().tobytes()
    match kind:
        case "flate":
            return grey + b"/Filter/FlateDecode", zlib.compress(raw)
        case "predicted":
            rows = np.frombuffer(raw, np.uint8).reshape(PIXELS, PIXELS)
            lines = np.diff(rows, axis=1, prepend=0).astype(np.uint8)
            lines = np.insert(lines, 0, 1, axis=1)  # PNG's Sub
            parameters = b"/DecodeParms<</Predictor 15/Columns %d>>" % PIXELS
            return grey + b"/Filter/FlateDecode" + parameters, zlib.compress(lines.tobytes())
        case "dct":
            return grey + b"/Filter/DCTDecode", image_bytes(picture(), "JPEG", quality=80)
        case "progressive":
            data = image_bytes(picture(), "JPEG", quality=80, progressive=True)
            return grey + b"/Filter/DCTDecode", data
        case "jpx":
            data = image_bytes(picture(), "JPEG2000", quality_mode="rates", quality_layers=[8])
            return grey + b"/Filter/JPXDecode", data
        case "ccitt":
            parameters = b"/DecodeParms<</K -1/Columns %d/Rows %d/BlackIs1 true>>" % (PIXELS, PIXELS)
            return bits + b"/Filter/CCITTFaxDecode" + parameters, tiff_strip("group4", black_and_white=True)
        case "ccitt3":
            parameters = b"/DecodeParms<</K 0/Columns %d/Rows %d/BlackIs1 true>>" % (PIXELS, PIXELS)
            return bits + b"/Filter/CCITTFaxDecode" + parameters, tiff_strip("group3", black_and_white=True)
        case "jbig2":
            return bits + b"/Filter/JBIG2Decode", jbig2()
        case "lzw":
            return grey + b"/Filter/LZWDecode", tiff_strip("tiff_lzw", black_and_white=False)
        case "runlength":
            parts = [raw[at : at + 128] for at in range(0, len(raw), 128)]
            return grey + b"/Filter/RunLengthDecode", b"".join(
                bytes([len(part) - 1]) + part for part in parts
            ) + b"\x80"
        case "hex":
            return grey + b"/Filter[/ASCIIHexDecode/FlateDecode]", zlib.compress(raw).hex().encode() + b">"
        case "ascii85":
            data = base64.a85encode(zlib.compress(raw), wrapcol=80) + b"~>"
            return grey + b"/Filter[/ASCII85Decode/FlateDecode]", data
        case "raw":
            return grey, raw
    raise AssertionError(kind)


IMAGES = "flate predicted dct progressive jpx ccitt ccitt3 jbig2 lzw runlength hex ascii85 raw".split()


def image_page(entries: bytes, data: bytes, layout: bytes, *, length: int | None = None) -> bytes:
    about = b"/Type/XObject/Subtype/Image/Width %d/Height %d" % (PIXELS, PIXELS)
    return page(
        layout, resources=b"/XObject<</Im0 6 0 R>>", others={6: stream(about + entries, data, length=length)}
    )


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def garbage_behind(data: bytes) -> bytes:
    """From its middle on it is noise."""
    noise = np.random.default_rng(7).bytes(len(data))
    return data[: len(data) // 2] + noise[len(data) // 2 :]


def garbage(data: bytes) -> bytes:
    return np.random.default_rng(8).bytes(len(data))


def nothing(data: bytes) -> bytes:
    return b""


DAMAGES: tuple[Callable[[bytes], bytes], ...] = (truncated, garbage_behind, garbage, nothing)
