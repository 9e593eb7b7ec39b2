"""Pixels equal to mistral_common's after resizing and normalisation."""

import random

import numpy as np
import pytest
import torch
from mistral_common.protocol.instruct.chunk import ImageChunk
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs
from PIL import Image

from model.network.image_grid import fit, grid
from model.network.preprocess import MEAN, STD, to_pixels

# The issue asks for 1e-3; with taps placed in float64 only float32's own rounding is left.
TOLERANCE = 1e-5


def noise(height: int, width: int) -> np.ndarray:
    """Black and white noise: the image that shows a tap in the wrong place best."""
    return np.random.default_rng([height, width]).integers(0, 2, (height, width, 3), np.uint8) * np.uint8(255)


def gradient(height: int, width: int) -> np.ndarray:
    rows = np.linspace(0, 255, height, dtype=np.float32)[:, None, None]
    columns = np.linspace(255, 0, width, dtype=np.float32)[None, :, None]
    return ((rows + columns) / np.array([2, 3, 5], np.float32)).clip(0, 255).astype(np.uint8)


def difference(image: np.ndarray, max_side: int, patch_size: int) -> float:
    """The greatest difference from the reference in pixels, after its grid was found equal."""
    encoder = ImageEncoder(
        ImageConfig(patch_size, max_side), SpecialImageIDs(img=10, img_break=12, img_end=13)
    )
    reference = encoder(ImageChunk(image=Image.fromarray(image)))
    height, width = image.shape[:2]
    rows, columns = grid(height, width, max_side=max_side, patch_size=patch_size)
    assert reference.tokens.count(10) == rows * columns
    size = fit(height, width, max_side=max_side, patch_size=patch_size)
    pixels_CHW = to_pixels(image, *size)
    assert pixels_CHW.shape == reference.image.shape == (3, *size)
    assert pixels_CHW.dtype == torch.float32
    return float(np.abs(pixels_CHW.numpy() - reference.image).max())


def sizes(count: int, low: int, high: int) -> list[tuple[int, int]]:
    rng = random.Random(count)
    return [(rng.randint(low, high), rng.randint(low, high)) for _ in range(count)]


SLIVERS = [
    size for long, short in sizes(30, 1, 60) for size in ((1025 + 90 * long, short), (short, 1100 + long))
]


@pytest.mark.parametrize(
    ("max_side", "patch_size", "sizes"),
    [
        pytest.param(1024, 16, sizes(100, 1, 200), id="stretched to the patch"),
        pytest.param(128, 16, sizes(60, 100, 500), id="shrunk"),
        pytest.param(126, 14, sizes(20, 100, 500), id="shrunk, patches of 14"),
        pytest.param(1024, 16, SLIVERS, id="slivers shrunk"),
        pytest.param(1024, 16, [(1754, 1240), (1241, 1753), (2200, 1700), (1030, 900)], id="pages shrunk"),
        pytest.param(1024, 16, [(1024, 736), (16, 16), (48, 1024)], id="on the grid already"),
    ],
)
def test_pixels_equal_the_reference(max_side: int, patch_size: int, sizes: list[tuple[int, int]]) -> None:
    worst = {size: difference(noise(*size), max_side, patch_size) for size in sizes}
    assert {size: value for size, value in worst.items() if value > TOLERANCE} == {}


def test_smooth_pixels_equal_the_reference() -> None:
    assert difference(gradient(1300, 1000), 1024, 16) <= TOLERANCE
    assert difference(gradient(300, 77), 1024, 16) <= TOLERANCE


def test_a_page_on_the_grid_is_only_normalised() -> None:
    image = gradient(32, 48)
    expected = (image.astype(np.float64) / 255 - MEAN) / STD
    np.testing.assert_allclose(to_pixels(image, 32, 48).numpy(), expected.transpose(2, 0, 1), atol=1e-6)


def test_a_shrunk_image_is_neither_rounded_nor_clipped() -> None:
    pixels_HWC = to_pixels(noise(100, 100), 64, 64).permute(1, 2, 0) * torch.tensor(STD) + torch.tensor(MEAN)
    levels_HWC = pixels_HWC * 255
    assert float(levels_HWC.min()) < -10
    assert float(levels_HWC.max()) > 265
    assert float((levels_HWC - levels_HWC.round()).abs().mean()) > 0.1


def test_the_result_has_the_asked_dtype() -> None:
    image = noise(40, 40)
    half = to_pixels(image, 32, 32, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, to_pixels(image, 32, 32).to(torch.bfloat16))  # rounded once, at the end


@pytest.mark.parametrize("size", [(32, 32), (16, 48)])
def test_any_layout_in_memory_gives_the_same_pixels(size: tuple[int, int]) -> None:
    image = noise(32, 32)
    expected = to_pixels(image, *size)
    assert expected.is_contiguous()
    read_only = image.copy()
    read_only.flags.writeable = False  # as an array that travelled through Arrow
    flipped = np.ascontiguousarray(image[::-1, ::-1])[::-1, ::-1]
    columns_first = np.asfortranarray(image)
    for array in (read_only, flipped, columns_first):
        before = array.copy()
        assert torch.equal(to_pixels(array, *size), expected)
        assert np.array_equal(array, before)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_pixels() -> None:
    for image, size in ((noise(1754, 1240), (1024, 736)), (noise(1024, 736), (1024, 736))):
        on_gpu = to_pixels(image, *size, device="cuda")
        assert on_gpu.device.type == "cuda"
        assert float((on_gpu.cpu() - to_pixels(image, *size)).abs().max()) <= TOLERANCE
