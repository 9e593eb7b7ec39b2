"""Pixels of any of Pillow's modes become 8-bit RGB on white.

In: an image as Pillow opens it, and the file's bytes. Out: an RGB image, and notes on what was done to its
values. Pillow alone would clip more than 8 bits to white, ignores that the grey of a deep TIFF may count from
white or have no sign, and compares the transparent colour of a PNG with values that it has scaled.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

PHOTOMETRIC, BITS, SAMPLE_FORMAT = 262, 258, 339  # TIFF's tags
WHITE_IS_ZERO: Final = 0  # as PHOTOMETRIC
UNSIGNED, SIGNED = 1, 2  # as SAMPLE_FORMAT
PNG_DEPTH_AT: Final = 24  # the byte of a PNG that says the bits of a sample: its header chunk is the first


def to_rgb(image: Image.Image, data: bytes) -> tuple[Image.Image, str | None]:
    """RGB on white as in mistral_common; more than 8 bits scaled first."""
    if image.mode.startswith(("I", "F")):
        return _deep_to_rgb(image)
    if image.mode == "L" and _tag(image, SAMPLE_FORMAT) == SIGNED:
        image = Image.fromarray(np.asarray(image) ^ 0x80)  # Pillow takes -1 for 255
    if not image.has_transparency_data:
        return (image if image.mode == "RGB" else image.convert("RGB")), None
    if image.format == "PNG" and "transparency" in image.info:
        image.info["transparency"] = _scaled(image.mode, image.info["transparency"], data[PNG_DEPTH_AT])
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (0, 0):  # some programs write 0 where they mean nothing by it
        return rgba.convert("RGB"), "transparent throughout, drawn as if it were not"
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=rgba)
    return white, None


def _deep_to_rgb(image: Image.Image) -> tuple[Image.Image, str | None]:
    """Grey of 16 or 32 bits: of 16 those in use, 32 stretched from the lowest value to the highest."""
    values = _values(image)
    note = None
    if values.dtype.itemsize == 4:
        stored = _tag(image, BITS) or 32
        grey, low, high = _stretched(values)
        note = f"{stored}-bit values stretched from {low:g} to {high:g}"
    else:
        clear = image.info.get("transparency")
        # Scanners write 10 or 12 bits into 16. Where one value is transparent, the others may well be dark.
        bits = max(8, int(values.max()).bit_length()) if clear is None else 16
        note = None if bits == 16 else f"16-bit image that uses {bits} bits"
        grey = (values >> (bits - 8)).astype(np.uint8)
        if clear is not None:
            grey[values == clear] = 255
    if _tag(image, PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    return Image.fromarray(grey).convert("RGB"), note


def _tag(image: Image.Image, tag: int) -> int | None:
    """The first value of a tag of a TIFF; None for other images."""
    value = image.tag_v2.get(tag) if isinstance(image, TiffImagePlugin.TiffImageFile) else None
    if isinstance(value, tuple):
        value = value[0] if value else None
    return value if isinstance(value, int) else None


def _values(image: Image.Image) -> NDArray[Any]:
    values = np.asarray(image)
    is_unsigned = _tag(image, BITS) == 32 and _tag(image, SAMPLE_FORMAT) in (None, UNSIGNED)
    return values.view(np.uint32) if image.mode == "I" and is_unsigned else values


def _stretched(values: NDArray[Any]) -> tuple[NDArray[np.uint8], float, float]:
    """The values from 0 to 255, their lowest and their highest; what is no number is 0."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    if values.dtype.kind == "i":  # differences of 32 bits with a sign need all of them without one
        above = (values.view(np.uint32) - low.view(np.uint32)).astype(np.float32)
    else:
        above = (values - low).astype(np.float32)
    above *= 255 / (float(high) - float(low) or 1)
    return above.round().astype(np.uint8), float(low), float(high)


def _scaled(mode: str, colour: Any, depth: int) -> Any:
    """The transparent colour of a PNG in the values that Pillow gives to pixels."""
    if mode == "L":
        return colour * 255 // (2**depth - 1)
    if mode == "RGB" and depth == 16:  # of a colour's 16 bits Pillow has the upper 8
        return tuple(value >> 8 for value in colour)
    return colour
