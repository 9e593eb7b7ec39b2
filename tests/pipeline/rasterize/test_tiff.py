"""TIFFs of all sorts: which directories are pages, and what the values of their pixels mean."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.plan.limits import Limits
from pipeline.rasterize.pdf import DocumentError, open_document
from pipeline.rasterize.sandbox import Sandbox
from tests.pipeline.drawn import image_bytes
from tests.pipeline.rasterize.drawing import draw, open_reason, page_reason
from tests.pipeline.rasterize.tiffs import BYTE, LONG, RATIONAL, SHORT, Frame, tiff

Tags = dict[int, tuple[int, Sequence[int]]]
ORDERS = ("<", ">")
FORMS = [("<", False), (">", False), ("<", True)]


def grey(values: Sequence[float], kind: str) -> NDArray[np.generic]:
    return np.array([values] * 4).astype(kind)


def shades(data: bytes, page: int = 1) -> list[int]:
    pixels, _ = draw(data, page)
    assert (pixels[:, :, 0] == pixels[:, :, 2]).all()
    return [int(value) for value in pixels[0, :, 0]]


@pytest.mark.parametrize("deflate", [False, True], ids=["raw", "deflate"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("u1", [0, 50, 255], [0, 50, 255]),
        ("i1", [-128, -1, 127], [0, 127, 255]),
        ("u2", [0, 32768, 65535], [0, 128, 255]),
        ("i2", [-30_000, 0, 30_000], [0, 128, 255]),
        ("u4", [0, 2**31, 2**32 - 1], [0, 128, 255]),
        ("u4", [2**31 - 50, 2**31, 2**31 + 50], [0, 128, 255]),
        ("i4", [-(2**31), 0, 2**31 - 1], [0, 128, 255]),
        ("f4", [-1.5, 0, 1.5], [0, 128, 255]),
    ],
)
def test_grey_of_any_depth_keeps_its_order(
    kind: str, values: list[int], expected: list[int], order: str, deflate: bool
) -> None:
    assert shades(tiff(Frame(grey(values, kind), deflate=deflate), order=order)) == expected
    if kind == "i1":  # of these there are none that count from white
        return
    negative = tiff(Frame(grey(values, kind), photometric=0, deflate=deflate), order=order)
    assert shades(negative) == [255 - value for value in expected]


def test_grey_that_counts_from_white_and_uses_12_of_16_bits_is_scaled_first() -> None:
    pixels, note = draw(tiff(Frame(grey([0, 2048, 4095], "u2"), photometric=0)))
    assert pixels[0, :, 0].tolist() == [255, 127, 0]
    assert note == "16-bit image that uses 12 bits"


def test_colours_of_lab_are_drawn_in_the_sandbox() -> None:
    """Pillow loads a library for them, a call at which the sandbox is killed."""
    lab = Image.frombytes("LAB", (40, 40), bytes([200, 0, 0]) * 1_600)
    sandbox = Sandbox(Limits())
    try:
        with sandbox.open(image_bytes(lab, "TIFF"), "x") as opened:
            pixels, _, _ = opened.draw(1, max_side=64, patch_size=16)
    finally:
        sandbox.close()
    assert np.ptp(pixels, axis=2).max() <= 2
    assert 180 < pixels.mean() < 210


def test_a_note_names_the_bits_that_are_stretched() -> None:
    for kind, bits in (("i2", 16), ("i4", 32), ("u4", 32), ("f4", 32)):
        _, note = draw(tiff(Frame(grey([3, 7], kind))))
        assert note == f"{bits}-bit values stretched from 3 to 7"


STRANGE: dict[str, Frame] = {
    "float64": Frame(grey([0, 1], "f8")),
    "float16": Frame(grey([0, 1], "f2")),
    "float RGB": Frame(np.zeros((4, 5, 3), np.float32), photometric=2),
    "grey and alpha of 16 bits": Frame(np.zeros((4, 5, 2), np.uint16), tags={338: (SHORT, [2])}),
    "complex": Frame(grey([0, 1], "f4"), tags={339: (SHORT, [6])}),
    "JPEG XL": Frame(grey([0, 1], "u1"), tags={259: (SHORT, [50002])}),
    "Windows Media Photo": Frame(grey([0, 1], "u1"), tags={0xBC01: (BYTE, [1])}),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_frame_of_a_kind_that_nobody_decodes_costs_itself_and_is_not_called_damaged(kind: str) -> None:
    good = Frame(grey([1, 2, 3], "u1"))
    data = tiff(STRANGE[kind], good, STRANGE[kind], good)
    assert page_reason(tiff(STRANGE[kind])) == "unsupported_type"
    assert [page_reason(data, page) for page in (1, 3)] == ["unsupported_type"] * 2
    assert [shades(data, page) for page in (2, 4)] == [[1, 2, 3]] * 2


REDUCED: Tags = {254: (LONG, [1])}


@pytest.mark.parametrize(
    ("tags", "pages"),
    [
        ([{}, REDUCED, REDUCED], [1]),
        ([{}, REDUCED, {}, REDUCED], [1, 3]),
        ([REDUCED, {}], [2]),
        ([{254: (LONG, [2])}, {254: (LONG, [2])}], [1, 2]),
        ([{254: (LONG, [0])}, {254: (LONG, [4])}, {254: (LONG, [5])}, {254: (LONG, [3])}], [1]),
        ([{255: (SHORT, [1])}, {255: (SHORT, [2])}, {255: (SHORT, [3])}], [1, 3]),
        ([REDUCED, REDUCED], [1, 2]),  # a program that did not know better
    ],
)
@pytest.mark.parametrize(("order", "is_big"), FORMS)
def test_reduced_copies_and_masks_are_no_pages(
    tags: list[Tags], pages: list[int], order: str, is_big: bool
) -> None:
    frames = [Frame(grey([number] * 3, "u1"), tags=tags[number - 1]) for number in range(1, len(tags) + 1)]
    data = tiff(*frames, order=order, is_big=is_big)
    with open_document(data, "x") as opened:
        assert opened.page_count == len(pages)
    assert [shades(data, page)[0] for page in range(1, len(pages) + 1)] == pages


THUMBNAIL = Frame(np.zeros((12, 16, 3), np.uint8), photometric=2, tags=REDUCED | {330: (LONG, [9999])})
RAW: dict[str, bytes] = {
    "NEF": tiff(THUMBNAIL),
    "ARW": tiff(THUMBNAIL, Frame(grey([0, 1], "u1"), tags=REDUCED)),
    "DNG": tiff(Frame(np.zeros((12, 16, 3), np.uint8), photometric=2, tags={50706: (BYTE, [1, 4, 0, 0])})),
    "sensor": tiff(Frame(grey([0, 1], "u2"), photometric=32803)),
    "thumbnail, then sensor": tiff(Frame(grey([0, 1], "u1")), Frame(grey([0, 1], "u2"), photometric=34892)),
    "CR2": b"II*\0\x10\0\0\0CR\2\0\0\0\0\0" + (1).to_bytes(2, "little") + bytes(12 + 4),
}


@pytest.mark.parametrize("kind", RAW)
def test_a_camera_s_raw_file_is_refused_not_its_thumbnail_asked(kind: str) -> None:
    assert open_reason(RAW[kind]) == "unsupported_type"
    with pytest.raises(DocumentError, match="camera's raw file"):
        open_document(RAW[kind], "x")


def test_a_picture_with_smaller_ones_in_a_tree_is_a_page() -> None:
    assert shades(tiff(Frame(grey([4, 5], "u1"), tags={330: (LONG, [9999])}))) == [4, 5]


@pytest.mark.parametrize(("order", "is_big"), FORMS)
def test_directories_that_end_early_or_go_in_circles_are_counted_once(order: str, is_big: bool) -> None:
    frames = [Frame(grey([number] * 3, "u1")) for number in range(3)]
    whole = tiff(*frames, order=order, is_big=is_big)
    size = 8 if is_big else 4
    first = int.from_bytes(whole[size : 2 * size], "little" if order == "<" else "big")
    circle = whole[:-size] + whole[size : 2 * size]
    beyond = whole[:-size] + b"\x7f" * size
    for data, count in ((whole, 3), (circle, 3), (beyond, 4)):
        with open_document(data, "x") as opened:
            assert opened.page_count == count
        assert [shades(data, page)[0] for page in (1, 2, 3)] == [0, 1, 2]
    assert page_reason(beyond, 4) == "damaged_page"
    assert open_reason(whole[: first + 1]) == "damaged"
    assert open_reason(whole[:4]) == "damaged"


def test_a_big_tiff_that_pillow_cannot_read_says_so() -> None:
    assert open_reason(tiff(Frame(grey([1, 2], "u1")), order=">", is_big=True)) == "unsupported_type"


def test_a_directory_of_a_billion_entries_is_damaged() -> None:
    data = bytearray(tiff(Frame(grey([1, 2], "u1")), is_big=True))
    first = int.from_bytes(data[8:16], "little")
    data[first : first + 8] = (10**9).to_bytes(8, "little")
    assert open_reason(bytes(data)) == "damaged"


def resolution(across: tuple[int, int], down: tuple[int, int], unit: int = 2) -> Tags:
    return {282: (RATIONAL, across), 283: (RATIONAL, down), 296: (SHORT, [unit])}


@pytest.mark.parametrize("unit", [1, 2, 3])
@pytest.mark.parametrize(
    ("across", "down", "shape"),
    [
        ((204, 1), (98, 1), (208, 60)),
        ((98, 1), (204, 1), (100, 125)),
        ((200, 1), (100, 1), (200, 60)),
        ((204, 1), (196, 1), (100, 60)),  # a fine fax: nearly square
        ((300, 1), (300, 1), (100, 60)),
        ((300, 1), (1, 1), (100, 60)),  # these make no sense
        ((0, 1), (300, 1), (100, 60)),
        ((300, 0), (72, 1), (100, 60)),
        ((0, 0), (0, 0), (100, 60)),
    ],
)
def test_a_scan_of_unequal_resolutions_gets_square_pixels(
    across: tuple[int, int], down: tuple[int, int], shape: tuple[int, int], unit: int
) -> None:
    frame = Frame(np.zeros((100, 60), np.uint8), tags=resolution(across, down, unit))
    pixels, note = draw(tiff(frame))
    assert pixels.shape[:2] == shape
    size = f"{shape[1]} x {shape[0]}"
    assert note == (None if shape == (100, 60) else f"made {size} from 60 x 100: its pixels are not square")


def test_a_turned_scan_of_unequal_resolutions_is_stretched_along_its_own_sides() -> None:
    tags = resolution((204, 1), (98, 1)) | {274: (SHORT, [6])}
    assert draw(tiff(Frame(np.zeros((100, 60), np.uint8), tags=tags)))[0].shape[:2] == (60, 208)


def test_a_stretched_scan_is_no_longer_than_others_may_be() -> None:
    frame = Frame(np.zeros((3000, 50), np.uint8), tags=resolution((204, 1), (102, 1)))
    assert draw(tiff(frame))[0].shape[:2] == (4096, 34)


def test_exif_data_of_a_tiff_that_is_rubbish_costs_nothing() -> None:
    for tag in (34665, 34853, 40965):  # the places of further directories
        for place in (7, 10**9):
            data = tiff(Frame(grey([8, 9], "u1"), tags={tag: (LONG, [place])}))
            assert shades(data) == [8, 9]
