"""PDF bytes become pages: exact sizes, upright and in RGB; what cannot be opened or drawn says why."""

import io
import pickle
import re
import resource
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pymupdf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.network.image_grid import page_size
from pipeline.rasterize.pdf import DocumentError, PageError, open_document, rasterize
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.rasterize.drawing import BLUE, RED, WHITE, draw, open_reason, page_reason


@given(
    width=st.floats(1, 14_400),
    height=st.floats(1, 14_400),
    rotation=st.sampled_from([0, 90, 180, 270]),
    max_side=st.integers(16, 700),
    crop=st.booleans(),
)
def test_a_pdf_page_is_drawn_at_the_model_s_own_size(
    width: float, height: float, rotation: int, max_side: int, crop: bool
) -> None:
    with pymupdf.open() as pdf:
        page = pdf.new_page(width=width, height=height)
        if crop and width > 50 and height > 50:
            page.set_cropbox(pymupdf.Rect(width * 0.11, height * 0.23, width * 0.71, height * 0.97))
        page.set_rotation(rotation)
        bounds = page.rect
        data = pdf.tobytes()
    with open_document(data, "x") as opened:
        pixels, _, _ = rasterize(opened, 1, max_side=max_side, patch_size=16)
    size = page_size(bounds.height, bounds.width, max_side=max_side, patch_size=16)
    assert pixels.shape == (*size, 3)


def test_a_pdf_page_is_turned_as_it_says() -> None:
    with pymupdf.open() as pdf:
        page = pdf.new_page(width=200, height=100)
        page.draw_rect(pymupdf.Rect(0, 0, 40, 40), color=None, fill=(1, 0, 0))
        page.set_rotation(90)
        data = pdf.tobytes()
    pixels, note = draw(data)
    assert pixels.shape == (1024, 512, 3)
    assert tuple(pixels[20, -20]) == RED
    assert tuple(pixels[20, 20]) == tuple(pixels[-20, -20]) == WHITE
    assert note is None


def test_the_pages_of_a_pdf_keep_their_sizes_and_order() -> None:
    with open_document(pdf_bytes([(300, 300), (300, 150)]), "x.pdf") as opened:
        assert (opened.media_type, opened.page_count) == ("application/pdf", 2)
        second, _, _ = rasterize(opened, 2, max_side=128, patch_size=16)
        first, _, _ = rasterize(opened, 1, max_side=128, patch_size=16)
    assert (first.shape, second.shape) == ((128, 128, 3), (64, 128, 3))


def test_what_a_form_was_filled_with_is_drawn() -> None:
    with pymupdf.open() as pdf:
        page = pdf.new_page(width=100, height=100)
        field = pymupdf.Widget()
        field.field_type, field.field_name = pymupdf.mupdf.PDF_WIDGET_TYPE_TEXT, "total"
        field.rect, field.fill_color = pymupdf.Rect(0, 0, 100, 100), (0, 0, 1)
        page.add_widget(field)
        data = pdf.tobytes()
    assert tuple(draw(data)[0][512, 512]) == BLUE


@pytest.mark.parametrize("method", ["RC4_40", "RC4_128", "AES_128", "AES_256"])
def test_a_pdf_opens_with_one_of_the_passwords_that_are_given(method: str) -> None:
    encryption = getattr(pymupdf.mupdf, f"PDF_ENCRYPT_{method}")
    locked = pdf_bytes(
        encryption=encryption, user_pw="us\u00e9r" if "256" in method else "user", owner_pw="o"
    )
    assert open_reason(locked, "a.pdf") == "needs_password"
    assert open_reason(locked, "a.pdf", passwords=["no", "neither"]) == "wrong_password"
    for password in ("us\u00e9r" if "256" in method else "user", "o"):
        with open_document(locked, "a.pdf", passwords=["no", password]) as opened:
            assert rasterize(opened, 1, max_side=64, patch_size=16)[0].min() < 255
    with open_document(pdf_bytes(encryption=encryption, owner_pw="o"), "a.pdf") as opened:
        assert opened.page_count == 1


