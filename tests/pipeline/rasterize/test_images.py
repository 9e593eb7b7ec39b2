"""Image bytes become pages: upright and in RGB, at their own size; what cannot be decoded says why."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pillow_heif
import pymupdf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.image import _convert_to_rgb
from PIL import Image

from pipeline.rasterize.pdf import DocumentError, PageError, open_document, rasterize
from tests.pipeline.drawn import corner_image, image_bytes
from tests.pipeline.rasterize.drawing import BLUE, RED, WHITE, draw, open_reason, page_reason


@pytest.mark.parametrize(
    ("kind", "media_type", "options"),
    [
        ("PNG", "image/png", {}),
        ("TIFF", "image/tiff", {}),
        ("TIFF", "image/tiff", {"compression": "tiff_lzw"}),
        ("TIFF", "image/tiff", {"big_tiff": True}),
        ("BMP", "image/bmp", {}),
        ("GIF", "image/gif", {}),
        ("WEBP", "image/webp", {"lossless": True}),
        ("JPEG2000", "image/jp2", {}),
    ],
)
def test_an_image_travels_unchanged_at_its_own_size(
    kind: str, media_type: str, options: dict[str, object]
) -> None:
    image = corner_image(41, 23)
    data = image_bytes(image, kind, **options)
    assert open_document(data, "wrong.pdf").media_type == media_type
    pixels, note = draw(data)
    np.testing.assert_array_equal(pixels, np.asarray(image))
    assert note is None


def heic_bytes(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, **options)
    return buffer.getvalue()


LOSSY: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "JPEG": ("image/jpeg", lambda image: image_bytes(image, "JPEG", quality=95)),
    "progressive": ("image/jpeg", lambda image: image_bytes(image, "JPEG", quality=95, progressive=True)),
    "AVIF": ("image/avif", lambda image: image_bytes(image, "AVIF", quality=95)),
    "HEIC": ("image/heic", lambda image: heic_bytes(image, quality=95)),
}


@pytest.mark.parametrize("kind", LOSSY)
def test_a_lossy_image_is_decoded(kind: str) -> None:
    media_type, encode = LOSSY[kind]
    image = Image.new("RGB", (64, 48), (200, 100, 50))
    image.paste((20, 90, 160), (32, 0, 64, 48))
    data = encode(image)
    assert open_document(data, "x").media_type == media_type
    pixels, note = draw(data)
    for x in (4, 60):
        assert np.abs(pixels[24, x].astype(int) - np.asarray(image)[24, x]).max() <= 4
    assert note is None
    whole = encode(Image.effect_noise((300, 300), 60).convert("RGB"))
    with pytest.raises(DocumentError) as caught:
        draw(whole[: len(whole) // 2])
    assert caught.value.reason in {"damaged", "damaged_page"}


def test_of_several_pictures_in_a_heic_the_first_is_the_page() -> None:
    several = pillow_heif.from_pillow(corner_image(64, 64))
    several.add_from_pillow(Image.new("RGB", (32, 32)))
    buffer = io.BytesIO()
    several.save(buffer)
    with open_document(buffer.getvalue(), "x") as opened:
        assert opened.page_count == 1
    pixels, note = draw(buffer.getvalue())
    assert pixels.shape == (64, 64, 3)
    assert note == "first frame of 2"


UPRIGHT = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "tiff_lzw", "WEBP"])
def test_exif_orientation_is_obeyed(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = corner_image(64, 32)
    compression = {"compression": kind} if kind == "tiff_lzw" else {}
    file_kind = "TIFF" if compression else kind
    data = image_bytes(
        stored, file_kind, exif=exif, **({"lossless": True} if kind == "WEBP" else compression)
    )
    turn = UPRIGHT[orientation]
    expected = np.asarray(stored if turn is None else stored.transpose(turn))
    pixels, _ = draw(data)
    assert pixels.shape == expected.shape
    for y, x in ((1, 1), (1, -2), (-2, 1), (-2, -2)):
        assert np.abs(pixels[y, x].astype(int) - expected[y, x]).max() < 60, (y, x)


def test_an_orientation_that_does_not_exist_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    data = image_bytes(corner_image(), "PNG", exif=exif)
    np.testing.assert_array_equal(draw(data)[0], np.asarray(corner_image()))


def test_every_frame_of_a_tiff_is_a_page() -> None:
    frames = [corner_image(30, 20), Image.new("L", (10, 40), 7), Image.new("1", (25, 25), 1)]
    data = image_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    with open_document(data, "fax.tif") as opened:
        assert opened.page_count == 3
        drawn = [rasterize(opened, page, max_side=1024, patch_size=16) for page in (3, 1, 2)]
    assert [pixels.shape for pixels, _, _ in drawn] == [(25, 25, 3), (20, 30, 3), (40, 10, 3)]
    assert [tuple(pixels[-1, -1]) for pixels, _, _ in drawn] == [WHITE, BLUE, (7, 7, 7)]
    assert all(note is None for _, note, _ in drawn)


def test_a_tiff_whose_last_directory_is_damaged_keeps_its_good_pages() -> None:
    whole = image_bytes(corner_image(), "TIFF", save_all=True, append_images=[corner_image()] * 2)
    ends = [int.from_bytes(whole[4:8], "little")]
    for _ in range(2):  # each directory: a count, its 12-byte entries, the place of the next directory
        entries = int.from_bytes(whole[ends[-1] : ends[-1] + 2], "little")
        after = ends[-1] + 2 + 12 * entries
        ends.append(int.from_bytes(whole[after : after + 4], "little"))
    truncated = whole[: ends[-1] + 20]
    with open_document(truncated, "x") as opened:
        assert opened.page_count == 3
    draw(truncated, 2)
    assert page_reason(truncated, 3) == "damaged_page"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_only_the_first_frame_of_an_animation_is_a_page_and_a_note_says_so(kind: str) -> None:
    frames = [corner_image(), Image.new("RGB", (40, 24), "green"), Image.new("RGB", (40, 24), "black")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = image_bytes(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with open_document(data, "x") as opened:
        assert opened.page_count == 1
    pixels, note = draw(data)
    assert np.abs(pixels.astype(int) - np.asarray(frames[0])).max() <= (120 if kind == "AVIF" else 0)
    assert note == "first frame of 3"


def test_a_gif_whose_second_frame_is_damaged_keeps_its_first() -> None:
    noise = Image.effect_noise((40, 24), 60)
    data = image_bytes(corner_image(), "GIF", save_all=True, append_images=[noise, noise.rotate(90)])
    pixels, note = draw(data[:-200])
    np.testing.assert_array_equal(pixels, np.asarray(corner_image()))
    assert note is not None
    assert note.startswith("first frame")


def test_the_second_picture_in_a_phone_s_jpeg_is_not_a_page() -> None:
    data = image_bytes(
        Image.new("RGB", (64, 48), "red"), "MPO", save_all=True, append_images=[Image.new("RGB", (32, 24))]
    )
    with open_document(data, "x") as opened:
        assert (opened.media_type, opened.page_count) == ("image/jpeg", 1)
    pixels, note = draw(data)
    assert pixels.shape == (48, 64, 3)
    assert note is None


def transparent_palette() -> Image.Image:
    image = corner_image().quantize(8)
    image.info["transparency"] = image.getpixel((0, 0))
    return image


def half_transparent() -> Image.Image:
    image = corner_image().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: corner_image().convert("CMYK"), "TIFF"),
        (lambda: corner_image().convert("CMYK"), "JPEG"),
        (lambda: corner_image().convert("YCbCr"), "TIFF"),
        (lambda: corner_image().convert("L"), "PNG"),
        (lambda: corner_image().convert("1"), "PNG"),
        (lambda: half_transparent().convert("LA"), "PNG"),
        (lambda: corner_image().quantize(8), "PNG"),
        (transparent_palette, "PNG"),
        (half_transparent, "PNG"),
        (half_transparent, "TIFF"),
    ],
)
def test_other_colours_become_rgb_as_in_mistral_common(make: Callable[[], Image.Image], kind: str) -> None:
    data = image_bytes(make(), kind)
    reference = np.asarray(_convert_to_rgb(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(draw(data)[0], reference)


def test_what_is_transparent_becomes_white() -> None:
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    image.putpixel((3, 5), (10, 20, 30, 255))
    pixels, note = draw(image_bytes(image, "PNG"))
    assert tuple(pixels[5, 3]) == (10, 20, 30)
    assert (pixels == 255).all(axis=2).sum() == 63
    assert note is None


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: corner_image().convert("RGBA"), "PNG"),
        (lambda: corner_image().convert("RGBA"), "TIFF"),
        (lambda: corner_image().convert("LA"), "PNG"),
    ],
)
def test_an_image_that_is_transparent_throughout_is_drawn_as_if_it_were_not(
    make: Callable[[], Image.Image], kind: str
) -> None:
    opaque = make()
    clear = opaque.copy()
    clear.putalpha(0)
    pixels, note = draw(image_bytes(clear, kind))
    np.testing.assert_array_equal(pixels, draw(image_bytes(opaque, kind))[0])
    assert note == "transparent throughout, drawn as if it were not"


def test_a_palette_that_is_transparent_throughout_is_drawn_as_if_it_were_not() -> None:
    image = corner_image().quantize(8)
    data = image_bytes(image, "PNG", transparency=bytes(8))
    np.testing.assert_array_equal(draw(data)[0], draw(image_bytes(image, "PNG"))[0])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8_not_clipped_to_white(kind: str) -> None:
    grey = np.array([[0, 256, 32768, 65535]], np.uint16).repeat(4, 0)
    pixels, note = draw(image_bytes(Image.fromarray(grey), kind))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]
    assert note is None


def test_12_bits_in_16_use_the_whole_range() -> None:
    grey = np.array([[0, 2048, 4095]], np.uint16).repeat(4, 0)
    pixels, note = draw(image_bytes(Image.fromarray(grey), "TIFF"))
    assert pixels[0, :, 0].tolist() == [0, 128, 255]
    assert note == "16-bit image that uses 12 bits"


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_32_bit_values_are_stretched(dtype: type) -> None:
    pixels, note = draw(image_bytes(Image.fromarray(np.array([[-100, 50, 100]], dtype).repeat(4, 0)), "TIFF"))
    assert pixels[0, :, 0].tolist() == [0, 191, 255]
    assert note == "32-bit values stretched from -100 to 100"


def test_an_even_32_bit_image_is_black_and_what_is_no_number_is_0() -> None:
    for fill in (5.0, np.nan, np.inf):
        pixels, _ = draw(image_bytes(Image.fromarray(np.full((4, 4), fill, np.float32)), "TIFF"))
        assert (pixels == 0).all()


def test_an_image_above_4096_is_reduced_and_a_note_says_so() -> None:
    pixels, note = draw(image_bytes(corner_image(6000, 90), "PNG"))
    assert pixels.shape == (61, 4096, 3)
    assert tuple(pixels[1, 1]) == RED
    assert note == "reduced from 6000 x 90"
    assert draw(image_bytes(corner_image(4096, 90), "PNG"))[1] is None
    assert draw(image_bytes(Image.new("L", (20_000, 2)), "PNG"))[0].shape == (1, 4096, 3)


@pytest.mark.parametrize(
    ("depth", "values"), [(1, (0, 1)), (2, (0, 1, 3)), (4, (5, 0, 15)), (8, (0, 100, 255))]
)
def test_the_transparent_grey_of_a_png_becomes_white_at_any_depth(depth: int, values: Sequence[int]) -> None:
    """As MuPDF reads it."""
    row = bytes([0b00011011, 0x05, 0xF0, 100, 255, 0])
    for value in values:
        data = png([row] * 2, 8 * len(row) // depth, depth=depth, colour=0, trns=struct.pack(">H", value))
        reference = pymupdf.Pixmap(data)
        grey, alpha = np.frombuffer(reference.samples, np.uint8).reshape(2, -1, 2)[0].T
        assert (alpha == 0).any()
        np.testing.assert_array_equal(draw(data)[0][0, :, 0], np.where(alpha, grey, 255))


def test_the_transparent_colour_of_a_png_of_16_bits_becomes_white() -> None:
    grey = np.array([0, 20_000, 20_001, 65_535], ">u2").tobytes()
    pixels, note = draw(png([grey], 4, depth=16, colour=0, trns=struct.pack(">H", 20_000)))
    assert (pixels[0, :, 0].tolist(), note) == ([0, 255, 78, 255], None)
    pixels, note = draw(png([grey[:6]], 3, depth=16, colour=0, trns=bytes(2)))
    assert (pixels[0, :, 0].tolist(), note) == ([255, 78, 78], None)
    colours = np.array([[0, 0, 0], [1000, 30_000, 50_000], [1000, 30_000, 0]], ">u2").tobytes()
    pixels, _ = draw(png([colours], 3, depth=16, colour=2, trns=struct.pack(">HHH", 1000, 30_000, 50_000)))
    assert [tuple(pixel) for pixel in pixels[0]] == [(0, 0, 0), WHITE, (3, 117, 0)]


GARBAGE = np.random.default_rng(4).bytes(200)


@pytest.mark.parametrize(
    "exif", [GARBAGE, b"Exif\0\0" + GARBAGE, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + GARBAGE, b"", b"II"]
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_exif_data_that_is_rubbish_costs_no_page(kind: str, exif: bytes) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    whole = draw(image_bytes(corner_image(), kind, **options))[0]
    pixels, note = draw(image_bytes(corner_image(), kind, exif=exif, **options))
    np.testing.assert_array_equal(pixels, whole)
    assert note in (None, "its EXIF data is damaged: how it is turned is not known")


@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_exif_data_that_is_rubbish_in_a_format_that_does_not_need_it(kind: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 100
    placed = exif.tobytes()[6:]
    image = corner_image(64, 64)
    whole = (
        heic_bytes(image, exif=exif.tobytes()) if kind == "HEIC" else image_bytes(image, "AVIF", exif=exif)
    )
    assert placed in whole
    pixels, _ = draw(whole.replace(placed, GARBAGE[: len(placed)]))
    np.testing.assert_array_equal(pixels, draw(whole)[0])


def test_a_note_says_that_an_image_may_lie_on_its_side() -> None:
    _, note = draw(image_bytes(corner_image(), "PNG", exif=b"Exif\0\0" + GARBAGE))
    assert note == "its EXIF data is damaged: how it is turned is not known"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {"dpi": (200, 100)}),
        ("JPEG", {"dpi": (200, 100)}),
        ("BMP", {"dpi": (200, 100)}),
    ],
)
def test_an_image_of_unequal_resolutions_gets_square_pixels(kind: str, options: dict[str, object]) -> None:
    pixels, note = draw(image_bytes(corner_image(40, 24), kind, **options))
    assert pixels.shape == (48, 40, 3)
    assert note == "made 40 x 48 from 40 x 24: its pixels are not square"


def test_the_shape_of_pixels_may_be_a_ratio_alone() -> None:
    row = bytes(20)
    data = png([row] * 10, 20, depth=8, colour=0, more=chunk(b"pHYs", struct.pack(">IIB", 1, 2, 0)))
    assert draw(data)[0].shape == (10, 40, 3)
    jpeg = bytearray(image_bytes(corner_image(40, 24), "JPEG"))
    jpeg[13:18] = struct.pack(">BHH", 0, 2, 1)
    assert draw(bytes(jpeg))[0].shape == (48, 40, 3)


def test_a_jpeg_of_12_bits_is_unsupported_not_damaged() -> None:
    data = bytearray(image_bytes(corner_image(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    assert open_reason(bytes(data)) == "unsupported_type"


def chunk(name: bytes, body: bytes, *, checksum: int | None = None) -> bytes:
    found = zlib.crc32(name + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", found)


def png(
    rows: Sequence[bytes],
    width: int,
    *,
    depth: int,
    colour: int,
    trns: bytes | None = None,
    more: bytes = b"",
    height: int | None = None,
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height or len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows)) if rows else b""
    clear = b"" if trns is None else chunk(b"tRNS", trns)
    parts = chunk(b"IHDR", header), more, clear, chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_header(width: int, height: int) -> bytes:
    return png([], width, depth=8, colour=2, height=height)


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    assert page_reason(png_header(16_000, 9_000)) == "too_many_pixels"
    with pytest.raises(PageError, match="page 1 of x has 50000 x 50000 pixels, the limit is 134217728"):
        draw(png_header(50_000, 50_000))  # above Pillow's own limit
    assert page_reason(image_bytes(corner_image(40, 24), "BMP"), max_pixels=40 * 24 - 1) == "too_many_pixels"
    draw(image_bytes(corner_image(40, 24), "BMP"), max_pixels=40 * 24)


def test_a_gif_of_a_few_bytes_that_claims_a_huge_canvas_is_refused() -> None:
    data = bytearray(image_bytes(Image.new("P", (4, 4)), "GIF"))
    data[6:10] = struct.pack("<HH", 65_535, 65_535)
    assert page_reason(bytes(data)) == "too_many_pixels"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "JPEG2000"])
def test_an_image_cut_in_half_is_a_page_or_a_document_that_failed(kind: str) -> None:
    data = image_bytes(Image.effect_noise((200, 200), 60).convert("RGB"), kind)
    with pytest.raises(DocumentError) as caught:
        draw(data[: len(data) // 2])
    assert caught.value.reason in {"damaged", "damaged_page"}


@pytest.mark.parametrize("behind", [False, True], ids=["before the picture", "behind it"])
@pytest.mark.parametrize(
    "text",
    [
        chunk(b"tEXt", b"Title\0A page", checksum=1),
        chunk(b"zTXt", b"Title\0\0" + zlib.compress(b" " * 5_000_000)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * 5_000_000)),
        chunk(b"eXIf", b"II*\0", checksum=1),
        chunk(b"pHYs", b"\0" * 9, checksum=1),
    ],
    ids=["checksum", "long", "long XMP", "EXIF", "resolution"],
)
def test_a_text_in_a_png_that_is_damaged_or_long_costs_no_page(text: bytes, behind: bool) -> None:
    """The file was "damaged"; a browser shows it."""
    data = image_bytes(corner_image(), "PNG")
    at = data.index(b"IEND") - 4 if behind else data.index(b"IDAT") - 4
    pixels, _ = draw(data[:at] + text + data[at:])
    assert np.array_equal(pixels, draw(data)[0])


def test_a_transparent_colour_and_a_turn_outlive_a_damaged_text() -> None:
    image = Image.new("P", (20, 10), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    data = image_bytes(image, "PNG", transparency=1, exif=exif)
    at = data.index(b"IDAT") - 4
    damaged = data[:at] + chunk(b"tEXt", b"a\0b", checksum=1) + data[at:]
    assert np.array_equal(draw(damaged)[0], draw(data)[0])
    assert draw(damaged)[0].shape[0] > draw(damaged)[0].shape[1]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}], ids=str)
def test_a_jpeg_that_lacks_its_end_alone_is_whole(options: dict[str, Any]) -> None:
    """In a PDF it was drawn, as a file it was a damaged page."""
    whole = image_bytes(Image.effect_noise((200, 200), 60).convert("RGB"), "JPEG", **options)
    pixels, note = draw(whole)
    assert note is None
    for cut in (2, 1):
        mended, note = draw(whole[:-cut])
        assert np.array_equal(mended, pixels)
        assert note == "the mark of its end is missing"
    for cut in (6, 40, 500):
        assert page_reason(whole[:-cut]) == "damaged_page"


# Images only: damaged PDFs can abort MuPDF (free(): double free), so they need a process of their own.
SMALL = [
    image_bytes(transparent_palette(), "PNG"),
    *(image_bytes(corner_image(), kind) for kind in ("JPEG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000")),
    image_bytes(
        corner_image(), "TIFF", compression="tiff_deflate", save_all=True, append_images=[corner_image()]
    ),
]


@given(
    data=st.sampled_from(SMALL),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=6
    ),
    keep=st.floats(0.2, 1),
)
def test_damaged_images_give_pages_or_one_of_the_two_errors(
    data: bytes, changes: list[tuple[float, bytes]], keep: float
) -> None:
    damaged = bytearray(data)
    for place, patch in changes:
        start = int(place * len(damaged))
        damaged[start : start + len(patch)] = patch
    with suppress(DocumentError), open_document(bytes(damaged[: int(keep * len(damaged))]), "x") as opened:
        for page in range(1, min(opened.page_count, 20) + 1):
            with suppress(PageError):
                rasterize(opened, page, max_side=64, patch_size=16, max_pixels=10**6)
