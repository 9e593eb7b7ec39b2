"""What is attached to a PDF is found wherever it hangs; a bomb or damage costs no neighbour."""

import zlib

import pymupdf
import pytest

from pipeline.ingest.file_types import DocumentError
from pipeline.plan.limits import MIB, Limits
from pipeline.rasterize import containers
from pipeline.rasterize.attached import MOST_DEPTH, MOST_PARTS, Kind
from pipeline.rasterize.containers import Container
from pipeline.rasterize.sandbox import Sandbox
from tests.pipeline.drawn import pdf_bytes
from tests.pipeline.mails import around, mail
from tests.pipeline.office_files import docx
from tests.pipeline.portfolios import locked, portfolio

PDF = pdf_bytes()


def kinds(data: bytes, *, in_pdfs: bool = True) -> list[tuple[tuple[int, ...], Kind]]:
    return [(found.path, found.kind) for found in Container(data, "x", in_pdfs=in_pdfs).parts()]


def test_files_of_a_portfolio_are_known_by_their_first_bytes() -> None:
    data = portfolio(a_pdf=PDF, b_docx=docx("b"), c_xml=b"<invoice/>", d_eml=bytes(mail(e_pdf=PDF)))
    assert kinds(data) == [
        ((1,), Kind.DOCUMENT),
        ((2,), Kind.OFFICE),
        ((3,), Kind.OTHER),
        ((4,), Kind.DOCUMENT),
        ((4, 1), Kind.DOCUMENT),
    ]
    one = Container(data, "x")
    assert one.part((1,)) == one.part((4, 1)) == PDF
    for path in ((5,), (0,), (1, 1), (3, 1)):
        with pytest.raises(DocumentError, match="has no attachment") as error:
            one.part(path)
        assert error.value.reason == "missing"


def test_a_pdf_attached_to_an_e_mail_holds_others_where_that_is_asked_for() -> None:
    data = bytes(mail(a_pdf=portfolio(b_pdf=PDF)))
    assert [path for path, _ in kinds(data)] == [(1,), (1, 1)]
    assert [path for path, _ in kinds(data, in_pdfs=False)] == [(1,)]
    assert kinds(portfolio(b_pdf=PDF), in_pdfs=False) == []


def test_an_attached_e_mail_that_shows_a_pdf_near_its_start_keeps_what_is_attached_to_it() -> None:
    data = bytes(around(mail("%PDF-1.7\n1 0 obj", a_pdf=PDF)))
    for in_pdfs in (False, True):
        one = Container(data, "x.eml", in_pdfs=in_pdfs)
        assert [found.path for found in one.parts()] == [(1,), (1, 1)]
        assert one.part((1, 1)) == PDF


def test_a_file_pinned_to_a_page_is_attached_and_one_that_two_places_name_is_one() -> None:
    with pymupdf.open(stream=portfolio(a_pdf=PDF)) as pdf:
        pdf[0].add_file_annot((10, 10), PDF + b"\n", "pinned.pdf")
        names = pdf.xref_get_key(pdf.pdf_catalog(), "Names/EmbeddedFiles/Names")[1]
        spec = names.partition(")")[2].strip().removesuffix("]")
        note = pdf[0].add_file_annot((50, 50), b"other", "again.pdf")
        pdf.xref_set_key(note.xref, "FS", spec)
        data = pdf.tobytes()
    assert len(kinds(data)) == 2
    assert Container(data, "x").part((2,)) == PDF + b"\n"


def test_names_in_a_tree_are_found() -> None:
    with pymupdf.open(stream=portfolio(a_pdf=PDF, b_pdf=PDF)) as pdf:
        leaf = pdf.get_new_xref()
        names = pdf.xref_get_key(pdf.pdf_catalog(), "Names/EmbeddedFiles/Names")[1]
        pdf.update_object(leaf, f"<</Limits[(a.pdf)(b.pdf)]/Names{names}>>")
        pdf.xref_set_key(pdf.pdf_catalog(), "Names/EmbeddedFiles", f"<</Kids[{leaf} 0 R]>>")
        data = pdf.tobytes()
    assert len(kinds(data)) == 2


