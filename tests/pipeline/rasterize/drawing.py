"""What the tests of drawing share: a page's pixels, and the reason where there are none."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.rasterize.images import MAX_PIXELS
from pipeline.rasterize.pdf import DocumentError, PageError, open_document, rasterize

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def draw(data: bytes, page: int = 1, *, max_pixels: int = MAX_PIXELS) -> tuple[NDArray[np.uint8], str | None]:
    with open_document(data, "x") as opened:
        pixels, note, _ = rasterize(opened, page, max_side=1024, patch_size=16, max_pixels=max_pixels)
    assert pixels.dtype == np.uint8
    return pixels, note


def open_reason(data: bytes, name: str = "x", passwords: Sequence[str] = ()) -> str:
    with pytest.raises(DocumentError) as caught:
        open_document(data, name, passwords=passwords)
    assert not isinstance(caught.value, PageError)
    assert name in caught.value.message
    return caught.value.reason


def page_reason(data: bytes, page: int = 1, *, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(PageError) as caught:
        draw(data, page, max_pixels=max_pixels)
    assert f"page {page} of x" in caught.value.message
    return caught.value.reason
