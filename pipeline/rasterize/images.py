"""Image files become RGB pixels: every frame of a TIFF is a page, of the other formats the first frame.

In: the bytes of an image whose kind is known. Out: Pillow's RGB images, upright as EXIF says, at their own
size up to MAX_TRAVEL_SIDE: the model's resize happens in float32, later. Refused: images of too many pixels,
told from the header, before anything is decoded.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.ingest.file_types import IMAGES, MAX_TRAVEL_SIDE, DocumentError, PageError

MAX_PIXELS: Final = 2**27  # 134 megapixels, 512 MiB as RGBA; an A3 page at 800 dpi has 123

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
)


def count_pages(data: bytes, name: str, media_type: str) -> int:
    """The number of pages of an image file. Raises DocumentError: damaged, too_many_pixels, memory."""
    with _quiet():
        try:
            image = _open(data, media_type)
        except Image.DecompressionBombError as error:
            raise DocumentError("too_many_pixels", f"{name} is too large: {error}") from error
        except MemoryError as error:
            raise DocumentError("memory", f"{name} needs more memory than it may take") from error
        except UnidentifiedImageError as error:  # its own words are the address of our buffer
            raise DocumentError("damaged", f"{name} starts like {media_type}, then is damaged") from error
        except _DAMAGED as error:
            raise DocumentError("damaged", f"{name} cannot be opened as {media_type}: {error}") from error
        # Only a TIFF's frames are pages; others are animation or, in a phone's JPEG, the gain map.
        return _count_frames(image) if media_type == "image/tiff" else 1


def decode_page(
    data: bytes, name: str, media_type: str, page: int, max_pixels: int
) -> tuple[Image.Image, str | None]:
    """Page `page` (from 1) in RGB, and a note on what was done to it.

    Raises PageError: damaged_page, too_many_pixels, memory.
    """
    with _quiet():
        try:
            image = _open(data, media_type)
            image.seek(page - 1)
            if image.width * image.height > max_pixels:
                size = f"{image.width} x {image.height} pixels, the limit is {max_pixels}"
                raise PageError("too_many_pixels", f"page {page} of {name} has {size}")
            ImageOps.exif_transpose(image, in_place=True)
            rgb, depth_note = _to_rgb(image)
            size_note = None
            if max(rgb.size) > MAX_TRAVEL_SIDE:
                size_note = f"reduced from {rgb.width} x {rgb.height}"
                rgb.thumbnail((MAX_TRAVEL_SIDE, MAX_TRAVEL_SIDE), Image.Resampling.LANCZOS)
        except Image.DecompressionBombError as error:
            raise PageError("too_many_pixels", f"page {page} of {name} is too large: {error}") from error
        except MemoryError as error:
            raise PageError("memory", f"page {page} of {name} needs more memory than it may take") from error
        except _DAMAGED as error:
            raise PageError("damaged_page", f"page {page} of {name} cannot be decoded: {error}") from error
        notes = (_animation_note(image, media_type), depth_note, size_note)
    return rgb, "; ".join(note for note in notes if note) or None


@contextmanager
def _quiet() -> Iterator[None]:
    """Drops the warnings of Pillow about damaged files: the failures and notes name the damage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(data: bytes, media_type: str) -> Image.Image:
    """The image's header; only the decoder of its own kind may look at it."""
    if media_type == "image/heic":
        import pi_heif  # only here: it takes 50 ms, and most runs hold no HEIC

        pi_heif.register_heif_opener(thumbnails=False)  # of Pillow's own decoders there is none
    return Image.open(io.BytesIO(data), formats=[IMAGES[media_type].pillow])


def _count_frames(image: Image.Image) -> int:
    """Frames of a TIFF. One whose directory is damaged counts, as the last: it becomes a failed page."""
    count = 1
    while True:
        try:
            image.seek(count)
        except EOFError:
            return count
        except (Image.DecompressionBombError, MemoryError, *_DAMAGED):
            return count + 1
        count += 1


def _animation_note(image: Image.Image, media_type: str) -> str | None:
    if media_type in ("image/tiff", "image/jpeg"):
        return None
    try:
        frames = getattr(image, "n_frames", 1)  # a GIF's are counted by walking through them
    except (MemoryError, *_DAMAGED):
        return "first frame; the next is damaged"
    return f"first frame of {frames}" if frames > 1 else None


def _to_rgb(image: Image.Image) -> tuple[Image.Image, str | None]:
    """RGB on white as in mistral_common; more than 8 bits scaled first: Pillow would clip them to white."""
    note = None
    if image.mode.startswith(("I", "F")):
        image, note = _to_8_bits(image)
    if image.mode == "RGB":
        return image, note
    if not image.has_transparency_data:
        return image.convert("RGB"), note
    rgba = image.convert("RGBA")
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=rgba)
    return white, note


def _to_8_bits(image: Image.Image) -> tuple[Image.Image, str | None]:
    """Grey of 16 or 32 bits as 8. Scanners write 10 or 12 bits into 16: those in use are scaled."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        bits = max(8, int(values.max()).bit_length())
        note = None if bits == 16 else f"16-bit image that uses {bits} bits"
        return Image.fromarray((values >> (bits - 8)).astype(np.uint8)), note
    grey = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    low, high = float(grey.min()), float(grey.max())
    grey -= low
    grey *= 255 / (high - low or 1)
    return Image.fromarray(grey.round().astype(np.uint8)), f"32-bit values stretched from {low:g} to {high:g}"
