"""Which documents are drawn, at which page sizes, and how paper and scanner spoil them."""

from __future__ import annotations

import functools
import io
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from jobs.nano.synthetic.charts import draw_chart
from jobs.nano.synthetic.forms import draw_form
from jobs.nano.synthetic.invoices import draw_invoice
from jobs.nano.synthetic.layout import Drawn
from jobs.nano.synthetic.receipts import draw_receipt
from jobs.nano.synthetic.tables import draw_table_page
from jobs.nano.synthetic.text import draw_lines, draw_report

Pixels = NDArray[np.uint8]

KINDS: Mapping[str, Callable[[float, float, float, float], Drawn | None]] = {
    "lines": draw_lines,
    "form": draw_form,
    "table": draw_table_page,
    "chart": draw_chart,
    "invoice": draw_invoice,
    "receipt": draw_receipt,
    "report": draw_report,
}
# Width and height in points.
PAPER = ((595, 842), (612, 792), (595, 842), (612, 792), (420, 595), (842, 595), (792, 612))
SCREEN = ((640, 480), (800, 600), (720, 405), (600, 600), (480, 360), (700, 500), (520, 640))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A stage of the curriculum.

    `pixels` is the (height, width) of small excerpts, None for whole pages; `mix` weighs the kinds.
    """

    pixels: tuple[int, int] | None
    mix: Mapping[str, float]
    max_side: int


POINTS_PER_PIXEL = 0.82  # A4 at 1024 pixels: excerpts have letters of the size that whole pages have


def draw(scene: Scene) -> tuple[str, Drawn]:
    """A document of a random kind; tries again until a layout fits its page. Returns (kind, document)."""
    while True:
        kind = random.choices(list(scene.mix), list(scene.mix.values()))[0]
        drawn = KINDS[kind](*_page(kind, scene.pixels))
        if drawn and drawn.exchanges:
            return kind, drawn


def _page(kind: str, pixels: tuple[int, int] | None) -> tuple[float, float, float, float]:
    """Width and height in points, and the range of font sizes."""
    if pixels is not None:
        height, width = pixels
        return width * POINTS_PER_PIXEL, height * POINTS_PER_PIXEL, 8.0, min(17.0, height * 0.45)
    if kind == "receipt":
        slip, font = random.uniform(190, 300), random.uniform(8, 12)
        return slip, slip * random.uniform(1.3, 2.6), font, font
    if kind in ("chart", "table") and random.random() < 0.7:
        return *random.choice(SCREEN), 9.0, 18.0
    across, down = random.choice(PAPER)
    cut = random.uniform(0.3, 0.9) if kind in ("form", "table", "chart") and random.random() < 0.3 else 1.0
    return across, down * cut, 8.5, 15.0


def spoil(pixels: Pixels) -> Pixels:
    """Scanner and camera: grey, noise, blur, faded ink, JPEG. Half of the pages stay clean."""
    if random.random() < 0.5:
        return pixels
    image = Image.fromarray(pixels)
    if random.random() < 0.35:
        image = image.convert("L").convert("RGB")
    if random.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 0.7)))
    if random.random() < 0.4:
        low, high = random.randint(0, 60), random.randint(215, 255)
        image = image.point([low + value * (high - low) // 255 for value in range(256)] * 3)
    if random.random() < 0.4:
        image = _noise(image, random.uniform(2, 12))
    if random.random() < 0.25:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=random.randint(45, 90))
        image = Image.open(buffer)
    return np.asarray(image.convert("RGB"))


def _noise(image: Image.Image, sigma: float) -> Image.Image:
    """Grey noise, cut from a bank: drawing it anew would cost more than the page."""
    values = np.asarray(image)
    height, width = values.shape[:2]
    bank = _noise_bank()
    top, left = (random.randrange(BANK_SIDE - side) for side in (height, width))
    noise = (bank[top : top + height, left : left + width, None] * sigma).astype(np.int16)
    return Image.fromarray(np.clip(values + noise, 0, 255).astype(np.uint8))


BANK_SIDE = 2048  # more than the largest page that is drawn


@functools.cache
def _noise_bank() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((BANK_SIDE, BANK_SIDE), dtype=np.float32)
