"""Image files become RGB pixels: every page of a TIFF, of the other formats the first frame.

In: the bytes of an image whose kind is known. Out: Pillow's RGB images, upright as EXIF says and with square
pixels, at their own size up to MAX_TRAVEL_SIDE: the model's resize happens in float32, later. Refused: images
of too many pixels, told from the header, before anything is decoded.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PIL import Image

from pipeline.ingest.file_types import IMAGES, MAX_TRAVEL_SIDE, DocumentError, PageError
from pipeline.rasterize import tiff_frames
from pipeline.rasterize.colours import to_rgb
from pipeline.rasterize.whole_pixels import jpeg_without_end, png_without_texts

MAX_PIXELS: Final = 2**27  # 134 megapixels, 512 MiB as RGBA; an A3 page at 800 dpi has 123
SQUARE: Final = 1.05  # the sides of a pixel that is drawn as it is: a fine fax has 204 x 196 dpi
MAX_STRETCH: Final = 4.0  # a resolution that differs more is wrong

ORIENTATION: Final = 274  # EXIF's and TIFF's tag, 1 where the image is upright
TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS: Final = (5, 6, 7, 8)

# The errors that Pillow and its decoders raise on damaged or hostile bytes.
_DAMAGED: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# Pillow's words where a file is whole, and of a kind that it does not know.
UNSUPPORTED: Final = re.compile(
    r"unknown pixel mode|unknown compression|not yet supported|Unsupported BMP|cannot handle \d+-(bit|layer)"
)

CUT: Final = re.compile("image file is truncated")  # Pillow's words


def find_pages(data: bytes, name: str, media_type: str) -> list[int]:
    """The places of an image file's pages in it: those of a TIFF's directories, for others 0.

    Raises DocumentError: damaged, unsupported_type, memory.
    """
    if media_type == "image/tiff":
        return tiff_frames.pages(data, name)
    with _errors(f"{name} cannot be opened as {media_type}", DocumentError, "damaged"):
        _open(data, media_type, 0)
    return [0]


def decode_page(
    data: bytes, name: str, media_type: str, page: int, place: int, max_pixels: int
) -> tuple[Image.Image, str | None]:
    """Page `page` (from 1), at `place`, in RGB, and a note on what was done to it.

    Raises PageError: damaged_page, too_many_pixels, unsupported_type, memory.
    """
    with _errors(f"page {page} of {name} cannot be decoded", PageError, "damaged_page"):
        image = _open(data, media_type, place)
        if image.width * image.height > max_pixels:
            size = f"{image.width} x {image.height} pixels, the limit is {max_pixels}"
            raise PageError("too_many_pixels", f"page {page} of {name} has {size}")
        orientation, turn_note = _orientation(image)
        stretch = _stretch(image)
        image, mend_note = _loaded(image, data, media_type)
        rgb, colour_note = to_rgb(image, data)
        # Pillow turns a TIFF when it decodes it, and others never.
        if orientation in TURNS and media_type != "image/tiff":
            rgb = rgb.transpose(TURNS[orientation])
        rgb, size_note = _sized(rgb, 1 / stretch if orientation in SIDEWAYS else stretch)
        notes = (_animation_note(image, media_type), colour_note, size_note, turn_note, mend_note)
    return rgb, "; ".join(note for note in notes if note) or None


@contextmanager
def _errors(what: str, kind: type[DocumentError], damaged: str) -> Iterator[None]:
    """Pillow's errors become one of ours. Its warnings are dropped: failures and notes name the damage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except MemoryError as error:
            raise kind("memory", f"{what}: it needs more memory than it may take") from error
        except _DAMAGED as error:
            reason = "unsupported_type" if UNSUPPORTED.search(str(error)) else damaged
            raise kind(reason, f"{what}: {error}") from error


def _open(data: bytes, media_type: str, place: int) -> Image.Image:
    """The image's header, by the decoder of its own kind.

    Image.open would give up the decoder's words, and has a limit of its own for pixels.
    """
    if media_type == "image/tiff":
        return tiff_frames.open_frame(data, place)
    if media_type == "image/heic":
        import pi_heif  # only here: it takes 50 ms, and most runs hold no HEIC

        pi_heif.register_heif_opener(thumbnails=False)  # of Pillow's own decoders there is none
    decoder = IMAGES[media_type].pillow
    if decoder not in Image.OPEN:
        Image.init()
    factory, _ = Image.OPEN[decoder]
    try:
        return factory(io.BytesIO(data), "")
    except (SyntaxError, ValueError) as error:
        if media_type == "image/png":
            return factory(io.BytesIO(png_without_texts(data)), "")
        if media_type != "image/avif" or "Exif" not in str(error):
            raise
        # libavif gives up an image whose EXIF data is damaged, though AVIF says elsewhere how it is turned.
        return factory(io.BytesIO(data.replace(b"Exif", b"none")), "")


def _loaded(image: Image.Image, data: bytes, media_type: str) -> tuple[Image.Image, str | None]:
    """The image, decoded, and a note if its file lacks something that is no part of the picture."""
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        if media_type == "image/png":
            image = _open(png_without_texts(data), media_type, 0)
            image.load()
            return image, None
        whole = None
        if media_type == "image/jpeg" and CUT.search(str(error)):
            whole = jpeg_without_end(data, lambda file: Image.OPEN["JPEG"][0](file, ""))
        if whole is None:
            raise
        return whole, "the mark of its end is missing"
    return image, None


def _orientation(image: Image.Image) -> tuple[int, str | None]:
    """How the image is turned, and a note if that cannot be read: its pixels can."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except (MemoryError, *_DAMAGED):
        return 1, "its EXIF data is damaged: how it is turned is not known"
    return (found if isinstance(found, int) else 1), None


def _stretch(image: Image.Image) -> float:
    """How much higher a pixel is than wide, as stored: a fax of 204 x 98 dpi has 2.08.

    It is 1 where the resolution makes no sense. Formats give pixels a length, or a ratio alone.
    """
    names = ("dpi", "aspect", "resolution", "jfif_density")
    across, down = next((image.info[name] for name in names if name in image.info), (1, 1))
    ratio = float(across) / float(down) if across > 0 and down > 0 else 1.0
    return ratio if SQUARE < max(ratio, 1 / ratio) <= MAX_STRETCH else 1.0


def _sized(rgb: Image.Image, stretch: float) -> tuple[Image.Image, str | None]:
    """The image with square pixels, the longer side at most MAX_TRAVEL_SIDE, and a note on its old size."""
    width, height = rgb.size
    if stretch != 1:
        wide, high = width * max(1, 1 / stretch), height * max(1, stretch)
        shrink = min(1, MAX_TRAVEL_SIDE / max(wide, high))
        size = max(1, round(wide * shrink)), max(1, round(high * shrink))
        note = f"made {size[0]} x {size[1]} from {width} x {height}: its pixels are not square"
        return rgb.resize(size, Image.Resampling.BICUBIC), note
    if max(rgb.size) <= MAX_TRAVEL_SIDE:
        return rgb, None
    rgb.thumbnail((MAX_TRAVEL_SIDE, MAX_TRAVEL_SIDE), Image.Resampling.LANCZOS)
    return rgb, f"reduced from {width} x {height}"


def _animation_note(image: Image.Image, media_type: str) -> str | None:
    if media_type in ("image/tiff", "image/jpeg"):
        return None
    try:
        frames = getattr(image, "n_frames", 1)  # a GIF's are counted by walking through them
    except (MemoryError, *_DAMAGED):
        return "first frame; the next is damaged"
    return f"first frame of {frames}" if frames > 1 else None