def test_an_encrypted_portfolio_opens_with_its_password() -> None:
    data = locked(portfolio(a_pdf=PDF), "secret")
    with pytest.raises(DocumentError) as error:
        Container(data, "x")
    assert error.value.reason == "needs_password"
    assert Container(data, "x", ["secret"]).part((1,)) == PDF


def test_depth_and_number_are_bounded() -> None:
    data = PDF
    for _ in range(MOST_DEPTH + 3):
        data = portfolio(a_pdf=data)
    assert kinds(data)[-2:] == [
        ((1,) * MOST_DEPTH, Kind.DOCUMENT),
        ((1,) * (MOST_DEPTH + 1), Kind.TOO_DEEP),
    ]
    many = portfolio(**{f"f{number}_pdf": PDF for number in range(12)})
    half = bytes(mail(**{f"f{number}_pdf": many for number in range(MOST_PARTS // 13 + 1)}))
    found = kinds(half)
    assert len(found) == MOST_PARTS + 1
    assert [kind for _, kind in found[-2:]] == [Kind.DOCUMENT, Kind.TOO_MANY]


def test_what_is_too_large_to_look_into_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MOST_INNER", len(PDF) - 1)
    assert kinds(portfolio(a_pdf=PDF)) == [((1,), Kind.DOCUMENT), ((1, 1), Kind.TOO_LARGE)]


def bomb(size: int) -> bytes:
    """A portfolio of a few kilobytes: a file packed twice that has `size` bytes, and a PDF behind it."""
    packer = zlib.compressobj(9)
    once = packer.compress(b"%PDF-1.4\n")
    zeros = bytes(2**20)
    once += b"".join(packer.compress(zeros) for _ in range(size // len(zeros))) + packer.flush()
    with pymupdf.open(stream=portfolio(a_pdf=b"", b_pdf=PDF)) as pdf:
        for xref in range(1, pdf.xref_length()):
            if pdf.xref_get_key(xref, "Type")[1] == "/EmbeddedFile":
                pdf.update_stream(xref, zlib.compress(once, 9), compress=False)
                pdf.xref_set_key(xref, "Filter", "[/FlateDecode/FlateDecode]")
                break
        data: bytes = pdf.tobytes()
    return data


@pytest.mark.processes
def test_a_bomb_costs_itself_alone() -> None:
    data = bomb(2**29)
    assert len(data) < 2**16
    sandbox = Sandbox(Limits(page_bytes=400 * MIB))
    try:
        found = sandbox.parts(data, "x", in_pdfs=True)
        assert [(part.path, part.kind) for part in found] == [
            ((1,), Kind.DOCUMENT),
            ((1, 1), Kind.TOO_LARGE),
            ((2,), Kind.DOCUMENT),
        ]
        with pytest.raises(DocumentError) as error:
            sandbox.part(data, "x", [1], more=True)
        assert error.value.reason == "memory"
        assert sandbox.part(data, "x", [2]) == PDF
    finally:
        sandbox.close()


def test_a_damaged_file_of_a_portfolio_is_damaged_and_its_neighbour_is_not() -> None:
    with pymupdf.open(stream=portfolio(a_pdf=PDF, b_pdf=PDF)) as pdf:
        for xref in range(1, pdf.xref_length()):
            if pdf.xref_get_key(xref, "Type")[1] == "/EmbeddedFile":
                pdf.update_stream(xref, zlib.compress(PDF)[:-50], compress=False)
                pdf.xref_set_key(xref, "Filter", "/FlateDecode")
                break
        data = pdf.tobytes()
    assert [kind for _, kind in kinds(data)] == [Kind.DOCUMENT] * 2
    one = Container(data, "x")
    with pytest.raises(DocumentError) as error:
        one.part((1,))
    assert error.value.reason == "damaged"
    assert one.part((2,)) == PDF
