"""Draws the README's picture, a sample page beside its answers: python -m docs.draw_sample OUT PICTURE

OUT is the output of `make demo`, PICTURE the file to write. Answers that samples/expected.jsonl calls wrong
are marked as wrong.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from jobs.evaluation.gold import Line, is_right, lines_of, load_expected
from jobs.report import COLUMNS
from pipeline.commit.tables import read_table
from pipeline.rasterize.pdf import open_document, rasterize

SAMPLES = Path(__file__).parents[1] / "samples"
NAME = "application_form.pdf"
WIDTH, MARGIN = 1000, 24  # pixels of the picture, and around its parts
PAGE = (480, 400)  # pixels of the page, whose foot is empty and is cut off
CARD, EDGE, INK, GREY, GREEN, RED = "#f6f8fa", "#afb8c1", "#1f2328", "#57606a", "#1a7f37", "#cf222e"


def page() -> Image.Image:
    """The upper part of the sample's first page."""
    data = (SAMPLES / "documents" / NAME).read_bytes()
    with open_document(data, NAME) as opened:
        pixels, _, _ = rasterize(opened, 1, max_side=1024, patch_size=16)
    whole = Image.fromarray(np.asarray(pixels))
    return ImageOps.fit(whole, PAGE, Image.Resampling.LANCZOS, centering=(0.5, 0.0))


def answers(output: str) -> list[tuple[Line, str | None]]:
    """What the demo says about the page, each answer with the right one where it is wrong."""
    expected = load_expected(SAMPLES / "expected.jsonl")
    rows = lines_of(read_table(f"{output}/answers/text", COLUMNS).to_pylist())
    found = []
    for row in [row for row in rows if row.uri.endswith(f"/{NAME}")]:
        accepted = [text for entry in expected if row.is_about(entry) for text in entry.answers]
        found.append((row, None if is_right(row.answer, accepted) else accepted[0]))
    return found


def draw(output: str) -> Image.Image:
    """The page at the left, the answers at the right, on a card that a dark background leaves readable."""
    said = answers(output)
    left = 2 * MARGIN + PAGE[0]
    picture = Image.new("RGB", (WIDTH, PAGE[1] + 2 * MARGIN), CARD)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, picture.width - 1, picture.height - 1), outline=EDGE)
    picture.paste(page(), (MARGIN, MARGIN))
    pen.rectangle((MARGIN - 1, MARGIN - 1, MARGIN + PAGE[0], MARGIN + PAGE[1]), outline=EDGE)
    small, large = ImageFont.load_default(18), ImageFont.load_default(25)
    for number, (row, right) in enumerate(said):
        top = MARGIN + 6 + number * (PAGE[1] // len(said))
        pen.text((left, top), row.what, GREY, small)
        pen.text((left, top + 24), row.answer, INK, large)
        mark = "right" if right is None else f"wrong, it is {right}"
        pen.text(
            (left, top + 56),
            f"confidence {row.confidence:.2f}: {mark}",
            GREEN if right is None else RED,
            small,
        )
    return picture


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the picture; returns the exit code."""
    output, path = sys.argv[1:] if arguments is None else arguments
    draw(output).quantize(64).save(path, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
