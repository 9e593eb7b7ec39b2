"""Which documents are drawn, at which page sizes, in which type."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jobs.nano.synthetic.asking import finish
from jobs.nano.synthetic.charts import draw_card, draw_chart, draw_survey
from jobs.nano.synthetic.forms import draw_form
from jobs.nano.synthetic.invoices import draw_invoice
from jobs.nano.synthetic.layout import Page, Source, look
from jobs.nano.synthetic.receipts import draw_receipt
from jobs.nano.synthetic.tables import draw_table_page
from jobs.nano.synthetic.text import draw_contract, draw_letter, draw_lines, draw_report

Pixels = NDArray[np.uint8]

KINDS: Mapping[str, Callable[[Page], bool]] = {
    "line": draw_lines,
    "lines": draw_lines,
    "form": draw_form,
    "table": draw_table_page,
    "chart": draw_chart,
    "card": draw_card,
    "survey": draw_survey,
    "invoice": draw_invoice,
    "receipt": draw_receipt,
    "letter": draw_letter,
    "contract": draw_contract,
    "report": draw_report,
}
# Width and height in points.
PAPER = ((595, 842), (612, 792), (595, 842), (612, 792), (420, 595), (842, 595), (792, 612))
SCREEN = (
    (640, 480),
    (800, 600),
    (720, 405),
    (600, 600),
    (480, 360),
    (700, 500),
    (520, 640),
    (800, 557),
    (310, 480),
    (850, 600),
)
_PLAIN = {"sans": 5.0, "serif": 3.0, "mono": 0.7, "typewriter": 0.7, "display": 0.3}
FACES: Mapping[str, Mapping[str, float]] = {
    "line": {"sans": 3, "serif": 2.5, "mono": 2, "typewriter": 2.5, "pixel": 1.2, "display": 1.5},
    "lines": {"sans": 3, "serif": 2.5, "mono": 2, "typewriter": 2.5, "pixel": 0.4, "display": 1},
    "form": {"sans": 4, "serif": 3, "mono": 1, "typewriter": 2.5, "display": 0.3},
    "chart": {"sans": 9, "serif": 0.7, "mono": 0.1, "display": 0.2},
    "card": {"sans": 1},
    "survey": {"sans": 6, "serif": 1, "display": 0.1},
    "receipt": {"sans": 2.5, "serif": 0.4, "mono": 4, "typewriter": 2, "pixel": 2, "display": 0.5},
    "letter": {"sans": 3, "serif": 4, "typewriter": 3, "mono": 0.5, "display": 0.3},
    "contract": {"serif": 6, "sans": 2.5, "typewriter": 1},
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A stage of the curriculum.

    `pixels` is the (height, width) of small excerpts, None for whole pages; `mix` weighs the kinds.
    """

    pixels: tuple[int, int] | None
    mix: Mapping[str, float]
    max_side: int
    source: Source = field(default_factory=Source)


TRIMMED = {"receipt": 0.9, "invoice": 0.3, "form": 0.4, "table": 0.7, "letter": 0.2, "report": 0.2}
POINTS_PER_PIXEL = 0.82  # A4 at 1024 pixels: excerpts have letters of the size that whole pages have


@dataclass(frozen=True, slots=True)
class Drawn:
    """A document of one page, what may be asked of it, and the longest side at which it is looked at."""

    kind: str
    page: Page
    max_side: int


def draw(scene: Scene) -> Drawn:
    """A document of a random kind; tries again until a layout fits its page."""
    while True:
        kind = random.choices(list(scene.mix), list(scene.mix.values()))[0]
        width, height, low, high, side = _size(kind, scene)
        style = look(scene.source, low, high, dict(FACES.get(kind, _PLAIN)))
        page = Page(kind, width, height, style, scene.source)
        if KINDS[kind](page):
            if scene.pixels is None and random.random() < TRIMMED.get(kind, 0.0):
                _trim(page)
            finish(page)
            if page.exchanges:
                return Drawn(kind, page, side)


def _trim(page: Page) -> None:
    """Cuts the empty end of a page off: a slip ends where its text does."""
    lowest = max(glyph.y for glyph in page.sheet.glyphs) + page.style.size * random.uniform(1, 4)
    if lowest < page.height:
        page.sheet.trim(lowest)


def _size(kind: str, scene: Scene) -> tuple[float, float, float, float, int]:
    """Width and height in points, the range of font sizes, and the longest side in pixels."""
    most = scene.max_side
    if scene.pixels is not None or kind in ("line", "lines"):
        height, width = scene.pixels or (
            (random.choice([16, 32, 32, 48]), random.choice([128, 256, 384, 512]))
            if kind == "line"
            else (random.choice([64, 128, 256]), random.choice([256, 384, 512]))
        )
        low, high = (
            (6.0, min(17.0, height * 0.45)) if kind != "line" else (height * 0.3, min(height * 0.7, 24.0))
        )
        return (
            width * POINTS_PER_PIXEL,
            height * POINTS_PER_PIXEL,
            low,
            max(low, high),
            min(most, max(height, width)),
        )
    if kind == "receipt":
        slip = random.uniform(150, 300)
        font = slip / random.uniform(20, 36)
        # Real slips have some fifty lines, most of these twenty: at full size their letters are too large.
        side = most if random.random() < 0.4 else int(most * random.uniform(0.5, 1.0))
        return slip, slip * random.uniform(1.3, 3.3), font, font, side
    if kind == "chart":
        across, down = map(float, random.choice(SCREEN))
        if random.random() < 0.35:
            across, down = random.uniform(350, 900), random.uniform(300, 900)
        side = int(max(across, down)) if random.random() < 0.75 else random.randint(480, 1024)
        low = across / 72
        return across, down, max(8.0, low), max(10.0, low * 1.7), min(most, side)
    if kind == "card":  # in a browser's own small type; long ones are shrunk
        across = 800.0 if random.random() < 0.8 else random.uniform(600, 900)
        down = across * (0.696 if random.random() < 0.75 else random.uniform(0.6, 1.6))
        return across, down, 9.5, 12.5, min(most, int(max(across, down)))
    if kind == "survey":
        across = random.uniform(230, 440) if random.random() < 0.75 else random.uniform(440, 840)
        down = across * random.uniform(0.55, 1.7)
        side = int(max(across, down)) if random.random() < 0.7 else random.randint(480, 1024)
        return across, down, across / 38 if across < 440 else 11.0, min(18.0, across / 24), min(most, side)
    if kind == "table" and random.random() < 0.4:
        across, down = random.choice(SCREEN)
        return across, down, 8.0, 16.0, min(most, random.choice([1024, 1024, 800]))
    across, down = random.choice(PAPER)
    cut = random.uniform(0.3, 0.9) if kind in ("form", "table", "report") and random.random() < 0.25 else 1.0
    side = most if random.random() < 0.9 else min(most, 768)
    small, large = (6.5, 10.0) if kind in ("form", "contract", "report", "invoice") else (6.5, 12.0)
    return across, down * cut, small, large if random.random() < 0.8 else 14.0, side
