"""PDFs that other readers understand: odd boxes and turns, page trees without counts, portfolios, handlers.

PDFium (pypdfium2) is the reference: it is what browsers show.
"""

import re
import subprocess
import sys

import numpy as np
import pymupdf
import pypdfium2
import pytest
from PIL import Image

from pipeline.rasterize.pdf import DocumentError, open_document, rasterize
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.rasterize.damaged_pdfs import page, pdf, stream
from tests.pipeline.rasterize.drawing import BLUE, RED, draw, open_reason

SQUARES = b"1 0 0 rg 0 0 60 60 re f 0 0 1 rg 140 160 60 40 re f 0 1 0 rg 40 80 90 50 re f"


def as_pdfium_draws(data: bytes) -> None:
    """Asserts that the page has PDFium's shape and look."""
    found = pypdfium2.PdfDocument(data)[0]
    width, height = found.get_size()
    pixels, _ = draw(data)
    assert pixels.shape[0] / pixels.shape[1] == pytest.approx(height / width, rel=0.05)
    rendered = Image.fromarray(found.render(scale=2, rev_byteorder=True).to_numpy())
    theirs, ours = (
        np.asarray(image.resize((64, 64), Image.Resampling.BOX), np.float64)
        for image in (rendered, Image.fromarray(pixels))
    )
    assert (abs(ours - theirs).max(2) > 60).mean() < 0.03


@pytest.mark.parametrize(
    "entries",
    [
        "/CropBox[0 0 0 0]",
        "/CropBox[50 50 50 150]",
        "/CropBox[0 90 200 90]",
        "/CropBox[1 2]",
        "/CropBox[]",
        "/CropBox(none)",
        "/CropBox 99 0 R",
        "/CropBox[100 150 10 20]",
        "/CropBox[-50 -50 300 300]",
        "/CropBox[20 30 150 190]",
        "/CropBox[150 150 400 400]",
        *(f"/Rotate {turn}" for turn in (0, 45, 89, 90, 135, 180, 181, 269, 270, 359, 360, 450, 765)),
        *(f"/Rotate {turn}" for turn in (-1, -45, -90, -135, -180, -450, 91.7)),
        "/Rotate(90)",
        "/Rotate 45/CropBox[10 10 10 10]",
        "/Rotate 100/CropBox[0 0 100 200]",
    ],
)
def test_a_page_has_the_box_and_the_turn_that_pdfium_gives_it(entries: str) -> None:
    as_pdfium_draws(page(SQUARES, extra=entries.encode()))


@pytest.mark.parametrize("crop", ["[300 300 400 400]", "[-90 -90 -10 -10]", "[200 0 300 100]"])
@pytest.mark.parametrize("turn", [0, 90])
def test_a_crop_box_outside_the_page_does_not_count(crop: str, turn: int) -> None:
    """PDFium draws nothing there: then no reader would show the page."""
    odd, _ = draw(page(SQUARES, extra=f"/CropBox{crop}/Rotate {turn}".encode()))
    even, _ = draw(page(SQUARES, extra=f"/Rotate {turn}".encode()))
    np.testing.assert_array_equal(odd, even)


def test_boxes_and_turns_of_the_parent_count_as_the_page_s_own() -> None:
    data = page(SQUARES).replace(b"/Type/Pages", b"/Rotate 45/CropBox[0 0 0 0]/Type/Pages")
    np.testing.assert_array_equal(draw(data)[0], draw(page(SQUARES))[0])


def tree(*nodes: bytes, colours: int = 3) -> bytes:
    """A file whose page tree has these nodes (from 2), and pages of one colour each (from 20)."""
    content = [b"1 0 0 rg 0 0 9 9 re f", b"0 0 1 rg 0 0 9 9 re f", b"0 1 0 rg 0 0 9 9 re f"]
    pages = {
        20 + number: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents %d 0 R>>" % (30 + number)
        for number in range(colours)
    }
    contents = {30 + number: stream(b"", content[number]) for number in range(colours)}
    return pdf({1: b"<</Type/Catalog/Pages 2 0 R>>", **dict(enumerate(nodes, start=2)), **pages, **contents})


