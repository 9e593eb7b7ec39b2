"""How paper, till, fax, scanner and camera spoil a page."""

from __future__ import annotations

import functools
import io
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

Pixels = NDArray[np.uint8]
SIGMAS = (2, 4, 6, 9, 13)
SCREENS = ("chart", "card", "survey")  # what is no paper
BANK_SIDE = 2048  # more than the largest page that is drawn


def spoil(pixels: Pixels, kind: str) -> Pixels:
    """The page after its fate: four in ten stay clean, more of those from a screen. Its shape stays."""
    if random.random() < (0.8 if kind in SCREENS else 0.25 if kind == "receipt" else 0.4):
        return pixels
    fate = random.random()
    if kind not in SCREENS and fate < 0.16:
        return _fax(pixels)
    if kind not in SCREENS and fate < (0.6 if kind == "receipt" else 0.24):
        return _thermal(pixels)
    if kind not in SCREENS and fate < (0.7 if kind == "receipt" else 0.34) and min(pixels.shape[:2]) > 200:
        return _border(pixels)
    image = Image.fromarray(pixels)
    if random.random() < 0.35:
        image = image.convert("L")
    if random.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 0.8)))
    if random.random() < 0.15:
        image = image.filter(random.choice([ImageFilter.MinFilter(3), ImageFilter.UnsharpMask(2, 150)]))
    if random.random() < 0.45:
        low, high = random.randint(0, 90), random.randint(190, 255)
        image = image.point(
            [low + value * (high - low) // 255 for value in range(256)] * len(image.getbands())
        )
    if random.random() < 0.4:
        image = _noise(image)
    if random.random() < 0.35:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=random.randint(25, 90))
        image = Image.open(buffer)
    return np.asarray(image.convert("RGB"))


def _fax(pixels: Pixels) -> Pixels:
    """One bit a pixel, with the ragged edges and the specks of a fax or a copy of a copy."""
    image = Image.fromarray(pixels).convert("L").filter(ImageFilter.GaussianBlur(random.uniform(0.2, 0.8)))
    height, width = pixels.shape[:2]
    values = np.asarray(image).astype(np.float32) + _patch(height, width) * random.uniform(4, 34)
    black = values < random.randint(110, 200)
    specks = random.choice([0.0, 0.0, 0.0005, 0.002])
    if specks:
        black ^= _patch(height, width) > 3.3 - specks * 300
    if random.random() < 0.4:  # and was scanned in grey afterwards
        grey = Image.fromarray(np.where(black, 20, 250).astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(0.5)
        )
        return np.asarray(grey.convert("RGB"))
    return np.repeat(np.where(black, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _thermal(pixels: Pixels) -> Pixels:
    """Thermal paper or a tired ribbon: ink in dots, with fading blotches, on grey or yellowed paper."""
    height, width = pixels.shape[:2]
    ink = 255 - np.asarray(Image.fromarray(pixels).convert("L")).astype(np.float32)
    if random.random() < 0.6:
        fade = _blotches(height, width) * random.uniform(0.5, 1.0) + random.uniform(0.6, 0.9)
        ink *= np.clip(fade, 0.35, 1.1)
    if random.random() < 0.35:
        pitch = random.choice([2, 2, 3])
        ink[::pitch] *= random.uniform(0.3, 0.8)
        if random.random() < 0.4:
            ink[:, ::pitch] *= random.uniform(0.4, 0.8)
    image = Image.fromarray(np.minimum(ink, 255).astype(np.uint8))
    paper = random.choice([(250, 250, 250), (232, 232, 228), (240, 232, 215), (215, 215, 215)])
    color = random.choice([(30, 30, 30), (60, 60, 70), (70, 50, 90), (90, 90, 90)])
    tables = [[p + (c - p) * v // 255 for v in range(256)] for p, c in zip(paper, color, strict=True)]
    image = Image.merge("RGB", [image.point(table) for table in tables])
    if random.random() < 0.5:
        image = _noise(image)
    if random.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 0.8)))
    return np.asarray(image)


def _border(pixels: Pixels) -> Pixels:
    """The lid was open: black edges. What stands there is not asked, since they stay within the margin."""
    page = pixels.copy()
    height, width = page.shape[:2]
    dark = random.randint(0, 70)
    for edge in random.sample(range(4), random.randint(1, 4)):
        depth = int(random.uniform(0.003, 0.02) * min(height, width))
        part = [page[:depth], page[height - depth :], page[:, :depth], page[:, width - depth :]][edge]
        part[:] = dark
    return np.asarray(_noise(Image.fromarray(page)))


def _noise(image: Image.Image) -> Image.Image:
    """Grey noise, cut from a bank: drawing it anew would cost more than the page."""
    left, top = (random.randrange(BANK_SIDE - side) for side in image.size)
    noise = _noises()[random.randrange(len(SIGMAS))].crop((left, top, left + image.width, top + image.height))
    if image.mode == "RGB":
        noise = Image.merge("RGB", [noise] * 3)
    return ImageChops.add(image, noise, 1.0, -128)


@functools.cache
def _noises() -> list[Image.Image]:
    return [Image.fromarray((_noise_bank() * s + 128).clip(0, 255).astype(np.uint8)) for s in SIGMAS]


def _patch(height: int, width: int) -> NDArray[np.float32]:
    """Noise of variance one."""
    bank = _noise_bank()
    top, left = (random.randrange(BANK_SIDE - side) for side in (height, width))
    return bank[top : top + height, left : left + width]


def _blotches(height: int, width: int) -> NDArray[np.float32]:
    """Soft spots between -0.5 and 0.5, some 60 pixels wide."""
    small = _patch(max(2, height // 60), max(2, width // 60)).clip(-1.5, 1.5) / 3 + 0.5
    image = Image.fromarray((small * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    return (np.asarray(image).astype(np.float32) / 255 - 0.5).astype(np.float32)


@functools.cache
def _noise_bank() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((BANK_SIDE, BANK_SIDE), dtype=np.float32)
