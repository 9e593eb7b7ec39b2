"""MuPDF's warnings about one page are judged: does its picture lack something, and is enough of it there?

In: the warnings that MuPDF gave while it drew the page, and the picture. Out: the losses among them, or a
PageError. MuPDF draws what it can, warns, and goes on, so that a scan whose data ends in the middle is drawn
half black. Most warnings are harmless: a stream's length is wrong, a profile is ignored. Which are not is
told here by their kind. An error that MuPDF reports and that is not listed is a loss, a mere warning is none.
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

REPEATED: Final = re.compile(r"\.\.\. repeated \d+ times\.\.\.")
ERROR: Final = re.compile(r"[a-z]+ error: ")  # how MuPDF begins the errors that it goes on after
NO_MEMORY: Final = re.compile(r"alloc \(.*\) failed|out of memory")

# Plain warnings that say that data was lost; the words are MuPDF's, at the start of a line.
LOSSES: Final = (
    "cannot load content stream part",
    "cannot render glyph",
    "content stream is not a stream",
    "ignored error when loading embedded font",
    "ignoring XObject with unknown subtype",
    "ignoring zlib error",
    "jbig2dec error",
    "openjpeg error",
    "openjpeg warning: Stream does not end with EOC",
    "padding truncated image",
    "premature end",
    "read error; treating as end of file",
    "too many syntax errors; ignoring rest of page",
    "type3 glyph load failed",
    "unknown filter name",
)

# Text that OCR put under a scan, in fonts without shapes of Acrobat's and Tesseract's: nobody was to see it.
UNSEEN: Final = re.compile(r"FT_Load_Glyph\((\w+\+)?(HiddenHorzOCR|GlyphLessFont)")
# Of the error before it nothing comes: other colours do as well.
MENDED: Final = re.compile(r"Ignoring (Page|XObject) blending colorspace|ignoring broken ICC profile")

# Errors after which nothing of the page is missing.
HARMLESS: Final = (
    "format error: cycle in page tree",  # another way through the tree finds the page
    "format error: non-page object in page tree",
    "format error: too many kids in page tree",
    "format error: No default Layer config",
    "format error: cmsOpenProfileFromMem failed",  # the colours come from the number of components
    "library error: cmsCreateTransform",
    "syntax error: ICC profile",
)
# Errors that cost nothing where the page shows something: an object that is not used, or does little.
DOUBTFUL: Final = (
    "syntax error: cannot find ExtGState resource",
    "syntax error: expected object number",
    "syntax error: invalid key in dict",
    "syntax error: image height is zero",
    "syntax error: image width is zero",
    "syntax error: unknown keyword",  # a generator's slip, such as "-inf"; see MAX_KEYWORDS
    "unsupported error: cannot create appearance stream",
)
MAX_KEYWORDS: Final = 2  # unknown ones; more of them are a content stream of rubbish

CELL: Final = 16  # pixels of a side of the cells in which `shown` looks for something
INK: Final = 48  # between the darkest and the brightest value of a cell that shows something,
SHADE: Final = 24  # or between its mean and that of most cells
MIN_SHOWN: Final = 0.003  # of the cells; a line of text across a page fills a hundredth
WHITE: Final = 250  # the mean of a page that is paper
MAX_LOST: Final = 0.25  # of a page's area, where nothing but images is on it
MIN_GLYPHS: Final = 100  # drawn as text: a page with so many says something without its images
MAX_WORDS: Final = 3  # losses that are named
MAX_LETTERS: Final = 120  # of a document's own words in a message


def losses(warnings: str) -> list[str]:
    """The lines of MuPDF's warnings that tell of lost data, each once, in their order."""
    lines = _errors(warnings)
    keywords = sum(line.startswith("syntax error: unknown keyword") for line in lines)
    certain = [line for line in lines if not line.startswith(DOUBTFUL)]
    return lines if keywords > MAX_KEYWORDS else certain


def doubts(warnings: str) -> list[str]:
    """Losses, and the errors that are losses if the page then shows nothing."""
    return _errors(warnings)


def lacks_memory(warnings: str) -> bool:
    """Whether MuPDF left something out since it found no memory for it."""
    return bool(NO_MEMORY.search(warnings))


def shown(pixels: NDArray[np.uint8]) -> float:
    """The share of the cells of a page's picture in which there is something to see."""
    rows, columns = (max(1, side // CELL) for side in pixels.shape[:2])
    height, width = (side // count for side, count in zip(pixels.shape, (rows, columns), strict=False))
    grey = pixels[: rows * height, : columns * width].mean(2)
    cells = grey.reshape(rows, height, columns, width)
    means = cells.mean((1, 3))
    differs = abs(means - np.median(means)) >= SHADE
    return float(((np.ptp(cells, (1, 3)) >= INK) | differs).mean())


def is_white(pixels: NDArray[np.uint8]) -> bool:
    """Whether a page that shows nothing is paper; one of another colour was painted so."""
    return float(pixels.mean()) > WHITE


def words(lost: list[str]) -> str:
    """The first losses in MuPDF's words, which may hold a hostile document's."""
    return ", ".join(map(printable, lost[:MAX_WORDS]))


def printable(text: str) -> str:
    """A document's own words, fit for a message: no line ends, no commands of terminals, not long."""
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_LETTERS])


def _errors(warnings: str) -> list[str]:
    """The lines that may tell of lost data."""
    lines = [line for line in warnings.splitlines() if not REPEATED.fullmatch(line)]
    around = zip(lines, ["", *lines], [*lines[1:], ""], strict=False)
    seen = dict.fromkeys(line for line, before, after in around if not _is_explained(line, before, after))
    found = (line for line in seen if line.startswith(LOSSES) or ERROR.match(line))
    return [line for line in found if not line.startswith(HARMLESS)]


def _is_explained(line: str, before: str, after: str) -> bool:
    """Whether the line before or behind it says that nothing is missing for it."""
    return bool(MENDED.match(after) or (line.startswith("cannot render glyph") and UNSEEN.match(before)))