def test_a_message_about_passwords_holds_none() -> None:
    locked = pdf_bytes(encryption=pymupdf.mupdf.PDF_ENCRYPT_AES_256, user_pw="secret", owner_pw="o")
    with pytest.raises(DocumentError) as caught:
        open_document(locked, "a.pdf", passwords=["hunter2"])
    assert "hunter2" not in str(caught.value)


def test_what_is_only_an_annotation_is_drawn() -> None:
    with pymupdf.open() as pdf:
        page = pdf.new_page(width=100, height=100)
        annotation = page.add_rect_annot(pymupdf.Rect(0, 0, 100, 100))
        annotation.set_colors(stroke=(1, 0, 0), fill=(0, 0, 1))
        annotation.update()
        data = pdf.tobytes()
    assert tuple(draw(data)[0][512, 512]) == BLUE


def test_a_note_says_that_a_form_s_pages_are_placeholders() -> None:
    with pymupdf.open(stream=pdf_bytes(), filetype="pdf") as pdf:
        pdf.xref_set_key(pdf.pdf_catalog(), "NeedsRendering", "true")
        dynamic = pdf.tobytes()
    assert draw(dynamic)[1] == "dynamic XFA form: only its placeholder pages are drawn"


def test_files_embedded_in_a_pdf_are_not_unpacked() -> None:
    with pymupdf.open(stream=pdf_bytes(), filetype="pdf") as pdf:
        pdf.embfile_add("bomb", bytes(10**8))
        data = pdf.tobytes(deflate=True)
    assert len(data) < 10**6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    draw(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize("rotation", [0, 90])
def test_a_page_is_drawn_as_pymupdf_itself_draws_it(rotation: int) -> None:
    with pymupdf.open(stream=pdf_bytes([(300, 500)]), filetype="pdf") as pdf:
        page = pdf[0]
        page.draw_circle(pymupdf.Point(120, 200), 80, fill=(1, 0, 0))
        page.set_cropbox(pymupdf.Rect(33, 57, 211, 444))
        page.set_rotation(rotation)
        data = pdf.tobytes()
    pixels, _ = draw(data)
    with pymupdf.open(stream=data, filetype="pdf") as pdf:
        bounds = pdf[0].rect
        matrix = pymupdf.Matrix(pixels.shape[1] / bounds.width, pixels.shape[0] / bounds.height)
        pixmap = pdf[0].get_pixmap(matrix=matrix, alpha=False)
        np.testing.assert_array_equal(pixels.reshape(-1), np.frombuffer(pixmap.samples_mv, np.uint8))


def test_a_pdf_is_known_by_its_bytes_behind_rubbish_and_under_any_name() -> None:
    with open_document(b"\n\n<!-- mail gateway -->\n" + pdf_bytes(), "scan.png") as opened:
        assert (opened.media_type, opened.page_count) == ("application/pdf", 1)


def test_a_pdf_without_a_header_is_repaired_if_its_name_says_pdf() -> None:
    headless = pdf_bytes()[8:]
    with open_document(headless, "a.PDF") as opened:
        assert opened.page_count == 1
    assert open_reason(headless) == "unsupported_type"


def test_a_truncated_pdf_is_a_document_that_failed() -> None:
    assert open_reason(pdf_bytes()[:200]) in {"damaged", "zero_pages"}


def bare_pdf(*objects: bytes) -> bytes:
    """A PDF of these objects, without the table of their places: MuPDF rebuilds it."""
    numbered = (b"%d 0 obj%bendobj" % (number, body) for number, body in enumerate(objects, start=1))
    return b"%PDF-1.4\n" + b"\n".join(numbered) + b"\ntrailer<</Root 1 0 R>>"


def test_a_pdf_with_a_page_tree_of_no_pages() -> None:
    data = bare_pdf(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>")
    assert open_reason(data) == "zero_pages"


def test_a_pdf_whose_pages_cannot_be_counted() -> None:
    data = bare_pdf(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count -9>>")
    assert open_reason(data) == "damaged"


def test_a_pdf_with_a_page_that_cannot_be_drawn_keeps_its_other_pages() -> None:
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]>>"
    cycle = b"<</Type/Pages/Count 2/Kids[3 0 R 2 0 R]>>"
    data = bare_pdf(b"<</Type/Catalog/Pages 2 0 R>>", cycle, page)
    with open_document(data, "x") as opened:
        assert opened.page_count == 2
    assert draw(data, 1)[0].shape == (1024, 1024, 3)
    assert page_reason(data, 2) == "damaged_page"


def test_memory_that_mupdf_does_not_get_is_named_as_such() -> None:
    """In a process of its own, whose memory has a limit: a font of 200 MB that is packed into a few bytes."""
    pack = zlib.compressobj(1)
    font = zlib.compress(b"".join(pack.compress(bytes(2**20)) for _ in range(200)) + pack.flush())
    data = bare_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        b"<</Length 19>>stream\nBT /F 9 Tf (a) Tj ET\nendstream",
        b"<</Type/Font/Subtype/TrueType/BaseFont/X/FontDescriptor 6 0 R>>",
        b"<</Type/FontDescriptor/FontName/X/FontFile2 7 0 R/Flags 4>>",
        b"<</Filter[/FlateDecode/FlateDecode]/Length %d>>stream\n%b\nendstream" % (len(font), font),
    )
    program = f"""
import resource
from pipeline.rasterize.pdf import PageError, open_document, rasterize
with open_document({data!r}, "x") as opened:
    resource.setrlimit(resource.RLIMIT_DATA, (150 << 20, 150 << 20))
    try:
        rasterize(opened, 1, max_side=64, patch_size=16)
    except PageError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.match(r"memory: page 1 of x cannot be drawn: .*alloc \(\d+ bytes\) failed", done.stdout)


# What is no document


def zip_bytes(*names: str, text: str = "x") -> bytes:
    """A ZIP archive of small files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (b"", "empty_file", "0 bytes"),
        (b"\0" * 100, "unsupported_type", "unknown kind"),
        (
            b"<!DOCTYPE html><HTML>not a document</HTML>",
            "unsupported_type",
            "an HTML page .convert it to PDF",
        ),
        (b"<?xml version='1.0'?>\n<svg xmlns=''/>", "unsupported_type", "an SVG drawing .convert it to PDF"),
        (b"<?xml version='1.0'?>\n<data/>", "unsupported_type", "unknown kind"),
        (zip_bytes("[Content_Types].xml", "word/document.xml"), "unsupported_type", "a Word document"),
        (zip_bytes("[Content_Types].xml", "xl/workbook.xml"), "unsupported_type", "an Excel workbook"),
        (zip_bytes("ppt/presentation.xml"), "unsupported_type", "a PowerPoint presentation"),
        (zip_bytes("mimetype", text="application/vnd.oasis.opendocument.text"), "unsupported_type", "OpenD"),
        (zip_bytes("scan.pdf"), "unsupported_type", "a ZIP archive .unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "unsupported_type", "an old Office document"),
        (b"{\\rtf1 text}", "unsupported_type", "RTF"),
        (b"\0\0\0\x18ftypqt  \0\0\0\0", "unsupported_type", "a QT file, as videos are"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "damaged", "image/heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0avifmiaf", "damaged", "image/avif"),
        (b"PAR1" + b"x" * 40, "unsupported_type", "Parquet"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 40, "damaged", "image/png"),
        (b"%PDF-1.7 and nothing more", "damaged", "PDF"),
    ],
)
def test_what_cannot_be_opened_says_why(data: bytes, reason: str, says: str) -> None:
    with pytest.raises(DocumentError, match=says) as caught:
        open_document(data, "folder/file")
    assert caught.value.reason == reason
    assert "0x" not in caught.value.message  # an address would differ from run to run


def test_an_error_survives_the_way_out_of_a_child_process() -> None:
    error = pickle.loads(pickle.dumps(PageError("damaged_page", "page 1 of x is bad")))
    assert isinstance(error, PageError)
    assert (error.reason, error.message) == ("damaged_page", "page 1 of x is bad")
    assert str(error) == "damaged_page: page 1 of x is bad"
