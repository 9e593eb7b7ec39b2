"""Grids equal to mistral_common's, and PDF pages drawn at sizes that need no resizing."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs

from model.network.image_grid import fit, grid, page_size

PIXELS = st.integers(1, 20_000)
MAX_SIDES = st.integers(16, 2048)
PATCH_SIZES = st.sampled_from([8, 14, 16])
POINTS = st.floats(1e-3, 1e6)


def reference_grid(height: int, width: int, max_side: int, patch_size: int) -> tuple[int, int]:
    encoder = ImageEncoder(
        ImageConfig(patch_size, max_side), SpecialImageIDs(img=10, img_break=12, img_end=13)
    )
    image: Any = SimpleNamespace(size=(width, height))  # the size of a PIL image is all that it looks at
    columns, rows = encoder._image_to_num_tokens(image)
    return rows, columns


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (1, 1, 1, 1),
        (16, 17, 1, 2),
        (1024, 1024, 64, 64),
        (1025, 1024, 64, 64),
        (3508, 2480, 64, 46),  # A4 at 300 dpi
        (1024, 736, 64, 46),
        (768, 1024, 48, 64),
        (20_000, 1, 64, 1),  # a sliver keeps one pixel
        (2048, 1025, 64, 32),  # 512.5 rounds to even: 512 pixels, not 513
        (2048, 1027, 64, 33),  # 513.5 rounds to even: 514 pixels
    ],
)
def test_grids(height: int, width: int, rows: int, columns: int) -> None:
    assert grid(height, width, max_side=1024, patch_size=16) == (rows, columns)
    assert fit(height, width, max_side=1024, patch_size=16) == (rows * 16, columns * 16)


def test_grids_equal_the_reference_at_full_resolution() -> None:
    for height in range(1, 4097, 37):
        for width in range(1, 4097, 41):
            expected = reference_grid(height, width, 1024, 16)
            assert grid(height, width, max_side=1024, patch_size=16) == expected, (height, width)


@given(PIXELS, PIXELS, MAX_SIDES, PATCH_SIZES)
def test_grids_equal_the_reference(height: int, width: int, max_side: int, patch_size: int) -> None:
    expected = reference_grid(height, width, max_side, patch_size)
    assert grid(height, width, max_side=max_side, patch_size=patch_size) == expected


@pytest.mark.parametrize(
    ("height", "width", "max_side", "expected"),
    [
        (842.0, 595.0, 1024, (1024, 736)),  # A4
        (595.0, 842.0, 1024, (736, 1024)),
        (792.0, 612.0, 1024, (1024, 800)),  # US Letter
        (84.2, 59.5, 1024, (1024, 736)),  # a small page is drawn as large
        (842.0, 595.0, 1000, (992, 704)),  # 1,000 is not a multiple of 16
        (1e6, 1.0, 1024, (1024, 16)),
        (72.0, 72.0, 16, (16, 16)),
    ],
)
def test_page_sizes(height: float, width: float, max_side: int, expected: tuple[int, int]) -> None:
    assert page_size(height, width, max_side=max_side, patch_size=16) == expected


@given(POINTS, POINTS, MAX_SIDES, PATCH_SIZES)
def test_a_drawn_page_is_not_resized(height: float, width: float, max_side: int, patch_size: int) -> None:
    size = page_size(height, width, max_side=max_side, patch_size=patch_size)
    assert fit(*size, max_side=max_side, patch_size=patch_size) == size
    assert max(size) == max_side // patch_size * patch_size
    assert (size[0] >= size[1]) if height >= width else (size[0] <= size[1])
    # The shorter side is stretched by less than one patch, and half a pixel of rounding.
    assert -1 <= min(size) - min(height, width) / max(height, width) * max(size) <= patch_size


@pytest.mark.parametrize(
    ("height", "width", "max_side", "patch_size", "said"),
    [
        (0, 10, 1024, 16, "an image of 0 x 10 has no size"),
        (10, -1, 1024, 16, "an image of 10 x -1 has no size"),
        (10, 10, 15, 16, "max_side is 15: it must be at least one patch, 16 pixels"),
        (10, 10, 1024, 0, "patch_size is 0: it must be at least 1 pixel"),
    ],
)
def test_impossible_sizes_are_refused(
    height: int, width: int, max_side: int, patch_size: int, said: str
) -> None:
    for function in (grid, fit, page_size):
        with pytest.raises(ValueError, match=said):
            function(height, width, max_side=max_side, patch_size=patch_size)


@pytest.mark.parametrize("side", [float("inf"), float("nan")])
def test_a_page_without_a_finite_size_is_refused(side: float) -> None:
    with pytest.raises(ValueError, match="has no size"):
        page_size(side, 10.0, max_side=1024, patch_size=16)
