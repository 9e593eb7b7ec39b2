"""How fast PDF pages are drawn on one core: through the sandbox, by plain PyMuPDF, and by pypdfium2.

In: PDF files. Out: pages a second of each contender, at the same pixel sizes. The seconds are computing time
of this process and its children, on one core, and the contenders take turns document by document; so other
work on the machine matters little. Two contenders go on to the model's pixels: Quire's own way there, and
pypdfium2 with mistral_common's preprocessing.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
import pypdfium2
import torch
from mistral_common.tokens.tokenizers.image import transform_image
from numpy.typing import NDArray
from PIL import Image
from pypdfium2 import raw

from model.network.preprocess import to_pixels
from pipeline.ingest.file_types import PDF, DocumentError
from pipeline.plan.limits import Limits
from pipeline.rasterize.sandbox import Sandbox

Pixels = NDArray[np.uint8]
Sizes = list[tuple[int, int]]  # height and width of each page
Draw = Callable[[bytes, Sizes], Iterator[Any]]


@dataclass(kw_only=True)
class Contender:
    """One way of drawing a document's pages, and the seconds that it computed in each round."""

    name: str
    draw: Draw
    against: str | None
    """The contender that it is compared with."""
    seconds: list[float] = field(default_factory=list)


def through_sandbox(
    sandbox: Sandbox, max_side: int, patch_size: int, data: bytes, sizes: Sizes
) -> Iterator[Pixels]:
    """As a run does it."""
    with sandbox.open(data, "x.pdf") as document:
        for page in range(1, len(sizes) + 1):
            yield document.draw(page, max_side=max_side, patch_size=patch_size)[0]


def with_pymupdf(data: bytes, sizes: Sizes) -> Iterator[Pixels]:
    """In this process, without a copy."""
    with pymupdf.open(stream=data, filetype="pdf") as pdf:
        for page, (height, width) in zip(pdf, sizes, strict=True):
            matrix = pymupdf.Matrix(width / page.rect.width, height / page.rect.height)
            pixmap = page.get_pixmap(matrix=matrix, colorspace=pymupdf.csRGB, alpha=False)
            yield np.frombuffer(pixmap.samples_mv, np.uint8).reshape(height, width, 3)


def with_pdfium(data: bytes, sizes: Sizes) -> Iterator[Pixels]:
    """In this process, without a copy. Its `render` takes no exact size, so this makes the call below it."""
    flags = raw.FPDF_ANNOT | raw.FPDF_REVERSE_BYTE_ORDER
    pdf = pypdfium2.PdfDocument(data)
    try:
        for number, (height, width) in enumerate(sizes):
            page = pdf[number]
            bitmap = pypdfium2.PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR, rev_byteorder=True)
            bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
            raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags)
            yield bitmap.to_numpy()
            bitmap.close()
            page.close()
    finally:
        pdf.close()


def for_the_model(draw: Draw, data: bytes, sizes: Sizes) -> Iterator[torch.Tensor]:
    """Normalised float32 pixels, as the model takes them."""
    for pixels in draw(data, sizes):
        yield to_pixels(pixels, *pixels.shape[:2])


def by_mistral_common(draw: Draw, data: bytes, sizes: Sizes) -> Iterator[NDArray[np.float32]]:
    """The same with the reference's preprocessing."""
    for pixels in draw(data, sizes):
        yield transform_image(Image.fromarray(pixels), (pixels.shape[1], pixels.shape[0]))


def compare(
    files: list[Path], *, max_side: int, patch_size: int, repeats: int
) -> tuple[int, int, list[dict[str, Any]]]:
    """Documents and pages that were drawn, and a row for each contender. Raises ValueError for none."""
    pymupdf.TOOLS.mupdf_display_errors(False)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the sandbox's child inherits it
    torch.set_num_threads(1)
    sandbox = Sandbox(Limits())
    quire: Draw = partial(through_sandbox, sandbox, max_side, patch_size)
    documents = []
    for file in files:
        data = file.read_bytes()
        if sizes := _common_sizes(sandbox, data, max_side, patch_size):
            documents.append((data, sizes))
    if not documents:
        raise ValueError(f"none of the {len(files)} files is a PDF that all of them can draw")
    contenders = [
        Contender(name="PyMuPDF, plain", draw=with_pymupdf, against=None),
        Contender(name="Quire's sandbox", draw=quire, against="PyMuPDF, plain"),
        Contender(name="pypdfium2", draw=with_pdfium, against="PyMuPDF, plain"),
        Contender(
            name="pypdfium2 + mistral_common", draw=partial(by_mistral_common, with_pdfium), against=None
        ),
        Contender(
            name="Quire to the model's pixels",
            draw=partial(for_the_model, quire),
            against="pypdfium2 + mistral_common",
        ),
    ]
    for _ in range(repeats):
        for contender in contenders:
            contender.seconds.append(0.0)
        for data, sizes in documents:
            for contender in contenders:
                started = _computed()
                for _ in contender.draw(data, sizes):
                    pass
                contender.seconds[-1] += _computed() - started
    sandbox.close()
    pages = sum(len(sizes) for _, sizes in documents)
    return len(documents), pages, [_row(contender, contenders, pages) for contender in contenders]


def _computed() -> float:
    """Seconds that this process and its children have computed."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    # The clock of another process: clock_getcpuclockid in glibc.
    return time.process_time() + sum(time.clock_gettime((~int(pid) << 3) | 2) for pid in children)


def _common_sizes(sandbox: Sandbox, data: bytes, max_side: int, patch_size: int) -> Sizes:
    """The sizes of a PDF's pages, or none unless all contenders can draw all of them. Warms everything up.

    Raises ValueError if the sandbox's pixels are not those of plain PyMuPDF.
    """
    try:
        with sandbox.open(data, "x.pdf") as document:
            if document.media_type != PDF:
                return []
            numbers = range(1, document.page_count + 1)
            drawn = [
                document.draw(page, max_side=max_side, patch_size=patch_size)[0].copy() for page in numbers
            ]
        sizes = [pixels.shape[:2] for pixels in drawn]
        equal = all(map(np.array_equal, with_pymupdf(data, sizes), drawn))
        for _ in with_pdfium(data, sizes):
            pass
    except (DocumentError, pypdfium2.PdfiumError):
        return []
    if not equal:
        raise ValueError("the sandbox drew other pixels than PyMuPDF")
    return sizes


def _row(contender: Contender, contenders: list[Contender], pages: int) -> dict[str, Any]:
    other = next((other for other in contenders if other.name == contender.against), None)
    rounds = zip(contender.seconds, other.seconds, strict=True) if other else []
    ratios = [theirs / own for own, theirs in rounds]
    median = statistics.median(contender.seconds)
    return {
        "contender": contender.name,
        "pages_per_second": round(pages / median, 1),
        "ms_per_page": round(1e3 * median / pages, 2),
        "compared_with": contender.against,
        "times_as_fast": round(statistics.median(ratios), 3) if ratios else None,
        "worst_round": round(min(ratios), 3) if ratios else None,
    }