@pytest.mark.parametrize(
    "nodes",
    [
        [b"<</Type/Pages/Kids[20 0 R 21 0 R]>>"],
        [b"<</Type/Pages/Kids[20 0 R 21 0 R]/Count 0>>"],
        [b"<</Type/Pages/Kids[20 0 R 21 0 R]/Count(two)>>"],
        [b"<</Kids[20 0 R 21 0 R]>>"],
        [b"<</Type/Pages/Kids[3 0 R]>>", b"<</Type/Pages/Parent 2 0 R/Kids[20 0 R 21 0 R]>>"],
        [b"<</Type/Pages/Kids[3 0 R 21 0 R]>>", b"<</Type/Pages/Parent 2 0 R/Kids[20 0 R]/Count 1>>"],
        [b"<</Type/Pages/Kids[3 0 R 21 0 R]>>", b"<</Parent 2 0 R/Kids[20 0 R]>>"],
        [b"<</Type/Pages/Kids[20 0 R 3 0 R 21 0 R]>>", b"<</Type/Pages/Parent 2 0 R/Kids[]>>"],
    ],
)
def test_pages_that_the_tree_does_not_count_are_counted(nodes: list[bytes]) -> None:
    data = tree(*nodes)
    with open_document(data, "x") as opened:
        assert opened.page_count == 2
        colours = [
            tuple(rasterize(opened, number, max_side=16, patch_size=16)[0][8, 8]) for number in (1, 2, 1)
        ]
    assert colours == [RED, BLUE, RED]


def test_a_tree_that_goes_in_circles_is_counted_once() -> None:
    data = tree(b"<</Type/Pages/Kids[20 0 R 3 0 R]>>", b"<</Type/Pages/Parent 2 0 R/Kids[2 0 R 21 0 R]>>")
    with open_document(data, "x") as opened:
        assert opened.page_count == 2
        assert tuple(rasterize(opened, 1, max_side=16, patch_size=16)[0][8, 8]) == RED


def portfolio(*names: str) -> bytes:
    with pymupdf.open(stream=pdf_bytes(), filetype="pdf") as found:
        for name in names:
            found.embfile_add(name, b"content", filename=name)
        found.xref_set_key(found.pdf_catalog(), "Collection", "<</Type/Collection/View/D>>")
        data: bytes = found.tobytes()
    return data


def test_a_portfolio_s_note_names_what_is_attached() -> None:
    end = ") are documents with --attachments alone"
    start = "portfolio: this is its cover, and its files ("
    assert draw(portfolio("receipt.pdf", "Bild 2.png"))[1] == f"{start}receipt.pdf, Bild 2.png{end}"
    note = draw(portfolio(*(f"{number}.pdf" for number in range(9))))[1]
    assert note == f"{start}0.pdf, 1.pdf, 2.pdf, 3.pdf, 4.pdf, and 4 more{end}"
    note = draw(portfolio("a\x1b[31m\n.pdf"))[1]
    assert note is not None
    assert note.isprintable()
    assert draw(portfolio())[1] == "portfolio: only its cover is drawn, and it has no files"


def test_a_pdf_with_attachments_that_is_no_portfolio_has_no_note() -> None:
    with pymupdf.open(stream=pdf_bytes(), filetype="pdf") as found:
        found.embfile_add("a.txt", b"content")
        data = found.tobytes()
    assert draw(data)[1] is None


def encrypted(handler: str) -> bytes:
    """A file that says that it is encrypted in a way that is not Adobe's standard."""
    whole = page()
    entries = b"/Encrypt<</Filter/%b/V 4/R 4>>/ID[(a)(b)]/Root" % handler.encode()
    return whole.replace(b"/Root", entries)


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        ("Adobe.PubSec", r"x is encrypted with a certificate \(Adobe.PubSec\), not with a password"),
        ("Entrust.PPKEF", r"x is encrypted with a certificate \(Entrust.PPKEF\)"),
        ("FOPN_fLock", r"x is encrypted by a program of its own \(FOPN_fLock\)"),
    ],
)
def test_a_pdf_that_no_password_opens_says_how_it_is_encrypted(handler: str, says: str) -> None:
    data = encrypted(handler)
    assert open_reason(data) == "encrypted"
    with pytest.raises(DocumentError, match=says):
        open_document(data, "x", passwords=["a password"])


def test_a_pdf_that_does_not_open_says_why() -> None:
    with pytest.raises(DocumentError, match="no objects found") as caught:
        open_document(b"%PDF-1.7\n", "x")
    assert caught.value.reason == "damaged"


def test_memory_that_a_pdf_s_opening_lacks_is_named_as_such() -> None:
    """In a process of its own, whose memory has a limit: the file has an object of a huge number."""
    huge = (
        pdf({1: b"<</Type/Catalog>>"}).split(b"xref")[0]
        + b"8388600 0 obj<</A 1>>endobj trailer<</Root 1 0 R>>"
    )
    program = f"""
import resource
from pipeline.rasterize.pdf import DocumentError, open_document
resource.setrlimit(resource.RLIMIT_DATA, (150 << 20, 150 << 20))
try:
    open_document({huge!r}, "x")
except DocumentError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.match(r"memory: x cannot be opened as a PDF: .*calloc \(\d+ x \d+ bytes\) failed", done.stdout)
